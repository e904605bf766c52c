"""The results table of the README: `python benchmarks/headline.py` (some 15 minutes on two cores; can be resumed).

Digits need no files. The MNIST rows need `QKD_DATA_DIR` and are left out, by name, without it. Every number comes from
`train_run` and `evaluate_run`, as `qkd-qiskit train` and `qkd-qiskit evaluate` would give it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from qkd_qiskit import (
    build_teacher,
    evaluate_run,
    find_run,
    load_dataset,
    read_settings,
    resolve_backend,
    train_run,
)
from qkd_qiskit.console import PlainListener

DIGITS: dict[str, Any] = {"data": {"dataset": "digits"}}
PAPER_CELL: dict[str, Any] = {
    "data": {"dataset": "mnist", "classes": "0-7", "train_per_class": 150, "split_seed": 0},
    "student": {"kind": "hybrid", "qubits": 4},
}


class Headline(PlainListener):
    """Prints phases, not epochs."""

    def epoch(self, facts: dict[str, Any], epochs: int) -> None:
        """Say nothing of single epochs."""


def train_once(folder: Path, content: dict[str, Any], seed: int) -> dict[str, Any]:
    settings = read_settings({**content, "seed": seed})
    return train_run(settings, folder, resume=(folder / "config.json").exists(), listener=Headline())


def evaluate_once(folder: Path, backend: str) -> dict[str, Any]:
    return evaluate_run(find_run(str(folder)), resolve_backend(backend), listener=Headline())


def digits_rows(root: Path, seeds: range) -> list[list[str]]:
    ideal = [train_once(root / f"digits-aer-{seed}", {**DIGITS, "backend": "aer"}, seed) for seed in seeds]
    noisy, fake = [], []
    for seed in seeds:
        folder = root / f"digits-aer_noisy-{seed}"
        noisy.append(train_once(folder, {**DIGITS, "backend": "aer_noisy"}, seed))
        fake.append(evaluate_once(folder, "fake_brisbane"))
    unaware = [evaluate_once(root / f"digits-aer-{seed}", "fake_brisbane") for seed in seeds]
    name = "digits 0-9, `qnn`, 4 qubits"
    return [
        row(name, "`aer`", "`aer`, exact", [item["test_accuracy"] for item in ideal]),
        row(name, "`aer`", "`fake_brisbane`, 4096 shots", [item["accuracy"] for item in unaware]),
        row(name, "`aer_noisy`", "`aer_noisy`, exact", [item["test_accuracy"] for item in noisy]),
        row(name, "`aer_noisy`", "`fake_brisbane`, 4096 shots", [item["accuracy"] for item in fake]),
    ]


def mnist_rows(root: Path, seeds: range) -> list[list[str]]:
    results = [train_once(root / f"mnist-hybrid-{seed}", {**PAPER_CELL, "backend": "aer"}, seed) for seed in seeds]
    name = "MNIST 0-7, `hybrid`, 4 qubits, 150 a class"
    return [row(name, "`aer`", "`aer`, exact", [item["test_accuracy"] for item in results])]


def teacher_rows() -> list[list[str]]:
    rows = []
    for name, classes in (("mnist", None), ("fashion_mnist", "0-7")):
        dataset = load_dataset(name, classes=classes, seed=0)
        correct, total = build_teacher("lenet", dataset, seed=0).accuracy(dataset.test)
        where = f"{name} {classes or '0-9'}, LeNet (the teacher), all training images"
        rows.append([where, "-", "classical", f"{100 * correct / total:.1f}", f"{correct} of {total}"])
    return rows


def row(student: str, trained: str, evaluated: str, accuracies: list[float]) -> list[str]:
    each = " ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies)
    return [student, trained, evaluated, f"{100 * statistics.mean(accuracies):.1f}", each]


def main() -> None:
    """Run what has not been run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/headline"), help="folder of the runs")
    arguments = parser.parse_args()
    rows = digits_rows(arguments.out, range(3))
    if os.environ.get("QKD_DATA_DIR"):
        rows += mnist_rows(arguments.out, range(5)) + teacher_rows()
    else:
        print("QKD_DATA_DIR is not set: the MNIST rows are left out", file=sys.stderr)
    head = ["student, distilled from LeNet", "trained on", "evaluated on", "test accuracy, mean (%)", "by seed (%)"]
    for cells in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
