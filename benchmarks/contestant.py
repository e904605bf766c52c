"""A worker: makes one training step of one contestant when asked over its standard input.

A step is the expectation values <Z_i> of a batch and the gradient of a random weighting of them with respect to the
inputs and the weights. Started by `speed.py`, in the contestant's own Python; prints one JSON line an answer.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from itertools import product

import numpy as np

LAYERS = 3


def data(case: str, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs, weights (P,) and cotangents (N, Q), the same for every contestant."""
    rng, qubits = np.random.default_rng(7), int(case[1:])
    width = {"m": 2**qubits, "i": 2**qubits - 1}.get(case[0], qubits)
    inputs = rng.normal(size=(batch, width))
    if case[0] == "m":
        inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    return inputs, rng.normal(size=2 * qubits * LAYERS), rng.normal(size=(batch, qubits))


def ours(case: str, batch: int) -> Callable:
    import torch
    from circuits import angle_circuit, ansatz_circuit, depolarizing_model, device_circuit

    from qkd_qiskit.exact import ExactExpectation

    noise_model = None
    if case[0] == "i":
        parts, noise_model = device_circuit(int(case[1:]))
    else:
        parts = (ansatz_circuit if case[0] == "m" else angle_circuit)(int(case[1:]))
        noise_model = depolarizing_model() if case[0] == "n" else None
    x, w, weighting = (
        torch.tensor(array, requires_grad=position < 2) for position, array in enumerate(data(case, batch))
    )
    exact = ExactExpectation(*parts, noise_model=noise_model, amplitude_inputs=case[0] == "m")

    def step() -> tuple:
        x.grad = w.grad = None
        loss = (exact(x, w) * weighting).sum()
        loss.backward()
        return loss.item(), x.grad.numpy(), w.grad.numpy()

    return step


def _depolarizing(probability: float, qubits: int) -> list[np.ndarray]:
    paulis = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    kraus = []
    for labels in product(range(4), repeat=qubits):
        matrix = np.eye(1)
        for label in labels:
            matrix = np.kron(matrix, paulis[label])
        share = probability / 4**qubits + (0 if any(labels) else 1 - probability)
        kraus.append(np.sqrt(share) * matrix)
    return kraus


def tensorcircuit(case: str, batch: int) -> Callable:
    import jax
    import jax.numpy as jnp
    import tensorcircuit as tc

    tc.set_backend("jax")
    tc.set_dtype("complex128")
    qubits, noisy = int(case[1:]), case[0] == "n"
    kraus = [[tc.gates.Gate(item) for item in _depolarizing(p, k)] for p, k in ((0.001, 1), (0.01, 2))]

    def values(x, w):
        if case[0] == "m":
            circuit = tc.Circuit(qubits, inputs=x[_bit_reversal(qubits)].astype(complex))
        else:
            circuit = tc.DMCircuit2(qubits) if noisy else tc.Circuit(qubits)
            for qubit in range(qubits):
                circuit.ry(qubit, theta=x[qubit])
                _noise(circuit, kraus[0], noisy, qubit)
        angles = iter(w)
        for _ in range(LAYERS):
            for qubit in range(qubits):
                circuit.ry(qubit, theta=next(angles))
                _noise(circuit, kraus[0], noisy, qubit)
                circuit.rz(qubit, theta=next(angles))
                _noise(circuit, kraus[0], noisy, qubit)
            for qubit in range(qubits):
                circuit.cx(qubit, (qubit + 1) % qubits)
                _noise(circuit, kraus[1], noisy, qubit, (qubit + 1) % qubits)
        return jnp.real(jnp.stack([circuit.expectation_ps(z=[qubit]) for qubit in range(qubits)]))

    return _jax_step(values, case, batch, jax)


def _noise(circuit, kraus, noisy, *qubits) -> None:
    if noisy:
        circuit.general_kraus(kraus, *qubits)


def _bit_reversal(qubits: int) -> np.ndarray:
    """Return the order of amplitudes with qubit 0 most significant, from Qiskit's."""
    return np.arange(2**qubits).reshape([2] * qubits).transpose().reshape(-1)


def _jax_step(values, case, batch, jax) -> Callable:
    x, w, weighting = (jax.numpy.asarray(array) for array in data(case, batch))

    def loss(x, w):
        return (jax.vmap(values, (0, None))(x, w) * weighting).sum()

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1)))

    def step() -> tuple:
        value, grads = jax.block_until_ready(compiled(x, w))
        return float(value), *(np.asarray(grad) for grad in grads)

    return step


def pennylane(case: str, batch: int) -> Callable:
    import jax
    import pennylane as qml

    jax.config.update("jax_enable_x64", True)
    qubits, noisy = int(case[1:]), case[0] == "n"
    kraus = [_depolarizing(0.001, 1), _depolarizing(0.01, 2)]

    def noise(which, *wires):
        if noisy:
            qml.QubitChannel(kraus[which], wires=wires)

    @qml.qnode(qml.device("default.mixed" if noisy else "default.qubit", wires=qubits), diff_method="backprop")
    def circuit(x, w):
        if case[0] == "m":
            qml.StatePrep(x[_bit_reversal(qubits)], wires=range(qubits), validate_norm=False)
        else:
            for qubit in range(qubits):
                qml.RY(x[qubit], wires=qubit)
                noise(0, qubit)
        for layer in range(LAYERS):
            for qubit in range(qubits):
                first = 2 * (layer * qubits + qubit)
                qml.RY(w[first], wires=qubit)
                noise(0, qubit)
                qml.RZ(w[first + 1], wires=qubit)
                noise(0, qubit)
            for qubit in range(qubits):
                qml.CNOT(wires=[qubit, (qubit + 1) % qubits])
                noise(1, qubit, (qubit + 1) % qubits)
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(qubits)]

    return _jax_step(lambda x, w: jax.numpy.stack(circuit(x, w)), case, batch, jax)


def qiskit_today(case: str, batch: int) -> Callable:
    """EstimatorQNN with Aer's estimator and parameter shift, through TorchConnector."""
    import torch
    from circuits import angle_circuit, depolarizing_model
    from qiskit_aer.primitives import EstimatorV2
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    circuit, observables, inputs, weights = angle_circuit(int(case[1:]))
    options = {"method": "density_matrix", "noise_model": depolarizing_model()} if case[0] == "n" else {}
    estimator = EstimatorV2(options={"backend_options": options})
    qnn = EstimatorQNN(
        circuit=circuit,
        observables=observables,
        input_params=inputs,
        weight_params=weights,
        estimator=estimator,
        gradient=ParamShiftEstimatorGradient(estimator),
        input_gradients=True,
        default_precision=0.0,
    )
    x, w, weighting = data(case, batch)
    layer = TorchConnector(qnn, w)

    def step() -> tuple:
        rows = torch.tensor(x, requires_grad=True)
        layer.zero_grad()
        loss = (layer(rows) * torch.tensor(weighting)).sum()
        loss.backward()
        return loss.item(), rows.grad.numpy(), layer.weight.grad.numpy()

    return step


def shifted_aer(case: str, batch: int) -> Callable:
    """Parameter shift of the cropped device circuit, all shifts of a batch in one Aer run; counts give no gradient."""
    from circuits import device_circuit
    from qiskit_aer import AerSimulator

    (circuit, observables, inputs, weights), model = device_circuit(int(case[1:]))
    measured = circuit.copy()
    for index, item in enumerate(observables):
        qubit = int(np.flatnonzero(item.paulis.z[0])[0])
        measured.save_expectation_value(type(item)("Z"), [qubit], label=str(index))
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    x, w, weighting = data(case, batch)
    rows = np.hstack([x, np.tile(w, (batch, 1))])
    shifts = np.pi / 2 * np.eye(rows.shape[1])
    every = np.concatenate([rows[:, None], rows[:, None] + shifts, rows[:, None] - shifts], axis=1)
    params = [*inputs, *weights]

    def step() -> tuple:
        flat = every.reshape(-1, len(params))
        binds = [{param: list(flat[:, column]) for column, param in enumerate(params)}]
        result = simulator.run([measured], parameter_binds=binds, shots=1).result()
        found = [[result.data(k)[str(o)] for o in range(len(observables))] for k in range(len(flat))]
        values = np.array(found).reshape(*every.shape[:2], -1)
        upper, lower = values[:, 1 : len(params) + 1], values[:, len(params) + 1 :]
        grads = ((upper - lower) / 2 * weighting[:, None]).sum(axis=2)
        return float((values[:, 0] * weighting).sum()), grads[:, : len(inputs)], grads[:, len(inputs) :].sum(axis=0)

    return step


CONTESTANTS = {
    "exact": ours,
    "TensorCircuit (jax)": tensorcircuit,
    "PennyLane (jax)": pennylane,
    "EstimatorQNN + Aer": qiskit_today,
    "parameter shift on Aer": shifted_aer,
}


# Imported before the clock starts: the first step is what building and compiling cost.
IMPORTS = {"exact": ["torch", "circuits", "qkd_qiskit.exact"], "TensorCircuit (jax)": ["jax", "tensorcircuit"]}
IMPORTS["PennyLane (jax)"] = ["jax", "pennylane"]


def serve(name: str, case: str, batch: int) -> None:
    """Build, then step once for each line read."""
    for module in IMPORTS.get(name, ()):
        import_module(module)
    start = time.perf_counter()
    step = CONTESTANTS[name](case, batch)
    loss, *grads = step()
    first = time.perf_counter() - start
    norms = [float(np.linalg.norm(grad)) for grad in grads]
    print(json.dumps({"first": first, "check": [loss, *norms]}), flush=True)
    start = time.perf_counter()
    step()
    # As in training, a step follows a step; everybody is timed over as long, so that a busy machine slows all alike.
    in_a_row = max(1, int(0.05 / (time.perf_counter() - start)))
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(in_a_row):
            step()
        print(json.dumps({"seconds": (time.perf_counter() - start) / in_a_row}), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
