"""The promises that are not physics: documentation, packaging, cheap start, who may import what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import click
import pytest

import qkd_qiskit
from qkd_qiskit.cli import TRAIN_OPTIONS, main
from qkd_qiskit.config import Settings
from qkd_qiskit.execution.profiles import list_profiles, resolve_backend
from qkd_qiskit.pipeline.jobs import read_job, read_settings
from qkd_qiskit.shipped import list_files
from qkd_qiskit.study.grid import expand

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "qkd_qiskit"
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN = {
    "classical": {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "qiskit_machine_learning"},
    "quantum": {"qiskit_aer", "qiskit_ibm_runtime"},
    "exact": {"qiskit_aer", "qiskit_ibm_runtime"},
    "distillation": {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "qiskit_machine_learning"},
    "study": {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "torch"},
    "report": {"qiskit_aer", "qiskit_ibm_runtime"},
    "pipeline": {"qiskit_ibm_runtime"},
}
"""Libraries a sub-package must not import: the flow goes down once, Aer and Runtime stay in `execution`."""

UPWARD = {
    "classical": {"quantum", "exact", "distillation", "execution", "pipeline", "report"},
    "quantum": {"exact", "distillation", "execution", "pipeline", "report"},
    "exact": {"classical", "distillation", "execution", "pipeline", "report"},
    "distillation": {"quantum", "exact", "execution", "pipeline", "report"},
    "execution": {"distillation", "pipeline", "report"},
}
"""Which sub-packages each one must not import."""


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_each_part_imports_only_what_it_may(part: str) -> None:
    modules = sorted((PACKAGE / part).rglob("*.py"))
    assert modules
    for path in modules:
        names = imported_names(path)
        assert not {name.split(".")[0] for name in names} & FORBIDDEN[part], path
        own = {name.split(".")[1] for name in names if name.startswith("qkd_qiskit.")}
        assert not own & UPWARD.get(part, set()), path


def test_no_module_is_called_like_a_declarative_folder() -> None:
    assert not {path.stem for path in MODULES} & {"backends"}
    assert not (PACKAGE / "jobs.py").exists()


@pytest.mark.parametrize(
    "statement", ["import qkd_qiskit", "from qkd_qiskit.cli import main; main(['--help'], standalone_mode=False)"]
)
def test_a_cheap_start_imports_nothing_heavy(statement: str) -> None:
    code = (
        f"{statement}\nimport sys\nprint(sorted({{'torch', 'qiskit', 'numpy', 'pydantic', 'rich'}} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_every_command_and_option_has_help_and_every_command_is_in_the_readme() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        assert f"qkd-qiskit {name}" in README, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_the_defaults_that_help_tells_are_those_of_the_settings() -> None:
    settings = read_settings({})
    for option, (key, _, text) in TRAIN_OPTIONS.items():
        told = re.search(r"\[(.*)\]$", text)
        assert told, option
        value: object = settings
        for part in key.split("."):
            value = getattr(value, part)
        words = {"None": {"all", "$QKD_DATA_DIR", "kd with a teacher, else ce", "the loss's own"}}.get(
            str(value), {str(value)}
        )
        number = re.match(r"[\d.]+", told[1])
        if number and isinstance(value, int | float):
            assert float(number[0]) == value, option
        else:
            assert told[1] in words, (option, value)


def test_every_shipped_backend_and_job_loads() -> None:
    assert {"aer", "aer_noisy", "fake_brisbane", "ibm_brisbane"} <= list_profiles().keys()
    for name in list_files("jobs"):
        job, _ = read_job(name)
        assert job.description, name
        assert isinstance(read_settings(job.train, preset=job.preset), Settings)
        if job.is_study:
            cells = expand(job, name)
            assert len({cell.key for cell in cells}) > 1, name
        for evaluation in job.evaluate:
            backend = evaluation.backend
            resolve_backend(backend if isinstance(backend, str) else backend["name"])


def test_the_public_names_exist_and_are_documented() -> None:
    for name in qkd_qiskit.__all__:
        value = getattr(qkd_qiskit, name)
        assert name == "__version__" or value.__doc__, name
    assert set(qkd_qiskit._HOME) | {"__version__"} == set(qkd_qiskit.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = qkd_qiskit.trian


def test_the_readmes_python_example_uses_public_names() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        ast.parse(block)
        for name in re.findall(r"\bqkd\.(\w+)", block):
            assert name in qkd_qiskit.__all__, name


def test_the_readmes_job_file_is_one(workplace: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.S)
    Path("mine.toml").write_text(example)
    job, _ = read_job("mine.toml")
    assert read_settings(job.train).backend.noise_scale == 2
    assert job.evaluate[0].backend == "fake_torino"


@pytest.mark.slow
def test_the_readmes_python_example_runs(workplace: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    answer = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=True)
    lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["aer", "aer_noisy", "fake_brisbane"]
    assert all(float(line.split()[1]) > 0.9 for line in lines)


def test_the_readmes_commands_exist() -> None:
    for command in re.findall(r"^\s*qkd-qiskit (\w+)", README, re.M):
        assert command in main.commands, command


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    for name in filter(None, tracked):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".cfg", ".sh"} and path.exists() and path != Path(__file__):
            assert not re.search(r"/(home|work|root|Users)/[a-z]", path.read_text(encoding="utf-8")), name


def test_torch_is_capped_below_the_cuda_builds() -> None:
    requirements = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert "torch>=2.6,<2.14" in requirements
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]


@pytest.mark.slow
def test_the_wheel_holds_the_tree_and_works_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    assert {str(path.relative_to(ROOT)) for path in MODULES} <= names
    for kind in ("backends", "jobs"):
        shipped = {Path(name).name for name in names if name.startswith(f"qkd_qiskit/_shipped/{kind}/")}
        assert shipped == {path.name for path in (ROOT / kind).glob("*.toml")}
    assert not any(name.startswith(("tests/", "backends/", "jobs/")) for name in names)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n"
        "import qkd_qiskit\nfrom qkd_qiskit.shipped import list_files\n"
        "print(qkd_qiskit.__file__)\nprint(list_files('backends')['aer'])\n"
        "from qkd_qiskit.cli import main\nmain(['backends'], standalone_mode=False)"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert all(str(tmp_path / "installed") in line for line in answer.stdout.splitlines()[:2])
    assert "aer_noisy" in answer.stdout
