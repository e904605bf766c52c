"""Job file to cells: what is made, and what is refused before anything runs."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from qkd_qiskit.config import JobSettings, validate
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.study import units
from qkd_qiskit.study.grid import expand, select
from qkd_qiskit.study.units import EXTRA_BY_LAYER, join_cells, training_key


def job(**changes: Any) -> JobSettings:
    content: dict[str, Any] = {
        "train": {"backend": "aer", "data": {"classes": "0-1"}},
        "study": {"seeds": 2, "compare": "teacher"},
        "axes": [
            {"name": "teacher", "values": [{"label": "no", "teacher": {"name": "none"}}, {"label": "lenet"}]},
            {"name": "qubits", "values": [{"label": 2, "student": {"qubits": 2}}, {"label": 3}]},
        ],
    }
    return validate(JobSettings, {**content, **changes}, "job")


def test_every_combination_is_there_once_in_the_order_of_the_file() -> None:
    cells = expand(job(), "job")
    found = [(cell.labels["teacher"], cell.labels["qubits"], cell.settings.seed) for cell in cells]
    assert found == [(t, q, s) for t in ("no", "lenet") for q in (2, 3) for s in (0, 1)]
    assert [cell.settings.teacher.name for cell in cells[:4]] == ["none"] * 4
    assert {cell.settings.student.qubits for cell in cells if cell.labels["qubits"] == 3} == {4}
    assert len({cell.key for cell in cells}) == 8


def test_keys_change_with_their_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("quantum", "classical")
    settings = {layer: expand(job(), "job", assignments=[f"student.layer={layer}"])[0].settings for layer in kinds}

    def keys() -> dict[str, str]:
        return {layer: training_key(settings[layer]) for layer in kinds}

    now = keys()
    assert EXTRA_BY_LAYER == {"classical": 1}, "trainings of 0 had a bottleneck, so it must never go down"
    monkeypatch.setitem(EXTRA_BY_LAYER, "classical", EXTRA_BY_LAYER["classical"] + 1)
    layer_raised = keys()
    assert layer_raised["quantum"] == now["quantum"]
    assert layer_raised["classical"] != now["classical"]
    monkeypatch.setattr(units, "FORMAT", units.FORMAT + 1)
    assert not set(keys().values()) & {*now.values(), *layer_raised.values()}


def test_keys_hash_what_changes_the_answer_and_nothing_else() -> None:
    keys = [cell.key for cell in expand(job(), "job")]
    assert [cell.key for cell in expand(job(), "job", assignments=["data.data_dir=elsewhere"])] == keys
    assert not set(keys) & {cell.key for cell in expand(job(), "job", assignments=["training.epochs=7"])}


def test_cells_that_differ_in_labels_only_are_trained_once() -> None:
    axes = [{"name": "a", "values": [{"label": "x"}, {"label": "y"}]}]
    cells = expand(job(axes=axes, study={"seeds": 2}), "job")
    joined = join_cells(cells)
    assert (len(cells), len(joined)) == (4, 2)
    assert len({unit.key for cell in joined for unit in cell.evaluations}) == 4


def test_conditions_and_evaluations_are_multiplied_and_laid_over_each_other() -> None:
    text = """
    evaluate = [{backend = "aer"}, {backend = {name = "aer_noisy", noise_scale = 3.0}, shots = 10, label = "n"}]
    [study]
    [[conditions]]
    name = "layouts"
    values = [{label = 1, backend = {layouts = 1}}, {label = 2, backend = {layouts = 2}, shots = 7}]
    """
    (cell,) = expand(validate(JobSettings, tomllib.loads(text), "job"), "job")
    found = [
        (unit.labels, unit.backend.noise_scale, unit.backend.layouts, unit.backend.shots) for unit in cell.evaluations
    ]
    assert found == [
        ({"evaluation": "aer", "layouts": 1}, 1, 1, 0),
        ({"evaluation": "aer", "layouts": 2}, 1, 2, 7),
        ({"evaluation": "n", "layouts": 1}, 3, 1, 10),
        ({"evaluation": "n", "layouts": 2}, 3, 2, 7),
    ]


def test_without_an_evaluation_it_is_the_training_backend_exactly() -> None:
    (cell,) = expand(job(axes=[], study={}, train={"backend": "fake_manila"}), "job")
    (unit,) = cell.evaluations
    assert (unit.backend.name, unit.backend.shots, unit.labels) == ("fake_manila", 0, {})


def test_a_backend_named_anew_drops_what_was_said_of_the_old_one() -> None:
    axes = [{"name": "a", "values": [{"label": "n"}, {"label": "i", "backend": "aer"}]}]
    noisy, ideal = expand(job(axes=axes, study={}, train={"backend": {"name": "aer_noisy", "noise_scale": 2.0}}), "job")
    assert (noisy.settings.backend.noise_scale, ideal.settings.backend.noise_scale) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": [{"name": "teacher", "values": []}]}, "axis 'teacher' has no values, so the grid is empty"),
        ({"axes": [{"name": "t", "values": [{"label": 1}, {"label": "1"}]}], "study": {}}, "two values labelled '1'"),
        ({"axes": [{"name": "t", "values": [{"label": 1}]}] * 2, "study": {}}, "'t' is there twice"),
        ({"study": {"compare": "techer"}}, "no axis 'techer' .did you mean 'teacher'"),
        ({"study": {"compare": "teacher", "pool": ["qubit"]}}, "did you mean 'qubits'"),
        ({"train": {"seed": 3}}, r"seeds stand in \[study\]; write seeds = \[3\]"),
        ({"preset": "papr"}, "unknown preset 'papr'"),
        (
            {"axes": [{"name": "e", "values": [{"label": "bad", "student": {"encodng": "angle"}}]}], "study": {}},
            "e bad: settings: unknown key 'student.encodng' .did you mean 'encoding'",
        ),
        ({"evaluate": [{"backend": "aer"}, {"backend": "aer", "shots": 5}]}, "tables are called 'aer'"),
        ({"train": {"backend": "ibm_brisbane"}}, "teacher no, qubits 2: training on ibm_brisbane would need"),
        (
            {"train": {"distillation": {"loss": "kd"}}},
            "teacher no, qubits 2: loss 'kd' needs a teacher",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_labels(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        expand(job(**changes), "job")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"study": {"seeds": 0}}, "the grid is empty"),
        ({"study": {"seeds": []}}, "the grid is empty"),
        ({"study": {"seeds": [1, 1]}}, "seed 1 is there twice"),
        ({"study": {"seeds": [-1]}}, "-1 is no seed"),
        ({"study": {"sedes": 3}}, "did you mean 'seeds'"),
        ({"axes": [{"nme": "a", "values": []}]}, "did you mean 'name'"),
        ({"conditions": [{"name": "a", "values": [{"label": 1, "shot": 5}]}]}, "did you mean 'shots'"),
    ],
)
def test_unknown_keys_and_bad_seeds_are_refused(content: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        validate(JobSettings, content, "job")


def test_a_pca_of_more_components_than_samples_is_refused_by_its_labels() -> None:
    pca = {"label": "pca", "student": {"reduction": "pca", "qubits": 6}}
    axes = [{"name": "reduction", "values": [{"label": "linear"}, pca]}]
    settings = {"data": {"classes": "0-2", "train_per_class": 20}}
    words = "reduction pca: a PCA of 64 components can't be fitted to 60 .*train_per_class to 22"
    with pytest.raises(ConfigurationError, match=words):
        expand(job(axes=axes, study={}, train=settings), "job")
    assert len(expand(job(axes=axes, study={}, train={"data": {"classes": "0-2", "train_per_class": 22}}), "job")) == 2


@pytest.mark.parametrize("reduction", ["average_pool", "max_pool", "centre_crop", "pca"])
def test_a_reduction_to_more_features_than_pixels_is_refused_by_its_labels(reduction: str) -> None:
    wide = {"label": "wide", "student": {"reduction": reduction, "encoding": "complex_amplitude", "qubits": 9}}
    axes = [{"name": "input", "values": [{"label": "linear"}, wide]}]
    with pytest.raises(ConfigurationError, match=r"input wide: .*1024.*fewer qubits"):
        expand(job(axes=axes, study={}), "job")


def test_an_assignment_that_every_value_overrides_is_refused() -> None:
    sizes = [{"label": 2, "student": {"qubits": 2}}, {"label": 3, "student": {"qubits": 3, "layers": 1}}]
    axes = [{"name": "size", "values": sizes}]
    with pytest.raises(
        ConfigurationError, match=r"--set student.qubits would have no effect: axis 'size' of job .*--only"
    ):
        expand(job(axes=axes, study={}), "job", assignments=["student.qubits=4"])
    cells = expand(job(axes=axes, study={}), "job", assignments=["student.layers=4"])  # one value has its own
    assert [cell.settings.student.layers for cell in cells] == [4, 1]


def test_a_part_of_a_study_can_be_chosen() -> None:
    cells = expand(job(study={"seeds": [0, 2, 5]}), "job")
    kept = select(cells, only=["teacher=lenet", "qubits=2"], seeds="1-5")
    assert [(cell.labels["teacher"], cell.settings.seed) for cell in kept] == [("lenet", 2), ("lenet", 5)]
    assert len(select(cells, only=["qubits=2", "qubits=3"])) == len(cells)


@pytest.mark.parametrize(
    ("only", "seeds", "words"),
    [
        (["techer=no"], None, "did you mean 'teacher'"),
        (["teacher=lene"], None, "did you mean 'lenet'"),
        (["teacher"], None, "write 'axis=label'"),
        ([], "7", "the study has 0, 1"),
        ([], "0-4", "0-4 is more than there is; the study has 0, 1"),
        ([], "1-x", "can't read '1-x'"),
    ],
)
def test_a_part_that_is_not_there_is_refused(only: list[str], seeds: str | None, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        select(expand(job(), "job"), only=only, seeds=seeds)
