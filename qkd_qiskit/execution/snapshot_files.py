"""A device's snapshot in one file: its configuration and calibration, under a name that holds their digest."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from qiskit_ibm_runtime.fake_provider.backend_encoder import BackendEncoder
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

from qkd_qiskit.exceptions import DataError, RunError
from qkd_qiskit.files import digest_of, write_json
from qkd_qiskit.redaction import redact

FORMAT = 1
DIGITS = 8
"""Of the digest, in a file's name."""


@dataclass(frozen=True)
class Snapshot:
    """A device as it was calibrated; two are equal if all that noise and circuits depend on is.

    Attributes:
        device: the device's name.
        sha256: digest of device, configuration and properties.
        configuration: of the device, as plain data.
        properties: its calibration, as plain data.
        taken: when this was read from the device, ISO, UTC.
    """

    device: str
    sha256: str
    configuration: dict[str, Any] = field(compare=False, repr=False)
    properties: dict[str, Any] = field(compare=False, repr=False)
    taken: str = field(compare=False)

    @classmethod
    def of(cls, device: str, configuration: dict[str, Any], properties: dict[str, Any]) -> Snapshot:
        """Make a snapshot of what the Runtime client knows of a device; without secrets, dates in UTC."""
        text = json.dumps({"device": device, "configuration": configuration, "properties": properties}, default=_plain)
        content = json.loads(redact(text))
        return cls(**content, sha256=digest_of(content), taken=datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def calibrated(self) -> str:
        """When the device was calibrated last, ISO, UTC."""
        return str(self.properties["last_update_date"])

    @property
    def file_name(self) -> str:
        """The name of its file: device, day of the calibration and the beginning of the digest."""
        return f"{self.device}-{self.calibrated[:10].replace('-', '')}{self.ending}"

    @property
    def ending(self) -> str:
        """What the name of its file has to end in."""
        return f"-{self.sha256[:DIGITS]}.json"


def _plain(value: Any) -> Any:
    """Turn what JSON does not know into plain data; a date into UTC, where every machine writes it alike."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return BackendEncoder().default(value)


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot's file, atomically.

    Raises:
        RunError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"can't make the folder {path.parent}: {error.strerror or error}; give another --out") from error
    content = {
        "format": FORMAT,
        "device": snapshot.device,
        "calibrated": snapshot.calibrated,
        "taken": snapshot.taken,
        "sha256": snapshot.sha256,
        "configuration": snapshot.configuration,
        "properties": snapshot.properties,
    }
    write_json(path, content)


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot's file and see that it is what was written, under the name that was given to it.

    Raises:
        DataError: it is missing, damaged, of another format, was edited or was renamed.
    """
    content = _read(path)
    try:
        body = {name: content[name] for name in ("device", "configuration", "properties")}
        snapshot = Snapshot(**body, sha256=content["sha256"], taken=content["taken"])
        intact = snapshot.sha256 == digest_of(body) and snapshot.calibrated == content["calibrated"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged, a part of it is missing ({error!r}); {_again()}") from error
    if not intact:
        raise DataError(f"{path} was edited or damaged: its content is not that of its SHA-256; {_again()}")
    if not path.name.endswith(snapshot.ending):
        raise DataError(
            f"{path} was renamed: its name has to end in {snapshot.ending}, its own digest, as results are told apart "
            f"by it; call it {snapshot.file_name} again"
        )
    return snapshot


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"there is no snapshot {path}; give the path of one, or take one with `qkd-qiskit snapshot ibm_brisbane`, "
            "say. A run needs the one that it was trained with: put it back, or go to the folder that the path is from"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read, it is damaged or no snapshot: {error}; {_again()}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise DataError(f"{path} has format {found!r}, a snapshot that this version reads has {FORMAT}; {_again()}")
    return content


def _again() -> str:
    return "put it back as it was, or delete it and take a new one with `qkd-qiskit snapshot DEVICE`"


class SnapshotBackend(FakeBackendV2):
    """A device as it was when its snapshot was taken, as a fake device of the Runtime package."""

    conf_filename = "configuration"
    props_filename = "properties"

    def __init__(self, snapshot: Snapshot):
        self._snapshot = snapshot
        self.backend_name = snapshot.device
        super().__init__()

    def _load_json(self, filename: str) -> dict[str, Any]:
        """Give what the package's own fake devices read from two files."""
        return deepcopy(getattr(self._snapshot, filename))


def open_snapshot(path: Path) -> SnapshotBackend:
    """Open the device that a snapshot's file describes.

    Raises:
        DataError: the file is missing, damaged, edited or renamed, or the installed Runtime package can't read it.
    """
    snapshot = read_snapshot(path)
    try:
        return _rebuild(snapshot)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the installed qiskit-ibm-runtime can't make a device of {path}: {error!r}; {_again()}"
        ) from error


@lru_cache(maxsize=4)
def _rebuild(snapshot: Snapshot) -> SnapshotBackend:
    backend = SnapshotBackend(snapshot)
    if backend.target is None:  # made when it is first asked for: what is wrong with it shows here
        raise ValueError("no target")
    return backend
