"""Qiskit's estimator primitive, computed exactly under an Aer noise model."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, DataBin, PrimitiveJob, PrimitiveResult, PubResult
from qiskit.primitives.containers import EstimatorPubLike
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.quantum_info import Pauli, SparsePauliOp

from qkd_qiskit.exact.cache import ExpectationCache
from qkd_qiskit.exact.expectation import ExactExpectation
from qkd_qiskit.exact.noise import list_parts
from qkd_qiskit.exact.observables import is_z_type, pauli_terms
from qkd_qiskit.exact.sampling import sample_expectation_values

Array = np.ndarray


class ExactEstimator(BaseEstimatorV2):
    """Estimator with exact values; with a precision it simulates `ceil(1 / precision^2)` shots instead.

    Observables made of Z and I are sampled together from the joint distribution of the Z basis, and see the noise
    model's readout errors. The Pauli strings of any other observable are sampled one by one.

    Args:
        noise_model: an Aer `NoiseModel` on the circuits' qubit numbers, or None.
        seed: of the shots; only used with a precision.
        readout: False leaves the readout errors out, as Aer's `EstimatorV2` does.
    """

    def __init__(
        self,
        noise_model: Any | None = None,
        seed: int | np.random.Generator | None = None,
        *,
        readout: bool = True,
    ):
        self.noise_model = noise_model
        self.readout = readout
        self._rng = np.random.default_rng(seed)
        self._cache = ExpectationCache()

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]:
        """Estimate each PUB's observables, broadcast against its parameter values as Qiskit defines.

        Args:
            pubs: (circuit, observables, parameter values, precision) tuples.
            precision: for the PUBs that state none; None or 0 gives exact values with zero standard errors.

        Returns:
            A job whose result has `data.evs` and `data.stds` for each PUB.
        """
        coerced = [EstimatorPub.coerce(pub, precision or 0.0) for pub in pubs]
        job: PrimitiveJob = PrimitiveJob(self._run, coerced)
        job._submit()
        return job

    def _run(self, pubs: Sequence[EstimatorPub]) -> PrimitiveResult:
        return PrimitiveResult([self._run_pub(pub) for pub in pubs], metadata={"version": 2})

    def _run_pub(self, pub: EstimatorPub) -> PubResult:
        bindings = pub.parameter_values
        values = bindings.as_array(pub.circuit.parameters).reshape(bindings.size, pub.circuit.num_parameters)
        observables = _flat_observables(pub)
        shots = int(np.ceil(1.0 / pub.precision**2)) if pub.precision else 0
        evs, stds = self._estimate(pub.circuit, observables, values, shots)
        rows, columns = np.broadcast_arrays(
            np.arange(len(values)).reshape(bindings.shape), np.arange(len(observables)).reshape(pub.observables.shape)
        )
        data = DataBin(evs=evs[rows, columns], stds=stds[rows, columns], shape=rows.shape)
        metadata = {"target_precision": pub.precision, "shots": shots, "circuit_metadata": pub.circuit.metadata}
        return PubResult(data, metadata=metadata)

    def _estimate(
        self, circuit: QuantumCircuit, observables: list[SparsePauliOp], values: Array, shots: int
    ) -> tuple[Array, Array]:
        """Return estimates and standard errors, (N, O) each."""
        if not shots:
            evs = self._evaluate(circuit, observables, values)
            return evs, np.zeros_like(evs)
        pair = np.zeros((2, len(values), len(observables)))
        together = [index for index, item in enumerate(observables) if is_z_type(pauli_terms(item))]
        if together:
            pair[:, :, together] = self._sample_jointly(circuit, [observables[i] for i in together], values, shots)
        for index in set(range(len(observables))) - set(together):
            pair[:, :, index] = self._sample_strings(circuit, observables[index], values, shots)
        return pair[0], pair[1]

    def _evaluate(self, circuit: QuantumCircuit, observables: list[SparsePauliOp], values: Array) -> Array:
        expectation, inputs, weights = self._analysed(circuit, observables, values)
        return expectation.values(inputs, weights)

    def _analysed(
        self, circuit: QuantumCircuit, observables: list[SparsePauliOp], values: Array
    ) -> tuple[ExactExpectation, Array, Array]:
        """Return the analysed circuit and its values split: columns that never change are shared weights."""
        varying = (values != values[:1]).any(axis=0) | (not len(values))
        names = tuple((tuple(item.paulis.to_labels()), item.coeffs.tobytes()) for item in observables)
        params = np.array(list(circuit.parameters), dtype=object)

        def build() -> ExactExpectation:
            return ExactExpectation(
                circuit,
                observables,
                list(params[varying]),
                list(params[~varying]),
                noise_model=self.noise_model,
                readout=self.readout,
            )

        parts = list_parts(self.noise_model)
        expectation = self._cache.find(circuit, (names, varying.tobytes(), *map(id, parts)), parts, build)
        return expectation, values[:, varying], values[:1, ~varying].reshape(-1)

    def _sample_jointly(
        self, circuit: QuantumCircuit, observables: list[SparsePauliOp], values: Array, shots: int
    ) -> Array:
        squares = [(item @ item).simplify() for item in observables]
        expectation, inputs, weights = self._analysed(circuit, [*observables, *squares], values)
        moments = sample_expectation_values(expectation, inputs, weights, shots, seed=self._rng)
        means, second = np.split(moments, 2, axis=1)
        return np.stack([means, np.sqrt(np.clip(second - means**2, 0.0, None) / shots)])

    def _sample_strings(self, circuit: QuantumCircuit, observable: SparsePauliOp, values: Array, shots: int) -> Array:
        strings = [SparsePauliOp(Pauli(label)) for label in observable.paulis.to_labels()]
        exact = np.clip(self._evaluate(circuit, strings, values), -1.0, 1.0)
        means = 2.0 * self._rng.binomial(shots, (1.0 + exact) / 2.0) / shots - 1.0
        coefficients = observable.coeffs.real
        errors = np.sqrt((1.0 - means**2) @ coefficients**2 / shots)
        return np.stack([means @ coefficients, errors])


def _flat_observables(pub: EstimatorPub) -> list[SparsePauliOp]:
    """Return the PUB's observables in C order."""
    flat = pub.observables.sparse_observables_array().ravel()
    return [SparsePauliOp.from_sparse_observable(item) for item in flat]
