"""The fake devices of the installed Runtime package: stored snapshots of real ones."""

from __future__ import annotations

import inspect
from functools import lru_cache

from qiskit.providers import BackendV2

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.suggestions import choose


@lru_cache(maxsize=4)
def open_fake(name: str) -> BackendV2:
    """Open a fake device of the installed Runtime package by name, such as `fake_brisbane`.

    Raises:
        ConfigurationError: there is none of that name; the nearest is named.
    """
    return choose("fake device", name, fake_devices())()


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
