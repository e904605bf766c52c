"""The fake devices of the installed Runtime package: stored snapshots of real ones."""

from __future__ import annotations

import inspect
from functools import lru_cache

from qiskit.providers import BackendV2

from qkd_qiskit.config import BackendSettings
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose


@lru_cache(maxsize=4)
def open_fake(name: str) -> BackendV2:
    """Open a fake device of the installed Runtime package by name, such as `fake_brisbane`.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
    """
    return choose("fake device", name, fake_devices())()


def check_fake(settings: BackendSettings) -> None:
    """Find out whether a fake device, or the one whose noise is asked for, exists.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
    """
    name = settings.device if settings.kind == "fake" else settings.noise
    if settings.kind != "ibm" and name and isinstance(name, str):
        choose("fake device", name, fake_devices())


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
