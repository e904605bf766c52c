from __future__ import annotations

import json

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import ParameterVector
from scipy import stats

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of_file
from qkd_qiskit.report import collect_report, format_json, write_report
from qkd_qiskit.report.figures.circuit import draw_circuit
from qkd_qiskit.report.numbers.accuracies import paired_interval
from qkd_qiskit.report.numbers.circuits import place_in_columns
from qkd_qiskit.report.numbers.expectations import collect_expectations, fit_line, weigh_observables
from qkd_qiskit.report.numbers.reliability import measure_reliability
from qkd_qiskit.report.reading import read_run


def report_of(run) -> dict:
    return json.loads(format_json(collect_report(read_run(run.run))))


def test_accuracies_are_counts_with_wilson_intervals(trained):
    arrays = trained.add_evaluation()
    rows = report_of(trained)["accuracies"]
    assert [row["kind"] for row in rows] == ["teacher", "training", "noiseless", "backend"]
    correct = int((arrays["logits"].argmax(1) == arrays["labels"]).sum())
    wilson = stats.binomtest(correct, 120).proportion_ci(0.95, method="wilson")
    assert rows[3]["correct"] == correct
    assert rows[3]["interval"] == pytest.approx([wilson.low, wilson.high])
    assert rows[0]["accuracy"] == 0.97


def test_a_noiseless_exact_evaluation_has_one_row_and_no_backend(trained):
    trained.add_evaluation("aer", kind="aer", shots=0)
    report = report_of(trained)
    assert [row["kind"] for row in report["accuracies"]] == ["teacher", "training", "noiseless"]
    assert report["evaluations"][0]["ideal"]
    assert report["evaluations"][0]["expectations"]["slope"] == pytest.approx(1)
    assert report["evaluations"][0]["expectations"]["residuals"] is None


def test_slope_and_r_squared_are_those_of_scipy(trained):
    arrays = trained.add_evaluation()
    numbers = report_of(trained)["evaluations"][0]["expectations"]
    x, y = arrays["noiseless_expectation_values"], arrays["expectation_values"]
    line = stats.linregress(x.ravel(), y.ravel())
    found = numbers["slope"], numbers["intercept"], numbers["r_squared"]
    assert found == pytest.approx((line.slope, line.intercept, line.rvalue**2))
    assert numbers["slope"] == pytest.approx(0.7, abs=0.01)
    singles = [0, 1, 3]  # masks 001, 010, 100
    alone = stats.linregress(x[:, singles].ravel(), y[:, singles].ravel())
    assert numbers["by_weight"][0]["slope"] == pytest.approx(alone.slope)
    assert [row["observables"] for row in numbers["by_weight"]] == [3, 3, 1]


def test_residuals_without_their_lines_are_the_noise_that_was_put_in(trained):
    trained.add_evaluation()
    residuals = report_of(trained)["evaluations"][0]["expectations"]["residuals"]
    assert residuals["corrected_rms"] == pytest.approx(0.02, rel=0.1)
    assert residuals["shot_noise_rms"] == pytest.approx(0.02)
    assert residuals["raw_rms"] > 5 * residuals["corrected_rms"]
    assert sum(residuals["raw_counts"]) == sum(residuals["corrected_counts"]) == 120 * 7


def test_few_points_are_drawn_of_many_and_the_line_is_of_all(trained):
    trained.add_evaluation()
    evaluation = read_run(trained.run).evaluations[0]
    all_of_them, some = (collect_expectations(evaluation, 3, points=points) for points in (10_000, 100))
    assert sum(len(group["ideal"]) for group in all_of_them["points"]) == 840
    assert sum(len(group["ideal"]) for group in some["points"]) == 100
    assert some["slope"] == all_of_them["slope"]


def test_constant_expectation_values_have_no_line():
    assert fit_line(np.full((5, 2), 0.3), np.zeros((5, 2)))["slope"] is None


@pytest.mark.parametrize(("observables", "weights"), [(7, [1, 1, 2, 1, 2, 2, 3]), (3, [1, 1, 1]), (5, [0] * 5)])
def test_weights_follow_from_the_number_of_observables(observables, weights):
    assert weigh_observables(observables, 3) == weights


def slow_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """The definition, sample by sample."""
    sums: dict[int, list[float]] = {}
    for row, label in zip(logits, labels):
        share = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        place = next(index for index in range(bins) if share.max() <= (index + 1) / bins + 1e-15)
        total = sums.setdefault(place, [0, 0, 0])
        total[0] += 1
        total[1] += share.max()
        total[2] += float(row.argmax() == label)
    return sum(abs(right - sure) for _, sure, right in sums.values()) / len(labels)


def test_calibration_error_against_its_definition(trained):
    arrays = trained.add_evaluation()
    numbers = report_of(trained)["evaluations"][0]["reliability"]
    for name, key in (("noiseless", "noiseless_logits"), ("backend", "logits")):
        wanted = slow_calibration_error(arrays[key], arrays["labels"], 10)
        assert numbers[name]["expected_calibration_error"] == pytest.approx(wanted)


def test_a_student_that_is_always_sure_and_half_right_is_off_by_a_half():
    logits = np.array([[100.0, 0.0]] * 10)
    numbers = measure_reliability(logits, np.array([0, 1] * 5))
    assert numbers["expected_calibration_error"] == pytest.approx(0.5)
    assert [(item["from"], item["to"], item["samples"]) for item in numbers["bins"]] == [(0.9, 1.0, 10)]


def test_confusion_counts_each_sample_once(trained):
    arrays = trained.add_evaluation()
    numbers = report_of(trained)["evaluations"][0]["confusion"]
    table = np.array(numbers["backend"])
    assert numbers["classes"] == numbers["answers"] == ["0", "3", "6", "7"]
    assert table.sum(1).tolist() == [30] * 4
    assert table.trace() == (arrays["logits"].argmax(1) == arrays["labels"]).sum()


def test_answers_that_are_no_class_have_a_column_of_their_own(trained):
    arrays = trained.add_evaluation(scores=8)
    numbers = report_of(trained)["evaluations"][0]["confusion"]
    assert numbers["answers"][-1] == "none"
    assert sum(row[-1] for row in numbers["backend"]) == (arrays["logits"].argmax(1) >= 4).sum() > 0


def test_paired_difference_against_the_same_samples(trained):
    arrays = trained.add_evaluation()
    against = report_of(trained)["evaluations"][0]["against_noiseless"]
    right, ideal = (arrays[key].argmax(1) == arrays["labels"] for key in ("logits", "noiseless_logits"))
    assert against["difference"] == pytest.approx(right.mean() - ideal.mean())
    assert against["interval"][0] < against["difference"] < against["interval"][1]


def test_paired_interval_covers_as_often_as_it_says():
    """40 samples, lost with 10 %, gained with 5 %: the interval holds -5 points in about 95 % of draws."""
    draws = np.random.default_rng(0).multinomial(40, [0.1, 0.05, 0.85], 2000)
    held = [low <= -0.05 <= high for low, high in (paired_interval(int(a), int(b), 40) for a, b, _ in draws)]
    assert 0.93 < np.mean(held) < 0.99


def test_best_epoch_and_losses_are_those_of_the_metrics(trained):
    training = report_of(trained)["training"]
    assert training["best_epoch"] == 4
    assert training["task_loss"] == [2 / epoch for epoch in range(1, 6)]
    assert training["formula"] == "loss = 0.1 task + 0.9 distillation"


def test_a_loss_with_smoothed_labels_says_so(begun):
    begun.add_settings(distillation={"alpha": 0.25, "smoothing": 0.1})
    begun.add_training()
    formula = report_of(begun)["training"]["formula"]
    assert formula == "loss = 0.75 task (its labels smoothed by 0.1, which the curve is not) + 0.25 distillation"


def test_a_diverged_training_leaves_gaps_and_strict_json(trained):
    text = trained.run.metrics.read_text().splitlines()
    broken = {**json.loads(text[-1]), "loss": float("nan"), "validation_loss": float("inf")}
    trained.run.metrics.write_text("\n".join([*text[:-1], json.dumps(broken)]) + "\n")
    assert report_of(trained)["training"]["loss"][-1] is None


def test_circuit_gates_have_roles_and_columns(trained):
    circuit = report_of(trained)["circuit"]
    assert [gate["role"] for gate in circuit["gates"]] == ["input"] * 3 + ["fixed"] * 2 + ["weight"] * 3
    assert [gate["column"] for gate in circuit["gates"]] == [0, 0, 0, 1, 2, 2, 3, 3]
    assert (circuit["inputs"], circuit["weights"], circuit["two_qubit_gates"]) == (3, 3, 2)


def test_a_gate_waits_for_the_wires_it_crosses():
    gates = [{"qubits": [1]}, {"qubits": [0, 2]}, {"qubits": [1]}]
    assert [gate["column"] for gate in place_in_columns(gates, 3)] == [0, 1, 2]


def test_not_a_run_is_refused(tmp_path):
    from qkd_qiskit.runs import RunDirectory

    with pytest.raises(RunError, match="not a run directory"):
        write_report(RunDirectory(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("result.json", "[1, 2", "can't be read"),
        ("result.json", "[1, 2]", "object is wanted"),
        ("evaluations/fake_x-0123456789ab/expectation_values.npz", "no archive", "damaged"),
        ("evaluations/fake_x-0123456789ab/result.json", "{}", "damaged"),
        ("student.qpy", "other bytes", "was changed"),
    ],
)
def test_damaged_files_are_named(trained, name, content, words):
    trained.add_evaluation()
    (trained.run.path / name).write_text(content)
    with pytest.raises(RunError, match=words) as caught:
        write_report(trained.run)
    assert name.split("/")[-2 if "/" in name else -1] in str(caught.value)


def test_counts_that_contradict_the_stored_logits_are_refused(trained):
    trained.add_evaluation()
    name = "evaluations/fake_x-0123456789ab/result.json"
    result = trained.read(name)
    result["counts"]["correct"] += 1
    trained.write(name, result)
    with pytest.raises(RunError, match="stored logits give"):
        write_report(trained.run)


def test_an_encoding_too_long_to_read_is_one_box(trained):
    x, w = ParameterVector("x", 400), ParameterVector("w", 3)
    circuit = QuantumCircuit(3)
    for place, angle in enumerate(x):
        circuit.ry(angle, place % 3)
    for qubit in range(3):
        circuit.ry(w[qubit], qubit)
    with trained.run.circuits.open("wb") as stream:
        qpy.dump([circuit, circuit], stream)
    trained.write("student.json", {"sha256": digest_of_file(trained.run.circuits)})
    numbers = report_of(trained)["circuit"]
    assert (numbers["num_gates"], numbers["boxed_gates"]) == (403, 400)
    assert [gate["name"] for gate in numbers["gates"]] == ["encoding", "ry", "ry", "ry"]
    assert "encoding: 400 gates" in draw_circuit(numbers).svg


def test_the_noiseless_student_is_told_once_if_aer_had_the_same_images(trained):
    arrays = trained.add_evaluation()
    ideal = {"logits": arrays["noiseless_logits"], "expectation_values": arrays["noiseless_expectation_values"]}
    trained.write_evaluation("aer", arrays | ideal, 0, "aer")
    rows = report_of(trained)["accuracies"]
    assert [row["kind"] for row in rows] == ["teacher", "training", "noiseless", "backend"]
    name = "evaluations/aer-0123456789ab/identity.json"
    trained.write(name, {**trained.read(name), "images": "2" * 64})
    rows = report_of(trained)["accuracies"]
    assert [row["kind"] for row in rows] == ["teacher", "training", "noiseless", "noiseless", "backend"]


def test_the_layout_is_put_on_the_devices_map_once_for_each_layout(trained):
    trained.add_evaluation()
    qubits = [{"qubit": q, "readout_error": 0.01} for q in range(6)]
    couplings = [{"qubits": [q, q + 1], "gate": "ecr", "error": 0.02} for q in range(5)]
    chart = {"device": "fake_x", "date": "2025-02-26", "qubits": qubits, "couplings": couplings}
    trained.write("device_chart.json", chart)
    trained.write("evaluations/fake_x-0123456789ab/device_chart.json", chart)
    (device,) = report_of(trained)["devices"]
    assert device["used_by"] == ["aer_noisy", "fake_x"]
    assert {item["qubit"]: item["logical"] for item in device["qubits"] if item["used"]} == {3: 0, 1: 1, 2: 2}
    text = write_report(trained.run).read_text()
    assert "Map of fake_x with 6 qubits and 5 couplings. The circuit uses qubits 1 (1 %)" in text
