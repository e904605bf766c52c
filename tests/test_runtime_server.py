"""The local server, driven by the real, unmodified client. Nothing here leaves the loopback interface."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.exceptions import QiskitError
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime import exceptions as ibm
from qiskit_ibm_runtime.accounts.exceptions import InvalidAccountError
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from requests.exceptions import JSONDecodeError
from urllib3.util.retry import Retry

from tests.runtime_server import EVERYTHING, Fault, FaultScript, RuntimeServer
from tests.runtime_server.programs import group_by_basis
from tests.runtime_server.simulate import sample, split_into_groups

ROOT = Path(__file__).resolve().parents[1]
OBSERVABLES = ("IZ", "ZI", "ZZ")
ANGLES = np.linspace(0, 3, 5)[:, None]


@dataclass
class Client:
    """A program's side of the conversation: the service, its device and something to run."""

    service: QiskitRuntimeService
    backend: Any
    circuit: QuantumCircuit
    observables: list[list[SparsePauliOp]]

    def submit(self, *, mode: Any = None, shots: int = 256, **options: Any) -> Any:
        """Submit the circuit at all angles with the client-side Estimator."""
        known = {"default_shots": shots, "resilience_level": 0} | options
        estimator = Estimator(mode=mode or self.backend, options=known)
        return estimator.run([(self.circuit, self.observables, ANGLES)])

    def run(self, **options: Any) -> np.ndarray:
        """Submit, wait, and return the values (O, N)."""
        return values(self.submit(**options))


def values(job: Any) -> np.ndarray:
    return job.result(poll_interval=0.1)[0].data.evs


def small_circuit(backend: Any, labels: tuple[str, ...] = OBSERVABLES) -> tuple[QuantumCircuit, list[Any]]:
    """Return a transpiled two-qubit circuit with one parameter, and its observables."""
    (angle,) = ParameterVector("angle", 1)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.ry(angle, 0)
    circuit.cx(0, 1)
    isa = generate_preset_pass_manager(1, backend=backend, seed_transpiler=1).run(circuit)
    return isa, [[SparsePauliOp(label).apply_layout(isa.layout)] for label in labels]


def connect(server: RuntimeServer, monkeypatch: pytest.MonkeyPatch, mode: str = "direct") -> Client:
    """Build the real client on the server."""
    for name in ("QISKIT_FUNCTIONS_EXPERIMENTAL", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment(mode).items():
        monkeypatch.setenv(name, value)
    service = QiskitRuntimeService()
    backend = service.backend(next(iter(server.service.devices)))
    return Client(service, backend, *small_circuit(backend))


@pytest.fixture
def server() -> Iterator[RuntimeServer]:
    with RuntimeServer(["ibm_manila"]) as running:
        yield running


@pytest.fixture
def client(server: RuntimeServer, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(Retry, "_sleep_backoff", lambda self: None)  # the client's own retries, at once
    return connect(server, monkeypatch)


# --- the account and the devices ------------------------------------------------------------------------------------


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


# --- numbers --------------------------------------------------------------------------------------------------------


def within(found: np.ndarray, wanted: np.ndarray, shots: int, *, sigmas: float = 5) -> bool:
    """Tell whether two sampled means of +-1, both from ``shots``, agree."""
    sigma = np.sqrt(2 * np.maximum(1 - wanted**2, 4 / shots) / shots)
    return bool((np.abs(found - wanted) < sigmas * sigma).all())


def aer_values(
    circuit: QuantumCircuit, observables: list[Any], angles: np.ndarray, noise: NoiseModel, readout: list[float]
) -> np.ndarray:
    """Return the exact noisy values of Z observables (O, N) from Aer, times what each qubit's readout leaves."""
    watched = circuit.copy()
    watched.save_probabilities()
    binds = {parameter: angles[:, column].tolist() for column, parameter in enumerate(circuit.parameters)}
    simulator = AerSimulator(method="density_matrix", noise_model=noise)
    result = simulator.run(watched, parameter_binds=[binds]).result()
    probabilities = np.array([result.data(row)["probabilities"] for row in range(len(angles))])
    bits = np.arange(2**circuit.num_qubits)[:, None] >> np.arange(circuit.num_qubits) & 1
    found = []
    for (observable,) in observables:
        mask = observable.paulis.z[0]
        left = np.prod(1 - 2 * np.array(readout)[mask])
        found.append(left * probabilities @ (-1.0) ** bits[:, mask].sum(axis=1))
    return np.array(found)


def readout_errors(backend: Any, qubits: Iterable[int]) -> list[float]:
    return [backend.target["measure"][(qubit,)].error for qubit in qubits]


def test_values_agree_with_aer_and_with_the_local_mode(client: Client) -> None:
    shots, fake = 20_000, FakeManilaV2()
    found = client.run(shots=shots)
    noise = NoiseModel.from_backend(fake)
    wanted = aer_values(client.circuit, client.observables, ANGLES, noise, readout_errors(fake, range(5)))
    assert within(found, wanted, shots)
    local = Estimator(mode=fake, options={"default_shots": shots, "resilience_level": 0})
    assert within(found, local.run([(client.circuit, client.observables, ANGLES)]).result()[0].data.evs, shots)


def test_noise_is_there_and_lone_qubits_are_right(client: Client) -> None:
    circuit = QuantumCircuit(5)
    circuit.x(2)
    observables = [[SparsePauliOp(label)] for label in ("IIZII", "IIIIZ", "ZIIII")]
    estimator = Estimator(mode=client.backend, options={"default_shots": 20_000, "resilience_level": 0})
    found = values(estimator.run([(circuit, observables)])).ravel()
    left = [1 - 2 * error for error in readout_errors(FakeManilaV2(), (2, 0, 4))]
    wanted = np.array([-1, 1, 1]) * left
    assert np.allclose(found, wanted, atol=0.02)
    assert abs(found[0]) < 0.99


@pytest.mark.parametrize("options", [
    {"resilience_level": 1},
    {"resilience_level": 2},
    {"twirling": {"enable_gates": True, "enable_measure": True}},
    {"dynamical_decoupling": {"enable": True}},
], ids=lambda options: next(iter(options)) + str(next(iter(options.values())))[:1])  # fmt: skip
def test_mitigation_options_run(client: Client, options: dict[str, Any]) -> None:
    plain, mitigated = client.run(shots=4096), client.run(shots=4096, **options)
    assert np.isfinite(mitigated).all()
    assert np.abs(mitigated - plain).max() < 0.4
    if options == {"resilience_level": 1}:
        assert np.abs(mitigated[2]).mean() > np.abs(plain[2]).mean()  # TREX gives <ZZ> back what readout took


@pytest.mark.slow
def test_two_hundred_samples_on_brisbane(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = ParameterVector("angle", 8)
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(angles[qubit], qubit)
    for qubit in range(4):
        circuit.cx(qubit, (qubit + 1) % 4)
        circuit.ry(angles[qubit] * angles[4 + qubit], qubit)
    labels = [f"{number:04b}".replace("0", "I").replace("1", "Z") for number in range(1, 16)]
    with RuntimeServer(["ibm_brisbane"]) as server:
        client = connect(server, monkeypatch)
        isa = generate_preset_pass_manager(1, backend=client.backend, seed_transpiler=1).run(circuit)
        observables = [[SparsePauliOp(label).apply_layout(isa.layout)] for label in labels]
        theta = np.random.default_rng(0).uniform(-1, 1, (200, 8))
        started = time.monotonic()
        estimator = Estimator(mode=client.backend, options={"default_shots": 1024, "resilience_level": 0})
        found = values(estimator.run([(isa, observables, theta)]))
        assert time.monotonic() - started < 60
        (group,) = [group for group in split_into_groups(isa) if len(group.qubits) > 1]
        noise = server.service.devices["ibm_brisbane"].noise(group.qubits)
    assert found.shape == (15, 200)
    cropped, masks = on_group(isa, observables, group.qubits)
    wanted = aer_values(cropped, masks, theta, noise, readout_errors(client.backend, group.qubits))
    errors = (found - wanted) / np.sqrt(np.maximum(1 - wanted**2, 0.01) / 1024)
    assert abs(errors).max() < 5.5  # 3,000 values
    assert errors.std() == pytest.approx(1, abs=0.1)


def on_group(circuit: QuantumCircuit, observables: list[Any], qubits: tuple[int, ...]) -> tuple[QuantumCircuit, Any]:
    """Re-index a circuit and its observables onto the qubits it uses, by another road than the server's."""
    cropped = QuantumCircuit(len(qubits))
    for inst in circuit.data:
        if inst.operation.name != "barrier":
            cropped.append(inst.operation, [qubits.index(circuit.find_bit(q).index) for q in inst.qubits])
    return cropped, [[SparsePauliOp(op.paulis[0][list(qubits)])] for (op,) in observables]


def test_the_legacy_estimator_agrees_with_the_client_side_one(client: Client) -> None:
    from qiskit_ibm_runtime import EstimatorV2

    client.circuit, client.observables = small_circuit(client.backend, ("ZZ", "XX", "YY", "ZI"))
    with pytest.warns(DeprecationWarning, match="EstimatorV2"):
        legacy = EstimatorV2(mode=client.backend, options={"default_shots": 20_000, "resilience_level": 0})
    found = legacy.run([(client.circuit, client.observables, ANGLES)]).result(poll_interval=0.1)[0].data
    assert within(found.evs, client.run(shots=20_000), 20_000)
    assert found.stds.shape == (4, 5)


def test_both_samplers(client: Client) -> None:
    from qiskit_ibm_runtime import SamplerV2
    from qiskit_ibm_runtime.executor_sampler import Sampler

    measured = client.circuit.copy()
    measured.measure_all()
    with pytest.warns(DeprecationWarning, match="SamplerV2"):
        legacy = SamplerV2(mode=client.backend)
    for sampler in (legacy, Sampler(mode=client.backend)):
        data = sampler.run([(measured, ANGLES)], shots=100).result(poll_interval=0.1)[0].data
        assert data.meas.shape == (5,)
        assert sum(data.meas.get_counts(0).values()) == 100


def test_groups_and_bases() -> None:
    circuit = QuantumCircuit(4, 4)
    circuit.cx(0, 2)
    circuit.x(1)
    circuit.barrier()
    circuit.measure([0, 1, 2], [0, 1, 2])
    assert [group.qubits for group in split_into_groups(circuit)] == [(0, 2), (1,)]
    assert [terms for _, terms in group_by_basis(["IZ", "ZI", "ZZ", "XX", "XI"])] == [["IZ", "ZI", "ZZ"], ["XX", "XI"]]


def test_an_ideal_pair_is_sampled_with_its_correlation(server: RuntimeServer) -> None:
    circuit = QuantumCircuit(5, 2)
    circuit.sx(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    bits = sample(circuit, np.zeros((3, 0)), 2000, server.service.devices["ibm_manila"], 1)["c"]
    assert bits.shape == (3, 2000, 2)
    assert (bits[..., 0] == bits[..., 1]).mean() > 0.9
    assert 0.4 < bits.mean() < 0.6


# --- jobs, sessions, usage ------------------------------------------------------------------------------------------


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


# --- faults ---------------------------------------------------------------------------------------------------------


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
    assert (server.jobs_created, server.posts, server.faults.struck) == (created, posts, 1)


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


# --- the script itself ----------------------------------------------------------------------------------------------


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
    """Forty careless submissions under every fault at 5 %: the server's books agree with what it has."""
    with RuntimeServer(["ibm_manila"], sampling="zeros") as server:
        client = connect(server, monkeypatch)
        monkeypatch.setattr(Retry, "sleep", lambda self, response=None: None)
        server.faults.randomly(0.05, seed=1)
        for number in range(40):
            with contextlib.suppress(ibm.IBMError, JSONDecodeError, QiskitError, TypeError, IndexError):
                client.run(environment={"job_tags": [f"unit:{number}"]})
        server.faults.clear()
        listed = client.service.jobs(limit=None)
    assert len(listed) == server.jobs_created == sum(server.created_by_tag.values())
    assert server.posts >= 40
    assert server.faults.struck == 0, "cleared with the script"
    assert sum(record.fault is not None for record in server.requests) > 10


def test_random_faults_repeat_with_their_seed() -> None:
    def course(seed: int) -> list[str | None]:
        script = FaultScript()
        script.randomly(0.05, seed=seed)
        faults = [script.strike("POST", "/jobs") for _ in range(200)]
        return [fault.action if fault else None for fault in faults]

    assert course(3) == course(3) != course(4)
    assert {action for _, _, action in EVERYTHING} >= {action for action in course(3) if action}


# --- as a command ---------------------------------------------------------------------------------------------------


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
