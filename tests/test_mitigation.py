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
        (["--set", "mitigation.pec=true"], "need a noise model"),
        (["--zne", "--set", "mitigation.zne_amplifier=pea"], "need a noise model"),
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


def test_the_legacy_estimator_serves_where_the_new_one_is_missing(
    run: Path, server: RuntimeServer, clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkd_qiskit.execution.runtime.Estimator", None)
    with pytest.warns(DeprecationWarning, match="EstimatorV2"):
        result = json.loads(evaluate(run, "--json").stdout)
    assert [job.program for job in server.jobs] == ["estimator"]
    assert result["samples"] == 4
    server.faults.add("GET", "/jobs/*/results", "html")
    with pytest.warns(DeprecationWarning, match="EstimatorV2"):
        evaluate(run, shots=65)
    assert server.jobs_created == 2
    assert call("jobs").stdout.count("done") == 2
