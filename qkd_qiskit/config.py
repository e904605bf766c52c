"""Settings: TOML and options to frozen, validated values; for an unknown key the nearest known one is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qkd_qiskit.exceptions import ConfigurationError
from qkd_qiskit.files import digest_of
from qkd_qiskit.suggestions import nearest

LARGEST_SEED = 2**31 - 1
MOST_SHOTS = 10_000_000
"""Executions that Runtime takes in one job."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(_Section):
    """Which images, and how they are split.

    Attributes:
        dataset: `digits`, `mnist`, `fashion_mnist` or `cifar10`.
        classes: such as `0-7` or `0,3,6`; all if not given.
        train_per_class: the student's training images of each class; all if not given.
        validation_per_class: validation images of each class; all if not given.
        test_per_class: test images of each class; the whole official test set if not given.
        validation_fraction: share of the official training set that is kept for validation.
        split_seed: decides the split; the run's own seed if not given.
        data_dir: folder in torchvision's layout.
    """

    dataset: str = "digits"
    classes: str | None = None
    train_per_class: int | None = Field(default=None, ge=1)
    validation_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    split_seed: int | None = Field(default=None, ge=0, le=LARGEST_SEED)
    data_dir: str | None = None


class TeacherSettings(_Section):
    """The classical network that is distilled.

    Attributes:
        name: `lenet`, `alexnet`, `ensemble`, `none`, or a file.
        epochs: of its own training; its usual number if not given.
        batch_size: images a step.
        learning_rate: Adam's largest; its usual one if not given.
        seed: decides its weights, apart from the student's seed: students with the same split share one teacher (give
            them the same `data.split_seed`, or the split and with it the teacher changes with the student's seed).
    """

    name: str = "lenet"
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    learning_rate: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)


class StudentSettings(_Section):
    """The quantum student; see `qkd_qiskit.quantum.StudentBlueprint`.

    Attributes:
        kind: `qnn` or `hybrid`.
        qubits: `Q`.
        layers: entangling layers of the ansatz.
        reduction: `linear` or `average_pool`.
        encoding: `amplitude` or `angle`.
        observables: `parities` or `z`.
        head: `affine` or `paper`.
        angle_range: largest angle of bounded encodings, in radians.
        normalise: standardise features in front of a bounded encoding, the cure for seeds that never learn.
    """

    kind: str = "qnn"
    qubits: int = Field(default=4, ge=1, le=12)
    layers: int = Field(default=2, ge=0)
    reduction: str = "linear"
    encoding: str = "amplitude"
    observables: str = "parities"
    head: str = "affine"
    angle_range: float = Field(default=math.pi / 2, gt=0)
    normalise: bool = True


class DistillationSettings(_Section):
    """The loss; see `qkd_qiskit.distillation.Objective`.

    Attributes:
        loss: `kd`, `ce` or `paper`; if not given, `kd` with a teacher and `ce` without one.
        temperature: softens both distributions.
        alpha: weight of the teacher's term.
    """

    loss: str | None = None
    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=0.9, ge=0, le=1)


class TrainingSettings(_Section):
    """The training loop; see `qkd_qiskit.distillation.TrainingPlan`.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: Adam's largest.
        schedule: `cosine`, `one_cycle` or `constant`.
        clip: largest gradient norm; 0 switches clipping off.
        weight_decay: decoupled weight decay.
        engine: what evaluates the circuit in training: `exact`, or `aer`, Aer with batched parameter shift.
        device: torch device of student and exact engine: `cpu`, `cuda` or `cuda:1`.
        threads: of torch; they decide how sums are rounded. On small students one is also the fastest.
        probe: samples of the first batch that are checked against Aer before training starts.
    """

    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    learning_rate: float = Field(default=2e-2, gt=0)
    schedule: str = "cosine"
    clip: float = Field(default=1.0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    engine: Literal["exact", "aer"] = "exact"
    device: str = "cpu"
    threads: int = Field(default=1, ge=1, le=256)
    probe: int = Field(default=4, ge=1)


Flip = Annotated[float, Field(ge=0, lt=0.5)]
"""Probability of reading a bit wrongly."""


class NoiseSettings(_Section):
    """A noise model by numbers; see `qkd_qiskit.execution.noise.NoiseNumbers`."""

    depolarizing_1q: float = Field(default=0.0, ge=0, le=1)
    depolarizing_2q: float = Field(default=0.0, ge=0, le=1)
    readout: Flip | tuple[Flip, Flip] = 0.0
    t1_us: float = Field(default=0.0, ge=0)
    t2_us: float = Field(default=0.0, ge=0)
    gate_time_1q_ns: float = Field(default=60.0, gt=0)
    gate_time_2q_ns: float = Field(default=660.0, gt=0)

    @model_validator(mode="after")
    def _check_times(self) -> NoiseSettings:
        if self.t2_us and not self.t1_us:
            raise ValueError("t2_us needs t1_us as well")
        if self.t2_us > 2 * self.t1_us:
            raise ValueError(f"t2_us is at most 2 t1_us = {2 * self.t1_us:g}, physics says")
        return self


class MitigationSettings(_Section):
    """Error suppression and mitigation; what is not given is up to `resilience_level`.

    Attributes:
        readout: learn readout errors and divide them out (TREX).
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


class BackendSettings(_Section):
    """A place where a circuit can run: one `backends/*.toml`.

    Attributes:
        name: what the user types after `--backend`.
        kind: `aer` (simulator), `fake` (a device's stored snapshot, simulated) or `ibm` (the account's device).
        description: one line for `qkd-qiskit backends`.
        device: the device whose circuit and calibration are used (`fake_brisbane`, `ibm_brisbane`); none if empty.
        noise: for `aer`, a fake device's name or a table of numbers; no noise if empty.
        noise_scale: multiplies error rates and divides T1 and T2.
        shots: measurements a sample; 0 is exact (simulators only).
        mode: `auto`, `session`, `batch` or `job` (`ibm` only).
        resilience_level: of Runtime's Estimator, 0 to 2 (`ibm` only).
        mitigation: of Runtime's Estimator, in more detail (`ibm` only).
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
    shots: int = Field(default=0, ge=0, le=MOST_SHOTS)
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
    def _check_noise(self) -> BackendSettings:
        if self.kind == "aer" and not self.noise and self.noise_scale != 1:
            raise ValueError("noise_scale has nothing to scale; give noise as well, or --backend aer_noisy")
        return self


class Settings(_Section):
    """Everything that decides a training run.

    Attributes:
        seed: decides the split, the initial weights, the order of the images, and every sampled number.
        data: which images.
        teacher: what is distilled.
        student: what is trained.
        distillation: the loss.
        training: the loop.
        backend: where the circuit runs.
    """

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    data: DataSettings = DataSettings()
    teacher: TeacherSettings = TeacherSettings()
    student: StudentSettings = StudentSettings()
    distillation: DistillationSettings = DistillationSettings()
    training: TrainingSettings = TrainingSettings()
    backend: BackendSettings

    @property
    def loss(self) -> str:
        """The loss with its default filled in."""
        return self.distillation.loss or ("ce" if self.teacher.name == "none" else "kd")

    @property
    def identity(self) -> str:
        """SHA-256 of the settings that change the result; where the images lie and descriptions do not."""
        content = self.model_dump(mode="json")
        content["data"].pop("data_dir")
        content["backend"].pop("description")
        return digest_of(content)


class EvaluationSettings(_Section):
    """One `[[evaluate]]` table of a job file.

    Attributes:
        backend: a backend's name, or a table `{name = ..., key = ...}` that changes some of its settings.
        samples: test images, drawn in equal parts from the classes; all if not given.
        shots: measurements a sample; the backend's own number if not given.
    """

    backend: str | dict[str, Any]
    samples: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=1, le=MOST_SHOTS)


class JobSettings(_Section):
    """A job file: a training run and the evaluations that follow it.

    Attributes:
        description: one line.
        out: the run directory; `runs/<name of the file>` if not given.
        report: whether to write `report.html` at the end.
        train: a table like `Settings`, in which `backend` may be a name.
        evaluate: the evaluations, in order.
    """

    description: str = ""
    out: str | None = None
    report: bool = True
    train: dict[str, Any] = {}
    evaluate: tuple[EvaluationSettings, ...] = ()


STUDENT_DEFAULTS: dict[str, dict[str, Any]] = {
    "hybrid": {"training": {"learning_rate": 3e-3, "batch_size": 16}, "distillation": {"temperature": 1.5}}
}
"""Where a kind of student has other defaults than those above."""

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"distillation": {"loss": "paper", "temperature": 3.0, "alpha": 0.9}},
}
"""Named sets of settings; `paper` is the distillation loss of arXiv 2311.13810 exactly as its public code has it."""


def validate(section: type[BaseModel], content: Mapping[str, Any], source: str) -> Any:
    """Check plain data and turn it into settings.

    Args:
        section: one of the classes here.
        content: what was read.
        source: where from, for the message.

    Raises:
        ConfigurationError: an unknown key (the nearest known one is named) or a value out of range.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_explain(section, item) for item in _innermost(error.errors()))
        raise ConfigurationError(f"{source}: {problems}") from error


UNION_MEMBERS = ("str", "float", "constrained-float", "NoiseSettings")
"""Kinds of value that pydantic puts into the path of a complaint, besides those with brackets in them."""


def _innermost(problems: Sequence[Any]) -> list[dict[str, Any]]:
    """Keep, of the complaints about one key that may be a text or a table, those that go furthest into it."""
    deepest: dict[tuple, list[dict[str, Any]]] = {}
    for problem in problems:
        where = tuple(part for part in problem["loc"] if part not in UNION_MEMBERS and "[" not in str(part))
        group = deepest.setdefault(where[:2] if where[:1] == ("backend",) else where[:1], [])
        if group and len(where) > len(group[0]["loc"]):
            group.clear()
        if not group or len(where) == len(group[0]["loc"]):
            group.append({**problem, "loc": where})
    return [problem for group in deepest.values() for problem in group]


def _explain(section: type[BaseModel], problem: Mapping[str, Any]) -> str:
    where = [str(part) for part in problem["loc"]]
    if problem["type"] in SHAPES:
        return f"{'.'.join(where)} = {problem['input']!r}: {SHAPES[problem['type']].format(where[-1])}"
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{'.'.join(where)} = {problem['input']!r}: {message[0].lower()}{message[1:]}"
    known = _fields_at(section, where[:-1])
    return f"unknown key {'.'.join(where)!r}{nearest(where[-1], known)}; known here: {', '.join(known)}"


SHAPES = {
    "model_type": "this is a table of settings; write [train.{0}] in a job file, {0}.key=value after --set",
    "tuple_type": "this is a list; for tables write [[{0}]] with two brackets, once for each",
    "dict_type": "this is a table of settings; write [{0}] with its keys below",
}
"""What to write where a key has the wrong shape, by pydantic's name of the problem."""


def _fields_at(section: type[BaseModel], where: list[str]) -> list[str]:
    for part in where:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if nested:
            section = nested[0]
    return list(section.model_fields)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables with the second laid over the first."""
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both_tables else value
    return merged


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `--set section.key=value` options into a nested table; values are read as TOML, else as plain text.

    Raises:
        ConfigurationError: an option has no `=` or no key.
    """
    table: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"--set {assignment!r}: write section.key=value, e.g. --set training.clip=0.5")
        nested: Any = _parse_value(text.strip())
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        table = merge(table, nested)
    return table


def _parse_value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
