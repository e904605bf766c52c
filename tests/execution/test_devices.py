from __future__ import annotations

from qkd_qiskit.execution.devices import open_simulator
from qkd_qiskit.execution.profiles import resolve_backend


def test_the_chart_has_every_qubit_and_the_better_direction_of_every_coupling():
    place = open_simulator(resolve_backend("fake_manila"), 2)
    chart = place.chart()
    assert chart is not None
    assert place.target is not None
    assert [item["qubit"] for item in chart["qubits"]] == list(range(5))
    assert chart["qubits"][3]["readout_error"] == place.target["measure"][(3,)].error
    assert [item["qubits"] for item in chart["couplings"]] == [[0, 1], [1, 2], [2, 3], [3, 4]]
    for item in chart["couplings"]:
        first, second = item["qubits"]
        known = [place.target["cx"][pair].error for pair in ((first, second), (second, first))]
        assert item["error"] == min(known)


def test_without_a_device_there_is_no_chart():
    assert open_simulator(resolve_backend("aer"), 2).chart() is None
