"""The forward and the adjoint pass of a planned circuit, on NumPy arrays (CPU) or torch tensors (other devices)."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qkd_qiskit.exact.angles import AngleTable
from qkd_qiskit.exact.chains import ChainMatrices
from qkd_qiskit.exact.fusion import apply_local
from qkd_qiskit.exact.lowering import Constant, Operation, Phase, lower_circuit, needs_density_matrix
from qkd_qiskit.exact.noise import NoiseTable
from qkd_qiskit.exact.observables import (
    StateFunctional,
    Terms,
    apply_readout,
    check_observables,
    is_z_type,
    pauli_terms,
    pauli_vectors,
    support,
)
from qkd_qiskit.exact.planning import Chain, Layout, plan_front, plan_tail, split_operations, transpose_operations
from qkd_qiskit.exact.steps import Step, Tape, run_backward, run_forward
from qkd_qiskit.exceptions import ConfigurationError

Array = Any
_BATCH_WIDTH = 64
_LIMITS = {2: 20, 4: 10}
_TAIL_SLOT = -1


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
    ):
        checked = check_observables(observables, circuit.num_qubits)
        noise = NoiseTable(noise_model, circuit.num_qubits)
        table = AngleTable(inputs, weights)
        mixed = needs_density_matrix(circuit, noise)
        operations = lower_circuit(circuit, table, noise, mixed)
        terms = [pauli_terms(observable) for observable in checked]
        if readout:
            terms = [apply_readout(item, noise, circuit.num_qubits) for item in terms]
        self.device = device
        self.num_observables = len(terms)
        self.base = 4 if mixed else 2
        self.angles = table.compile()
        self._on_cpu = device.type == "cpu"
        self._plan(operations, terms, noise if readout else NoiseTable(None, circuit.num_qubits))

    def _plan(self, operations: list[Operation], terms: list[Terms], noise: NoiseTable) -> None:
        touched = {qubit for item in operations for qubit in _qubits(item)}.union(*(support(item) for item in terms))
        qubits = sorted(touched) or [0]
        if len(qubits) > _LIMITS[self.base]:
            raise ConfigurationError(
                f"The circuit uses {len(qubits)} qubits; exact evaluation {'with' if self.base == 4 else 'without'} "
                f"noise goes up to {_LIMITS[self.base]}. Use fewer qubits, or --engine aer."
            )
        front, tail = split_operations(operations, self.angles.sampled.tolist())
        layout = Layout(self.base, _BATCH_WIDTH, {slot: [qubit] for slot, qubit in enumerate(qubits)})
        self._start = self._ground_states(len(qubits))
        plan_front(layout, front, self.angles.sampled.tolist())
        self._slot = layout.join(qubits)
        groups: list[list[Chain]] = []
        if self.base == 2:
            plan_tail(layout, self._slot, tail, groups)
            self.tail: list[Step] = []
            self._functional = StateFunctional(terms, layout.slots[self._slot])
        else:
            self._plan_pushed_back(layout.slots[self._slot], tail, terms, noise, groups)
        self.front = layout.steps
        self.chains = ChainMatrices(groups, self.base)
        if not self._on_cpu:
            self._to_torch()

    def _plan_pushed_back(
        self, order: list[int], tail: list[Operation], terms: list[Terms], noise: NoiseTable, groups: list[list[Chain]]
    ) -> None:
        """Plan the observables' way back through the tail; it ends in the order of the samples' vectors."""
        layout = Layout(4, len(terms), {_TAIL_SLOT: list(order)})
        vectors = pauli_vectors(terms, order)
        before_measurement = _measure_errors(noise, order)
        if before_measurement:
            measured = np.array([is_z_type(item) for item in terms])
            vectors[:, measured] = _apply_all(before_measurement, vectors[:, measured], order)
        self._observables: Array = vectors
        plan_tail(layout, _TAIL_SLOT, transpose_operations(tail), groups)
        layout.restore(_TAIL_SLOT, order)
        self.tail = layout.steps

    def _ground_states(self, count: int) -> dict[int, Array]:
        ground = np.array([[1.0 + 0j], [0]]) if self.base == 2 else np.array([[1.0], [0], [0], [1]])
        return dict.fromkeys(range(count), ground)

    def _to_torch(self) -> None:
        def move(array: Any) -> Any:
            return torch.as_tensor(array, device=self.device) if isinstance(array, np.ndarray) else array

        for step in [*self.front, *self.tail]:
            for item in fields(step):
                setattr(step, item.name, move(getattr(step, item.name)))
        self._start = {slot: move(vector) for slot, vector in self._start.items()}
        self.chains.to_torch(self.device)
        if self.base == 2:
            self._functional.to_torch(self.device)
        else:
            self._observables = move(self._observables)

    def forward(self, inputs: torch.Tensor, weights: torch.Tensor, keep: bool) -> tuple[torch.Tensor, Any]:
        """Return the values (N, O) for inputs (N, F) and weights (P,), and what `backward` needs."""
        pair = (inputs.detach().cpu().double().numpy(), weights.detach().cpu().double().numpy())
        angles = self._array(self.angles.values(*pair))
        cos, sin = (angles.cos(), angles.sin()) if not self._on_cpu else (np.cos(angles), np.sin(angles))
        matrices, made = self.chains.forward(cos[:, 0], sin[:, 0])
        tape = Tape(cos, sin, matrices, dict(self._start))
        run_forward(self.front, tape)
        state = tape.slots[self._slot]
        if self.base == 2:
            values, pushed = self._functional.values(state), None
        else:
            pushed = Tape(cos, sin, matrices, {_TAIL_SLOT: self._observables})
            run_forward(self.tail, pushed)
            values = pushed.slots[_TAIL_SLOT].T @ state
        result = self._tensor(values).T.expand(len(inputs), -1).clone()
        return result, (pair, tape, pushed, made, state) if keep else None

    def backward(self, cotangents: torch.Tensor, saved: Any, for_inputs: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients for inputs (N, F) and weights (P,) from that of the values (N, O)."""
        pair, tape, pushed, made, state = saved
        slopes = self._array(np.zeros(tape.cos.shape))
        matrix_slopes: list[Any] = [None] * self.chains.num_groups
        rows = self._array(cotangents.detach().cpu().double().numpy()).T
        rows = rows.sum(axis=1)[:, None] if state.shape[1] == 1 else rows
        back = tape.rewound(slopes, matrix_slopes)
        if self.base == 2:
            back.slots[self._slot] = self._functional.slopes(state, rows)
        else:
            back.slots[self._slot] = pushed.slots[_TAIL_SLOT] @ rows
            push_back = pushed.rewound(slopes, matrix_slopes)
            push_back.slots[_TAIL_SLOT] = state @ rows.T
            run_backward(self.tail, push_back)
        run_backward(self.front, back)
        self.chains.backward(matrix_slopes, made, slopes[:, 0])
        input_grad, weight_grad = self.angles.vjp(_numpy(slopes), *pair)
        return torch.from_numpy(input_grad), torch.from_numpy(weight_grad)

    def _array(self, array: np.ndarray) -> Array:
        return array if self._on_cpu else torch.as_tensor(array, device=self.device)

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(array) if isinstance(array, np.ndarray) else array


def _numpy(array: Array) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


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
