from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from qkd_qiskit.cli import main
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.report import write_comparison
from qkd_qiskit.report.figures.lines import Line, Look, find_limits
from qkd_qiskit.report.numbers.device import collect_device, place_qubits
from qkd_qiskit.report.numbers.intervals import describe_mean
from qkd_qiskit.report.reading import StoredEvaluation, name_places
from qkd_qiskit.study.curves import find_breaking_point, measure_area
from tests.report.study_files import SAMPLES, SCALES, write_study, write_unit


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study with a report; read by many tests, changed by none."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    axes = {"training": ("noiseless", "noise-aware"), "loss": ("none", "kd")}
    write_study(folder, axes=axes, seeds=range(4), scales=(0.0, 1.0, 5.0), shots=(256, 4096), epochs=6)
    write_comparison([folder])
    return folder


@pytest.fixture(scope="module")
def numbers(study: Path) -> dict:
    return json.loads((study / "report.json").read_text())["studies"][0]


def outcomes_of(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in (folder / "units").glob("*.json")]


def shares(folder: Path, **wanted: object) -> dict[int, float]:
    """Read accuracies by seed straight from the files."""
    return {
        item["seed"]: item["counts"]["correct"] / SAMPLES
        for item in outcomes_of(folder)
        if all(item["labels"][name.replace("_", " ")] == value for name, value in wanted.items())
    }


def test_curves_are_means_over_seeds_with_students_interval(study, numbers):
    line = next(
        line
        for line in numbers["noise"]["accuracy"]
        if line["labels"] == {"training": "noise-aware", "loss": "kd"} and line["shots"] == 4096
    )
    assert [point["x"] for point in line["points"]] == [0, 1, 5]
    values = list(shares(study, training="noise-aware", loss="kd", noise=1.0, shots=4096).values())
    point = line["points"][1]
    wanted = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert point["mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert point["interval"] == pytest.approx(wanted, abs=1e-12)
    assert sorted(point["by_seed"].values()) == sorted(values)


def test_pairs_are_of_the_same_seed_noise_and_shots(study, numbers):
    paired = numbers["paired"]
    assert (paired["axis"], paired["reference"]) == ("loss", "none")
    assert len(paired["rows"]) == 2 * 3 * 2  # trainings, noise scales, shots
    for row in paired["rows"]:
        where = {**row["labels"], "noise": row["noise_scale"], "shots": row["shots"]}
        kd, plain = (shares(study, loss=loss, **where) for loss in ("kd", "none"))
        for seed, difference in row["by_seed"].items():
            assert difference == pytest.approx(kd[int(seed)] - plain[int(seed)], abs=1e-12)
        assert row["interval"][0] < row["mean"] < row["interval"][1]


def test_shots_and_qpu_seconds_have_a_curve_each(numbers):
    assert [point["x"] for point in numbers["accuracy_by_shots"][0]["points"]] == [256, 4096]
    assert [point["x"] for point in numbers["accuracy_by_qpu_seconds"][0]["points"]] == [2.56, 40.96]


def test_every_figure_says_seeds_samples_shots_backend_and_date_and_has_words_and_numbers(study):
    text = (study / "report.html").read_text()
    captions = re.findall(r'class="from">(.*?)</span></figcaption>', text, re.S)
    assert len(captions) == 11  # accuracy, paired (2), noise (3), shots, QPU seconds, epochs (3)
    for line in captions:
        said = re.sub("<[^>]+>", "", line)
        for words in ("n = 4 seeds", "8,000 test images", "256, 4,096", "fake_brisbane", "calibration of 2025-02-26"):
            assert words in said
    assert text.count('role="img"') == len(re.findall(r"<title id=[^>]+>[^<]{30,}</title>", text))
    assert len(re.findall("<details>", text)) == len(captions)
    assert not re.search(r"<script|https?:|@import", text)


def test_one_seed_has_no_interval_but_the_reason(tmp_path):
    write_study(tmp_path / "s", axes={"loss": ("none", "kd")}, seeds=[3], scales=(0.0, 1.0), epochs=3)
    text = write_comparison([tmp_path / "s"]).read_text()
    numbers = json.loads((tmp_path / "s" / "report.json").read_text())["studies"][0]
    everything = [*numbers["groups"], *numbers["paired"]["rows"]]
    everything += [point for line in numbers["noise"]["accuracy"] for point in line["points"]]
    assert len(everything) > 6
    for item in everything:
        assert item["interval"] is None
        assert "one seed" in item["reason"]
    assert "one seed (3), so no intervals" in text
    assert "95 % intervals of the mean" not in text


def test_the_biggest_study_stays_small_and_fast(tmp_path):
    """2 data sets x 3 trainings x 3 losses x 7 noise scales x 5 seeds; 20 s is the promise on an idle machine."""
    write_study(tmp_path / "big", epochs=20)
    path = write_comparison([tmp_path / "big"])
    assert path.stat().st_size < 3_000_000
    report = json.loads((tmp_path / "big" / "report.json").read_text())["studies"][0]
    assert report["evaluations"] == 2 * 3 * 3 * len(SCALES) * 5
    assert report["trainings"] == 90
    assert report["noise"]["accuracy"][0]["labels"] == {
        "data set": "MNIST", "training": "noiseless", "loss": "none",
    }  # fmt: skip


def test_an_edited_an_empty_and_an_unknown_study_are_refused(tmp_path):
    write_study(tmp_path / "s", axes={"loss": ("none", "kd")}, seeds=[0, 1], scales=(0.0,), epochs=0)
    path = write_unit(tmp_path / "s", {"loss": "kd", "noise": 0.0}, 7, "t", 10, 0.0, 0)
    path.write_text(path.read_text().replace('"correct": 10', '"correct": 8000'))
    with pytest.raises(RunError, match=rf"{path.name}.*SHA-256"):
        write_comparison([tmp_path / "s"])
    shutil.rmtree(tmp_path / "s" / "units")
    with pytest.raises(RunError, match="has no outcome yet"):
        write_comparison([tmp_path / "s"])
    answer = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere"), "--json"])
    assert answer.exit_code == RunError.exit_code
    assert "there is no run" in json.loads(answer.stdout)["error"]


def test_runs_are_compared_by_what_differs_and_paired_by_seed(tmp_path, make_run):
    for name, teacher, seeds in (("kd", "lenet", (0, 1, 2)), ("ce", "none", (0, 1))):
        for seed in seeds:
            make_run(tmp_path / f"{name}{seed}", seed=seed, teacher={"name": teacher})
    folders = sorted(tmp_path.iterdir())
    path = write_comparison(folders)
    assert path == tmp_path / "report.html"  # beside the first
    report = json.loads((tmp_path / "report.json").read_text())
    paired = report["runs"]["paired"]
    assert (paired["axis"], paired["reference"]) == ("loss", "ce")
    assert all(row["seeds"] == 2 for row in paired["rows"])
    assert report["runs"]["labels"]["kd2"] == {"loss": "kd", "teacher": "lenet", "seed": 2}
    assert len(report["details"]) == 3
    assert report["runs_without_details"] == ["kd1", "kd2"]
    text = path.read_text()
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    shutil.copytree(tmp_path / "kd0", tmp_path / "again" / "kd0")
    with pytest.raises(RunError, match="two of the runs are called"):
        write_comparison([tmp_path / "kd0", tmp_path / "again" / "kd0"])


def test_runs_that_are_not_evaluated_are_counted_and_told_with_what_was_varied(tmp_path, make_run):
    make_run(tmp_path / "a", seed=1, student={"encoding": "angle", "layers": 3})
    make_run(tmp_path / "b", seed=1, student={"observables": "z"}, teacher={"name": "none"})
    shutil.rmtree(tmp_path / "b" / "evaluations")
    text = write_comparison([tmp_path / "a", tmp_path / "b"]).read_text()
    report = json.loads((tmp_path / "report.json").read_text())
    (varied,) = re.findall(r"(2 trainings, [^<]*)", text)
    for words in ("1 seed. ", "loss: kd, ce", "encoding: angle, amplitude", "observables: parities, z", "layers: 3, 2"):
        assert words in varied
    assert report["runs"]["not_evaluated"] == ["b"]
    assert "b has no finished evaluation" in text
    shutil.rmtree(tmp_path / "a" / "evaluations")
    assert "2 trainings, 0 evaluations" in write_comparison([tmp_path / "a", tmp_path / "b"]).read_text()


def test_no_band_is_drawn_where_no_value_can_be():
    points = [{"x": x, "mean": 0.5, "interval": [-3.0, 4.0]} for x in (1, 2)]
    lines = [Line(0, "", points)]
    assert find_limits(lines, Look("a", "", "x", "loss", lowest=0.0))[0] == 0
    assert find_limits(lines, Look("a", "", "x", "accuracy", percent=True)) == (0, 1.005)
    assert find_limits(lines, Look("a", "", "x", "slope"))[0] < -3


def test_the_command_takes_runs_and_studies_together(study, tmp_path, make_run):
    make_run(tmp_path / "run")
    arguments = ["report", str(tmp_path / "run"), str(study), "--out", str(tmp_path / "new" / "out"), "--json"]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout) == {"report": str(tmp_path / "new" / "out" / "report.html")}
    report = json.loads((tmp_path / "new" / "out" / "report.json").read_text())
    assert [source["kind"] for source in report["sources"]] == ["run", "study"]
    markdown = (tmp_path / "new" / "out" / "report.md").read_text()
    assert "Paired differences against none" in markdown


def test_area_and_breaking_point_of_a_straight_line():
    points = [{"x": x, "mean": 0.9 - 0.2 * x} for x in (0, 1, 2, 4)]
    assert measure_area(points) == pytest.approx(0.5)
    assert find_breaking_point(points, 0.1) == pytest.approx(2.0)
    assert find_breaking_point(points[:2], 0.1) is None


def test_a_share_s_interval_stays_a_share():
    described = describe_mean([0.9, 1.0], share=True)
    assert described["interval"][1] == 1.0
    assert describe_mean([0.9, 1.0])["interval"][1] > 1
    assert describe_mean([])["mean"] is None


def test_a_heavy_hexagon_lattice_is_drawn_in_rows_and_another_device_by_distance():
    upper, lower = [(q, q + 1) for q in range(4)], [(q, q + 1) for q in range(7, 11)]
    edges = [*upper, (0, 5), (5, 7), (4, 6), (6, 11), *lower]  # 0-4 above, 5 and 6 between, 7-11 below
    places = place_qubits(12, edges)
    assert all(np.linalg.norm(places[a] - places[b]) == pytest.approx(1) for a, b in edges)
    assert places[5].tolist() == [0, 1]
    ring = [(q, (q + 1) % 8) for q in range(8)]
    places = place_qubits(8, [(min(pair), max(pair)) for pair in ring])
    lengths = [np.linalg.norm(places[a] - places[b]) for a, b in ring]
    assert max(lengths) / min(lengths) < 1.05


def test_the_map_marks_what_the_circuit_uses():
    chart = {
        "device": "fake_x",
        "date": None,
        "qubits": [{"qubit": q, "readout_error": 0.01 * q} for q in range(4)],
        "couplings": [{"qubits": [q, q + 1], "gate": "cx", "error": 0.01} for q in range(3)],
    }
    found = collect_device(chart, {"physical_qubits": [1, 2], "measured_qubits": [2, 1]})
    assert found is not None
    assert [item["logical"] for item in found["qubits"]] == [None, 1, 0, None]
    assert [item["used"] for item in found["couplings"]] == [False, True, False]
    assert collect_device(None, {"physical_qubits": [0]}) is None


def test_outcomes_of_other_settings_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "s"
    write_study(folder, axes={"loss": ("none", "kd")}, seeds=range(6), scales=(0.0, 1.0), epochs=0)
    keys = sorted(path.stem for path in (folder / "units").glob("*.json"))
    content = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**content, "units": keys, "description": "two losses"}))
    before = json.loads(write_comparison([folder]).with_suffix(".json").read_text())["studies"][0]
    stray = write_unit(folder, {"loss": "kd", "noise": 1.0, "more": 1}, 0, "t", 1, 1.0, 0)
    renamed = json.loads(stray.read_text())
    assert renamed["counts"]["correct"] == 1
    page = write_comparison([folder])
    after = json.loads(page.with_suffix(".json").read_text())["studies"][0]
    assert (before["left_out"], after["left_out"]) == (0, 1)
    assert after["groups"] == before["groups"]
    assert "1 evaluation of other settings lie in its folder" in page.read_text()
    assert "two losses." in page.read_text()


def test_a_compared_condition_is_paired_whatever_noise_and_shots_it_brings(tmp_path):
    folder = tmp_path / "s"
    write_study(folder, axes={"layers": (1,)}, seeds=(), scales=(0.0,), epochs=0, compare="device")
    for seed in range(6):
        for device, scale, shots, correct in (
            ("exact", 0.0, 0, 7000),
            ("noisy", 2.0, 0, 6000),
            ("counted", 1.0, 256, 6400),
        ):
            write_unit(folder, {"layers": 1, "device": device}, seed, f"t{seed}", correct + seed, scale, shots)
    numbers = json.loads(write_comparison([folder]).with_suffix(".json").read_text())["studies"][0]
    rows = {row["compared"]: row for row in numbers["paired"]["rows"]}
    reference = numbers["paired"]["reference"]
    assert all(row["seeds"] == 6 for row in rows.values())
    share = {"exact": 7000, "noisy": 6000, "counted": 6400}
    for name, row in rows.items():
        assert row["mean"] == pytest.approx((share[name] - share[reference]) / SAMPLES)


def test_an_axis_that_is_not_about_teaching_is_not_compared_by_guess(tmp_path):
    folder = tmp_path / "s"
    write_study(folder, axes={"device": ("none", "today")}, seeds=(0, 1), scales=(0.0, 1.0), epochs=0, compare=None)
    assert json.loads(write_comparison([folder]).with_suffix(".json").read_text())["studies"][0]["paired"] is None


def test_few_seeds_are_warned_of(tmp_path):
    folder = tmp_path / "s"
    write_study(folder, axes={"loss": ("none", "kd")}, seeds=(0, 1), scales=(0.0, 1.0), epochs=0)
    assert "over 2 seeds lies between two of their differences and covers 50 % at most" in write_comparison(
        [folder]
    ).read_text().replace("\n", " ")


def test_evaluations_on_one_backend_are_told_apart_by_what_differs():
    def stored(name: str, **backend: object) -> StoredEvaluation:
        return StoredEvaluation("x", {"backend": name}, {"backend": {"name": name, **backend}}, {}, {}, True)

    places = name_places(
        [
            stored("aer_noisy", noise="fake_torino", shots=0),
            stored("aer_noisy", noise={"readout": 0.1}, noise_scale=2.0),
            stored("aer_noisy", noise="fake_torino", noise_parts=["readout"]),
            stored("aer", shots=100),
            stored("aer", shots=200),
        ]
    )
    assert len(set(places[:3])) == 3
    assert places[0] == "aer_noisy (noise fake_torino, noise.readout as usual, noise_parts as usual)"
    assert places[3:] == ["aer", "aer"]
