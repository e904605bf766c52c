"""Circuits for other programs: OpenQASM 3 and QPY, with symbolic parameters or with the trained weights put in."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from qiskit import qasm3, qpy
from qiskit.circuit import Parameter, QuantumCircuit

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.execution.circuit_files import drop_layout
from qkd_qiskit.files import write_atomically
from qkd_qiskit.quantum.circuit import StudentCircuit

SUFFIXES = ("qpy", "qasm")


def write_circuit(folder: Path, name: str, circuit: StudentCircuit, weights: np.ndarray) -> list[str]:
    """Write a circuit four times: QPY and OpenQASM 3, symbolic (`name`) and with its weights bound (`name_trained`).

    Args:
        folder: where.
        name: `logical` or `isa`.
        circuit: what to write.
        weights: `(P,)`, in the order of `circuit.weight_params`.

    Returns:
        The files' names.

    Raises:
        RunError: a file can't be written.
    """
    symbolic = drop_layout(circuit.circuit)
    trained = symbolic.assign_parameters(dict(zip(circuit.weight_params, map(float, weights))))
    written = []
    for stem, body in ((name, symbolic), (f"{name}_trained", trained)):
        for suffix, encode in (("qpy", _encode_qpy), ("qasm", _encode_qasm)):
            content = encode(body)
            write_atomically(folder / f"{stem}.{suffix}", _writer(content))
            written.append(f"{stem}.{suffix}")
    return written


def read_circuit(path: Path) -> QuantumCircuit:
    """Read one circuit from a QPY file.

    Raises:
        RunError: it can't be read.
    """
    try:
        with path.open("rb") as stream:
            return qpy.load(stream)[0]
    except (OSError, qpy.exceptions.QpyError) as error:
        raise RunError(f"{path} can't be read: {error}; export the run again") from error


def plain_name(parameter: Parameter | str) -> str:
    """Write `x[3]` as OpenQASM 3 can: `x_3`."""
    name = parameter if isinstance(parameter, str) else parameter.name
    return name.replace("[", "_").replace("]", "")


def _encode_qpy(circuit: QuantumCircuit) -> bytes:
    stream = io.BytesIO()
    qpy.dump(circuit, stream)
    return stream.getvalue()


def _encode_qasm(circuit: QuantumCircuit) -> bytes:
    plain = circuit.assign_parameters({item: Parameter(plain_name(item)) for item in circuit.parameters})
    return qasm3.dumps(plain).encode()


def _writer(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write
