"""The fake devices of the installed Runtime package, stored snapshots of real ones, and snapshots that you took."""

from __future__ import annotations

import inspect
from functools import lru_cache
from pathlib import Path

from qiskit.providers import BackendV2

from qkd_qiskit.config import BackendSettings, is_snapshot
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.snapshot_files import open_snapshot, read_snapshot
from qkd_qiskit.suggestions import choose


def open_fake(name: str) -> BackendV2:
    """Open a fake device of the installed Runtime package by name, such as `fake_brisbane`, or a snapshot by its path.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
        DataError: the snapshot is missing, damaged, edited or renamed.
    """
    return open_snapshot(Path(name)) if is_snapshot(name) else _open_named(name)


@lru_cache(maxsize=4)
def _open_named(name: str) -> BackendV2:
    return choose("fake device", name, fake_devices())()


def check_fake(settings: BackendSettings) -> None:
    """Find out whether a fake device or snapshot, or the one whose noise is asked for, exists.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
        DataError: the snapshot is missing, damaged, edited or renamed.
    """
    if is_snapshot(settings.source):
        read_snapshot(Path(settings.source))
    elif settings.kind != "ibm" and settings.source:
        choose("fake device", settings.source, fake_devices())


@lru_cache(maxsize=1)
def fake_devices() -> dict[str, type[BackendV2]]:
    """List the fake devices of the installed Runtime package by name."""
    from qiskit_ibm_runtime import fake_provider

    found = {}
    for _, member in inspect.getmembers(fake_provider, inspect.isclass):
        name = getattr(member, "backend_name", None)
        if name and issubclass(member, BackendV2):
            found[name.removesuffix("_v2")] = member
    if not found:
        raise ConfigurationError("the installed qiskit-ibm-runtime has no fake devices; install 0.50 or newer")
    return found
