"""What a user can get wrong: one clear message, the right exit code, nothing lost, no traceback."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from qkd_qiskit.cli import main

TINY = ["--classes", "0-1", "--qubits", "1", "--epochs", "1", "--teacher", "none"]


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, [*arguments])
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def refuse(code: int, *arguments: str, telling: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    for words in telling:
        assert words in result.stderr
    assert len(result.stderr.splitlines()) <= 4 or "data:" in result.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert call("train", *TINY, "--out", str(out), "--quiet").exit_code == 0
    return out


@pytest.fixture
def run(finished: Path, workplace: Path) -> Path:
    """A finished run that a test may break."""
    shutil.copytree(finished, workplace / "run")
    return workplace / "run"


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (["--set", "backend.noise_scale=2"], ["noise_scale has nothing to scale", "--backend aer_noisy"]),
        (["--set", "backend=3"], ["backend = 3", "give a name"]),
        (["--set", "student.kind=[1]"], ["student.kind"]),
        (["--seed", "99999999999999999999"], ["seed ="]),
        (["--lr", "inf"], ["training.learning_rate"]),
        (["--teacher", "lenett", "--loss", "ce"], ["lenett", "did you mean 'lenet'"]),
        (["--set", "backend.noise={readout=0.9}"], ["noise", "less than 0.5"]),
        (["--set", "backend.noise={readout=-0.1}"], ["noise", "greater than or equal to 0"]),
        (["--set", "backend.noise={t2_us=50}"], ["t2_us needs t1_us"]),
        (["--set", "backend.noise={t1_us=10, t2_us=50}"], ["at most 2 t1_us = 20"]),
        (["--resume", "x", "--out", "y"], ["leave out --out"]),
        (["--resume", "--backend", "aer"], ["leave out --backend"]),
        (["--dataset", "mnits"], ["mnits", "mnist"]),
        (["--backend", "aer_nosy"], ["unknown backend 'aer_nosy'", "did you mean 'aer_noisy'"]),
        (["--backend", "ibm_brisbane"], ["thousands of paid jobs", "--backend aer_noisy"]),
        (["--backend", "fake_brisban"], ["unknown fake device", "did you mean 'fake_brisbane'"]),
        (["--teacher", "lenett"], ["lenett"]),
        (["--classes", "0-11"], ["11"]),
        (["--classes", "3-"], ["3-"]),
        (["--classes", "zero"], ["zero"]),
        (["--student", "qn"], ["did you mean 'qnn'"]),
        (["--encoding", "amplitud"], ["did you mean 'amplitude'"]),
        (["--observables", "parity"], ["did you mean 'parities'"]),
        (["--reduction", "pool"], ["'pool'", "average_pool"]),
        (["--reduction", "average_pool", "--qubits", "11"], ["more than an image of 28 x 28"]),
        (["--qubits", "0"], ["student.qubits = 0", "greater than or equal to 1"]),
        (["--loss", "kdd"], ["did you mean 'kd'"]),
        (["--loss", "ce", "--teacher", "lenet"], ["loss 'ce' has no teacher", "'lenet'", "--teacher none"]),
        (["--loss", "label_smoothing", "--teacher", "self"], ["loss 'label_smoothing' has no teacher", "'self'"]),
        (["--loss", "ce", "--set", "teacher.epochs=3"], ["teacher.epochs would have no effect"]),
        (["--loss", "kd", "--teacher", "none"], ["needs a teacher", "--loss ce"]),
        (["--schedule", "cosin"], ["did you mean 'cosine'"]),
        (["--temperature", "0"], ["distillation.temperature = 0"]),
        (["--alpha", "2"], ["alpha is the teacher's share", "not 2"]),
        (["--epochs", "0"], ["training.epochs = 0"]),
        (["--lr", "-1"], ["training.learning_rate = -1"]),
        (["--batch-size", "1", "--student", "hybrid"], ["--batch-size 1", "student.normalise=false"]),
        (["--student", "hybrid", "--reduction", "pca"], ["student.reduction = pca has no effect", "--student qnn"]),
        (["--set", "student.dropout=0.5"], ["student.dropout = 0.5 is of the hybrid", "--student hybrid"]),
        (["--student", "hybrid", "--encoding", "zz"], ["student.encoding = zz has no effect"]),
        (["--batch-size", "x"], ["not a valid integer"]),
        (["--device", "cuda:99"], ["'cuda:99'", "--device"]),
        (["--device", "tpuu"], ["'tpuu'", "--device"]),
        (["--engine", "exakt"], ["training.engine"]),
        (["--preset", "papr"], ["did you mean 'paper'"]),
        (["--set", "training.lr=1"], ["unknown key 'training.lr'"]),
        (["--set", "trainig.clip=1"], ["unknown key 'trainig'", "did you mean 'training'"]),
        (["--set", "training.clip"], ["section.key=value"]),
        (["--set", "backend.noise={readuot=0.1}"], ["'noise.readuot'", "did you mean 'readout'"]),
        (["--train-per-class", "0"], ["data.train_per_class = 0"]),
        (["--seed", "-1"], ["seed = -1"]),
        (["--resume", "--epochs", "3"], ["--resume takes all settings", "--epochs"]),
    ],
)
def test_wrong_options_of_train(workplace: Path, options: list[str], telling: list[str]) -> None:
    refuse(2, "train", *options, telling=telling)
    assert [path for path in workplace.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "options",
    [
        ["--backend", "fake_brisban"],
        ["--backend", "ibm_x"],
        ["--backend", "aer_noisy", "--set", "backend.noise=fake_x"],
    ],
)
def test_a_backend_that_can_not_be_is_refused_before_images_are_loaded(workplace: Path, options: list[str]) -> None:
    result = call("train", *options)
    assert result.exit_code == 2
    assert "data:" not in result.stderr


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (["--dataset", "mnist", "--data-dir", "nowhere"], ["nowhere"]),
        (["--teacher", "missing.pt"], ["missing.pt"]),
    ],
)
def test_missing_files(workplace: Path, options: list[str], telling: list[str]) -> None:
    result = call("train", *TINY[:-2], *options)
    assert result.exit_code in (2, 3), result.output
    assert all(words in result.stderr for words in telling)


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (["--backend", "aer", "--shots", "0"], ["--shots 0", "at least 1"]),
        (["--backend", "aer", "--samples", "0"], ["--samples 0", "give 1 to"]),
        (["--backend", "aer", "--samples", "99999"], ["there are 72 test images"]),
        (["--backend", "aerr"], ["unknown backend 'aerr'"]),
        (["--backend", "aer", "--set", "name=../x"], ["name"]),
        (["--backend", "aer", "--set", "backend=3"], ["--set backend=3"]),
        (["--backend", "aer", "--shots", "99999999999999999999"], ["shots"]),
        (["--backend", "aer", "--set", "shot=3"], ["did you mean 'shots'"]),
        (["--backend", "x/y.toml"], ["there is no file x/y.toml"]),
        (["--backend", "fake_nowhere"], ["unknown fake device 'fake_nowhere'"]),
        (["--backend", "aer", "--mode", "sesion"], ["'sesion'"]),
        ([], ["--backend"]),
    ],
)
def test_wrong_options_of_evaluate(run: Path, options: list[str], telling: list[str]) -> None:
    refuse(2, "evaluate", str(run), *options, telling=telling)


def test_paths_that_no_file_system_has(workplace: Path) -> None:
    refuse(5, "train", *TINY, "--out", "x" * 300, telling=["--out"])
    refuse(5, "evaluate", "x" * 5000, "--backend", "aer", telling=["no run"])
    refuse(2, "evaluate", "run", "--backend", "/" + "x" * 5000, telling=["there is no file"])


def test_with_json_an_error_is_one_object_too(workplace: Path) -> None:
    result = call("evaluate", "--backend", "aer", "--json")
    assert json.loads(result.stdout) == {"error": result.stderr.removeprefix("error: ").rstrip("\n"), "exit_code": 5}


def test_no_run_at_all(workplace: Path) -> None:
    refuse(5, "evaluate", "--backend", "aer", telling=["no trained run under runs/", "qkd-qiskit train"])
    refuse(5, "train", "--resume", telling=["no unfinished run"])


def test_a_run_that_is_not_there(run: Path) -> None:
    refuse(5, "evaluate", "rum", "--backend", "aer", telling=["no run 'rum'"])


def test_without_an_account_two_lines_say_what_to_do(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("QISKIT_IBM", "IAM_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(
        "qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(run / "no-account.json")
    )
    result = call("evaluate", str(run), "--backend", "ibm_brisbane", "--quiet")
    assert result.exit_code == 4
    first, second = result.stderr.strip().splitlines()
    assert "QISKIT_IBM_TOKEN" in first
    assert "--backend fake_brisbane" in second


def test_another_runs_directory_is_never_overwritten(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refuse(5, "train", *TINY, "--seed", "5", "--out", str(run), telling=["already holds a run", "nothing was changed"])
    refuse(5, "train", *TINY, "--out", str(run), telling=["already holds a run", "--resume"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_folder_with_something_else_is_left_alone(workplace: Path) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("precious")
    refuse(5, "train", *TINY, "--out", "thesis", telling=["not empty and not a run"])
    assert Path("thesis/chapter.tex").read_text() == "precious"


def test_an_out_that_cannot_be_written(workplace: Path) -> None:
    Path("file").write_text("x")
    refuse(5, "train", *TINY, "--out", "file", telling=["file", "--out"])
    refuse(5, "train", *TINY, "--out", "file/run", telling=["file", "--out"])


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "json"])
@pytest.mark.parametrize("name", ["checkpoints/best.safetensors", "student.qpy"])
def test_a_damaged_file_is_refused_by_name(run: Path, name: str, damage: str) -> None:
    path = run / name
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    elif damage == "missing":
        path.unlink()
    else:
        voucher = "student.json" if name.endswith("qpy") else "checkpoints/best.json"
        path = run / voucher
        path.write_text(path.read_text()[:-20])
    result = call("evaluate", str(run), "--backend", "aer", "--quiet")
    assert result.exit_code == 5, result.output
    assert path.stem in result.stderr


@pytest.mark.parametrize(("key", "value"), [("qubits", 2), ("layers", 1)])
def test_settings_changed_by_hand_are_refused(run: Path, key: str, value: int) -> None:
    config = json.loads((run / "config.json").read_text())
    config["student"][key] = value
    (run / "config.json").write_text(json.dumps(config))
    result = call("evaluate", str(run), "--backend", "aer", "--quiet")
    assert result.exit_code == 5
    assert "config.json was changed" in result.stderr


def test_a_layout_changed_by_hand_is_refused(run: Path) -> None:
    facts = json.loads((run / "student.json").read_text())
    facts["measured_qubits"] = [5]
    (run / "student.json").write_text(json.dumps(facts))
    refuse(5, "evaluate", str(run), "--backend", "aer", "--quiet", telling=["student.json was changed"])


def test_a_damaged_config_is_refused(run: Path) -> None:
    (run / "config.json").write_text("{")
    refuse(5, "evaluate", str(run), "--backend", "aer", telling=["config.json can't be read"])
    (run / "config.json").write_text("[]")
    refuse(5, "evaluate", str(run), "--backend", "aer", telling=["config.json is damaged"])
    (run / "config.json").write_text('{"sed": 1}')
    refuse(5, "evaluate", str(run), "--backend", "aer", telling=["unknown key 'sed'", "did you mean 'seed'"])


def test_a_damaged_best_checkpoint_is_replaced_on_resuming(run: Path) -> None:
    (run / "result.json").unlink()
    (run / "checkpoints" / "best.safetensors").write_bytes(b"x")
    result = call("train", "--resume", str(run), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["best_epoch"] == 1
    assert call("evaluate", str(run), "--backend", "aer", "--quiet").exit_code == 0


@pytest.mark.parametrize("content", [b"{}\n", b"\xff\n", b"[1]\n"])
def test_damaged_metrics_are_refused_or_left_out(run: Path, content: bytes) -> None:
    (run / "result.json").unlink()
    good = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(content + good)
    refuse(5, "train", "--resume", str(run), "--quiet", telling=["metrics.jsonl, line 1, is damaged"])
    (run / "metrics.jsonl").write_bytes(content)
    assert call("train", "--resume", str(run), "--quiet").exit_code == 0
    assert json.loads((run / "metrics.jsonl").read_text())["epoch"] == 1


def test_a_damaged_last_checkpoint_falls_back_to_the_best(run: Path) -> None:
    (run / "result.json").unlink()
    (run / "checkpoints" / "last.safetensors").write_bytes(b"x")
    result = call("train", "--resume", str(run))
    assert result.exit_code == 0, result.output
    assert "last.safetensors was changed or damaged" in result.stderr
    assert "going on after epoch 1 (best.safetensors)" in result.stderr


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        (
            "[train]\nbackend = 'aer'\n[[evalute]]\nbackend = 'aer'\n",
            ["unknown key 'evalute'", "did you mean 'evaluate'"],
        ),
        ("[train.trainig]\nepochs = 1\n", ["unknown key 'trainig'", "did you mean 'training'"]),
        ("[train.training]\nepoch = 1\n", ["unknown key 'training.epoch'", "did you mean 'epochs'"]),
        ("[[evaluate]]\nbackend = 'aer'\nshot = 3\n", ["did you mean 'shots'"]),
        ("[[evaluate]]\nbackend = 'aerr'\n", ["unknown backend 'aerr'"]),
        ("[[evaluate]]\nbackend = {noise_scale = 2.0}\n", ["needs a name"]),
        ("[evaluate]\nbackend = 'aer'\n", ["write [[evaluate]] with two brackets"]),
        ("[train]\nteacher = 'none'\n", ["write [train.teacher]"]),
        ("[train\n", ["not valid TOML"]),
        ("", ["job.toml says nothing to do", "[train]"]),
        ("description = 'all or nothing'\n", ["says nothing to do"]),
        ("[train]\nteacher = {name = 'lenet'}\ndistillation = {loss = 'ce'}\n", ["loss 'ce' has no teacher"]),
        ("[[evaluate]]\nbackend = 'fake_brisban'\n", ["did you mean 'fake_brisbane'"]),
    ],
)
def test_a_wrong_job_file(workplace: Path, text: str, telling: list[str]) -> None:
    Path("job.toml").write_text(text)
    refuse(2, "run", "job.toml", telling=telling)


def test_a_job_that_is_not_there(workplace: Path) -> None:
    refuse(2, "run", "smok", telling=["unknown job 'smok'", "did you mean 'smoke'"])
    refuse(2, "run", "missing.toml", telling=["there is no file missing.toml"])


def test_two_processes_never_write_one_run(run: Path) -> None:
    from filelock import FileLock

    (run / "result.json").unlink()
    with FileLock(run / ".lock"):
        refuse(5, "train", "--resume", str(run), telling=["another process is working in"])


def test_a_full_disk_keeps_what_there_is(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th save fails for n = 1, 2, ...: what was saved before is good, and the run goes on from it."""
    from qkd_qiskit.distillation import checkpoints

    real, options = checkpoints.save_file, [*TINY[:4], "--epochs", "3", *TINY[6:], "--quiet"]
    for n in range(1, 8):
        saves = 0

        def full(*arguments: Any, limit: int = n, **named: Any) -> None:
            nonlocal saves
            saves += 1
            if saves == limit:
                raise OSError(28, "No space left on device")
            real(*arguments, **named)

        run = Path(f"run{n}")
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "save_file", full)
            result = call("train", *options, "--out", str(run))
        if result.exit_code == 0:
            break
        assert result.exit_code == 5
        assert "No space left on device" in result.stderr
        again = ["train", *options, "--out", str(run)] if n == 1 else ["train", "--resume", str(run), "--quiet"]
        assert call(*again).exit_code == 0, n
        lines = (run / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert n >= 5
