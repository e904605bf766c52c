"""Finding `backends/*.toml` and `jobs/*.toml`: a path, the working folder, then what the package ships."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

from qkd_qiskit.exceptions import ConfigurationError

_PACKAGE = Path(__file__).parent


def shipped_folder(kind: str) -> Path:
    """Return the folder of a kind (`backends` or `jobs`): inside the wheel, or in the checkout."""
    inside = _PACKAGE / "_shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def list_files(kind: str) -> dict[str, Path]:
    """List the TOML files of a kind by name; a file in the working folder hides a shipped one of the same name."""
    folders = (shipped_folder(kind), Path(kind))
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def find_file(kind: str, name: str) -> Path | None:
    """Find a TOML file by path or name; `None` if there is none.

    Raises:
        ConfigurationError: the name is a path (it ends in `.toml` or has a slash) and no such file exists.
    """
    if name.endswith(".toml") or "/" in name:
        with contextlib.suppress(OSError):
            if Path(name).is_file():
                return Path(name)
        raise ConfigurationError(f"there is no file {name[:200]}; give a path to a .toml file or a name from {kind}/")
    return list_files(kind).get(name)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigurationError: it can't be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
