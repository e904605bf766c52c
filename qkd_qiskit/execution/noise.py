"""Aer noise models of a few qubits: cut out of a device's calibration, or made from numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from types import SimpleNamespace

import numpy as np
from qiskit.circuit.library import RXGate, RZXGate
from qiskit.transpiler import InstructionProperties, QubitProperties, Target
from qiskit_aer.noise import (
    NoiseModel,
    QuantumError,
    ReadoutError,
    coherent_unitary_error,
    depolarizing_error,
    thermal_relaxation_error,
)

GENERIC_BASIS = ("rz", "sx", "x", "cx")
"""Gates a circuit is compiled to under a noise model made from numbers; `rz` is virtual and has no noise."""

DEVICE_PARTS = ("gates", "relaxation", "readout")
"""Parts of a device's noise; see `device_noise`."""


@dataclass(frozen=True, kw_only=True)
class NoiseNumbers:
    """A uniform noise model.

    Attributes:
        depolarizing_1q: depolarizing probability after each `sx` and `x` (Qiskit's definition).
        depolarizing_2q: the same after each `cx`.
        readout: probability of reading a bit wrongly, or the pair (1 read as 0, 0 read as 1).
        t1_us: relaxation time in microseconds; 0 switches thermal relaxation off.
        t2_us: dephasing time in microseconds, at most `2 t1_us`; 0 means equal to `t1_us`.
        gate_time_1q_ns: duration of `sx` and `x` in nanoseconds.
        gate_time_2q_ns: duration of `cx` in nanoseconds.
        over_rotation_1q: a coherent error: `RX` by this many radians after each `sx` and `x`.
        over_rotation_2q: the same after each `cx`: `RZX` by this many radians, `Z` on the control.
    """

    depolarizing_1q: float = 0.0
    depolarizing_2q: float = 0.0
    readout: float | tuple[float, float] = 0.0
    t1_us: float = 0.0
    t2_us: float = 0.0
    gate_time_1q_ns: float = 60.0
    gate_time_2q_ns: float = 660.0
    over_rotation_1q: float = 0.0
    over_rotation_2q: float = 0.0


def device_noise(
    target: Target, qubits: Sequence[int], *, scale: float = 1.0, parts: Sequence[str] = DEVICE_PARTS
) -> NoiseModel | None:
    """Make the noise model of some qubits of a device, re-indexed to 0, 1, ... in the order given.

    Cutting the target first and asking Aer for its noise then gives the same errors as `NoiseModel.from_backend` of the
    whole device, in milliseconds instead of the 5 to 10 seconds that 127 qubits take.

    Args:
        target: the device's calibrated target.
        qubits: physical qubits to keep.
        scale: multiplies gate and readout errors and divides T1 and T2; 0 returns `None` (no noise).
        parts: of `DEVICE_PARTS`. `relaxation` is what T1, T2 and the gate's duration give; `gates` depolarizes by what
            relaxation leaves of the calibrated error, or by all of it where relaxation is left out; `readout` is the
            measurement's confusion matrices. None of them returns `None` (no noise).
    """
    if scale == 0 or not parts:
        return None
    cut = crop_target(target, qubits, scale=scale)
    backend = SimpleNamespace(version=2, target=cut, operation_names=list(cut.operation_names), dt=cut.dt)
    model = NoiseModel.from_backend(
        backend,
        gate_error="gates" in parts,
        readout_error="readout" in parts,
        thermal_relaxation="relaxation" in parts,
    )
    model._custom_noise_passes.clear()  # relaxation during Delay instructions; a student has none
    return model


def crop_target(target: Target, qubits: Sequence[int], *, scale: float = 1.0) -> Target:
    """Keep some qubits of a target, re-indexed, with errors scaled as in `device_noise`."""
    place = {qubit: index for index, qubit in enumerate(qubits)}
    known = target.qubit_properties
    cut = Target(
        num_qubits=len(qubits),
        dt=target.dt,
        qubit_properties=[_scale_qubit(known[q], scale) for q in qubits] if known else None,
    )
    for name in target.operation_names:
        entries: Mapping = target[name]
        kept = {
            tuple(place[qubit] for qubit in where): _scale_instruction(properties, scale, _cap(name))
            for where, properties in entries.items()
            if where is not None and all(qubit in place for qubit in where)
        }
        if kept and name != "delay":
            cut.add_instruction(target.operation_from_name(name), kept, name=name)
    return cut


def numbers_noise(numbers: NoiseNumbers, *, scale: float = 1.0) -> NoiseModel | None:
    """Make a uniform noise model on the gates of `GENERIC_BASIS`.

    Args:
        numbers: probabilities, times and angles.
        scale: multiplies probabilities and angles, divides times; 0 returns `None` (no noise).
    """
    if scale == 0:
        return None
    model = NoiseModel(basis_gates=list(GENERIC_BASIS))
    single = _gate_error(numbers, 1, scale)
    double = _gate_error(numbers, 2, scale)
    if single is not None:
        model.add_all_qubit_quantum_error(single, ["sx", "x"])
    if double is not None:
        model.add_all_qubit_quantum_error(double, ["cx"])
    pair = numbers.readout if isinstance(numbers.readout, tuple) else (numbers.readout, numbers.readout)
    lost, gained = (min(0.5, scale * probability) for probability in pair)
    if lost or gained:
        model.add_all_qubit_readout_error(ReadoutError([[1 - gained, gained], [lost, 1 - lost]]))
    return model


def _gate_error(numbers: NoiseNumbers, num_qubits: int, scale: float) -> QuantumError | None:
    """Over-rotation, then depolarizing, then relaxation for the gate's duration; `None` where all are off."""
    single = num_qubits == 1
    depolarizing = numbers.depolarizing_1q if single else numbers.depolarizing_2q
    angle = scale * (numbers.over_rotation_1q if single else numbers.over_rotation_2q)
    errors = []
    if angle:
        errors.append(coherent_unitary_error(np.asarray((RXGate if single else RZXGate)(angle).to_matrix())))
    if depolarizing:
        errors.append(depolarizing_error(min(1.0, scale * depolarizing), num_qubits))
    if numbers.t1_us:
        errors.append(_relaxation(numbers, num_qubits, scale))
    return reduce(QuantumError.compose, errors) if errors else None


def _relaxation(numbers: NoiseNumbers, num_qubits: int, scale: float) -> QuantumError:
    t1 = numbers.t1_us * 1e3 / scale
    t2 = min((numbers.t2_us or numbers.t1_us) * 1e3 / scale, 2 * t1)
    time_ns = numbers.gate_time_1q_ns if num_qubits == 1 else numbers.gate_time_2q_ns
    single = thermal_relaxation_error(t1, t2, time_ns)
    return reduce(QuantumError.expand, [single] * num_qubits)


def _scale_qubit(properties: QubitProperties, scale: float) -> QubitProperties:
    t1, t2 = getattr(properties, "t1", None), getattr(properties, "t2", None)
    return QubitProperties(t1=t1 and t1 / scale, t2=t2 and t2 / scale, frequency=getattr(properties, "frequency", None))


class _ReadoutProperties(InstructionProperties):
    """Readout error with both directions, under the names that Aer looks for."""

    prob_meas1_prep0: float
    prob_meas0_prep1: float


def _cap(name: str) -> float:
    """Return the largest scaled error: a readout of more than 1/2 would be a better one with the bit turned round."""
    return 0.5 if name == "measure" else 1.0


def _scale(error: float | None, scale: float, cap: float) -> float | None:
    """Scale an error up to a cap, which an error that is above it already keeps to itself."""
    return error and min(max(cap, error), error * scale)


def _scale_instruction(
    properties: InstructionProperties | None, scale: float, cap: float
) -> InstructionProperties | None:
    if properties is None:
        return None
    error = _scale(properties.error, scale, cap)
    if not hasattr(properties, "prob_meas1_prep0"):
        return InstructionProperties(duration=properties.duration, error=error)
    scaled = _ReadoutProperties(duration=properties.duration, error=error)
    scaled.prob_meas1_prep0 = _scale(properties.prob_meas1_prep0, scale, cap) or 0.0
    scaled.prob_meas0_prep1 = _scale(properties.prob_meas0_prep1, scale, cap) or 0.0
    return scaled
