"""Expectation values of Z-strings on Aer, readout error included, exact or counted.

Aer's own `EstimatorV2` leaves readout error out and replaces counting by Gaussian noise of fixed width, so neither is
used here: exact values come from the density matrix's outcome probabilities and the readout confusion matrices, finite
shots from counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, DataBin, PrimitiveJob, PrimitiveResult, PubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub, EstimatorPubLike
from qiskit.quantum_info import SparsePauliOp
from qiskit.result import Result
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from qkd_qiskit.exceptions import BackendError, ConfigurationError
from qkd_qiskit.quantum.circuit import StudentCircuit
from qkd_qiskit.quantum.observables import diagonal

CHUNK = 128
"""Parameter sets per Aer job: small enough for a smooth progress bar, large enough to be fast."""

Report = Callable[[int, int], None]
"""Told how many of how many samples are done."""


def evaluate_on_aer(
    circuit: StudentCircuit,
    parameter_values: np.ndarray,
    *,
    noise_model: NoiseModel | None = None,
    shots: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate all observables of a student's circuit for many samples.

    Args:
        circuit: the circuit (cropped, if it was compiled for a device).
        parameter_values: `(N, A + P)`, columns in the order of `circuit.parameters`.
        noise_model: gate and readout errors on the circuit's own qubits; ideal if `None`.
        shots: measurements a sample; exact if `None`.
        seed: decides the counts.
        report: told of progress.

    Returns:
        Expectation values `(N, O)` and their standard errors `(N, O)` (zero when exact).

    Raises:
        BackendError: Aer could not run the circuit.
    """
    columns = circuit.columns_of(circuit.circuit)
    diagonals = np.stack([diagonal(observable) for observable in circuit.observables], axis=1)
    parts: list[np.ndarray] = []
    for chunk in outcome_distributions(
        circuit.circuit, parameter_values[:, columns], noise_model=noise_model, shots=shots, seed=seed
    ):
        parts.append(chunk)
        if report:
            report(sum(map(len, parts)), len(parameter_values))
    distributions = np.concatenate(parts)
    values = distributions @ diagonals
    if shots is None:
        return values, np.zeros_like(values)
    variances = np.clip(distributions @ diagonals**2 - values**2, 0, None)
    return values, np.sqrt(variances / shots)


def outcome_distributions(
    circuit: QuantumCircuit,
    parameter_values: np.ndarray,
    *,
    noise_model: NoiseModel | None = None,
    shots: int | None = None,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Yield, in chunks, the distribution over outcomes when all qubits are measured.

    Args:
        circuit: `Q` qubits, no measurements.
        parameter_values: `(N, P)` in the order of `circuit.parameters`.
        noise_model: gate and readout errors; ideal if `None`.
        shots: if given, relative frequencies of that many counts; else exact probabilities.
        seed: decides the counts.

    Yields:
        `(n, 2^Q)` with `n <= CHUNK`; column `b` is the outcome whose bits, little-endian, are the qubits'.

    Raises:
        BackendError: Aer could not run the circuit.
    """
    measured = circuit.copy()
    if shots is None:
        measured.save_probabilities()  # Aer adds this method on import
    else:
        measured.measure_all()
    method = "statevector" if noise_model is None else "density_matrix"
    simulator = AerSimulator(method=method, noise_model=noise_model)
    confusion = readout_confusion(noise_model, circuit.num_qubits) if shots is None else None
    for start in range(0, len(parameter_values), CHUNK):
        result = _run(simulator, measured, parameter_values[start : start + CHUNK], shots or 1, seed + start)
        if shots is None:
            probabilities = np.array([result.data(index)["probabilities"] for index in range(len(result.results))])
            yield probabilities if confusion is None else probabilities @ confusion
        else:
            yield _frequencies(result, circuit.num_qubits) / shots


def _run(simulator: AerSimulator, circuit: QuantumCircuit, values: np.ndarray, shots: int, seed: int) -> Result:
    if circuit.num_parameters:
        binds = [{parameter: values[:, column] for column, parameter in enumerate(circuit.parameters)}]
        job = simulator.run(circuit, parameter_binds=binds, shots=shots, seed_simulator=seed)
    else:
        job = simulator.run([circuit] * len(values), shots=shots, seed_simulator=seed)
    result = job.result()
    if not result.success:
        raise BackendError(f"Aer failed: {result.status}; is the circuit too large ({circuit.num_qubits} qubits)?")
    return result


def _frequencies(result: Result, num_qubits: int) -> np.ndarray:
    table = np.zeros((len(result.results), 2**num_qubits))
    for row, experiment in enumerate(result.results):
        for outcome, count in experiment.data.counts.items():
            table[row, int(outcome, 16)] = count
    return table


def readout_confusion(noise_model: NoiseModel | None, num_qubits: int) -> np.ndarray | None:
    """Return the row-stochastic matrix `(2^Q, 2^Q)` from true to read outcomes, or `None` without readout error.

    Raises:
        ConfigurationError: the model has a correlated readout error of several qubits.
    """
    if noise_model is None:
        return None
    default = noise_model._default_readout_error
    local = noise_model._local_readout_errors
    if any(len(qubits) > 1 for qubits in local):
        raise ConfigurationError("correlated readout errors of several qubits are not supported; give one per qubit")
    errors = [local.get((qubit,), default) for qubit in range(num_qubits)]
    if all(error is None for error in errors):
        return None
    matrix: np.ndarray = np.ones((1, 1))
    for error in errors:
        matrix = np.kron(np.eye(2) if error is None else np.asarray(error.probabilities), matrix)
    return matrix


class AerEstimator(BaseEstimatorV2):
    """Qiskit's estimator interface over `outcome_distributions`: Z-type observables, readout error included.

    Args:
        noise_model: gate and readout errors; ideal if `None`.
        seed: decides the counts.
    """

    def __init__(self, noise_model: NoiseModel | None = None, *, seed: int = 0) -> None:
        self.noise_model = noise_model
        self.seed = seed

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> PrimitiveJob:
        """Run PUBs; `precision` 0 or `None` is exact, else `ceil(1 / precision^2)` shots are counted."""
        coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        job: PrimitiveJob = PrimitiveJob(self._run, coerced)
        job._submit()
        return job

    def _run(self, pubs: Sequence[EstimatorPub]) -> PrimitiveResult:
        return PrimitiveResult([self._run_pub(pub) for pub in pubs], metadata={"version": 2})

    def _run_pub(self, pub: EstimatorPub) -> PubResult:
        shots = int(np.ceil(1 / pub.precision**2)) if pub.precision else None
        order = [parameter.name for parameter in pub.circuit.parameters]
        table = pub.parameter_values.as_array(order) if order else np.zeros((*pub.parameter_values.shape, 0))
        flat = table.reshape(-1, len(order))
        chunks = outcome_distributions(pub.circuit, flat, noise_model=self.noise_model, shots=shots, seed=self.seed)
        distributions = np.concatenate(list(chunks)).reshape(*table.shape[:-1], -1)
        terms = pub.observables.ravel().tolist()
        diagonals = np.stack([diagonal(_as_operator(entry)) for entry in terms]).reshape(*pub.observables.shape, -1)
        values = np.einsum("...k,...k->...", distributions, diagonals)
        squares = np.einsum("...k,...k->...", distributions, diagonals**2)
        errors = np.sqrt(np.clip(squares - values**2, 0, None) / shots) if shots else np.zeros_like(values)
        return PubResult(DataBin(evs=values, stds=errors, shape=pub.shape), metadata={"shots": shots})


def _as_operator(terms: dict[str, float]) -> SparsePauliOp:
    return SparsePauliOp.from_list(list(terms.items()))
