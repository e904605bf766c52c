"""The local server, driven by the real, unmodified client. Nothing here leaves the loopback interface."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime import exceptions as ibm
from qiskit_ibm_runtime.accounts.exceptions import InvalidAccountError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from tests.runtime_server import RuntimeServer
from tests.runtime_server.harness import ANGLES, Client, connect, values
from tests.runtime_server.harness import client as client
from tests.runtime_server.harness import server as server

ROOT = Path(__file__).resolve().parents[1]


# --- the account and the devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["direct", "proxy"])
def test_the_client_lists_the_devices(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RuntimeServer(["ibm_manila", "ibm_torino"]) as server:
        client = connect(server, monkeypatch, mode)
        assert [backend.name for backend in client.service.backends()] == ["ibm_manila", "ibm_torino"]
        assert client.backend.status().operational
        assert client.run().shape == (3, 5)
    asked = {record.path for record in server.requests}
    assert ("/v3/resources/search" in asked) == (mode == "proxy")


def test_a_device_is_the_fake_one(client: Client) -> None:
    fake = FakeManilaV2()
    assert client.backend.num_qubits == fake.num_qubits
    assert client.backend.target["sx"][(2,)].error == fake.target["sx"][(2,)].error
    assert client.backend.coupling_map.get_edges() == fake.coupling_map.get_edges()


def test_an_unknown_device_is_not_found(client: Client) -> None:
    with pytest.raises(QiskitBackendNotFoundError):
        client.service.backend("ibm_nowhere")
    with pytest.raises(ValueError, match="ibm_nowhere"):
        RuntimeServer(["ibm_nowhere"])


def test_a_wrong_key_is_refused(server: RuntimeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(server, monkeypatch, "proxy")
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "someone-elses-key")
    with pytest.raises(InvalidAccountError):
        QiskitRuntimeService()


def test_a_revoked_token_hides_the_devices_and_stops_the_rest(server: RuntimeServer, client: Client) -> None:
    job = client.submit()
    server.revoke_token()
    with pytest.raises(ibm.IBMNotAuthorizedError):
        job.status()
    with pytest.raises(QiskitBackendNotFoundError):  # not what one would expect
        client.submit()
    assert server.jobs_created == 1


def test_a_new_calibration_reaches_the_client(server: RuntimeServer, client: Client) -> None:
    before = client.backend.properties()
    server.recalibrate("ibm_manila", factor=2)
    after = client.backend.properties(refresh=True)
    assert after.last_update_date > before.last_update_date
    assert after.readout_error(0) == pytest.approx(2 * before.readout_error(0))


def test_no_token_is_kept(server: RuntimeServer, client: Client) -> None:
    client.run()
    assert server.environment()["QISKIT_IBM_TOKEN"] not in repr(list(server.requests)) + repr(vars(server.account))
    assert not any("eyJ" in repr(record) for record in server.requests)


# --- jobs, sessions, usage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Session, Batch])
def test_sessions_and_batches(server: RuntimeServer, client: Client, mode: type) -> None:
    with mode(backend=client.backend, max_time=600) as session:
        job = client.submit(mode=session)
        assert values(job).shape == (3, 5)
        assert session.details()["state"] == "active"
        assert session.details()["max_time"] == 600
    assert session.status() == "Closed"
    assert [job.session_id for job in server.jobs] == [session.session_id]
    assert [found.job_id() for found in client.service.jobs(session_id=session.session_id)] == [job.job_id()]


def test_a_session_ends_with_its_time(server: RuntimeServer, client: Client) -> None:
    session = Session(backend=client.backend, max_time=100)
    server.clock.advance(101)
    with pytest.raises(ibm.IBMRuntimeError, match="1217"):
        client.submit(mode=session)
    assert session._active, "the client does not notice by itself"
    assert session.status() == "Closed"
    assert server.jobs_created == 0


def test_the_open_plan_has_no_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    with RuntimeServer(["ibm_manila"], plan="open", sampling="zeros") as server:
        client = connect(server, monkeypatch)
        with pytest.raises(ibm.IBMError, match="1352"):
            Session(backend=client.backend)
        with Batch(backend=client.backend) as batch:
            assert client.run(mode=batch).shape == (3, 5)


def test_cancelling_a_session_cancels_what_waits(server: RuntimeServer, client: Client) -> None:
    server.hold()
    session = Session(backend=client.backend)
    client.submit(mode=session)
    session.cancel()
    assert [job.status for job in server.jobs] == ["Cancelled"]


def test_usage_and_metrics(server: RuntimeServer, client: Client) -> None:
    before = client.service.usage()["usage_remaining_seconds"]
    job = client.submit(shots=10_000)
    values(job)
    seconds = job.metrics()["usage"]["quantum_seconds"]
    assert seconds == job.usage() == 2 + 18  # 50,000 executions of 350 us
    assert client.service.usage()["usage_remaining_seconds"] == before - seconds
    assert set(job.metrics()["timestamps"]) == {"created", "running", "finished"}
    assert "Completed" in job.logs()


def test_a_job_over_its_time_is_stopped(client: Client) -> None:
    with pytest.raises(ibm.RuntimeJobMaxTimeoutError, match="1305"):
        client.run(shots=10_000, max_execution_time=10)


def test_jobs_are_found_by_their_tags(server: RuntimeServer, client: Client) -> None:
    first = client.submit(environment={"job_tags": ["run:1", "unit:a"]})
    client.submit(environment={"job_tags": ["run:1", "unit:b"]})

    def found(**filters: Any) -> list[str]:
        return [job.job_id() for job in client.service.jobs(**filters)]

    assert found(job_tags=["run:1", "unit:a"]) == [first.job_id()]
    assert len(found(job_tags=["run:1"])) == 2
    assert found(job_tags=["run:2"]) == []
    assert found(descending=False)[0] == first.job_id()
    assert found(limit=1, skip=1) == [first.job_id()]
    assert len(found(created_after=server.clock.now() - timedelta(minutes=1), limit=None)) == 2
    assert found(created_after=server.clock.now() + timedelta(minutes=1)) == []
    assert server.created_by_tag == {"run:1": 2, "unit:a": 1, "unit:b": 1}
    assert client.service.job(first.job_id()).update_tags(["other"]) == ["other"]
    assert found(job_tags=["other"]) == [first.job_id()]


def test_jobs_queue_as_long_as_told(server: RuntimeServer, client: Client) -> None:
    server.queue_seconds = 3600
    job = client.submit()
    assert job.status() == "QUEUED"
    assert client.backend.status().pending_jobs == 1
    with pytest.raises(ibm.RuntimeJobTimeoutError):
        job.result(timeout=0.2, poll_interval=0.1)
    assert [pending.job_id() for pending in client.service.jobs(pending=True)] == [job.job_id()]
    server.clock.advance(3601)
    assert values(job).shape == (3, 5)
    assert client.service.jobs(pending=True) == []


def test_a_job_can_be_cancelled_while_it_waits(server: RuntimeServer, client: Client) -> None:
    server.hold()
    job = client.submit()
    job.cancel()
    with pytest.raises(ibm.RuntimeInvalidStateError):
        job.result()
    server.release()
    done = client.submit()
    values(done)
    with pytest.raises(ibm.RuntimeInvalidStateError, match="409"):
        done.cancel()


def test_a_job_can_be_read_by_another_process_and_deleted(client: Client) -> None:
    job = client.submit()
    expected = values(job)
    again = QiskitRuntimeService().job(job.job_id())
    assert np.array_equal(values(again), expected)
    assert again.inputs["quantum_program"].shots == 256
    client.service.delete_job(job.job_id())
    with pytest.raises(ibm.RuntimeJobNotFound):
        client.service.job(job.job_id())


@pytest.mark.parametrize("spoil", ["nan", "not isa"])
def test_nonsense_fails(client: Client, spoil: str) -> None:
    angles, circuit = ANGLES, client.circuit
    if spoil == "nan":
        angles = np.full((5, 1), np.nan)
    else:
        circuit = QuantumCircuit(5)
        circuit.ry(ParameterVector("angle", 1)[0], 0)
        circuit.cx(0, 4)
    estimator = Estimator(mode=client.backend, options={"default_shots": 10, "resilience_level": 0})
    with pytest.raises(ibm.RuntimeJobFailureError):
        values(estimator.run([(circuit, [SparsePauliOp("IIIIZ")], angles)]))


def test_zeros_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with RuntimeServer(["ibm_manila"], sampling="zeros") as server:
        assert (connect(server, monkeypatch).run() == 1).all()


# --- as a command ----------------------------------------------------------------------------------------------------


def test_the_command_serves_another_process() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.runtime_server",
        "--device",
        "ibm_manila",
        "--fault",
        "GET /backends status:404",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            lines = [server.stdout.readline() for _ in range(7)]
            exports = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
            program = "from qiskit_ibm_runtime import QiskitRuntimeService as S; s = S(); print(s.backends(), s.jobs())"
            ran = subprocess.run(
                [sys.executable, "-c", program], env=os.environ | exports, capture_output=True, text=True, check=True
            )
        finally:
            server.send_signal(signal.SIGINT)
        assert "ibm_manila" in ran.stdout
        assert server.stdout.read().startswith("# 0 jobs created")
