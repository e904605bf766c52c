"""Keeping a compiled circuit: one QPY file with the logical and the ISA circuit, and what QPY can't hold as JSON."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

from qiskit import qpy
from qiskit.circuit import QuantumCircuit

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.execution.compilation import CompiledCircuit, IsaMetrics, check_equivalence, lay_out
from qkd_qiskit.files import digest_of, digest_of_file, read_json, write_atomically, write_json
from qkd_qiskit.quantum.circuit import StudentCircuit

LARGEST_FILE = 50_000_000


def save_circuits(path: Path, logical: StudentCircuit, compiled: CompiledCircuit) -> None:
    """Write `student.qpy` and, beside it, `student.json` with device, layout, metrics and the file's digest.

    Raises:
        RunError: a file can't be written.
    """
    stream = io.BytesIO()
    qpy.dump([logical.circuit, drop_layout(compiled.isa.circuit)], stream)
    write_atomically(path, lambda aside: _write_bytes(aside, stream.getvalue()))
    facts = {
        "sha256": digest_of_file(path),
        "device": compiled.device,
        "measured_qubits": list(compiled.measured_qubits),
        "physical_qubits": list(compiled.physical_qubits),
        "metrics": asdict(compiled.metrics),
    }
    write_json(path.with_suffix(".json"), {**facts, "self": digest_of(facts)})


def load_circuits(path: Path, template: StudentCircuit) -> tuple[StudentCircuit, CompiledCircuit]:
    """Read what `save_circuits` wrote, its digest checked before anything is decoded.

    Args:
        path: `student.qpy`.
        template: the student's circuit built anew from its settings; names the parameters and observables.

    Raises:
        RunError: a file is missing, changed, or belongs to another student.
    """
    facts = read_json(path.with_suffix(".json"))
    own = facts.pop("self", None) if isinstance(facts, dict) else None
    if own is None or own != digest_of(facts):
        raise RunError(f"{path.with_suffix('.json')} was changed or damaged; train again")
    if not path.exists() or path.stat().st_size > LARGEST_FILE or digest_of_file(path) != facts.get("sha256"):
        raise RunError(f"{path} is missing or was changed (its SHA-256 is not the one in student.json); train again")
    with path.open("rb") as stream:
        circuit, isa = qpy.load(stream)
    logical = adopt_parameters(template, circuit, path)
    compiled = lay_out(
        adopt_parameters(template, isa, path),
        tuple(facts["measured_qubits"]),
        facts["device"],
        IsaMetrics(**facts["metrics"]),
    )
    check_equivalence(logical, compiled)
    return logical, compiled


def adopt_parameters(template: StudentCircuit, circuit: QuantumCircuit, path: Path) -> StudentCircuit:
    """Take inputs and weights of a loaded circuit by the names they have in the template.

    Raises:
        RunError: the names are others, so the file belongs to another student.
    """
    by_name = {parameter.name: parameter for parameter in circuit.parameters}
    if by_name.keys() != {parameter.name for parameter in template.parameters}:
        raise RunError(f"{path} belongs to another student than config.json: its parameters are {sorted(by_name)}")
    inputs = tuple(by_name[parameter.name] for parameter in template.input_params)
    weights = tuple(by_name[parameter.name] for parameter in template.weight_params)
    return StudentCircuit(circuit, inputs, weights, template.observables)


def drop_layout(circuit: QuantumCircuit) -> QuantumCircuit:
    """Copy a circuit without its transpiler layout: the layout's qubits are kept in JSON, by number."""
    copied = QuantumCircuit(circuit.num_qubits, global_phase=circuit.global_phase)
    for item in circuit.data:
        copied.append(item.operation, [circuit.find_bit(qubit).index for qubit in item.qubits])
    return copied


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
