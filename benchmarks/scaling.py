"""How the cost of a study grows with qubits, images, cells and workers: `python benchmarks/scaling.py`.

Prints the tables of `docs/scaling.md`, all of one run on this machine. An epoch's seconds are the median of three;
studies are run once each. All are of `digits`, so nothing is downloaded. About five minutes on two cores.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import qkd_qiskit as qkd
from qkd_qiskit.classical.augmentation import Augmentation, augment
from qkd_qiskit.config import StudySettings
from qkd_qiskit.distillation.losses import Objective
from qkd_qiskit.distillation.training import TrainingPlan, TrainingState, iterate_epochs
from qkd_qiskit.files import digest_of, read_json
from qkd_qiskit.study.outcomes import load_outcomes, write_outcome
from qkd_qiskit.study.running import run_study
from qkd_qiskit.study.tables import write_tables

REPEATS = 3
CELL = """
[train]
backend = "aer"
data = {dataset = "digits", classes = "0-3", split_seed = 0}
student = {qubits = 3}
teacher = {name = "none"}
training = {epochs = %(epochs)d}
[study]
seeds = %(seeds)d
[[axes]]
name = "layers"
values = [{label = 1, student = {layers = 1}}]
"""


def time_epoch(dataset: Any, **student: Any) -> float:
    """Return seconds for a training epoch in batches of 64, on one thread."""
    placed = qkd.build_student(dataset, **student)
    plan = TrainingPlan(epochs=REPEATS + 1, batch_size=64, learning_rate=1e-2)
    state, few = TrainingState.start(placed.student, plan), dataset.validation
    epochs = iterate_epochs(state, plan, Objective("ce", num_classes=dataset.num_classes), dataset.train, few)
    return statistics.median([facts["seconds"] for facts in epochs][1:])


def by_qubits(dataset: Any) -> list[tuple[Any, ...]]:
    """Time an epoch against qubits, without noise and under FakeBrisbane's."""
    rows = []
    for qubits in (2, 3, 4, 5, 6, 7, 8):
        ideal = time_epoch(dataset, qubits=qubits, backend="aer")
        noisy = time_epoch(dataset, qubits=qubits, backend="aer_noisy") if qubits <= 5 else None
        rows.append((qubits, per_thousand(ideal, dataset), "-" if noisy is None else per_thousand(noisy, dataset)))
    return rows


def per_thousand(seconds: float, dataset: Any) -> str:
    return f"{1000 * seconds / len(dataset.train):.3f}"


def by_images(dataset: Any) -> list[tuple[Any, ...]]:
    """Time an epoch against images: distorted copies, for digits has 1,295."""
    rows = []
    for times in (1, 4, 16):
        images = augment(dataset.train, Augmentation(copies=times - 1)) if times > 1 else dataset.train
        longer = replace(dataset, train=images)
        rows.append((len(images), f"{time_epoch(longer, qubits=4, backend='aer_noisy'):.2f}"))
    return rows


def run_cells(folder: Path, seeds: int, epochs: int, **how: Any) -> tuple[float, Path]:
    """Run a study of so many cells and return seconds and where it is."""
    job, out = folder / "cells.toml", Path(tempfile.mkdtemp(dir=folder))
    job.write_text(CELL % {"seeds": seeds, "epochs": epochs})
    began = time.perf_counter()
    run_study(str(job), out, **how)
    return time.perf_counter() - began, out


def by_cells(folder: Path) -> list[tuple[Any, ...]]:
    """Run studies of more and more cells of one epoch: what a cell costs beside its training."""
    rows = []
    for cells in (8, 32, 128):
        seconds, out = run_cells(folder, cells, 1, workers=2)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        files = sum(path.is_file() for path in out.rglob("*"))
        rows.append(
            (cells, f"{seconds:.1f}", f"{seconds / cells:.2f}", f"{size / cells / 1024:.0f}", f"{files / cells:.0f}")
        )
    return rows


def by_workers(folder: Path) -> list[tuple[Any, ...]]:
    """Run one study of 24 cells with one and two workers, of joblib and of dask."""
    rows, alone = [], 0.0
    for what, how in (
        ("joblib, 1 worker", {"workers": 1}),
        ("joblib, 2 workers", {"workers": 2}),
        ("dask, local:1", {"cluster": "local:1"}),
        ("dask, local:2", {"cluster": "local:2"}),
    ):
        seconds, _ = run_cells(folder, 24, 40, **how)
        alone = alone or seconds
        rows.append((what, f"{seconds:.1f}", f"{alone / seconds:.2f}"))
    return rows


def by_outcomes(folder: Path) -> list[tuple[Any, ...]]:
    """Read outcomes and write tables of larger and larger studies: copies of one real outcome, five seeds a row."""
    _, out = run_cells(folder, 1, 1, workers=1)
    sample = read_json(next((out / "units").glob("*.json")))
    del sample["sha256"], sample["format"]
    rows = []
    for count in (100, 1000, 10_000):
        many = Path(tempfile.mkdtemp(dir=folder))
        for place in range(count):
            labels = {"layers": place // 10, "teacher": ("none", "lenet")[place % 10 // 5]}
            own = {"key": digest_of(place)[:24], "training": digest_of([place])[:24]}
            write_outcome(many, {**sample, **own, "labels": labels, "seed": place % 5})
        began = time.perf_counter()
        outcomes = load_outcomes(many)
        read = time.perf_counter() - began
        write_tables(many, outcomes, [], StudySettings(compare="teacher"))
        rows.append((f"{count:,}", f"{read:.1f}", f"{time.perf_counter() - began - read:.1f}"))
    return rows


def show(title: str, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    print(f"\n{title}\n\n" + "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines), flush=True)


def main() -> None:
    torch.set_num_threads(1)
    dataset = qkd.load_dataset("digits", seed=0)
    tables: list[tuple[str, tuple[str, ...], Callable[[Path], list[tuple[Any, ...]]]]] = [
        (
            "Training, amplitude encoding, two layers, batches of 64, one thread: milliseconds an image.",
            ("qubits", "`aer`", "`aer_noisy` (FakeBrisbane)"),
            lambda folder: by_qubits(dataset),
        ),
        (
            "An epoch with 4 qubits on `aer_noisy`, batches of 64, one thread.",
            ("images", "seconds"),
            lambda folder: by_images(dataset),
        ),
        (
            "Studies of cells of one epoch each (four digits, 3 qubits), two workers: nearly all of it is overhead.",
            ("cells", "seconds", "seconds a cell", "KiB a cell", "files a cell"),
            by_cells,
        ),
        (
            "24 cells of 40 epochs each; a start of workers included.",
            ("engine", "seconds", "times faster than one worker"),
            by_workers,
        ),
        (
            "The end of a study: outcomes are read and checked, then put into tables with all statistics.",
            ("outcomes", "seconds to read", "seconds for tables"),
            by_outcomes,
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for title, head, measure in tables:
            show(title, head, measure(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
