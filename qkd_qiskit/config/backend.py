"""Settings of a place where a circuit can run: one `backends/*.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from qkd_qiskit.config.sections import LARGEST_SEED, MOST_SHOTS, Section

Flip = Annotated[float, Field(ge=0, lt=0.5)]
"""Probability of reading a bit wrongly."""

NoisePart = Literal["gates", "relaxation", "readout"]
"""Part of a device's noise: see `qkd_qiskit.execution.noise.device_noise`."""


class NoiseSettings(Section):
    """A noise model by numbers; see `qkd_qiskit.execution.noise.NoiseNumbers`."""

    depolarizing_1q: float = Field(default=0.0, ge=0, le=1)
    depolarizing_2q: float = Field(default=0.0, ge=0, le=1)
    readout: Flip | tuple[Flip, Flip] = 0.0
    t1_us: float = Field(default=0.0, ge=0)
    t2_us: float = Field(default=0.0, ge=0)
    gate_time_1q_ns: float = Field(default=60.0, gt=0)
    gate_time_2q_ns: float = Field(default=660.0, gt=0)
    over_rotation_1q: float = 0.0
    over_rotation_2q: float = 0.0

    @model_validator(mode="after")
    def _check_times(self) -> NoiseSettings:
        if self.t2_us and not self.t1_us:
            raise ValueError("t2_us needs t1_us as well")
        if self.t2_us > 2 * self.t1_us:
            raise ValueError(f"t2_us is at most 2 t1_us = {2 * self.t1_us:g}, physics says")
        return self


class MitigationSettings(Section):
    """Error suppression and mitigation; what is not given is up to `resilience_level`.

    Simulators offer `readout` and `zne` (`qkd_qiskit.execution.simulated_mitigation`), the service all of it.

    Attributes:
        readout: learn readout errors and divide them out (TREX; on simulators, two calibration circuits).
        measure_twirling: randomise measurements.
        gate_twirling: randomise two-qubit gates.
        dynamical_decoupling: pulses on idle qubits, `XX`, `XpXm` or `XY4`; none if empty.
        zne: extrapolate to zero noise.
        zne_factors: the noise levels that are run.
        zne_extrapolator: `linear`, `exponential`, `double_exponential` or `polynomial_degree_2` and so on; where
            it does not fit a value, `linear` is taken.
        zne_amplifier: `gate_folding`, `gate_folding_front`, `gate_folding_back`; or `pea`, which learns noise.
        pec: learn the gates' noise and cancel it probabilistically.
        pec_max_overhead: how many times more executions cancelling may take; what would need more is cancelled in part.
        layers_to_learn: layers of two-qubit gates whose noise `pec` and `pea` learn at most, in the evaluation's job.
    """

    readout: bool | None = None
    measure_twirling: bool | None = None
    gate_twirling: bool | None = None
    dynamical_decoupling: Literal["", "XX", "XpXm", "XY4"] = ""
    zne: bool | None = None
    zne_factors: tuple[float, ...] = (1, 3, 5)
    zne_extrapolator: str = "exponential"
    zne_amplifier: Literal["gate_folding", "gate_folding_front", "gate_folding_back", "pea"] = "gate_folding"
    pec: bool = False
    pec_max_overhead: float = Field(default=100.0, ge=1)
    layers_to_learn: int = Field(default=4, ge=1)


UNESSENTIAL = {
    "description", "wait_hours", "mode", "max_qpu_seconds", "executions_per_job", "settle_seconds", "outage_seconds",
}  # fmt: skip
"""Settings of a backend that do not change an evaluation's answer."""


def is_snapshot(name: object) -> bool:
    """Return whether a fake device's name is the path of a snapshot that `qkd-qiskit snapshot` took."""
    return isinstance(name, str) and name.endswith(".json")


class BackendSettings(Section):
    """A place where a circuit can run: one `backends/*.toml`.

    Attributes:
        name: what the user types after `--backend`.
        kind: `aer` (simulator), `fake` (a device's stored snapshot, simulated) or `ibm` (the account's device).
        description: one line for `qkd-qiskit backends`.
        device: the device whose circuit and calibration are used (`fake_brisbane`, `ibm_brisbane`, or for `fake` a
            snapshot's path, `snapshots/....json`); none if empty.
        noise: for `aer`, a fake device's name, a snapshot's path or a table of numbers; no noise if empty.
        noise_scale: multiplies error rates and angles, divides T1 and T2.
        noise_parts: for a device's noise, the parts that are kept: `gates`, `relaxation`, `readout`.
        shots: measurements a sample; 0 is exact (simulators only).
        recalibrate: before an evaluation, measure so many training images here and fit the student's head anew to their
            expectation values (simulators only); 0 for not at all.
        mode: `auto`, `session`, `batch` or `job` (`ibm` only).
        resilience_level: of Runtime's Estimator, 0 to 2 (`ibm` only).
        mitigation: of errors, in more detail; simulators take a part of it.
        sentinels: samples that are measured again at the end, so that drift shows; at most one for 20 samples, 0 for
            none (`ibm` only).
        max_qpu_seconds: QPU seconds that an evaluation may cost, all its jobs together (`ibm` only).
        executions_per_job: a job with more circuit executions is split (`ibm` only).
        settle_seconds: how long a job that may exist is looked for before it is submitted again (`ibm` only).
        outage_seconds: how long a service that does not answer is put up with (`ibm` only).
        wait_hours: how long to wait for a result before giving up waiting; the job is not cancelled (`ibm` only).
        layouts: transpiler seeds that are tried.
        optimization_level: the transpiler's, 0 to 3.
        transpile_seed: the first transpiler seed.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    kind: Literal["aer", "fake", "ibm"]
    description: str = ""
    device: str = ""
    noise: str | NoiseSettings = ""
    noise_scale: float = Field(default=1.0, ge=0, le=1000)
    noise_parts: tuple[NoisePart, ...] = ("gates", "relaxation", "readout")
    shots: int = Field(default=0, ge=0, le=MOST_SHOTS)
    recalibrate: int = Field(default=0, ge=0)
    mode: Literal["auto", "session", "batch", "job"] = "auto"
    resilience_level: Literal[0, 1, 2] = 0
    mitigation: MitigationSettings = MitigationSettings()
    sentinels: int = Field(default=2, ge=0, le=100)
    max_qpu_seconds: int = Field(default=300, ge=1, le=10_800)
    executions_per_job: int = Field(default=10_000_000, ge=1)
    settle_seconds: float = Field(default=60.0, ge=0)
    outage_seconds: float = Field(default=1800.0, ge=0)
    wait_hours: float = Field(default=24.0, gt=0)
    layouts: int = Field(default=16, ge=1, le=1000)
    optimization_level: Literal[0, 1, 2, 3] = 3
    transpile_seed: int = Field(default=0, ge=0, le=LARGEST_SEED)

    @model_validator(mode="after")
    def _check_snapshot(self) -> BackendSettings:
        if self.kind == "ibm" and is_snapshot(self.device):
            raise ValueError(f'the snapshot {self.device} is simulated; give kind = "fake", or an ibm_* device')
        return self

    @model_validator(mode="after")
    def _check_noise(self) -> BackendSettings:
        if self.kind == "ibm" and self.recalibrate:
            raise ValueError(
                "recalibrate measures training images as well, and is not offered on hardware yet, where they would be "
                "paid; leave it out, or recalibrate on the device's snapshot, --backend fake_..."
            )
        if self.kind == "aer" and not self.noise and self.noise_scale != 1:
            raise ValueError("noise_scale has nothing to scale; give noise as well, or --backend aer_noisy")
        if self.noise_parts != BackendSettings.model_fields["noise_parts"].default and not (
            self.kind == "fake" or (self.kind == "aer" and isinstance(self.noise, str) and self.noise)
        ):
            raise ValueError(
                "noise_parts takes a simulated device's noise apart, and this backend has none; give --backend "
                "aer_noisy or a fake_*. A noise table of numbers has its parts apart already"
            )
        return self

    @property
    def source(self) -> str:
        """The device, fake device or snapshot whose circuit and calibration are used; empty if there is none."""
        if self.kind != "aer":
            return self.device
        return self.noise if isinstance(self.noise, str) else ""

    @property
    def essence(self) -> dict[str, Any]:
        """What changes an evaluation's answer and differs from its default, as plain data: see `Settings.identity`.

        Of a snapshot the file's name counts, which holds its digest, and not where it lies.
        """
        content = self.model_dump(mode="json", exclude=UNESSENTIAL, exclude_defaults=True)
        files = {key: Path(content[key]).name for key in ("device", "noise") if is_snapshot(content.get(key))}
        return {**content, **files}
