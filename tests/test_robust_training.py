"""Training against noise, from settings to result: drawn scales, injection, twin, heads fitted anew; on small data."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from qkd_qiskit.config import Settings
from qkd_qiskit.distillation.checkpoints import load_checkpoint
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.execution.devices import open_simulator
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.checking import check_settings
from qkd_qiskit.pipeline.evaluation import evaluate_run
from qkd_qiskit.pipeline.fast_evaluation import measure_fast
from qkd_qiskit.pipeline.jobs import read_settings
from qkd_qiskit.pipeline.loading import load_placed
from qkd_qiskit.pipeline.recalibrating import recalibrate
from qkd_qiskit.pipeline.simulating import measure_on_simulator
from qkd_qiskit.pipeline.training import train_run
from qkd_qiskit.runs import RunDirectory

MANY = {
    "noise_scales": [0.0, 1.0, 3.0],
    "injection": 0.05,
    "angle_injection": 0.02,
    "recalibrate": 100,
}


def settings_with(distillation: dict | None = None, **training: object) -> Settings:
    return read_settings(
        {
            "data": {"classes": "0-1", "split_seed": 0},
            "teacher": {"epochs": 1},
            "student": {"qubits": 2},
            "backend": {"name": "aer_noisy", "noise": "fake_manila"},
            "distillation": distillation or {},
            "training": {"epochs": 3, **training},
        }
    )


class Ear(Listener):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        self.heard.append(what)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    out = tmp_path_factory.mktemp("robust") / "run"
    result = train_run(settings_with({"twin": 0.5}, **MANY), out)
    assert result["recalibrated"]["images"] == 100
    assert result["test_accuracy"] > 0.9
    return RunDirectory(out)


def test_a_broken_run_ends_bit_equal_and_the_twin_is_read(trained: RunDirectory, tmp_path: Path) -> None:
    class Stopper(Ear):
        def epoch(self, facts: dict, epochs: int) -> None:
            if facts["epoch"] == 2:
                raise KeyboardInterrupt

    settings, out = settings_with({"twin": 0.5}, **MANY), tmp_path / "run"
    ear = Stopper()
    with pytest.raises(Exception, match="interrupted"):
        train_run(settings, out, listener=ear)
    assert "teacher twin" not in ear.heard, "the cache has it"
    assert any("noiseless twin" in text for text in ear.heard)
    result = train_run(settings, out, resume=True)
    wanted, found = (load_checkpoint(run.best)[0] for run in (trained, RunDirectory(out)))
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert result["test_counts"] == json.loads(trained.result.read_text())["test_counts"]


def test_a_kill_after_the_new_head_was_kept_changes_nothing(trained: RunDirectory, tmp_path: Path) -> None:
    copied = RunDirectory(Path(shutil.copytree(trained.path, tmp_path / "run")))
    copied.result.unlink()
    again = train_run(trained.settings(), copied.path, resume=True)
    before = json.loads(trained.result.read_text())
    assert {key: again[key] for key in ("test_counts", "validation_counts", "recalibrated", "best_epoch")} == {
        key: before[key] for key in ("test_counts", "validation_counts", "recalibrated", "best_epoch")
    }


def test_the_new_head_is_what_is_loaded(trained: RunDirectory) -> None:
    placed, dataset = load_placed(trained)
    result = evaluate_run(trained, resolve_backend("aer_noisy", {"noise": "fake_manila"}))
    assert result["counts"]["correct"] == json.loads(trained.result.read_text())["test_counts"][0]
    assert len(dataset.test) == result["samples"]
    assert type(placed.student.quantum).__name__ == "ExactConnector", "noise for training only is not loaded"


def test_each_kind_of_training_differs_and_is_off_by_default(tmp_path: Path) -> None:
    weights = {}
    for name, training in (("plain", {}), ("drawn", {"noise_scales": [0.0, 3.0]}), ("noisy", {"injection": 0.1})):
        train_run(settings_with(**{"epochs": 1, **training}), tmp_path / name)
        tensors, _ = load_checkpoint(RunDirectory(tmp_path / name).best)
        weights[name] = torch.cat([t.flatten().double() for key, t in tensors.items() if key.startswith("student.q")])
        assert "recalibrated" not in json.loads((tmp_path / name / "result.json").read_text())
    assert not torch.equal(weights["plain"], weights["drawn"])
    assert not torch.equal(weights["plain"], weights["noisy"])


def test_evaluation_with_a_head_fitted_anew(trained: RunDirectory) -> None:
    backend = resolve_backend("fake_manila", {"noise_scale": 5.0, "recalibrate": 60, "shots": 256})
    result = evaluate_run(trained, backend, samples=40)
    assert result["circuit_executions"] == (40 + 60) * 256
    assert result["recalibrated"] == {"images": 60, "executions": 60 * 256}
    assert (Path(result["folder"]) / "head.safetensors").exists()
    own = evaluate_run(trained, backend.model_copy(update={"recalibrate": 0}), samples=40)
    assert own["folder"] != result["folder"]
    assert result["accuracy"] >= own["accuracy"] - 0.1
    with (
        np.load(Path(own["folder"]) / "expectation_values.npz") as first,
        np.load(Path(result["folder"]) / "expectation_values.npz") as second,
    ):
        np.testing.assert_array_equal(first["expectation_values"], second["expectation_values"])
        np.testing.assert_array_equal(first["noiseless_logits"], second["noiseless_logits"])
        assert np.abs(first["logits"] - second["logits"]).max() > 0.1


def test_a_studys_recalibration_is_that_of_evaluate(trained: RunDirectory) -> None:
    """Exact values: what the fast road of studies fits is the head that `evaluate` keeps."""
    backend = resolve_backend("aer_noisy", {"noise": "fake_manila", "noise_scale": 5.0, "recalibrate": 60})
    placed, dataset = load_placed(trained)
    place = open_simulator(backend, 2)
    head = recalibrate(placed, dataset, 60, partial(measure_fast, place, placed.compiled))
    kept = load_file(Path(evaluate_run(trained, backend, samples=4)["folder"]) / "head.safetensors")
    for name, weight in head.state_dict().items():
        torch.testing.assert_close(kept[name], weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mitigation", [{"readout": True}, {"zne": True}, {"readout": True, "zne": True}])
def test_the_fast_road_mitigates_as_aer_does(trained: RunDirectory, mitigation: dict) -> None:
    placed, dataset = load_placed(trained)
    values = placed.student.parameter_values(dataset.test.pixels[:5])
    place = open_simulator(resolve_backend("aer_noisy", {"noise": "fake_manila", "mitigation": mitigation}), 2)
    slow = measure_on_simulator(place, placed.compiled, values, 0, Listener())
    np.testing.assert_allclose(measure_fast(place, placed.compiled, values, 0), slow.values, atol=1e-8)
    assert slow.facts["mitigation"]["zne_factors"] == ([1, 3, 5] if "zne" in mitigation else [1])
    counted = open_simulator(place.settings.model_copy(update={"shots": 100_000}), 2)
    np.testing.assert_allclose(measure_fast(counted, placed.compiled, values, 0), slow.values, atol=0.05)


@pytest.mark.parametrize(
    ("change", "telling"),
    [
        ({"training": {"noise_scales": [1.0], "engine": "aer"}}, "needs the exact engine"),
        ({"training": {"noise_scales": [1.0]}, "backend": "aer"}, "no noise to scale"),
        ({"training": {"noise_scales": [-1.0]}}, "noise_scales"),
        ({"training": {"recalibrate": 10}, "student": {"head": "paper", "kind": "hybrid"}}, "no weights"),
        ({"training": {"recalibrate": 10}, "student": {"layer": "classical"}, "backend": "aer"}, "measures nothing"),
        ({"training": {"noise_scales": [1.0]}, "student": {"layer": "mlp"}, "backend": "aer"}, "has no gates"),
        ({"training": {"recalibrate": 10}, "student": {"layer": "mlp"}, "backend": "aer"}, "measures nothing"),
        ({"training": {"recalibrate": 10_000}}, "of which there are"),
        ({"distillation": {"twin": 0.5}, "teacher": {"name": "none"}}, "second teacher"),
        ({"distillation": {"twin": 1.0}}, "twin"),
        ({"backend": {"name": "aer_noisy", "mitigation": {"readout": True}}}, "mitigation is for evaluation"),
        ({"backend": {"name": "aer_noisy", "recalibrate": 10}}, "give training.recalibrate"),
    ],
)
def test_contradictions_are_refused_in_plain_words(tmp_path: Path, change: dict, telling: str) -> None:
    base = {"data": {"classes": "0-1", "split_seed": 0}, "backend": "aer_noisy", "training": {"epochs": 1}}
    merged = {**base, **change, "training": {"epochs": 1, **change.get("training", {})}}
    with pytest.raises(ConfigurationError, match=telling):
        train_run(read_settings(merged), tmp_path / "run")


def test_hardware_refuses_to_be_recalibrated_on() -> None:
    with pytest.raises(ConfigurationError, match="not offered on hardware yet"):
        resolve_backend("ibm_brisbane", {"recalibrate": 100})


def test_the_robust_preset_is_a_run_that_can_be() -> None:
    settings = read_settings({"backend": "aer_noisy"}, preset="robust")
    check_settings(settings)
    assert settings.student.head == "normalised"
    assert settings.training.injection > 0
