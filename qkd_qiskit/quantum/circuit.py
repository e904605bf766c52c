"""The student's circuit as a value: what is run, which parameters are data, which are weights, what is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.quantum.ansatz import Ansatz
from qkd_qiskit.quantum.encoding import Encoding


@dataclass(frozen=True)
class StudentCircuit:
    """A parametrised circuit with its inputs, weights and observables (logical, or compiled for a device).

    Attributes:
        circuit: the circuit, without measurements.
        input_params: the `A` parameters that carry a sample's encoding angles.
        weight_params: the `P` trainable parameters.
        observables: `O` sums of Z-strings on the circuit's qubits.
    """

    circuit: QuantumCircuit
    input_params: tuple[Parameter, ...]
    weight_params: tuple[Parameter, ...]
    observables: tuple[SparsePauliOp, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The circuit's parameters in the order of the columns of `parameter_values`."""
        return self.input_params + self.weight_params

    def parameter_values(self, angles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Join angles `(N, A)` and weights `(P,)` into one float64 table `(N, A + P)`.

        Raises:
            ConfigurationError: the numbers of columns don't fit, or a value is not finite.
        """
        angles, weights = np.asarray(angles, dtype=np.float64), np.asarray(weights, dtype=np.float64)
        wanted = (len(self.input_params), len(self.weight_params))
        if angles.ndim != 2 or (angles.shape[1], *weights.shape) != wanted:
            raise ConfigurationError(
                f"angles have shape {angles.shape} and weights {weights.shape}; this circuit wants (N, {wanted[0]}) "
                f"and ({wanted[1]},)"
            )
        values = np.hstack([angles, np.tile(weights, (len(angles), 1))])
        if not np.isfinite(values).all():
            sample, column = np.argwhere(~np.isfinite(values))[0]
            raise ConfigurationError(
                f"parameter {self.parameters[column].name} of sample {sample} is {values[sample, column]}; the weights "
                "or the images are damaged, or training diverged (try a smaller learning rate)"
            )
        return values

    def columns_of(self, circuit: QuantumCircuit) -> list[int]:
        """Return for each of `circuit.parameters` (Qiskit's own order) its column in `parameter_values`."""
        places = {parameter: column for column, parameter in enumerate(self.parameters)}
        return [places[parameter] for parameter in circuit.parameters]


def build_circuit(encoding: Encoding, ansatz: Ansatz, observables: tuple[SparsePauliOp, ...]) -> StudentCircuit:
    """Put encoding and ansatz together; an encoding that is `repeated` stands before every layer.

    Args:
        encoding: loads a sample.
        ansatz: the trainable part.
        observables: what is measured.
    """
    circuit = encoding.circuit.copy()
    for place, part in enumerate((*ansatz.layers, ansatz.closing)):
        if encoding.repeated and 0 < place < len(ansatz.layers):
            circuit.compose(encoding.circuit, inplace=True)
        circuit.compose(part, inplace=True)
    return StudentCircuit(circuit, encoding.parameters, ansatz.parameters, observables)
