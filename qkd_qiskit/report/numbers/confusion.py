"""Which class is taken for which."""

from __future__ import annotations

from typing import Any

import numpy as np

from qkd_qiskit.report.reading import StoredEvaluation


def collect_confusion(evaluation: StoredEvaluation, classes: list[Any]) -> dict[str, Any]:
    """Count samples by true class (rows) and answer (columns), without noise and on the backend.

    A head with more scores than classes may answer with none of them; such samples are counted in a last column,
    `none`, which is there only if it is needed.
    """
    arrays, size = evaluation.arrays, len(classes)
    answers = {name: arrays[key].argmax(1) for name, key in (("noiseless", "noiseless_logits"), ("backend", "logits"))}
    needs_none = any((answer >= size).any() for answer in answers.values())
    width = size + needs_none
    return {
        "classes": [str(name) for name in classes],
        "answers": [str(name) for name in classes] + ["none"] * needs_none,
        **{name: count(arrays["labels"], answer.clip(max=width - 1), size, width) for name, answer in answers.items()},
    }


def count(labels: np.ndarray, answers: np.ndarray, rows: int, columns: int) -> list[list[int]]:
    """Count pairs of label and answer into a table `(rows, columns)`."""
    table = np.zeros((rows, columns), dtype=int)
    np.add.at(table, (labels, answers), 1)
    return table.tolist()
