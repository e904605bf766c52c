"""Error mitigation on hardware: what is legal, what it costs, what reaches the service; and the legacy Estimator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.paid import FastClock, call, evaluate
from tests.paid import clock as clock
from tests.paid import no_evaluations_yet as no_evaluations_yet
from tests.paid import run as run
from tests.paid import server as server
from tests.runtime_server import RuntimeServer


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        (["--zne", "--set", "mitigation.pec=true"], "exclude each other"),
        (["--pec", "--pea"], "exclude each other"),
        (["--pec", "--set", "mitigation.gate_twirling=false"], "need gate twirling"),
        (["--zne", "--set", "mitigation.pec_max_overhead=3"], "no effect without --pec"),
        (["--zne", "--set", "mitigation.layers_to_learn=3"], "no effect without --pec or --pea"),
        (["--pec", "--set", "mitigation.pec_max_overhead=0.5"], "mitigation.pec_max_overhead"),
        (["--resilience", "1", "--set", "mitigation.measure_twirling=false"], "needs measurement twirling"),
        (["--zne", "--set", "mitigation.zne_factors=[1]"], "needs 2 different"),
        (["--set", "mitigation.zne_factors=[1, 2]"], "no effect without --zne"),
        (["--set", "mitigation.dynamical_decoupling=XYZ"], "mitigation.dynamical_decoupling"),
        (["--set", "mitigation.zn=true"], "did you mean 'zne'"),
        (["--resilience", "3"], "--resilience"),
    ],
)
def test_illegal_combinations_are_refused_before_anything_is_asked(
    run: Path, server: RuntimeServer, options: list[str], telling: str
) -> None:
    before = len(server.requests)
    assert telling in evaluate(run, *options, code=2).stderr
    assert len(server.requests) == before


@pytest.mark.parametrize(
    ("options", "multiplier"),
    [
        (["--resilience", "0"], 1),
        (["--resilience", "1"], 1),
        (["--twirl"], 1),
        (["--dd", "XY4"], 1),
        (["--zne"], 3),
        (["--resilience", "2"], 3),
    ],
)
def test_options_run_and_cost_what_was_said(
    run: Path, server: RuntimeServer, clock: FastClock, options: list[str], multiplier: int
) -> None:
    told = json.loads(evaluate(run, *options, "--dry-run", "--json", shots=256).stdout)["price"]
    assert told["multiplier"] == multiplier
    result = json.loads(evaluate(run, *options, "--json", shots=256).stdout)
    assert server.jobs_created == 1
    assert result["qpu_seconds_charged"] <= 1.5 * told["seconds"] + 5, "else its own limit would have stopped it"


@pytest.mark.parametrize(
    ("options", "asked", "least"),
    [
        (
            ["--pec", "--set", "mitigation.pec_max_overhead=5"],
            {"pec_mitigation": True, "pec": {"max_overhead": 5.0}},
            5,
        ),
        (["--pea"], {"zne_mitigation": True}, 3),
    ],
)
def test_pec_and_pea_learn_in_the_same_job_on_the_server_and_are_priced(
    run: Path, server: RuntimeServer, clock: FastClock, options: list[str], asked: dict, least: int
) -> None:
    dear = evaluate(run, *options, "--set", "mitigation.layers_to_learn=1000", code=8)
    assert "milder error mitigation" in dear.stderr
    assert server.posts == 0
    answer = evaluate(run, *options, "--set", "mitigation.layers_to_learn=2", "--json")
    result = json.loads(answer.stdout)
    (job,) = server.jobs
    assert job.program == "estimator"
    resilience = job.params["options"]["resilience"]
    assert asked.items() <= resilience.items()
    assert resilience["layer_noise_learning"]["max_layers_to_learn"] == 2
    assert ("pec" in resilience) == ("--pec" in options)
    assert resilience.get("zne", {}).get("amplifier") == ("pea" if "--pea" in options else None)
    price = result["price"]
    assert price["executions"] == 5 * 64 * least + 2 * 9 * 6 * 32 * 128
    assert price["seconds"] == pytest.approx(2 + price["executions"] * (250e-6 + price["circuit_seconds"]))
    assert job.cost >= price["seconds"]
    assert result["samples"] == 4


def test_pec_is_refused_by_name_where_no_estimator_learns(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qiskit_ibm_runtime import executor_estimator

    monkeypatch.setattr("qiskit_ibm_runtime.EstimatorV2", executor_estimator.Estimator)
    options = ["--set", "mitigation.pec_max_overhead=2", "--set", "mitigation.layers_to_learn=1"]
    assert "no longer has" in evaluate(run, "--pec", *options, code=4).stderr
    assert server.posts == 0


def test_the_legacy_estimator_serves_where_the_new_one_is_missing(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkd_qiskit.execution.runtime.Estimator", None)
    result = json.loads(evaluate(run, "--json").stdout)
    assert [job.program for job in server.jobs] == ["estimator"]
    assert result["samples"] == 4
    server.faults.add("GET", "/jobs/*/results", "html")
    evaluate(run, shots=65)
    assert server.jobs_created == 2
    assert call("jobs").stdout.count("done") == 2
