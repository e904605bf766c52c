"""Identities: what changes a result changes them, what does not leaves them, and so does a setting that comes later."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import create_model

from qkd_qiskit.config import BackendSettings, Settings
from qkd_qiskit.config.run import TrainingSettings
from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import digest_of, write_json
from qkd_qiskit.pipeline.jobs import read_settings
from qkd_qiskit.pipeline.loading import check_origin
from qkd_qiskit.runs import RunDirectory

BASE = {"backend": "aer_noisy", "student": {"qubits": 3}, "seed": 1}


def settings(**changes: object) -> Settings:
    return read_settings({**BASE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"student": {"qubits": 4}},
        {"training": {"epochs": 61}},
        {"data": {"augment": {"copies": 1}}},
        {"backend": {"name": "aer_noisy", "noise_scale": 2.0}},
        {"backend": "aer"},
    ],
)
def test_what_changes_a_result_changes_the_identity(changes: dict) -> None:
    assert settings(**changes).identity != settings().identity


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"data_dir": "/elsewhere"}},
        {"training": {"epochs": 60}},
        {"backend": {"name": "aer_noisy", "description": "x"}},
        {"backend": {"name": "aer_noisy", "wait_hours": 1.0}},
    ],
)
def test_what_does_not_change_a_result_leaves_the_identity(changes: dict) -> None:
    assert settings(**changes).identity == settings().identity


def test_a_setting_that_comes_later_leaves_the_identity() -> None:
    later = create_model("Later", __base__=TrainingSettings, invented=(float, 0.0))
    whole = create_model("Whole", __base__=Settings, training=(later, later()))
    content = settings().model_dump()
    assert whole.model_validate(content).identity == settings().identity
    content["training"]["invented"] = 0.5
    assert whole.model_validate(content).identity != settings().identity


def test_the_essence_of_a_backend_is_what_changes_an_answer() -> None:
    plain = BackendSettings(name="ibm_x", kind="ibm", device="ibm_x", shots=100)
    assert plain.model_copy(update={"max_qpu_seconds": 5, "mode": "batch"}).essence == plain.essence
    assert plain.model_copy(update={"resilience_level": 1}).essence != plain.essence


def test_a_run_of_the_first_version_is_named_as_such(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "old")
    run.path.mkdir()
    content = settings().model_dump(mode="json")
    write_json(run.config, content)
    content["data"].pop("data_dir")
    content["backend"].pop("description")
    write_json(run.path / "environment.json", {"settings_sha256": digest_of(content)})
    with pytest.raises(RunError, match="earlier version"):
        check_origin(run, run.settings())
    write_json(run.path / "environment.json", {"settings_sha256": "0" * 64})
    with pytest.raises(RunError, match="was changed since"):
        check_origin(run, run.settings())
    write_json(run.path / "environment.json", {"settings_sha256": settings().identity})
    check_origin(run, run.settings())
