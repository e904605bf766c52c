"""What the local server's jobs return, held against Aer by other roads."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from tests.runtime_server import RuntimeServer
from tests.runtime_server.harness import ANGLES, Client, connect, small_circuit, values
from tests.runtime_server.harness import client as client
from tests.runtime_server.harness import server as server
from tests.runtime_server.programs import group_by_basis
from tests.runtime_server.simulate import sample, split_into_groups

# --- numbers ---------------------------------------------------------------------------------------------------------


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
