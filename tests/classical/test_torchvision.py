"""Each case in a process of its own: an import can be tried only once."""

import subprocess
import sys
from pathlib import Path

IMPORT = "from qkd_qiskit.classical._torchvision import import_torchvision; torchvision = import_torchvision(); "
FAKE = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor x) -> Tensor")
calls = []
@torch.library.register_fake("torchvision::nms")
def fake(x):
    return x.new_empty(1)
"""


def run(code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"import sys; sys.path.insert(0, {str(folder)!r}); " if folder else ""
    return subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, timeout=120)


def write_torchvision(folder: Path, content: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(content)
    return folder


def test_import_gives_data_sets_and_puts_torch_back() -> None:
    code = "import torch; before = torch.library.register_fake; "
    result = run(code + IMPORT + "print(torchvision.datasets.MNIST.__name__, torch.library.register_fake is before)")
    assert result.stdout.split() == ["MNIST", "True"], result.stderr


def test_import_works_after_a_plain_import_failed() -> None:
    code = "import contextlib\nwith contextlib.suppress(RuntimeError):\n    import torchvision\n"
    result = run(code + IMPORT + "print(torchvision.datasets.CIFAR10.__name__, import_torchvision() is torchvision)")
    assert result.stdout.split() == ["CIFAR10", "True"], result.stderr


def test_operators_that_exist_are_described(tmp_path: Path) -> None:
    probe = "import torch; print(tuple(torch.ops.torchvision.nms(torch.empty(3, device='meta')).shape))"
    result = run(IMPORT + probe, write_torchvision(tmp_path, FAKE))
    assert result.stdout.strip() == "(1,)", result.stderr


def test_only_missing_torchvision_operators_are_skipped(tmp_path: Path) -> None:
    other = 'import torch\n@torch.library.register_fake("elsewhere::op")\ndef fake(x):\n    return x\n'
    result = run(IMPORT, write_torchvision(tmp_path, other))
    assert "elsewhere::op does not exist" in result.stderr


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    implemented = 'library.impl("nms", lambda x: x, "CompositeImplicitAutograd")\n@torch'
    result = run(IMPORT, write_torchvision(tmp_path, FAKE.replace("@torch", implemented)))
    assert "RuntimeError" in result.stderr
    assert "CompositeImplicitAutograd" in result.stderr
    (tmp_path / "torchvision" / "__init__.py").write_text("import a_module_that_is_not_there")
    assert "ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in run(IMPORT, tmp_path).stderr
