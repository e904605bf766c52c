"""Error mitigation on simulators: readout errors divided out, zero-noise extrapolation by folding gates.

What a device's service does inside is done here in the open, from the same `[mitigation]` table, on the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from qiskit.circuit import CircuitInstruction, QuantumCircuit
from qiskit_aer.noise import NoiseModel

from qkd_qiskit.config import BackendSettings, MitigationSettings
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.aer import Report, outcome_distributions
from qkd_qiskit.execution.mitigation import check_factors
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.observables import diagonal

CALIBRATION_CIRCUITS = 2
"""All qubits prepared in 0, all in 1: as many shots each as a sample has."""


@dataclass(frozen=True)
class Calibration:
    """Readout errors of each qubit.

    Attributes:
        lost: probability of reading 1 as 0, `(Q,)`.
        gained: probability of reading 0 as 1, `(Q,)`.
    """

    lost: np.ndarray
    gained: np.ndarray


@dataclass(frozen=True)
class Mitigated:
    """What a mitigated evaluation gives.

    Attributes:
        values: expectation values `(N, O)`; an extrapolated one may lie outside of [-1, 1].
        errors: their standard errors `(N, O)`, to first order; zero where exact.
        executions: circuits that were run, calibration included.
        factors: the noise levels that were reached, `(F,)`; `(1,)` without extrapolation.
    """

    values: np.ndarray
    errors: np.ndarray
    executions: int
    factors: tuple[float, ...]


def check_simulated_mitigation(settings: BackendSettings) -> None:
    """Refuse what a simulator can't do.

    Args:
        settings: of kind `aer` or `fake`.

    Raises:
        ConfigurationError: names the option, and what there is instead.
    """
    wanted, offered = settings.mitigation, "simulators have --set mitigation.readout=true and --zne"
    asked = {
        "--resilience (resilience_level)": settings.resilience_level,
        "--pec (mitigation.pec)": wanted.pec,
        "--pea (mitigation.zne_amplifier)": wanted.zne_amplifier == "pea",
        "--dd (mitigation.dynamical_decoupling)": wanted.dynamical_decoupling,
        "--twirl (mitigation.gate_twirling)": wanted.gate_twirling,
        "--twirl (mitigation.measure_twirling)": wanted.measure_twirling,
    }
    for name, value in asked.items():
        if value:
            raise ConfigurationError(f"{name} is the service's, on ibm_* backends; {offered}")
    if not wanted.zne:
        if wanted.zne_factors != MitigationSettings().zne_factors:
            raise ConfigurationError("mitigation.zne_factors has no effect without mitigation.zne = true")
        return
    check_factors(wanted.zne_factors, wanted.zne_extrapolator)
    _choose_extrapolation(wanted.zne_extrapolator)


def is_mitigated(settings: BackendSettings) -> bool:
    """Whether a simulator's values are mitigated at all."""
    return bool(settings.mitigation.readout or settings.mitigation.zne)


def evaluate_mitigated(
    circuit: StudentCircuit,
    parameter_values: np.ndarray,
    mitigation: MitigationSettings,
    *,
    noise_model: NoiseModel | None = None,
    shots: int | None = None,
    seed: int = 0,
    report: Report | None = None,
    distribute: Callable[..., Iterator[np.ndarray]] = outcome_distributions,
) -> Mitigated:
    """Evaluate all observables of a student's circuit for many samples, with mitigation.

    Args:
        circuit: the circuit (cropped, if it was compiled for a device).
        parameter_values: `(N, A + P)`, columns in the order of `circuit.parameters`.
        mitigation: `readout` and `zne` with its factors, extrapolator and amplifier.
        noise_model: gate and readout errors on the circuit's own qubits; ideal if `None`.
        shots: measurements of a sample at each noise level; exact if `None`.
        seed: decides the counts.
        report: told of progress.
        distribute: what runs the circuits: `outcome_distributions`, or something that is called and answers like it.

    Raises:
        ConfigurationError: there is no gate to fold, or one that can't be.
        BackendError: Aer could not run the circuit.
    """
    levels = fold_circuit(circuit, mitigation) if mitigation.zne else [(1.0, circuit)]
    executions = len(parameter_values) * (shots or 1) * len(levels)
    calibration = None
    if mitigation.readout:
        calibration = calibrate_readout(noise_model, circuit.circuit.num_qubits, shots=shots, seed=_derive(seed, 0))
        executions += CALIBRATION_CIRCUITS * (shots or 0)
    tables = []
    for index, (_, folded) in enumerate(levels):
        columns, done, parts = folded.columns_of(folded.circuit), 0, []
        for chunk in distribute(
            folded.circuit,
            parameter_values[:, columns],
            noise_model=noise_model,
            shots=shots,
            seed=_derive(seed, index) if index else seed,
        ):
            parts.append(chunk)
            done += len(chunk)
            if report:
                report(index * len(parameter_values) + done, len(levels) * len(parameter_values))
        tables.append(_mean_values(folded, np.concatenate(parts), calibration, shots))
    factors = np.array([factor for factor, _ in levels])
    values, errors = np.array([table[0] for table in tables]), np.array([table[1] for table in tables])
    if len(levels) == 1:
        return Mitigated(values[0], errors[0], executions, (1.0,))
    extrapolated = extrapolate(factors, values, errors, mitigation.zne_extrapolator)
    return Mitigated(*extrapolated, executions, tuple(factors.tolist()))


def _derive(seed: int, index: int) -> int:
    """Return another seed for each use."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] // 2)


def calibrate_readout(
    noise_model: NoiseModel | None, num_qubits: int, *, shots: int | None = None, seed: int = 0
) -> Calibration:
    """Measure each qubit's readout errors from two circuits, all 0 and all 1, or read them off the model.

    Args:
        noise_model: on the circuit's own qubits. Counted, the `X` gates of the second circuit have its errors, too.
        num_qubits: `Q`.
        shots: measurements of each circuit; `None` takes the model's confusion matrices.
        seed: decides the counts.
    """
    if shots is None:
        local = noise_model._local_readout_errors if noise_model else {}
        default = noise_model._default_readout_error if noise_model else None
        errors = [local.get((qubit,), default) for qubit in range(num_qubits)]
        matrices = [np.eye(2) if error is None else np.asarray(error.probabilities) for error in errors]
        return Calibration(np.array([m[1, 0] for m in matrices]), np.array([m[0, 1] for m in matrices]))
    ones = []
    for index, excited in enumerate((False, True)):
        circuit = QuantumCircuit(num_qubits)
        if excited:
            circuit.x(range(num_qubits))
        table = np.zeros((1, 0))
        (counted,) = outcome_distributions(circuit, table, noise_model=noise_model, shots=shots, seed=seed + index)
        bits = np.arange(2**num_qubits)[:, None] >> np.arange(num_qubits) & 1
        ones.append(counted[0] @ bits)
    return Calibration(1 - ones[1], ones[0])


def unread(calibration: Calibration, diagonals: np.ndarray) -> np.ndarray:
    """Return what to average over the outcomes read, to have the mean of `diagonals` over the true ones.

    With `r = p A`, `A` the product of the qubits' matrices `[[1 - gained, gained], [lost, 1 - lost]]`, the mean `p d`
    is `r A^-1 d`: tensored readout mitigation, Bravyi et al., arXiv 2006.14044.

    Args:
        calibration: of `Q` qubits.
        diagonals: `(2^Q, O)`.
    """
    for qubit, (lost, gained) in enumerate(zip(calibration.lost, calibration.gained)):
        diagonals = _apply(_invert(lost, gained), diagonals, qubit)
    return diagonals


def _invert(lost: float, gained: float) -> np.ndarray:
    remaining = 1 - lost - gained
    if remaining <= 0:
        raise ConfigurationError(
            f"readout can't be mitigated: a qubit is read wrongly as often as rightly (1 as 0 {lost:.1%}, 0 as 1 "
            f"{gained:.1%}); give a smaller noise_scale, or leave mitigation.readout out"
        )
    return np.array([[1 - lost, -gained], [-lost, 1 - gained]]) / remaining


def _apply(matrix: np.ndarray, table: np.ndarray, qubit: int) -> np.ndarray:
    """Apply a matrix of one qubit to the rows of a table `(2^Q, O)`, qubit 0 the last bit."""
    split = table.reshape(-1, 2, 2**qubit, table.shape[1])
    return np.asarray(np.einsum("ab,xbyo->xayo", matrix, split)).reshape(table.shape)


def _mean_values(
    circuit: StudentCircuit, distributions: np.ndarray, calibration: Calibration | None, shots: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Average the observables over outcomes; variances are of the counts and, to first order, of the calibration."""
    diagonals = np.stack([diagonal(observable) for observable in circuit.observables], axis=1)
    if calibration is not None:
        diagonals = unread(calibration, diagonals)
    values = distributions @ diagonals
    if shots is None:
        return values, np.zeros_like(values)
    variances = np.clip(distributions @ diagonals**2 - values**2, 0, None) / shots
    if calibration is not None:
        for qubit, (lost, gained) in enumerate(zip(calibration.lost, calibration.gained)):
            inverse = _invert(lost, gained)
            for rate, change in ((lost, [[0, 0], [1, -1]]), (gained, [[-1, 1], [0, 0]])):
                slope = distributions @ _apply(inverse @ np.array(change, dtype=float), diagonals, qubit)
                variances += slope**2 * rate * (1 - rate) / shots
    return values, np.sqrt(variances)


def fold_circuit(circuit: StudentCircuit, mitigation: MitigationSettings) -> list[tuple[float, StudentCircuit]]:
    """Make the circuit noisier by each factor: two-qubit gates `G` become `G (G^-1 G)^n`. Giurgica-Tiron et al., 2020.

    Factors that are not odd fold only some gates: `gate_folding_front` the first, `gate_folding_back` the last,
    `gate_folding` evenly spaced ones.

    Args:
        circuit: any circuit; nothing is transpiled afterwards, which would undo the folding.
        mitigation: `zne_factors` and `zne_amplifier`.

    Returns:
        The factor reached and the circuit, for each of the factors.

    Raises:
        ConfigurationError: there are no two-qubit gates, too few for a factor, or one whose inverse is another gate.
    """
    places = [index for index, item in enumerate(circuit.circuit.data) if len(item.qubits) > 1]
    if not places:
        raise ConfigurationError("mitigation.zne folds two-qubit gates, and this circuit has none; leave it out")
    levels = []
    for factor in mitigation.zne_factors:
        pairs = round((factor - 1) / 2 * len(places))
        whole, rest = divmod(pairs, len(places))
        once_more = {places[index] for index in AMPLIFIERS[mitigation.zne_amplifier](rest, len(places))}
        times = {place: whole + (place in once_more) for place in places}
        levels.append((1 + 2 * pairs / len(places), replace(circuit, circuit=_fold(circuit.circuit, times))))
    if len({reached for reached, _ in levels}) < len(levels):
        raise ConfigurationError(
            f"mitigation.zne_factors = {list(mitigation.zne_factors)}: with {len(places)} two-qubit gates two of them "
            f"are the same; steps are {2 / len(places):.2g}. Give odd factors such as [1, 3, 5]"
        )
    return levels


AMPLIFIERS: dict[str, Callable[[int, int], list[int]]] = {
    "gate_folding": lambda chosen, count: [index * count // chosen for index in range(chosen)],
    "gate_folding_front": lambda chosen, count: list(range(chosen)),
    "gate_folding_back": lambda chosen, count: list(range(count - chosen, count)),
}
"""Which of `count` gates are folded once more."""


def _fold(circuit: QuantumCircuit, times: dict[int, int]) -> QuantumCircuit:
    folded = circuit.copy_empty_like()
    for index, item in enumerate(circuit.data):
        folded.append(item)
        for _ in range(times.get(index, 0)):
            folded.append(_inverse(item))
            folded.append(item)
    return folded


def _inverse(item: CircuitInstruction) -> CircuitInstruction:
    inverse = item.operation.inverse()
    if inverse.name != item.operation.name:
        raise ConfigurationError(
            f"mitigation.zne can't fold {item.operation.name}: its inverse {inverse.name} is another gate with "
            "another noise; give a backend with cx, cz, ecr or rzz gates"
        )
    return item.replace(operation=inverse)


def extrapolate(
    factors: np.ndarray, values: np.ndarray, errors: np.ndarray, extrapolator: str
) -> tuple[np.ndarray, np.ndarray]:
    """Extrapolate to no noise, each value for itself, by least squares.

    Args:
        factors: `(F,)`.
        values: `(F, ...)` at each factor.
        errors: their standard errors, of the same shape.
        extrapolator: `linear`, `polynomial_degree_n` or `exponential`, which is a decay to zero: the logarithm is
            extrapolated linearly. Values that change sign, that lie within three standard errors of zero at some
            factor, or that grow with the noise have no such decay; these are extrapolated linearly.

    Returns:
        Values and standard errors without the first axis.

    Raises:
        ConfigurationError: there is no such extrapolator here.
    """
    degree, decays = _choose_extrapolation(extrapolator)
    flat, spread = values.reshape(len(factors), -1), errors.reshape(len(factors), -1)
    weights = _intercept(factors, degree)
    found, variances = weights @ flat, weights**2 @ spread**2
    if decays:
        clear = (np.abs(flat) > np.maximum(3 * spread, 1e-9)).all(0) & (np.ptp(np.sign(flat), axis=0) == 0)
        slopes = np.polyfit(factors, np.log(np.abs(np.where(clear, flat, 1.0))), 1)[0]
        chosen = clear & (slopes <= 0)
        logs = np.log(np.abs(flat[:, chosen]))
        found[chosen] = np.sign(flat[0, chosen]) * np.exp(weights @ logs)
        relative = spread[:, chosen] / flat[:, chosen]
        variances[chosen] = found[chosen] ** 2 * (weights**2 @ relative**2)
    return found.reshape(values.shape[1:]), np.sqrt(variances).reshape(values.shape[1:])


def _choose_extrapolation(name: str) -> tuple[int, bool]:
    """Return the polynomial's degree, and whether it is the logarithm's.

    Raises:
        ConfigurationError: there is no such extrapolator on simulators.
    """
    if name in ("linear", "exponential"):
        return 1, name == "exponential"
    prefix, _, degree = name.rpartition("_")
    if prefix == "polynomial_degree" and degree.isdigit() and int(degree) > 0:
        return int(degree), False
    raise ConfigurationError(
        f"mitigation.zne_extrapolator = {name!r}: simulators have linear, exponential and polynomial_degree_1, _2, ..."
    )


def _intercept(factors: np.ndarray, degree: int) -> np.ndarray:
    """Return the weights `(F,)` by which a least-squares polynomial's value at 0 depends on the values."""
    return np.asarray(np.linalg.pinv(np.vander(factors, degree + 1, increasing=True))[0])
