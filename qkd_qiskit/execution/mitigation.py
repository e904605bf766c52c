"""Error suppression and mitigation: settings to the Estimator's options, checked before anything is paid.

PEC and PEA need the noise of the circuit's layers. The server-side `EstimatorV2` learns it within the evaluation's own
job and is used for them: one job, one price, one record in the ledger. The client-side Estimator wants a model that a
paid job of `NoiseLearnerV3` has learnt before, so that a result would hang on two jobs.
"""

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
    if wanted.pec:
        resilience |= {"pec_mitigation": True, "zne_mitigation": False}
        resilience["pec"] = {"max_overhead": wanted.pec_max_overhead}
    if learns_layers(settings):
        resilience["layer_noise_learning"] = {"max_layers_to_learn": wanted.layers_to_learn}
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
            "extrapolator": list(dict.fromkeys([wanted.zne_extrapolator, "linear"])),  # where the first does not fit
            "amplifier": wanted.zne_amplifier,
        }
    if wanted.dynamical_decoupling:
        options["dynamical_decoupling"] = {"enable": True, "sequence_type": wanted.dynamical_decoupling}
    return {name: value for name, value in options.items() if value != {}}


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


def uses_zne(settings: BackendSettings) -> bool:
    """Whether the circuit is run at several noise levels."""
    if settings.mitigation.zne is not None:
        return settings.mitigation.zne
    return settings.resilience_level == 2 and not settings.mitigation.pec


def learns_layers(settings: BackendSettings) -> bool:
    """Whether the noise of layers of gates is learnt, for PEC or PEA; the server-side Estimator does that."""
    return settings.mitigation.pec or (uses_zne(settings) and settings.mitigation.zne_amplifier == "pea")


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
    if learns_layers(settings) and wanted.gate_twirling is False:
        raise ConfigurationError(
            "PEC and PEA need gate twirling, which mitigation.gate_twirling = false switches off; leave that out"
        )
    if not wanted.pec and wanted.pec_max_overhead != MitigationSettings().pec_max_overhead:
        raise ConfigurationError("mitigation.pec_max_overhead has no effect without --pec")
    if not learns_layers(settings) and wanted.layers_to_learn != MitigationSettings().layers_to_learn:
        raise ConfigurationError("mitigation.layers_to_learn has no effect without --pec or --pea")
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


LEARNING_EXECUTIONS = 9 * 6 * 32 * 128
"""To learn a layer: 9 bases x 6 depths x 32 randomisations x 128 shots, the service's defaults."""


def multiplier(settings: BackendSettings) -> float:
    """Return how many executions mitigation makes of one; with PEC at most, as the noise is not known before."""
    if settings.mitigation.pec:
        return settings.mitigation.pec_max_overhead
    return float(len(settings.mitigation.zne_factors)) if uses_zne(settings) else 1.0


def learning_executions(settings: BackendSettings) -> int:
    """Return the executions that learning adds to a job: readout errors take as many as one sample, layers far more."""
    readout = settings.shots if uses_readout_mitigation(settings) else 0
    return readout + (LEARNING_EXECUTIONS * settings.mitigation.layers_to_learn if learns_layers(settings) else 0)
