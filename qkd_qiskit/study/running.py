"""Running a study: what is missing is done, wherever it is done, and what is there is put into tables."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qkd_qiskit.classical.sources import locate_data
from qkd_qiskit.config import JobSettings, StudySettings
from qkd_qiskit.exceptions import ConfigurationError, InterruptedRunError, QkdError, RunError
from qkd_qiskit.files import digest_of, read_json, write_json
from qkd_qiskit.listening import Listener
from qkd_qiskit.pipeline.evaluation import evaluate_run
from qkd_qiskit.pipeline.jobs import read_job
from qkd_qiskit.pipeline.reporting import report_if_possible
from qkd_qiskit.pipeline.spending import Spending
from qkd_qiskit.runs import RunDirectory
from qkd_qiskit.study.cluster import check_workers, open_cluster, spread_over
from qkd_qiskit.study.grid import expand, select
from qkd_qiskit.study.measuring import contraction_and_scatter
from qkd_qiskit.study.outcomes import load_outcomes, write_outcome
from qkd_qiskit.study.progress import Progress
from qkd_qiskit.study.sittings import Sitting
from qkd_qiskit.study.spreading import choose_workers, spread
from qkd_qiskit.study.tables import write_tables
from qkd_qiskit.study.units import Cell, join_cells
from qkd_qiskit.study.working import Done, Work, describe_outcome, missing_units, run_directory, train_cell

Spread = Callable[[Sequence[Work]], Iterator[Done]]


@dataclass(frozen=True)
class Study:
    """A study that was read and checked.

    Attributes:
        name: as it was asked for.
        folder: where it works.
        job: its file.
        settings: its `[study]` table.
        cells: all of them.
        chosen: those that are run now.
    """

    name: str
    folder: Path
    job: JobSettings
    settings: StudySettings
    cells: tuple[Cell, ...]
    chosen: tuple[Cell, ...]


def read_study(
    name: str,
    out: Path | None = None,
    *,
    assignments: Iterable[str] = (),
    only: Iterable[str] = (),
    seeds: str | None = None,
) -> Study:
    """Read and check a study; nothing is written.

    Args:
        name: a path, or a name from `jobs/`.
        out: its folder; the job file's own if `None`.
        assignments: `section.key=value` texts, laid over `[train]`.
        only: `axis=label` texts that restrict what is run now.
        seeds: such as `0-3`, which restrict it as well.

    Raises:
        ConfigurationError: the file is wrong, or a cell can't exist.
    """
    job, folder = read_job(name)
    if not job.is_study:
        raise ConfigurationError(f"{name} is a single run, not a study: it has no [[axes]] and no [study]")
    cells = expand(job, name, assignments=assignments)
    chosen = select(cells, only=only, seeds=seeds)
    return Study(name, out or folder, job, job.study or StudySettings(), tuple(cells), tuple(chosen))


def list_study(study: Study) -> list[dict[str, Any]]:
    """Say of each chosen cell what is done already: `--dry-run`.

    Raises:
        RunError: an outcome was edited or damaged, so that the study would not begin.
    """
    load_outcomes(study.folder)
    listed = []
    for cell in study.chosen:
        run = run_directory(study.folder, cell)
        missing = len(missing_units(study.folder, cell))
        begun = "begun" if run.last.exists() else "missing"
        listed.append(
            {
                "key": cell.key,
                "labels": cell.labels,
                "seed": cell.settings.seed,
                "training": "done" if run.is_finished else begun,
                "units": len(cell.evaluations),
                "units_done": len(cell.evaluations) - missing,
            }
        )
    return listed


def run_study(
    name: str,
    out: Path | None = None,
    *,
    assignments: Iterable[str] = (),
    only: Iterable[str] = (),
    seeds: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    listener: Listener | None = None,
    spending: Spending | None = None,
) -> dict[str, Any]:
    """Run a study: train and evaluate what is missing, in parallel, and write its tables. Run it again to go on.

    Args:
        name: a path, or a name from `jobs/`.
        out: its folder; the job file's own if `None`.
        assignments: `section.key=value` texts, laid over `[train]`.
        only: `axis=label` texts that restrict what is run now.
        seeds: such as `0-3`, which restrict it as well.
        workers: processes on this machine; one for each core if `None`. They do not change a number.
        cluster: `tcp://host:port` of a dask scheduler, or `local:N`, instead of processes of joblib.
        listener: follows along.
        spending: what may be paid for evaluations on IBM devices, which are done here and not by a worker.

    Returns:
        `study`, `cells`, `units`, `units_done`, `seconds`, `tables`, `statistics` and `report`.

    Raises:
        ConfigurationError: the file is wrong, or a cell can't exist; nothing was run.
        RunError: another process works in the folder, or an outcome was edited.
        InterruptedRunError: Ctrl-C; what was finished is kept.
        QkdError: what went wrong in the cells that failed; the others are finished and in the tables.
    """
    study = read_study(name, out, assignments=assignments, only=only, seeds=seeds)
    listener, began = listener or Listener(), time.perf_counter()
    directory = RunDirectory(study.folder)
    if directory.config.exists():
        raise RunError(f"{study.folder} holds a single run; give the study another --out")
    try:
        with directory.lock():
            _record(study)
            _count_others(study, listener)  # an edited outcome is refused before hours of work, not after
            failed = _run_missing(study, workers, cluster, listener)
            _evaluate_paid(study, {done.work.cell.key for done in failed}, spending or Spending(), listener)
            return _conclude(study, failed, time.perf_counter() - began, listener)
    except KeyboardInterrupt:
        kept = sum(not missing_units(study.folder, cell) for cell in study.chosen)
        raise InterruptedRunError(
            f"interrupted; {kept} of {len(study.chosen)} cells are kept in {study.folder}\n"
            f"go on with: qkd-qiskit run {name} --out {study.folder}"
        ) from None
    finally:
        directory.discard_if_empty()


def _count_others(study: Study, listener: Listener) -> None:
    """Read all outcomes, and say how many are of other settings: they stay, and are in no table."""
    known = {unit.key for cell in study.cells for unit in cell.evaluations}
    others = sum(outcome.key not in known for outcome in load_outcomes(study.folder))
    if others:
        listener.say(
            f"{others} evaluations in {study.folder} are of other settings, from before the job file, --set or the "
            "version changed: they are kept, and left out of the tables; --out gives the new ones a folder of their own"
        )


def _record(study: Study) -> None:
    """Write `study.json`: what the folder is for, with every unit that belongs to it, restricted or not."""
    keys = [unit.key for cell in study.cells for unit in cell.evaluations]
    content = {
        "format": 1,
        "name": Path(study.name).stem,
        "description": study.job.description,
        "study": study.settings.model_dump(mode="json"),
        "axes": {axis.name: [value.label for value in axis.values] for axis in study.job.axes},
        "conditions": {axis.name: [value.label for value in axis.values] for axis in study.job.conditions},
        "job": study.job.model_dump(mode="json"),
        "units": keys,
        "units_sha256": digest_of(keys),
    }
    path = study.folder / "study.json"
    if not path.exists() or read_json(path) != content:
        write_json(path, content)


def _run_missing(study: Study, workers: int | None, cluster: str | None, listener: Listener) -> list[Done]:
    """Train teachers, then train and evaluate cells; return what failed."""
    cells = [cell for cell in join_cells(study.chosen) if _needs_worker(study.folder, cell)]
    done = len({cell.key for cell in study.chosen}) - len(cells)
    listener.say(f"{study.name}: {done + len(cells)} cells, {done} done before, {len(cells)} to do, in {study.folder}")
    if not cells:
        return []
    with contextlib.ExitStack() as stack:
        if cluster is None:
            for folder in {cell.settings.data.data_dir for cell in cells if cell.settings.data.dataset != "digits"}:
                locate_data(folder, download=True)  # a folder that is not there is said once, not by each worker
            count = choose_workers(workers, len(cells))
            run: Spread = lambda works: spread(works, min(count, len(works)))  # noqa: E731
        else:
            client = stack.enter_context(open_cluster(cluster))
            check_workers(client, study.folder)
            count = len(client.scheduler_info()["workers"])
            run = lambda works: spread_over(client, works)  # noqa: E731
        sitting = Sitting(study.folder, where=cluster or f"{count} process{'es' * (count > 1)}", workers=count)
        teachers = [Work("teacher", study.folder, cell) for cell in _different_teachers(study.folder, cells)]
        with sitting.measure("teachers", len(teachers)):
            failed = _follow(run, teachers, "teachers", count, listener)
        if failed:
            raise _error_of(failed, "teachers")
        with sitting.measure("cells", len(cells)):
            return _follow(run, [Work("cell", study.folder, cell) for cell in cells], "cells", count, listener)


def _needs_worker(folder: Path, cell: Cell) -> bool:
    simulated = [unit for unit in missing_units(folder, cell) if unit.backend.kind != "ibm"]
    return bool(simulated) or not run_directory(folder, cell).is_finished


def _different_teachers(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Return a cell for each teacher that is wanted: it is trained once, before students queue up behind it."""
    wanted: dict[str, Cell] = {}
    for cell in cells:
        settings = cell.settings
        if settings.teacher.name == "none" or settings.loss == "ce" or run_directory(folder, cell).is_finished:
            continue
        split = settings.seed if settings.data.split_seed is None else settings.data.split_seed
        wanted.setdefault(digest_of([settings.data.model_dump(), split, settings.teacher.model_dump()]), cell)
    return list(wanted.values())


def _follow(run: Spread, works: Sequence[Work], what: str, workers: int, listener: Listener) -> list[Done]:
    """Do all work, tell how far it is, and return what failed."""
    if not works:
        return []
    progress, failed = Progress(what, len(works), workers, listener), []
    for done in run(works):
        progress.add(done)
        if done.error:
            failed.append(done)
            listener.say(f"failed: {done.work.name}: {done.error}")
    return failed


def _error_of(failed: Sequence[Done], what: str) -> QkdError:
    """Make one error of what failed, with the exit code of the first."""
    lines = [f"{done.work.cell.title}: {done.error}" for done in failed[:5]]
    more = [f"and {len(failed) - 5} more"] if len(failed) > 5 else []
    error = QkdError("\n".join([f"{len(failed)} {what} failed; the others are kept", *lines, *more]))
    error.exit_code = failed[0].exit_code
    return error


def _evaluate_paid(study: Study, failed: set[str], spending: Spending, listener: Listener) -> None:
    """Evaluate on IBM devices, one after the other, here: a worker never spends."""
    for cell in join_cells(study.chosen):
        units = [unit for unit in missing_units(study.folder, cell) if unit.backend.kind == "ibm"]
        if not units or cell.key in failed:
            continue
        run = run_directory(study.folder, cell)
        training = train_cell(study.folder, cell)
        for unit in units:
            result = evaluate_run(run, unit.backend, samples=unit.samples, listener=listener, spending=spending)
            if "state" in result:
                continue
            with np.load(Path(result["folder"]) / "expectation_values.npz") as arrays:
                content = describe_outcome(cell, unit, training, arrays["logits"], arrays["labels"])
                pair = arrays["expectation_values"], arrays["noiseless_expectation_values"]
            slope, scatter = contraction_and_scatter(*pair)
            paid = {name: result[name] for name in ("job_ids", "qpu_seconds_charged", "qpu_seconds_estimated")}
            content |= {"contraction": slope, "scatter": scatter, "evaluation_seconds": result["seconds"], **paid}
            write_outcome(study.folder, content)


def _conclude(study: Study, failed: Sequence[Done], seconds: float, listener: Listener) -> dict[str, Any]:
    """Write the tables of everything that there is, and raise if something failed."""
    units = [unit for cell in study.cells for unit in cell.evaluations]
    known = {unit.key for unit in units}
    outcomes = [outcome for outcome in load_outcomes(study.folder) if outcome.key in known]
    statistics = write_tables(study.folder, outcomes, units, study.settings) if outcomes else None
    if failed:
        raise _error_of(failed, "cells")
    report = report_if_possible([study.folder], listener) if outcomes and study.job.report else None
    return {
        "study": str(study.folder),
        "cells": len({cell.key for cell in study.cells}),
        "units": len(units),
        "units_done": len(outcomes),
        "seconds": seconds,
        "tables": [str(study.folder / name) for name in ("table.md", "table.csv", "statistics.json")],
        "statistics": statistics,
        "report": report,
    }
