"""Settings: TOML and options to frozen, validated values; for an unknown key the nearest known one is named."""

from qkd_qiskit.config.backend import UNESSENTIAL, BackendSettings, MitigationSettings, NoiseSettings, is_snapshot
from qkd_qiskit.config.job import (
    AxisSettings,
    AxisValue,
    ConditionSettings,
    ConditionValue,
    EvaluationSettings,
    JobSettings,
    StudySettings,
)
from qkd_qiskit.config.reading import merge, parse_assignments, validate
from qkd_qiskit.config.run import (
    LOSS_CONSTANTS,
    PRESETS,
    STUDENT_CONSTANTS,
    STUDENT_DEFAULTS,
    DataSettings,
    DistillationSettings,
    Settings,
    StudentSettings,
    TeacherSettings,
    TrainingSettings,
)
from qkd_qiskit.config.sections import LARGEST_SEED, MOST_SHOTS

__all__ = [
    "LARGEST_SEED",
    "LOSS_CONSTANTS",
    "MOST_SHOTS",
    "PRESETS",
    "STUDENT_CONSTANTS",
    "STUDENT_DEFAULTS",
    "UNESSENTIAL",
    "AxisSettings",
    "AxisValue",
    "BackendSettings",
    "ConditionSettings",
    "ConditionValue",
    "DataSettings",
    "DistillationSettings",
    "EvaluationSettings",
    "JobSettings",
    "MitigationSettings",
    "NoiseSettings",
    "Settings",
    "StudentSettings",
    "StudySettings",
    "TeacherSettings",
    "TrainingSettings",
    "is_snapshot",
    "merge",
    "parse_assignments",
    "validate",
]
