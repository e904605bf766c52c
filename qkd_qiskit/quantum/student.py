"""The quantum student: images -> features -> angles -> EstimatorQNN (through TorchConnector) -> head -> logits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from torch import nn

from qkd_qiskit.classical.control import ClassicalControl
from qkd_qiskit.classical.reduction import ImageShape, build_convolutions, build_reduction
from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.quantum.ansatz import build_ansatz
from qkd_qiskit.quantum.circuit import StudentCircuit, build_circuit
from qkd_qiskit.quantum.encoding import Encoding, build_encoding
from qkd_qiskit.quantum.heads import build_head
from qkd_qiskit.quantum.observables import build_observables
from qkd_qiskit.suggestions import choose

QuantumLayer = Callable[[StudentCircuit, np.ndarray], TorchConnector]
"""Makes the layer that is trained from a circuit and its initial weights `(P,)`."""


@dataclass(frozen=True, kw_only=True)
class StudentBlueprint:
    """What a student is, before any weight or device: enough to build it, to load it, and to compile its circuit.

    Attributes:
        kind: one of `STUDENTS`.
        num_qubits: `Q`.
        ansatz: see `qkd_qiskit.quantum.ansatz` (`qnn` only).
        layers: layers of the ansatz (`qnn` only).
        layer: one of `LAYERS`: `quantum`; `frozen`, the circuit's weights keep their initial values; or a classical
            layer of as many weights and outputs stands in for the circuit: `classical`, or `mlp`, which is nonlinear
            inside.
        reduction: see `qkd_qiskit.classical.reduction` (`qnn` only).
        encoding: see `qkd_qiskit.quantum.encoding` (`qnn` only).
        observables: see `qkd_qiskit.quantum.observables` (`qnn` only; `hybrid` needs all parities).
        head: see `qkd_qiskit.quantum.heads`.
        angle_range: largest angle in radians of bounded encodings.
        normalise: whether features are standardised over the batch in front of a bounded encoding. Without it they
            drift into the flat ends of the tanh, where a qubit learns nothing any more: the paper's dead seeds.
        dropout: share of channels and of units that the `hybrid` student's CNN leaves out in training. The paper's code
            has 0.5, far too much for a CNN of 10 and 20 channels.
        feature_scale: factor on the initial weights of the last linear layer in front of the circuit; below 1 the
            angles of a bounded encoding start nearer to the middle of the tanh.
        image_shape: `(C, H, W)`.
        num_classes: `K`.
    """

    kind: str = "qnn"
    num_qubits: int = 4
    ansatz: str = "hardware_efficient"
    layers: int = 2
    layer: str = "quantum"
    reduction: str = "linear"
    encoding: str = "amplitude"
    observables: str = "parities"
    head: str = "affine"
    angle_range: float = math.pi / 2
    normalise: bool = True
    dropout: float = 0.2
    feature_scale: float = 1.0
    image_shape: ImageShape
    num_classes: int

    @property
    def has_circuit(self) -> bool:
        """Whether this is a quantum student, frozen or not, and no classical control."""
        return self.layer in ("quantum", "frozen")

    def encode(self) -> Encoding:
        """Build the encoding."""
        name = "hadamard_angle" if self.kind == "hybrid" else self.encoding
        return build_encoding(name, self.num_qubits, angle_range=self.angle_range)

    def build_circuit(self) -> StudentCircuit:
        """Build the logical circuit, its parameters and observables.

        Raises:
            ConfigurationError: a name is unknown, or a number does not fit.
        """
        choose("student", self.kind, STUDENTS)
        if not 1 <= self.num_qubits <= 12:
            raise ConfigurationError(f"a student has 1 to 12 qubits, not {self.num_qubits}; give --qubits 4, say")
        hybrid = self.kind == "hybrid"
        encoding = self.encode()
        ansatz = build_ansatz("none" if hybrid else self.ansatz, self.num_qubits, self.layers)
        if encoding.repeated and not ansatz.layers:
            raise ConfigurationError(
                f"{encoding.name} repeats the data before every layer, and there is none; give --layers 1 or more and "
                "an --ansatz other than none, or --encoding qubit, which is the same without layers"
            )
        if self.layer == "frozen" and not ansatz.parameters:
            raise ConfigurationError(
                "--layer frozen: this circuit has no weights that could be frozen, so the control would be the student "
                "itself; leave it out, or give another --ansatz or more --layers (the hybrid student never has any)"
            )
        return build_circuit(encoding, ansatz, self._observables)

    def build_ansatz_circuit(self) -> StudentCircuit | None:
        """Build what follows the encoding, without inputs; `None` where angles load the data, not real amplitudes."""
        if self.kind != "qnn" or self.encoding != "amplitude":
            return None
        ansatz = build_ansatz(self.ansatz, self.num_qubits, self.layers)
        circuit = QuantumCircuit(self.num_qubits)
        for part in (*ansatz.layers, ansatz.closing):
            circuit.compose(part, inplace=True)
        return StudentCircuit(circuit, (), ansatz.parameters, self._observables)

    @property
    def _observables(self) -> tuple[SparsePauliOp, ...]:
        return build_observables("parities" if self.kind == "hybrid" else self.observables, self.num_qubits)


def build_student(
    blueprint: StudentBlueprint,
    quantum_layer: QuantumLayer,
    *,
    circuit: StudentCircuit | None = None,
    seed: int = 0,
) -> QuantumStudent:
    """Build a student with fresh weights.

    Args:
        blueprint: what to build.
        quantum_layer: makes the trainable layer; it decides simulator, noise and gradient.
        circuit: the circuit to train, e.g. compiled for a device; the logical one if `None`.
        seed: decides every initial weight; students that differ in `layer` only have the same in all other parts.

    Raises:
        ConfigurationError: a name is unknown, or features and qubits don't fit.
    """
    build_layer = choose("student.layer", blueprint.layer, LAYERS)
    circuit = circuit or blueprint.build_circuit()
    encoding = blueprint.encode()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = choose("student", blueprint.kind, STUDENTS)(blueprint, encoding.num_features)
        _scale_last(features, blueprint.feature_scale)
        if blueprint.normalise and encoding.bounded:
            features = nn.Sequential(features, nn.BatchNorm1d(encoding.num_features, affine=False))
        head = build_head(blueprint.head, blueprint.num_qubits, len(circuit.observables), blueprint.num_classes)
        weights = torch.empty(len(circuit.weight_params)).uniform_(-math.pi / 4, math.pi / 4)
        quantum = build_layer(circuit, weights, encoding, quantum_layer)
    return QuantumStudent(blueprint, circuit, features, encoding, quantum, head)


def _scale_last(features: nn.Module, factor: float) -> None:
    """Multiply the initial weights and biases of the last linear layer by a factor; fixed reductions have none."""
    linear = [module for module in features.modules() if isinstance(module, nn.Linear)]
    for weight in linear[-1].parameters() if linear else ():
        weight.data *= factor


def _quantum(
    circuit: StudentCircuit, weights: torch.Tensor, encoding: Encoding, quantum_layer: QuantumLayer
) -> nn.Module:
    return quantum_layer(circuit, weights.numpy())


def _frozen(
    circuit: StudentCircuit, weights: torch.Tensor, encoding: Encoding, quantum_layer: QuantumLayer
) -> nn.Module:
    return quantum_layer(circuit, weights.numpy()).requires_grad_(False)


def _classical(
    circuit: StudentCircuit,
    weights: torch.Tensor,
    encoding: Encoding,
    quantum_layer: QuantumLayer,
    *,
    nonlinear: bool = False,
) -> nn.Module:
    outputs = len(circuit.observables)
    return ClassicalControl(encoding.num_features, weights, outputs, encoding.largest, nonlinear=nonlinear)


LAYERS: dict[str, Callable[[StudentCircuit, torch.Tensor, Encoding, QuantumLayer], nn.Module]] = {
    "quantum": _quantum,
    "frozen": _frozen,
    "classical": _classical,
    "mlp": partial(_classical, nonlinear=True),
}
"""What stands between features and head: the circuit, and the controls that show what it and its training are worth."""


class QuantumStudent(nn.Module):
    """A student network around one quantum layer.

    Attributes:
        blueprint: what it was built from.
        circuit: the circuit that is trained.
        features: images `(N, C, H, W)` to features `(N, F)`.
        encoding: features to angles `(N, A)`.
        quantum: angles to expectation values `(N, O)`; in a classical control, what stands in for it.
        head: expectation values to logits `(N, K)`.
    """

    def __init__(
        self,
        blueprint: StudentBlueprint,
        circuit: StudentCircuit,
        features: nn.Module,
        encoding: Encoding,
        quantum: nn.Module,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.blueprint = blueprint
        self.circuit = circuit
        self.features = features
        self.encoding = encoding
        self.quantum = quantum
        self.head = head
        self._takes_state = getattr(quantum, "takes_amplitudes", False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images `(N, C, H, W)` to logits `(N, K)` through `TorchConnector`."""
        return self.head(self.measure(images))

    def measure(self, images: torch.Tensor) -> torch.Tensor:
        """Map images `(N, C, H, W)` to expectation values `(N, O)`, what the head gets."""
        return self.quantum(self._load(self.features(images))).to(images.dtype)

    def _load(self, features: torch.Tensor) -> torch.Tensor:
        """Map features `(N, F)` to what the layer takes: angles, or amplitudes in float64, or a control's inputs."""
        if self._takes_state:
            return self.encoding.loaded(features.double())
        return self.encoding.angles(features) if self.blueprint.has_circuit else self.encoding.loaded(features)

    def measure_exactly(self, images: torch.Tensor) -> torch.Tensor:
        """Return expectation values `(N, O)` of the layer that is trained, in float64, dropout off, no gradients."""
        was_training = self.training
        self.eval()
        with torch.no_grad():
            features = self.features(images)
            precise = features.double() if self.blueprint.has_circuit else features
            values = self.quantum(self._load(precise)).double().cpu()
        self.train(was_training)
        return values

    def parameter_values(self, images: torch.Tensor, *, batch_size: int = 1024) -> np.ndarray:
        """Return what a backend has to bind to evaluate these images.

        Args:
            images: `(N, C, H, W)`.
            batch_size: images a pass; it does not change the values.

        Returns:
            `(N, A + P)` float64, columns in the order of `circuit.parameters`.

        Raises:
            ConfigurationError: a value is not finite.
        """
        was_training = self.training
        self.eval()
        with torch.no_grad():
            device = self._weight.device
            parts = [self.features(part.to(device)).double() for part in images.split(batch_size)]
            angles = [self.encoding.angles(part).cpu() for part in parts]
        self.train(was_training)
        return self.circuit.parameter_values(torch.cat(angles).numpy(), self.quantum_weights)

    @property
    def quantum_weights(self) -> np.ndarray:
        """The circuit's trained weights, `(P,)` float64."""
        return self._weight.detach().cpu().double().numpy()

    @property
    def _weight(self) -> torch.Tensor:
        return self.quantum.get_parameter("weight")

    def classify(self, expectation_values: np.ndarray, head: nn.Module | None = None) -> np.ndarray:
        """Apply the head to measured or simulated expectation values.

        Args:
            expectation_values: `(N, O)`.
            head: another head of the same shape, such as one fitted anew; the student's own if `None`.

        Returns:
            Logits `(N, K)` in float64.

        Raises:
            ConfigurationError: the number of columns is not `O`.
        """
        values = torch.as_tensor(np.asarray(expectation_values), dtype=torch.float64)
        if values.ndim != 2 or values.shape[1] != len(self.circuit.observables):
            raise ConfigurationError(
                f"expectation values have shape {tuple(values.shape)}; this student measures "
                f"(N, {len(self.circuit.observables)})"
            )
        head = copy.deepcopy(head or self.head).cpu().double().eval()
        with torch.no_grad():
            logits = head(values).numpy()
        if not np.isfinite(logits).all():
            raise ConfigurationError("the head's logits are not finite: its weights are damaged, or training diverged")
        return logits

    def num_weights(self) -> dict[str, int]:
        """Count trainable weights by part: `features`, `quantum`, `head`; frozen ones are not trainable."""
        parts = {"features": self.features, "quantum": self.quantum, "head": self.head}
        return {
            name: sum(weight.numel() for weight in part.parameters() if weight.requires_grad)
            for name, part in parts.items()
        }


def _qnn_features(blueprint: StudentBlueprint, num_features: int) -> nn.Module:
    return build_reduction(blueprint.reduction, blueprint.image_shape, num_features)


def _hybrid_features(blueprint: StudentBlueprint, num_features: int) -> nn.Module:
    """Build the small CNN of the paper's v1 student (arXiv 2311.13810), its input size inferred from the images."""
    convolutions, width = build_convolutions(
        "the hybrid student", blueprint.image_shape, "--student qnn", dropout=blueprint.dropout
    )
    return nn.Sequential(
        *convolutions,
        nn.Linear(width, 50),
        nn.ReLU(),
        nn.Dropout(blueprint.dropout),
        nn.Linear(50, num_features),
    )


STUDENTS: dict[str, Callable[[StudentBlueprint, int], nn.Module]] = {"qnn": _qnn_features, "hybrid": _hybrid_features}
