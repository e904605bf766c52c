"""Tables from outcomes that are written by hand: pairing, dead seeds, pooling, merging."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkd_qiskit.config import BackendSettings, StudySettings
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of
from qkd_qiskit.study.comparing import summarise
from qkd_qiskit.study.curves import find_breaking_point, find_curve_axis
from qkd_qiskit.study.measuring import calibration_error, contraction_and_scatter, cross_entropy
from qkd_qiskit.study.outcomes import Outcome, load_outcomes, read_outcome, write_outcome
from qkd_qiskit.study.tables import format_csv, format_markdown
from qkd_qiskit.study.units import EvaluationUnit

NUMBERS = {
    "training": "t", "settings": {}, "backend": "aer", "noise_scale": 0.0, "shots": 0, "num_classes": 4, "loss": 0.5,
    "calibration_error": 0.1, "contraction": 1.0, "scatter": 0.0, "weights": {"head": 3}, "seconds": 1.0,
    "best_epoch": 2, "versions": {},
}  # fmt: skip


def write(folder: Path, seed: int, correct: int, **labels: Any) -> Path:
    counts = {"counts": {"correct": correct, "samples": 100}, "validation": {"correct": 9, "samples": 10}}
    key = digest_of([seed, labels])[:24]
    return write_outcome(folder, {"key": key, "labels": labels, "seed": seed, "teacher": None, **counts, **NUMBERS})


@pytest.fixture
def outcomes(tmp_path: Path) -> list[Outcome]:
    for task, better in (("a", 2), ("b", 4)):
        for seed in range(6):
            write(tmp_path, seed, 80 + seed, task=task, teacher="none")
            write(tmp_path, seed, 80 + seed + better if seed else 30, task=task, teacher="lenet")
    return load_outcomes(tmp_path)


def test_cells_count_the_dead_and_drop_none(outcomes: list[Outcome]) -> None:
    cells = {tuple(cell["labels"].values()): cell for cell in summarise(outcomes, [], StudySettings())["cells"]}
    dead = cells["a", "lenet"]
    assert (dead["n"], dead["dead"], dead["dead_seeds"], dead["min"]) == (6, 1, [0], 0.3)
    shares = np.array([30, 83, 84, 85, 86, 87]) / 100
    assert (dead["mean"], dead["median"]) == pytest.approx((shares.mean(), np.median(shares)))
    assert dead["sd"] == pytest.approx(shares.std(ddof=1))
    assert (dead["correct"], dead["samples"]) == (455, 600)
    assert cells["b", "none"]["dead"] == 0


def test_pairs_are_of_one_seed_and_the_dead_one_is_among_them(outcomes: list[Outcome]) -> None:
    without = [item for item in outcomes if not (item.seed == 5 and item.labels == {"task": "b", "teacher": "lenet"})]
    found = summarise(without, [], StudySettings(compare="teacher"))["comparisons"]
    by_task = {item["labels"]["task"]: item for item in found}
    assert by_task["a"]["differences"] == pytest.approx([-0.5, 0.02, 0.02, 0.02, 0.02, 0.02])
    assert (by_task["a"]["dead"], by_task["a"]["dead_against"], by_task["a"]["against"]) == (1, 0, "none")
    assert by_task["b"]["seeds"] == [0, 1, 2, 3, 4]
    assert by_task["b"]["unpaired"] == [5]
    assert [item["holm_p"] >= item["p"] for item in found] == [True, True]


def test_pooling_averages_within_a_seed_before_it_compares(outcomes: list[Outcome]) -> None:
    (item,) = summarise(outcomes, [], StudySettings(compare="teacher", pool=("task",)))["pooled"]
    assert item["labels"] == {"teacher": "lenet"}
    assert item["differences"] == pytest.approx([-0.5, 0.03, 0.03, 0.03, 0.03, 0.03])
    assert item["averaged"] == 2


def test_tables_say_what_is_there_and_what_is_refused(outcomes: list[Outcome], tmp_path: Path) -> None:
    one = [item for item in outcomes if item.seed == 1]
    text = format_markdown(summarise(one, [], StudySettings(compare="teacher")))
    assert "| a | lenet | 1 | +2.00 | refused | +2.00 | refused | - | - | 0 (0) |" in text
    assert "No interval: one seed says nothing" in text
    rows = list(csv.DictReader(io.StringIO(format_csv(summarise(outcomes, [], StudySettings())))))
    assert [row["by_seed"].split()[0] for row in rows if row["teacher"] == "lenet"] == ["0:30/100"] * 2
    assert all(row["dead"] == ("1" if row["teacher"] == "lenet" else "0") for row in rows)


def test_rows_without_an_outcome_are_named_and_not_shown(outcomes: list[Outcome]) -> None:
    settings = StudySettings(compare="teacher", pool=["task"])
    labels = [{"task": task, "teacher": teacher} for task in "abc" for teacher in ("none", "lenet")]
    backend = BackendSettings(name="aer", kind="aer")
    units = [EvaluationUnit(row, seed, "t", backend, None) for row in labels for seed in (0, 1)]
    whole = format_markdown(summarise(outcomes, units[:8], settings))
    assert "no outcome" not in whole
    assert "left out" not in whole
    first = [item for item in outcomes if item.labels["task"] == "a"]
    text = format_markdown(summarise(first, units, settings))
    assert "4 of 6 rows have no outcome (not run yet, or failed) and are left out: b, none; b, lenet; c, none;" in text
    assert "2 of 3 comparisons are left out" in text
    assert "1 of 1 averages are left out" in text  # of which b and c would be
    assert "| c |" not in text
    assert "refused" not in text
    assert text.count("| a |") == 3  # two cells and their comparison
    assert format_markdown(summarise([], units, settings)).count("|") == 0


def test_every_measure_has_an_interval_over_seeds_and_one_seed_has_none(outcomes: list[Outcome]) -> None:
    several = summarise(outcomes, [], StudySettings())["cells"]
    plain = next(cell for cell in several if cell["labels"] == {"task": "a", "teacher": "none"})
    low, high = plain["mean_interval"]
    assert 0.80 <= low < plain["mean"] < high <= 0.85
    assert plain["loss_interval"] == pytest.approx([0.5, 0.5])
    rows = list(csv.DictReader(io.StringIO(format_csv(summarise(outcomes, [], StudySettings())))))
    assert {float(row["contraction from"]) for row in rows} == {1.0}
    (one,) = summarise([item for item in outcomes if item.seed == 1][:1], [], StudySettings())["cells"]
    assert (one["mean_interval"], one["scatter_interval"]) == (None, None)


def test_no_two_columns_have_one_name(tmp_path: Path) -> None:
    write(tmp_path, 0, 80, loss="kd")
    head = format_csv(summarise(load_outcomes(tmp_path), [], StudySettings())).splitlines()[0].split(",")
    assert len(set(head)) == len(head)
    assert (head[0], "loss (measured)" in head) == ("loss", True)


def write_curves(folder: Path) -> list[Outcome]:
    """Two students, four seeds: straight lines from 90 % down, the distilled one 4 points higher at noise 4."""
    for seed in range(4):
        for teacher, fall in (("none", 20), ("lenet", 19)):
            for noise in (0, 1, 4):
                labels = {"teacher": teacher, "noise": noise}
                counts = {"counts": {"correct": 90 - fall * noise + seed, "samples": 100}, "teacher": None}
                content = {**counts, "validation": {"correct": 9, "samples": 10}, **NUMBERS, "labels": labels}
                key = digest_of([seed, labels])[:24]
                write_outcome(folder, {**content, "key": key, "seed": seed, "training": f"{teacher}{seed}"})
    return sorted(load_outcomes(folder), key=lambda item: item.labels["teacher"], reverse=True)


def test_areas_and_breaking_points_are_those_of_straight_lines(tmp_path: Path) -> None:
    found = summarise(write_curves(tmp_path), [], StudySettings(compare="teacher"))["curves"]
    assert (found["axis"], found["range"]) == ("noise", [0, 4])
    plain, distilled = found["curves"]
    # the mean of a straight line is its value in the middle: 90 + seed - 2 fall, in percent; mean seed 1.5
    assert plain["areas"] == pytest.approx({seed: (90 - 40 + seed) / 100 for seed in range(4)})
    assert plain["area"] == pytest.approx(0.515)
    assert plain["area_interval"][0] < 0.515 < plain["area_interval"][1]
    # halfway from 91.5 % to 25 % is a fall of 33.25 points
    assert plain["breaking_point"] == pytest.approx(33.25 / 20)
    assert distilled["breaking_point"] == pytest.approx(33.25 / 19)
    (item,) = found["comparisons"]
    assert (item["teacher"], item["against"], item["n"]) == ("lenet", "none", 4)
    assert item["mean"] == pytest.approx(0.02)
    assert item["mean_interval"] == pytest.approx((0.02, 0.02))


def test_a_curve_with_a_missing_point_is_not_shortened(tmp_path: Path) -> None:
    outcomes = [
        item for item in write_curves(tmp_path) if (item.seed, item.labels) != (2, {"teacher": "none", "noise": 4})
    ]
    statistics = summarise(outcomes, [], StudySettings(compare="teacher"))
    plain, distilled = statistics["curves"]["curves"]
    assert (list(plain["areas"]), list(distilled["areas"])) == ([0, 1, 3], [0, 1, 2, 3])
    assert statistics["curves"]["comparisons"][0]["seeds"] == [0, 1, 3]
    assert "| none | 3 | 51.33 |" in format_markdown(statistics)


def test_a_reference_that_is_missing_is_not_replaced(tmp_path: Path) -> None:
    settings = StudySettings(compare="teacher")
    whole = summarise(write_curves(tmp_path), [], settings)
    units = [
        EvaluationUnit(cell["labels"], seed, "t", BackendSettings(name="aer", kind="aer"), None)
        for cell in whole["cells"]
        for seed in cell["seeds"]
    ]
    found = summarise([item for item in load_outcomes(tmp_path) if item.labels["teacher"] == "lenet"], units, settings)
    for (item,) in (found["curves"]["comparisons"], [found["comparisons"][0]]):
        assert (item["against"], item["n"], item["unpaired"]) == ("none", 0, [0, 1, 2, 3])


def test_a_dead_curve_does_not_break() -> None:
    points = [{"x": x, "mean": mean} for x, mean in ((0, 0.126), (1, 0.1254), (2, 0.125))]
    assert find_breaking_point(points, 0.125) is None
    assert find_breaking_point([{"x": 0, "mean": 0.9}, {"x": 2, "mean": 0.125}], 0.125) == pytest.approx(1.0)


def test_without_numbers_there_is_no_curve_nor_along_shots(outcomes: list[Outcome], tmp_path: Path) -> None:
    assert summarise(outcomes, [], StudySettings(compare="teacher"))["curves"] is None
    along = [replace(item, shots=item.labels["noise"]) for item in write_curves(tmp_path / "shots")]
    assert find_curve_axis(along) is None
    assert find_curve_axis(load_outcomes(tmp_path / "shots")) == "noise"


def test_what_the_seeds_cannot_tell_apart_is_named(tmp_path: Path) -> None:
    for seed, gap in enumerate((3, -4, 2, -1, 0, 1)):
        write(tmp_path, seed, 80, task="a", layer="quantum")
        write(tmp_path, seed, 80 + gap, task="a", layer="classical")
        write(tmp_path, seed, 70 + gap, task="a", layer="frozen")
    text = format_markdown(summarise(load_outcomes(tmp_path), [], StudySettings(compare="layer")))
    assert "Not told apart (the interval of the mean covers 0), 1 of 2: a, classical." in text


def test_folders_of_one_study_merge_by_key(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for seed in (0, 1):
        write(first, seed, 50, x=1)
    for seed in (1, 2):
        write(second, seed, 50, x=1)
    assert [item.seed for item in load_outcomes(first, second)] != []
    assert sorted(item.seed for item in load_outcomes(first, second)) == [0, 1, 2]
    write(second, 1, 51, x=1)
    with pytest.raises(RunError, match=r"the same unit with other counts .51 and 50 of 100."):
        load_outcomes(first, second)


def test_an_edited_outcome_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 50, x=1)
    assert read_outcome(path).accuracy == 0.5
    content = json.loads(path.read_text())
    content["counts"]["correct"] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=rf"{path.name} was edited or damaged"):
        load_outcomes(tmp_path)


def test_an_outcome_of_another_format_is_not_guessed_at(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 50, x=1)
    content = json.loads(path.read_text())
    del content["sha256"]
    content["format"] += 1
    path.write_text(json.dumps({**content, "sha256": digest_of(content)}))
    with pytest.raises(RunError, match=rf"{path.name} has format 2, this version reads 1"):
        load_outcomes(tmp_path)


def test_measures_against_their_definitions() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(500, 3)), generator.integers(0, 3, 500)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert cross_entropy(logits, labels) == pytest.approx(-np.mean([np.log(row[k]) for row, k in zip(p, labels)]))
    error = 0.0
    for b in range(15):
        inside = [i for i in range(500) if b / 15 < p[i].max() <= (b + 1) / 15]
        error += abs(sum((p[i].argmax() == labels[i]) - p[i].max() for i in inside)) / 500
    assert calibration_error(logits, labels) == pytest.approx(error)
    ideal = generator.normal(size=(40, 5))
    noise = generator.normal(size=(40, 5)) * 0.1
    slope, scatter = contraction_and_scatter(0.6 * ideal + noise, ideal)
    fitted = np.linalg.lstsq(ideal.reshape(-1, 1), (0.6 * ideal + noise).ravel(), rcond=None)
    assert slope == pytest.approx(fitted[0][0])
    assert scatter == pytest.approx(np.sqrt(fitted[1][0] / 200))
    assert contraction_and_scatter(noise, np.zeros((40, 5))) == (None, None)
