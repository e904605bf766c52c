"""How the real client sees each fault that the local server can be told to make."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import numpy as np
import pytest
from qiskit.exceptions import QiskitError
from qiskit_ibm_runtime import exceptions as ibm
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from requests.exceptions import JSONDecodeError
from urllib3.util.retry import Retry

from tests.runtime_server import EVERYTHING, Fault, FaultScript, RuntimeServer
from tests.runtime_server.harness import ANGLES, Client, connect, values
from tests.runtime_server.harness import client as client
from tests.runtime_server.harness import server as server

# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "raised", "created", "posts"),
    [
        ("401", ibm.IBMNotAuthorizedError, 0, 1),
        ("429", ibm.IBMRuntimeError, 0, 1),
        ("429:retry-after=1", ibm.IBMRuntimeError, 0, 1),
        ("status:400", ibm.IBMRuntimeError, 0, 1),
        ("status:502", None, 1, 2),
        ("status_after_accept:502", None, 2, 2),
        ("drop", ibm.IBMRuntimeError, 0, 1),
        ("drop_after", ibm.IBMRuntimeError, 1, 1),
        ("reset", ibm.IBMRuntimeError, 0, 1),
        ("reset_after", ibm.IBMRuntimeError, 1, 1),
        ("html", JSONDecodeError, 1, 1),
        ("job:error", ibm.RuntimeJobFailureError, 1, 1),
        ("job:cancelled", ibm.RuntimeInvalidStateError, 1, 1),
        ("job:1305", ibm.RuntimeJobMaxTimeoutError, 1, 1),
    ],
)
def test_faults_of_a_submission(
    server: RuntimeServer, client: Client, action: str, raised: type[Exception] | None, created: int, posts: int
) -> None:
    server.faults.add("POST", "/jobs", action)
    if raised:
        with pytest.raises(raised):
            client.run()
    else:
        assert client.run().shape == (3, 5)
    assert (server.jobs_created, server.posts, server.faults.struck) == (created, posts, {action: 1})


@pytest.mark.parametrize("status", [500, 503])
def test_a_submission_that_keeps_failing(server: RuntimeServer, client: Client, status: int) -> None:
    server.faults.add("POST", "/jobs", f"status:{status}", times=None)
    with pytest.raises(ibm.IBMRuntimeError):
        client.run()
    assert (server.jobs_created, server.posts) == (0, 6)


@pytest.mark.parametrize(
    ("action", "times", "raised"),
    [
        ("401", 1, ibm.IBMNotAuthorizedError),
        ("429", 1, RequestsApiError),
        ("429:retry-after=0", 3, None),
        ("status:502", 3, None),
        ("status:502", None, RequestsApiError),
        ("drop", 1, None),
        ("reset", 1, None),
        ("delay:0.3", 1, None),
        ("garbage", 1, JSONDecodeError),
        ("html", 1, JSONDecodeError),
    ],
)
def test_faults_of_a_poll(
    server: RuntimeServer, client: Client, action: str, times: int | None, raised: type[Exception] | None
) -> None:
    job = client.submit()
    server.faults.add("GET", "/jobs/*", action, times=times)
    if raised:
        with pytest.raises(raised):
            values(job)
        server.faults.clear()
    assert values(job).shape == (3, 5), "the job itself is unharmed"


def test_an_unknown_status_is_polled_for_ever(server: RuntimeServer, client: Client) -> None:
    server.faults.add("GET", "/jobs/*", "unknown_status", times=None)
    with pytest.raises(ibm.RuntimeJobTimeoutError):
        client.submit().result(timeout=0.5, poll_interval=0.1)


def test_faults_of_a_result(server: RuntimeServer, client: Client) -> None:
    job = client.submit()

    def result_after(action: str) -> Any:
        server.faults.add("GET", f"/jobs/{job.job_id()}/results", action)
        return job.result(poll_interval=0.1)

    with pytest.raises(RequestsApiError):
        result_after("cut_body")
    for action in ("html", "garbage"):
        with pytest.raises(TypeError):
            result_after(action)
    assert result_after("empty") is None
    assert np.isnan(result_after("nan")[0].data.evs).all()
    with pytest.raises(IndexError):
        result_after("wrong_shape")
    assert len(result_after("missing_pub")) == 0
    assert result_after("fewer_shots")[0].data.evs.shape == (3, 5)
    assert np.isfinite(job.result()[0].data.evs).all()


def test_faults_of_a_legacy_result(server: RuntimeServer, client: Client) -> None:
    from qiskit_ibm_runtime import EstimatorV2

    with pytest.warns(DeprecationWarning, match="EstimatorV2"):
        legacy = EstimatorV2(mode=client.backend, options={"default_shots": 100})
    job = legacy.run([(client.circuit, client.observables, ANGLES)])

    def result_after(action: str) -> Any:
        server.faults.add("GET", "/jobs/*/results", action)
        return job.result(poll_interval=0.1)

    assert isinstance(result_after("html"), str)
    assert np.isnan(result_after("nan")[0].data.evs).all()
    assert result_after("wrong_shape")[0].data.evs.shape == (2, 5)
    assert len(result_after("missing_pub")) == 0


def test_a_stall_lasts_until_the_server_goes(server: RuntimeServer, client: Client) -> None:
    job = client.submit()
    server.faults.add("GET", "/jobs/*", "stall", times=None)

    def poll() -> None:
        with contextlib.suppress(ibm.IBMError):
            job.status()

    waiting = threading.Thread(target=poll, daemon=True)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    server.stop()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_server_that_is_gone_and_back(server: RuntimeServer, client: Client) -> None:
    job = client.submit()
    values(job)
    server.refuse()
    with pytest.raises(ibm.IBMRuntimeError):
        job.metrics()
    server.start()
    assert job.metrics()["usage"]["quantum_seconds"] > 0
    server.faults.add("GET", "/jobs/*/metrics", "refuse:0.2")
    with pytest.raises(ibm.IBMRuntimeError):
        job.metrics()
    time.sleep(0.5)
    assert job.metrics()["usage"]["quantum_seconds"] > 0


def test_a_usage_limit_only_warns(server: RuntimeServer, client: Client) -> None:
    server.service.usage_limit_seconds = 1
    client.run()
    with pytest.warns(UserWarning, match="usage limit"):
        client.run()


# --- the script itself -----------------------------------------------------------------------------------------------


def test_a_fault_waits_for_its_turn_and_its_path() -> None:
    script = FaultScript()
    script.add("GET", "/jobs/*", "429", after=1, times=2)
    struck = [script.strike("GET", path) is not None for path in ("/jobs", "/jobs/a/results", *["/jobs/a"] * 4)]
    assert struck == [False, False, False, True, True, False]
    assert script.strike("POST", "/jobs/a") is None


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ValueError, match="status"):
        Fault("GET", "/jobs", "staus:502")


def test_a_storm_of_faults_loses_count_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty-five careless submissions under every fault at 5 %: the server's books agree with what it has."""
    with RuntimeServer(["ibm_manila"], sampling="zeros") as server:
        client = connect(server, monkeypatch)
        monkeypatch.setattr(Retry, "sleep", lambda self, response=None: None)
        server.faults.randomly(0.05, seed=1)
        for number in range(25):
            with contextlib.suppress(ibm.IBMError, JSONDecodeError, QiskitError, TypeError, IndexError):
                client.run(environment={"job_tags": [f"unit:{number}"]})
        server.faults.clear()
        listed = client.service.jobs(limit=None)
    assert len(listed) == server.jobs_created == sum(server.created_by_tag.values())
    assert server.posts >= 12, "a usage that cannot be asked stops a submission early"
    assert server.faults.struck.total() == sum(record.fault is not None for record in server.requests) > 10


def test_random_faults_repeat_with_their_seed() -> None:
    def course(seed: int) -> list[str | None]:
        script = FaultScript()
        script.randomly(0.05, seed=seed)
        faults = [script.strike("POST", "/jobs") for _ in range(200)]
        return [fault.action if fault else None for fault in faults]

    assert course(3) == course(3) != course(4)
    assert {action for _, _, action in EVERYTHING} >= {action for action in course(3) if action}
