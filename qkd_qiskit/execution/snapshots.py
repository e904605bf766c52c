"""Taking a device's snapshot, so that students can be trained and evaluated under its noise of that day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qkd_qiskit.config import BackendSettings, is_snapshot
from qkd_qiskit.exceptions import BackendError, ConfigurationError
from qkd_qiskit.execution.account import connect
from qkd_qiskit.execution.devices import Place, open_simulator
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.execution.runtime import open_device
from qkd_qiskit.execution.snapshot_files import Snapshot, read_snapshot, write_snapshot


def take_snapshot(name: str, folder: Path, *, account: str | None = None) -> dict[str, Any]:
    """Write a device's configuration and calibration into one file; no job is submitted, so it is free of charge.

    Args:
        name: the account's device `ibm_*`, a `fake_*` or a backend that has one of them.
        folder: where the file is written, under a name that its content decides.
        account: name of a saved account; the environment's or the default one if `None`.

    Returns:
        The file's path as `snapshot`, whether it is `new`, and `device`, `calibrated`, `taken` and `sha256`.

    Raises:
        ConfigurationError: the name is unknown, or has no device behind it.
        BackendError: there is no account or no such device, or it tells no calibration.
        AccountError: the account is refused.
        DataError: the same snapshot is there already and is damaged.
        RunError: the file can't be written.
    """
    place = _open(resolve_backend(name), account)
    properties = place.backend.properties()  # type: ignore[union-attr]
    if properties is None:
        raise BackendError(f"{place.device} tells no calibration now; try again later, or give another device")
    configuration = place.backend.configuration()  # type: ignore[union-attr]
    snapshot = Snapshot.of(place.device, configuration.to_dict(), properties.to_dict())
    path = folder / snapshot.file_name
    new = not path.exists()
    if new:
        write_snapshot(path, snapshot)
    kept = read_snapshot(path)
    facts = {"device": kept.device, "calibrated": kept.calibrated, "taken": kept.taken, "sha256": kept.sha256}
    return {"snapshot": str(path), "new": new, **facts}


def _open(settings: BackendSettings, account: str | None) -> Place:
    if is_snapshot(settings.source):
        raise ConfigurationError(f"{settings.source} is a snapshot already; give an ibm_* of your account or a fake_*")
    if settings.kind == "ibm":
        return open_device(settings, connect(settings.device, account))
    place = open_simulator(settings, 1)
    if place.backend is None:
        raise ConfigurationError(
            f"{settings.name} has no device behind it, so no calibration; give an ibm_* of your account or a fake_*"
        )
    return place
