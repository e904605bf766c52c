"""Error suppression and mitigation: settings to the Estimator's options, checked before anything is paid."""

from __future__ import annotations

from typing import Any

from qkd_qiskit.config import BackendSettings, MitigationSettings
from qkd_qiskit.exceptions import ConfigurationError


def build_options(settings: BackendSettings) -> dict[str, Any]:
    """Turn settings into the Estimator's options; what is not set is left to the resilience level.

    Args:
        settings: of kind `ibm`.

    Raises:
        ConfigurationError: two of them exclude each other, or need what is not there.
    """
    check_mitigation(settings)
    wanted = settings.mitigation
    resilience: dict[str, Any] = {"measure_mitigation": wanted.readout, "zne_mitigation": wanted.zne}
    twirling: dict[str, Any] = {"enable_gates": wanted.gate_twirling, "enable_measure": wanted.measure_twirling}
    options: dict[str, Any] = {
        "default_shots": settings.shots,
        "resilience_level": settings.resilience_level,
        "resilience": _given(resilience),
        "twirling": _given(twirling),
    }
    if uses_zne(settings):
        options["resilience"]["zne"] = {
            "noise_factors": list(wanted.zne_factors),
            "extrapolator": wanted.zne_extrapolator,
            "amplifier": wanted.zne_amplifier,
        }
    if wanted.dynamical_decoupling:
        options["dynamical_decoupling"] = {"enable": True, "sequence_type": wanted.dynamical_decoupling}
    return {name: value for name, value in options.items() if value != {}}


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


def uses_zne(settings: BackendSettings) -> bool:
    """Whether the circuit is run at several noise levels."""
    return settings.mitigation.zne if settings.mitigation.zne is not None else settings.resilience_level == 2


def uses_readout_mitigation(settings: BackendSettings) -> bool:
    """Whether readout errors are learnt and divided out (TREX)."""
    return settings.mitigation.readout if settings.mitigation.readout is not None else settings.resilience_level > 0


def check_mitigation(settings: BackendSettings) -> None:
    """Refuse combinations that the service would refuse, or the client silently change.

    Raises:
        ConfigurationError: names the two options, and what to give instead.
    """
    wanted = settings.mitigation
    if wanted.pec and uses_zne(settings):
        raise ConfigurationError("mitigation.pec and mitigation.zne exclude each other; leave one out")
    if wanted.pec or (uses_zne(settings) and wanted.zne_amplifier == "pea"):
        raise ConfigurationError(
            "PEC and PEA need a noise model that was learnt on the device in a paid job of its own, which is not "
            "offered here; give --zne with mitigation.zne_amplifier = 'gate_folding'"
        )
    if uses_readout_mitigation(settings) and wanted.measure_twirling is False:
        raise ConfigurationError(
            "readout mitigation needs measurement twirling, which mitigation.measure_twirling = false switches off; "
            "leave that out, or give --resilience 0"
        )
    if uses_zne(settings):
        check_factors(wanted.zne_factors, wanted.zne_extrapolator)
    elif wanted.zne_factors != MitigationSettings().zne_factors:
        raise ConfigurationError("mitigation.zne_factors has no effect without --zne")


def check_factors(factors: tuple[float, ...], extrapolator: str) -> None:
    """Refuse noise levels that an extrapolator can't work with.

    Raises:
        ConfigurationError: there are too few different ones, or one is below 1.
    """
    degree = extrapolator.rpartition("_")[2]
    needed = {"linear": 2, "exponential": 2, "double_exponential": 4}.get(extrapolator, 2)
    if degree.isdigit():
        needed = int(degree) + 1
    if len(set(factors)) < needed or min(factors) < 1:
        raise ConfigurationError(
            f"mitigation.zne_factors = {list(factors)}: the {extrapolator} extrapolator needs {needed} different "
            "factors of at least 1, such as [1, 3, 5, 7]"
        )


def multiplier(settings: BackendSettings) -> float:
    """Return how many executions mitigation makes of one."""
    return float(len(settings.mitigation.zne_factors)) if uses_zne(settings) else 1.0


def learning_executions(settings: BackendSettings) -> int:
    """Return the executions that readout mitigation adds to a job: as many as one sample takes."""
    return settings.shots if uses_readout_mitigation(settings) else 0
