"""Import torchvision beside a CPU build of torch.

torchvision's Linux wheels are linked against CUDA torch. Beside a CPU torch its compiled operators do not load, and the
import dies when `_meta_registrations` describes two of them (`nms`, `qnms`) by `torch.library.register_fake`. Only data
sets are wanted here, so the description of a torchvision operator that isn't there is skipped; nothing else is.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch


def import_torchvision() -> ModuleType:
    """Return torchvision, imported with the descriptions of missing operators left out.

    Where its operators load, all of them are described and this is a plain import.

    Raises:
        ImportError: If torchvision is not installed or one of its modules can't be imported.
    """
    if "torchvision" in sys.modules:
        return sys.modules["torchvision"]
    _forget_failed_import()
    with _skip_missing_operators():
        return importlib.import_module("torchvision")


def _forget_failed_import() -> None:
    """Drop submodules that an earlier `import torchvision` left behind when it died."""
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]


@contextmanager
def _skip_missing_operators() -> Iterator[None]:
    """Make `torch.library.register_fake` pass over torchvision operators that did not load."""
    original = torch.library.register_fake

    def register_fake(op: Any, func: Callable | None = None, /, **options: Any) -> Any:
        if not str(op).startswith("torchvision::"):
            return original(op, func, **options)
        options["_stacklevel"] = options.get("_stacklevel", 1) + 1  # torch names the calling module from the stack

        def register(fake: Callable) -> Callable:
            try:
                return original(op, **options)(fake)
            except RuntimeError as error:
                if f"operator {op} does not exist" not in str(error):
                    raise
                return fake

        return register if func is None else register(func)

    torch.library.register_fake = register_fake
    try:
        yield
    finally:
        torch.library.register_fake = original
