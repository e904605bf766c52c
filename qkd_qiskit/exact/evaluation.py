"""The forward and the adjoint pass of a planned circuit, on NumPy arrays (CPU) or torch tensors (other devices)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from operator import add
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qkd_qiskit.exact.angles import AngleTable
from qkd_qiskit.exact.chains import ChainMatrices
from qkd_qiskit.exact.compiled import CompiledEvaluation, CompiledPass, has_kernel
from qkd_qiskit.exact.fronts import AmplitudeFront, EvolvedFront, Front, build_front
from qkd_qiskit.exact.fusion import apply_local
from qkd_qiskit.exact.lowering import Constant, Operation, Phase, lower_circuit, needs_density_matrix
from qkd_qiskit.exact.noise import NoiseTable
from qkd_qiskit.exact.observables import (
    Terms,
    apply_readout,
    check_observables,
    is_z_type,
    pauli_terms,
    pauli_vectors,
    support,
)
from qkd_qiskit.exact.planning import split_operations
from qkd_qiskit.exact.programs import LeftToNumpy
from qkd_qiskit.exact.steps import Slopes, Trig
from qkd_qiskit.exact.tails import PushedBackTail, StateTail
from qkd_qiskit.exact.threads import for_each
from qkd_qiskit.exceptions import ConfigurationError

Array = Any
_LIMITS = {2: 20, 4: 10}
_CHUNK_ELEMENTS = 2**17
_SMALL = 2**11


@dataclass
class _Pass:
    """What a forward pass leaves for the backward pass."""

    inputs: np.ndarray
    weights: np.ndarray
    shared: Trig
    matrices: Sequence[Array]
    chains: Any
    operator: Any
    tail: Any
    chunks: Sequence[tuple[slice, Any, Any]]


Pass = _Pass | CompiledPass


class Evaluation:
    """A circuit planned for evaluation.

    Without noise the samples' state vectors go through the whole circuit. With noise the observables' Pauli vectors
    are pushed back through the tail once a call, and only the front is evolved for each sample.

    Args:
        circuit: Q qubits.
        observables: O operators.
        inputs: F parameters of the samples.
        weights: P shared parameters.
        noise_model: an Aer noise model or None.
        device: where to compute.
        readout: whether Z-type observables see the readout errors.
        amplitudes: whether the inputs are the amplitudes of the states that the circuit starts from.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: Sequence[Any],
        inputs: Sequence[Parameter],
        weights: Sequence[Parameter],
        noise_model: Any | None,
        device: torch.device,
        readout: bool,
        amplitudes: bool = False,
    ):
        checked = check_observables(observables, circuit.num_qubits)
        noise = NoiseTable(noise_model, circuit.num_qubits)
        table = AngleTable(inputs, weights)
        mixed = needs_density_matrix(circuit, noise)
        operations = lower_circuit(circuit, table, noise, mixed)
        terms = [pauli_terms(observable) for observable in checked]
        if readout:
            terms = [apply_readout(item, noise, circuit.num_qubits) for item in terms]
        if amplitudes and mixed:
            raise ConfigurationError(
                "amplitude_inputs is for circuits without noise: a noisy device needs gates to prepare a state. "
                "Encode with a tree of multiplexed RY gates, or leave the noise model out."
            )
        self._num_qubits = circuit.num_qubits
        self.num_observables = len(terms)
        self.base = 4 if mixed else 2
        self.angles = table.compile()
        self._device = device
        self._on_cpu = device.type == "cpu"
        self._plan(operations, terms, noise if readout else NoiseTable(None, circuit.num_qubits), amplitudes)

    def _plan(self, operations: list[Operation], terms: list[Terms], noise: NoiseTable, amplitudes: bool) -> None:
        touched = {qubit for item in operations for qubit in _qubits(item)}.union(*(support(item) for item in terms))
        qubits = list(range(self._num_qubits)) if amplitudes else sorted(touched) or [0]
        if len(qubits) > _LIMITS[self.base]:
            raise ConfigurationError(
                f"The circuit uses {len(qubits)} qubits; exact evaluation {'with' if self.base == 4 else 'without'} "
                f"noise goes up to {_LIMITS[self.base]}. Use fewer qubits, or Aer's EstimatorV2 "
                "(in training: --engine aer)."
            )
        front, tail = split_operations(operations)
        self._compiled = self._compile(front, tail, qubits, terms, noise, amplitudes) if self._on_cpu else None
        if self._compiled is not None:
            return
        self._front: Front = build_front(front, qubits, self.base)
        if amplitudes:
            self._front = AmplitudeFront(len(qubits))
        self._differ = amplitudes or self.angles.num_own > 0
        self._tail: PushedBackTail | StateTail
        if self.base == 2:
            self._tail = StateTail(tail, terms, self._front)
        else:
            vectors = _measured_vectors(terms, noise, self._front.order)
            self._tail = PushedBackTail(tail, vectors, self._front)
        self._chains = ChainMatrices(self._tail.groups, self.base)
        self._chunk = max(64, _CHUNK_ELEMENTS // self._tail.rows_a_sample)
        if not self._on_cpu:
            for part in (self._front, self._tail, self._chains):
                part.to_torch(self._device)

    def _compile(
        self,
        front: list[Operation],
        tail: list[Operation],
        qubits: list[int],
        terms: list[Terms],
        noise: NoiseTable,
        amplitudes: bool,
    ) -> CompiledEvaluation | None:
        """Return the compiled road, None if there is no kernel or it isn't for this circuit."""
        if not has_kernel():
            return None
        try:
            return CompiledEvaluation(
                front,
                tail,
                qubits,
                self.base,
                amplitudes,
                lambda order: _measured_vectors(terms, noise, order),
                terms,
                self.angles,
            )
        except LeftToNumpy:
            return None

    @property
    def is_compiled(self) -> bool:
        """Return whether the C extension evaluates it, without any BLAS."""
        return self._compiled is not None

    def is_small(self, num_samples: int) -> bool:
        """Return whether every product of matrices in a pass is below what BLAS would share among threads."""
        return self._tail.is_small and self._tail.rows_a_sample * num_samples <= _SMALL

    def forward(self, inputs: torch.Tensor, weights: torch.Tensor, keep: bool) -> tuple[torch.Tensor, Pass | None]:
        """Return the values (N, O) for inputs (N, F) and weights (P,), and what `backward` needs."""
        x, w = _plain(inputs), _plain(weights)
        if self._compiled is not None:
            x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
            if not self._compiled.all_finite(x, w):
                _check_finite(x, w)
            values, left = self._compiled.forward(x, w)
            return torch.from_numpy(values), left if keep else None
        _check_finite(x, w)
        shared = self._trig(self.angles.shared_values(w))
        everyone = Trig(*shared)
        matrices, chains = self._chains.forward(everyone)
        operator, tail = self._tail.start(everyone, matrices, len(x))
        found = _Pass(x, w, everyone, matrices, chains, operator, tail, [])

        def evaluate(rows: slice) -> tuple[Array, Any]:
            state, front = self._samples(x[rows], w, shared)
            part, kept = self._tail.values(operator, state)
            return part, (rows, front, kept) if keep else None

        parts, found.chunks = zip(*for_each(evaluate, self._chunks(len(x))))
        return self._result(parts, len(x)), found if keep else None

    def _samples(self, x: np.ndarray, w: np.ndarray, shared: tuple) -> tuple[Any, Any]:
        """Return the vectors of samples (N, F), and what the front's `backward` needs."""
        if isinstance(self._front, AmplitudeFront):
            return self._array(np.ascontiguousarray(x.T)), None
        own = self._trig(self.angles.own_values(x, w))
        return self._front.forward(Trig(shared[0], shared[1], own[0], own[1]))

    def _chunks(self, count: int) -> list[slice]:
        """Return runs of samples that fit the cache; one sample is enough if all are alike."""
        count = count if self._differ else 1
        return [slice(start, min(start + self._chunk, count)) for start in range(0, count, self._chunk)]

    def _trig(self, angles: np.ndarray) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return cosines and sines of angles, and of half of them for state vectors."""
        if not self._on_cpu:
            tensor = torch.as_tensor(angles, device=self._device)
            return (tensor.cos(), tensor.sin()), ((tensor / 2).cos(), (tensor / 2).sin())
        if self.base == 4:
            return (np.cos(angles), np.sin(angles)), (None, None)
        half = angles / 2
        cos, sin = np.cos(half), np.sin(half)
        if not isinstance(self._front, EvolvedFront):
            return (None, None), (cos, sin)
        return (cos * cos - sin * sin, 2 * cos * sin), (cos, sin)

    def _result(self, values: Sequence[Array], count: int) -> torch.Tensor:
        if not self._on_cpu:
            joined = torch.cat(list(values), 1)
            return joined.expand(-1, count).T.contiguous()
        found = values[0] if len(values) == 1 else np.concatenate(values, axis=1)
        return torch.from_numpy(np.array(np.broadcast_to(found, (len(found), count)).T, order="C"))

    def backward(self, cotangents: torch.Tensor, found: Pass, for_inputs: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients for inputs (N, F) and weights (P,) from that of the values (N, O)."""
        if isinstance(found, CompiledPass):
            assert self._compiled is not None
            grads = self._compiled.backward(_plain(cotangents), found, for_inputs)
            return torch.from_numpy(grads[0]), torch.from_numpy(grads[1])
        need_front = for_inputs or self._front.uses_weights or self.angles.own_use_weights
        total = Slopes(None, self._zeros(self.angles.num_shared), [None] * self._chains.num_groups)
        rows = _plain(cotangents).T if self._differ else _plain(cotangents).sum(axis=0)[:, None]
        input_grad, weight_grad = np.zeros_like(found.inputs), np.zeros_like(found.weights)

        def go_back(chunk: tuple[slice, Any, Any]) -> tuple[Any, Any, Any]:
            where, front, kept = chunk
            part = self._array(rows[:, where])
            state_slope, operator_slope = self._tail.slopes(found.operator, kept, part, need_front)
            if not need_front:
                return operator_slope, 0.0, 0.0
            if isinstance(self._front, AmplitudeFront):
                input_grad[where] = _numpy(state_slope).real.T
                return operator_slope, 0.0, 0.0
            slopes = Slopes(self._zeros((self.angles.num_own, part.shape[1])), self._zeros(self.angles.num_shared), [])
            self._front.backward(state_slope, front, slopes)
            grads = self.angles.own_vjp(_numpy(slopes.own), found.inputs[where], found.weights)
            input_grad[where] = grads[0]
            return operator_slope, slopes.shared, grads[1]

        operator_slopes, shared_slopes, weight_slopes = zip(*for_each(go_back, found.chunks))
        total.shared = total.shared + sum(shared_slopes)
        weight_grad += sum(weight_slopes)
        self._tail.finish(reduce(add, operator_slopes), found.tail, total)
        self._chains.backward(total.matrices, found.chains, total.shared)
        weight_grad += self.angles.shared_vjp(_numpy(total.shared), found.weights)
        return torch.from_numpy(input_grad), torch.from_numpy(weight_grad)

    def _zeros(self, shape: int | tuple[int, int]) -> Array:
        return np.zeros(shape) if self._on_cpu else torch.zeros(shape, dtype=torch.float64, device=self._device)

    def _array(self, array: np.ndarray) -> Array:
        return array if self._on_cpu else torch.as_tensor(array, device=self._device)


def _plain(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype is torch.float64 and tensor.is_cpu:
        return tensor.detach().numpy()
    return tensor.detach().to(device="cpu", dtype=torch.float64).numpy()


def _check_finite(inputs: np.ndarray, weights: np.ndarray) -> None:
    for name, array in (("inputs", inputs), ("weights", weights)):
        if not isfinite(array.sum()):  # a sum of numbers is finite, but for a rare overflow
            finite = np.isfinite(array)
            if finite.all():
                continue
            row = int(np.argwhere(~finite)[0][0])
            raise ConfigurationError(f"{name} holds NaN or infinity, first in row {row}. Check the step before it.")


def _numpy(array: Array) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def _measured_vectors(terms: list[Terms], noise: NoiseTable, order: list[int]) -> np.ndarray:
    """Return the observables' Pauli vectors (4^n, O), with the errors before a measurement on the Z-type ones."""
    vectors = pauli_vectors(terms, order)
    errors = _measure_errors(noise, order)
    if errors:
        measured = np.array([is_z_type(item) for item in terms])
        vectors[:, measured] = _apply_all(errors, vectors[:, measured], order)
    return vectors


def _qubits(operation: Operation) -> tuple[int, ...]:
    return (operation.qubit,) if isinstance(operation, Phase) else operation.qubits


def _measure_errors(noise: NoiseTable, qubits: Sequence[int]) -> list[Constant]:
    """Return the transposed quantum errors that precede a measurement of each qubit."""
    found = [(qubit, noise.error_ptm("measure", (qubit,))) for qubit in qubits]
    return [Constant((qubit,), np.ascontiguousarray(matrix.T)) for qubit, matrix in found if matrix is not None]


def _apply_all(constants: Sequence[Constant], vectors: np.ndarray, order: Sequence[int]) -> np.ndarray:
    for constant in constants:
        vectors = apply_local(constant.matrix, constant.qubits, vectors, order)
    return vectors
