"""The logical circuit as a list of gates, and what compiling it made of it."""

from __future__ import annotations

from typing import Any

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of_file
from qkd_qiskit.report.reading import StoredRun

MOST_GATES = 300


def collect_gates(run: StoredRun) -> dict[str, Any] | None:
    """List the logical circuit's gates, each with its column in the drawing; `None` before there is a circuit.

    `role` is `input` (it turns by a feature), `weight` (by a trained angle) or `fixed`. An encoding that makes the
    circuit too long to read is drawn as one box.

    Raises:
        RunError: the circuit's file was changed or can't be read.
    """
    path = run.directory.circuits
    if run.circuit_facts is None or not path.exists():
        return None
    if digest_of_file(path) != run.circuit_facts.get("sha256"):
        raise RunError(f"{path} was changed (its SHA-256 is not the one in student.json); train again")
    from qiskit import qpy

    with path.open("rb") as stream:
        circuit = qpy.load(stream)[0]
    gates = [_describe(circuit, item) for item in circuit.data]
    shown, boxed = _box_encoding(gates, circuit.num_qubits)
    return {
        "qubits": circuit.num_qubits,
        "gates": place_in_columns(shown, circuit.num_qubits) if len(shown) <= MOST_GATES else None,
        "num_gates": len(gates),
        "boxed_gates": boxed,
        "depth": circuit.depth(),
        "two_qubit_gates": sum(len(gate["qubits"]) == 2 for gate in gates),
        "inputs": sum(str(name).startswith("x") for name in circuit.parameters),
        "weights": sum(str(name).startswith("w") for name in circuit.parameters),
    }


def _describe(circuit: Any, item: Any) -> dict[str, Any]:
    parameters = ", ".join(str(value) for value in item.operation.params)
    names = {str(name)[:1] for value in item.operation.params for name in getattr(value, "parameters", ())}
    role = "input" if "x" in names else "weight" if "w" in names else "fixed"
    qubits = [circuit.find_bit(qubit).index for qubit in item.qubits]
    return {"name": item.operation.name, "qubits": qubits, "parameters": parameters, "role": role}


def _box_encoding(gates: list[dict[str, Any]], num_qubits: int) -> tuple[list[dict[str, Any]], int]:
    if len(gates) <= MOST_GATES:
        return gates, 0
    first = next((index for index, gate in enumerate(gates) if gate["role"] == "weight"), 0)
    if first == 0:
        return gates, 0
    box = {"name": "encoding", "qubits": list(range(num_qubits)), "parameters": f"{first} gates", "role": "input"}
    return [box, *gates[first:]], first


def place_in_columns(gates: list[dict[str, Any]], num_qubits: int) -> list[dict[str, Any]]:
    """Give each gate the first column in which all wires from its lowest to its highest qubit are free."""
    free = [0] * num_qubits
    placed = []
    for gate in gates:
        wires = range(min(gate["qubits"]), max(gate["qubits"]) + 1)
        column = max(free[wire] for wire in wires)
        placed.append({**gate, "column": column})
        for wire in wires:
            free[wire] = column + 1
    return placed


def collect_isa(run: StoredRun) -> list[dict[str, Any]]:
    """List the compiled circuits: the one trained on, then each evaluation's."""
    rows = []
    trained = run.environment.get("circuit") or (run.result or {}).get("isa")
    if trained:
        rows.append(_isa_row("training", run.settings.backend.name, trained, run.environment.get("calibration") or {}))
    for item in run.evaluations:
        if "isa" in item.result:
            rows.append(_isa_row(item.name, item.result["backend"], item.result["isa"], item.calibration))
    return rows


def _isa_row(used_for: str, backend: str, isa: dict[str, Any], calibration: dict[str, Any]) -> dict[str, Any]:
    return {
        "used_for": used_for,
        "backend": backend,
        "device": isa.get("device") or None,
        "qubits": isa.get("measured_qubits"),
        "depth": isa.get("depth"),
        "two_qubit_gates": isa.get("two_qubit_gates"),
        "two_qubit_depth": isa.get("two_qubit_depth"),
        "estimated_success": isa.get("estimated_success"),
        "calibration_date": calibration.get("date"),
        "calibration_sha256": calibration.get("sha256") if calibration.get("device") else None,
    }
