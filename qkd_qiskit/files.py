"""Writing files so that a kill, a full disk or a second reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qkd_qiskit.exceptions import RunError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write aside, flush to disk, then rename over the old file.

    Args:
        path: the final place.
        write: writes the content to the path it is given (in the same folder).

    Raises:
        RunError: the file can't be written; the old one is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(aside)
        _flush(aside)
        os.replace(aside, path)
        _flush(path.parent)
    except OSError as error:
        raise RunError(
            f"can't write {path}: {error.strerror or error}; make room, or see who may write there"
        ) from error
    finally:
        _remove_quietly(aside)


def _remove_quietly(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the folder itself is gone or read-only; the error that matters is already on its way


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented, atomically.

    Raises:
        RunError: the file can't be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda aside: _write_text(aside, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RunError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {error}") from error


def append_json_line(path: Path, content: Any) -> None:
    """Add one line of JSON and flush it to disk.

    Raises:
        RunError: the line can't be written.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(content) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror or error}; make room, then --resume") from error


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        RunError: the file can't be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror or error}") from error


def digest_of(content: Any) -> str:
    """Return the SHA-256 of plain data's canonical JSON, in hexadecimal: the identity of settings."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
