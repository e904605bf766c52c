"""Backends by name: TOML profiles first, then snapshots, `fake_*` and `ibm_*` without a TOML. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkd_qiskit.config import BackendSettings, is_snapshot, merge, validate
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.shipped import find_file, list_files, read_toml
from qkd_qiskit.suggestions import nearest

FAKE_SHOTS = 4096
DEVICE_SHOTS = 1024


def resolve_backend(name: str, overrides: Mapping[str, Any] | None = None) -> BackendSettings:
    """Turn what the user typed after `--backend` into settings.

    Looked up in this order: a path (of a TOML, or a snapshot's `.json`); `./backends/NAME.toml`; the shipped
    `NAME.toml`; any `fake_*` device of the installed Runtime package; any `ibm_*` device of the account.

    Args:
        name: a path or a name.
        overrides: settings laid over the profile.

    Raises:
        ConfigurationError: nothing has that name, or the profile is not valid.
    """
    path = None if is_snapshot(name) else find_file("backends", name)
    profile = read_toml(path) if path else _implied_profile(name)
    label = Path(name).stem if name.endswith((".toml", ".json")) else name
    source = str(path) if path else f"backend {name}"
    return validate(BackendSettings, merge({"name": label, **profile}, overrides or {}), source)


def _implied_profile(name: str) -> dict[str, Any]:
    if is_snapshot(name):
        return {"kind": "fake", "device": name, "shots": FAKE_SHOTS, "description": "snapshot of a device"}
    if name.startswith("fake_"):
        return {"kind": "fake", "device": name, "shots": FAKE_SHOTS, "description": f"stored snapshot of {name}"}
    if name.startswith("ibm_"):
        return {"kind": "ibm", "device": name, "shots": DEVICE_SHOTS, "description": f"{name} through Runtime"}
    known = list_files("backends")
    raise ConfigurationError(
        f"unknown backend {name!r}{nearest(name, known)}; there are: {', '.join(known)}, every fake_* device and every "
        "ibm_* device of your account (`qkd-qiskit backends` lists them)"
    )


def list_profiles() -> dict[str, BackendSettings]:
    """Read every TOML profile that can be found, by name.

    Raises:
        ConfigurationError: a profile is not valid.
    """
    return {
        name: validate(BackendSettings, {"name": name, **read_toml(path)}, str(path))
        for name, path in list_files("backends").items()
    }
