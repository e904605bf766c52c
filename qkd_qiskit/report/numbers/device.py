"""The device's map: where qubits stand, how large the errors of qubits and couplings are, which of them are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

ROUNDS = 300


def collect_device(chart: dict[str, Any] | None, isa: dict[str, Any] | None) -> dict[str, Any] | None:
    """Join a device's chart with the layout of a circuit.

    Args:
        chart: `device_chart.json`; `None` without a device.
        isa: the compiled circuit's description.

    Returns:
        Qubits with place, error and the logical qubit they carry, couplings with error and whether both ends are used.
    """
    if not chart or not chart.get("couplings") or not isa:
        return None
    logical = {qubit: number for number, qubit in enumerate(isa.get("measured_qubits") or [])}
    used = set(isa.get("physical_qubits") or logical)
    edges = [tuple(item["qubits"]) for item in chart["couplings"]]
    places = place_qubits(len(chart["qubits"]), edges)
    return {
        "device": chart["device"],
        "date": chart.get("date"),
        "qubits": [
            {
                "qubit": item["qubit"],
                "x": round(float(x), 3),
                "y": round(float(y), 3),
                "readout_error": item["readout_error"],
                "used": item["qubit"] in used,
                "logical": logical.get(item["qubit"]),
            }
            for item, (x, y) in zip(chart["qubits"], places)
        ],
        "couplings": [{**item, "used": used.issuperset(item["qubits"])} for item in chart["couplings"]],
    }


def place_qubits(num_qubits: int, edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Place qubits on a plane, `(Q, 2)`, neighbours about 1 apart: in rows if there are any, else by distances."""
    places = _place_in_rows(num_qubits, edges)
    return places if places is not None else _place_by_distance(num_qubits, edges)


def _place_in_rows(num_qubits: int, edges: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """Place a heavy-hexagon lattice that is numbered row by row, as IBM does; `None` if it isn't one.

    A row is a run of neighbours with consecutive numbers. The qubits between two rows stand alone, each under the qubit
    of the row above and over that of the row below, which fixes how the rows are shifted.
    """
    coupled = set(edges)
    rows: list[list[int]] = [[0]]
    for qubit in range(1, num_qubits):
        rows[-1].append(qubit) if (qubit - 1, qubit) in coupled else rows.append([qubit])
    long = [row for row in rows if len(row) > 3]
    bridges = [row[0] for row in rows if len(row) == 1]
    if len(long) < 2 or sum(map(len, long)) + len(bridges) != num_qubits:
        return None
    row_of = {qubit: (number, place) for number, row in enumerate(long) for place, qubit in enumerate(row)}
    shifts: dict[int, int] = {0: 0}
    ends = {bridge: sorted(a + b - bridge for a, b in edges if bridge in (a, b)) for bridge in bridges}
    for bridge in bridges:
        if len(ends[bridge]) == 2 and all(end in row_of for end in ends[bridge]):
            (upper, left), (lower, right) = (row_of[end] for end in ends[bridge])
            if lower == upper + 1 and upper in shifts:
                shifts.setdefault(lower, shifts[upper] + left - right)
    if len(shifts) < len(long):
        return None
    places = np.zeros((num_qubits, 2))
    for qubit, (row, column) in row_of.items():
        places[qubit] = column + shifts[row], 2 * row
    for bridge in bridges:
        if not ends[bridge] or ends[bridge][0] not in row_of:
            return None
        row, column = row_of[ends[bridge][0]]
        places[bridge] = column + shifts[row], 2 * row + 1
    return places


def _place_by_distance(num_qubits: int, edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Place qubits so that distances on the plane are near those on the graph (stress majorisation, SMACOF).

    de Leeuw, in: Recent Developments in Statistics (1977) 133; started from classical scaling.
    """
    first, second = zip(*edges)
    graph = coo_array((np.ones(len(edges)), (first, second)), shape=(num_qubits, num_qubits))
    wanted = shortest_path(graph, directed=False, unweighted=True)
    wanted[~np.isfinite(wanted)] = 2 * np.sqrt(num_qubits)
    centring = np.eye(num_qubits) - 1 / num_qubits
    values, vectors = np.linalg.eigh(-0.5 * centring @ wanted**2 @ centring)
    places = (
        vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0)) if num_qubits > 2 else wanted[:, :1] * [1, 0]
    )
    places = places + np.random.default_rng(0).normal(0, 1e-3, places.shape)
    for _ in range(ROUNDS):
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(apart, 1)
        ratio = -wanted / apart
        np.fill_diagonal(ratio, 0)
        np.fill_diagonal(ratio, -ratio.sum(1))
        places = ratio @ places / num_qubits
    return places
