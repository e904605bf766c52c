"""Read an Aer `NoiseModel` by its attributes, so that this package needs no Aer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.converters import circuit_to_dag, dag_to_circuit

from qkd_qiskit.exact.pauli import channel_ptm
from qkd_qiskit.exceptions import ConfigurationError

Array = np.ndarray
_DROPPED_BY_AER = 1e-10
_NEEDED = ("_default_quantum_errors", "_local_quantum_errors", "_default_readout_error", "_local_readout_errors")


class NoiseTable:
    """What a noise model says about each instruction; a local error overrides the default one, as in Aer.

    Args:
        noise_model: an Aer `NoiseModel` on the circuit's own qubit numbers, or None for no noise.
        num_qubits: number of qubits Q of the circuit that it is for.

    Raises:
        ConfigurationError: if it isn't a noise model, or speaks of qubits that the circuit doesn't have.
    """

    def __init__(self, noise_model: Any | None, num_qubits: int):
        self._model = noise_model
        self._cache: dict[int, tuple[Any, Array]] = {}
        if noise_model is not None:
            self._check(num_qubits)

    def _check(self, num_qubits: int) -> None:
        missing = [name for name in _NEEDED if not hasattr(self._model, name)]
        if missing:
            raise ConfigurationError(
                f"noise_model is a {type(self._model).__name__} without {missing[0]}: not an Aer NoiseModel. "
                "Pass a qiskit_aer.noise.NoiseModel, or None for no noise."
            )
        beyond = [qubit for qubit in _local_qubits(self._model) if qubit >= num_qubits]
        if beyond:
            raise ConfigurationError(
                f"The noise model speaks of qubit {beyond[0]}, the circuit has qubits 0 to {num_qubits - 1}: it is for "
                "other qubits. Make one for the device's qubits that the circuit's stand for: "
                f"qkd_qiskit.device_noise(backend.target, {list(range(num_qubits))}), say; or use a circuit that is "
                "compiled for the whole device."
            )

    @property
    def is_noiseless(self) -> bool:
        """True if no quantum error can occur (readout errors may)."""
        if self._model is None:
            return True
        return not (self._model._default_quantum_errors or self._model._local_quantum_errors or self._passes)

    @property
    def _passes(self) -> list:
        return list(getattr(self._model, "_custom_noise_passes", ()) or ())

    def insert_custom_noise(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit with the channels that the model's custom passes add (relaxation during delays)."""
        if not self._passes:
            return circuit
        dag = circuit_to_dag(circuit)
        for noise_pass in self._passes:
            dag = noise_pass.run(dag)
        return dag_to_circuit(dag)

    def error_ptm(self, name: str, qubits: Sequence[int]) -> Array | None:
        """Return the Pauli transfer matrix (4^k, 4^k) of the error of instruction `name` on `qubits`, or None."""
        if self._model is None:
            return None
        error = self._model._local_quantum_errors.get(name, {}).get(tuple(qubits))
        if error is None:
            error = self._model._default_quantum_errors.get(name)
        if error is None or error.ideal():
            return None
        if error.num_qubits != len(qubits):
            raise ConfigurationError(
                f"The noise model has an error on {error.num_qubits} qubits for {name!r}, which acts on "
                f"{list(qubits)}. Attach an error of {len(qubits)} qubits, or use Aer's EstimatorV2 "
                "(in training: --engine aer)."
            )
        return self.channel(error)

    def names_error_of(self, name: str | None) -> bool:
        """Return whether the model has an error for instructions of that name, on any qubits."""
        model = self._model
        return model is not None and (name in model._local_quantum_errors or name in model._default_quantum_errors)

    def channel(self, error: Any) -> Array:
        """Return the Pauli transfer matrix of an Aer error, computed once an object."""
        if id(error) not in self._cache:
            self._cache[id(error)] = (error, _error_ptm(error))
        return self._cache[id(error)][1]

    def readout_matrices(self, num_qubits: int) -> list[tuple[tuple[int, ...], Array]]:
        """Return the confusion matrices of measuring all qubits.

        Returns:
            (qubits, matrix) pairs; matrix[given, read] has shape (2, 2).

        Raises:
            ConfigurationError: for a readout error on several qubits: Aer doesn't apply it to Qiskit's measurements,
                which are of one qubit each.
        """
        if self._model is None:
            return []
        for qubits in self._model._local_readout_errors:
            if len(qubits) > 1:
                raise ConfigurationError(
                    f"The noise model has a joint readout error on qubits {tuple(qubits)}, which Aer ignores when it "
                    "measures qubit by qubit. Give one readout error a qubit, or pass readout=False."
                )
        found: list[tuple[tuple[int, ...], Array]] = []
        for qubit in range(num_qubits):
            error = self._model._local_readout_errors.get((qubit,)) or self._model._default_readout_error
            if error is not None and not error.ideal():
                found.append(((qubit,), np.asarray(error.probabilities)))
        return found


def list_parts(noise_model: Any | None) -> list[Any]:
    """Return all errors of a model; one that is changed in place has others, as Aer composes errors to new objects."""
    if noise_model is None or any(not hasattr(noise_model, name) for name in _NEEDED):
        return [noise_model]
    local = [error for table in noise_model._local_quantum_errors.values() for error in table.values()]
    default = [*noise_model._default_quantum_errors.values(), noise_model._default_readout_error]
    passes = list(getattr(noise_model, "_custom_noise_passes", ()) or ())
    return [noise_model, *local, *default, *noise_model._local_readout_errors.values(), *passes]


def _error_ptm(error: Any) -> Array:
    """Return the error's Pauli transfer matrix, without the terms that Aer itself drops for being improbable."""
    terms = list(zip(getattr(error, "probabilities", ()), getattr(error, "circuits", ())))
    if not any(probability <= _DROPPED_BY_AER for probability, _ in terms):
        return channel_ptm(error)
    kept = [probability * channel_ptm(circuit) for probability, circuit in terms if probability > _DROPPED_BY_AER]
    return np.sum(kept, axis=0)


def _local_qubits(model: Any) -> list[int]:
    """Return every qubit that a local error of the model names."""
    tables = [*model._local_quantum_errors.values(), model._local_readout_errors]
    return sorted({qubit for table in tables for qubits in table for qubit in qubits})
