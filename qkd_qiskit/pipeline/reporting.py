"""Finding what a report is asked of, and writing it where the packages for it are installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qkd_qiskit.exceptions import QkdError
from qkd_qiskit.listening import Listener
from qkd_qiskit.runs import ROOT, RunDirectory, find_run, is_study


def find_sources(names: Sequence[str]) -> list[Path]:
    """Find runs and studies by path or by name under `runs/`; the latest run if none is named.

    Raises:
        RunError: there is nothing of that name.
    """
    if not names:
        return [find_run(None).path]
    found = []
    for name in names:
        places = [path for path in (Path(name), ROOT / name) if is_study(path)]
        found.append(places[0] if places else find_run(name).path)
    return list(dict.fromkeys(found))


def write_reports(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one run, or one page of several runs and studies.

    Args:
        folders: run directories and study folders.
        out: where to; by default into the one run or study, and of several beside the first.

    Returns:
        The path of `report.html`.

    Raises:
        QkdError: a package that only the report needs is not installed.
        RunError: a run or study is empty or damaged.
    """
    try:
        from qkd_qiskit.report import write_comparison, write_report
    except ImportError as error:
        raise QkdError(f"the report needs {error.name}; pip install 'qkd_qiskit[report]'") from error
    if len(folders) == 1 and not is_study(folders[0]):
        return write_report(RunDirectory(folders[0]), out)
    return write_comparison(folders, out)


def report_if_possible(folders: Sequence[Path], listener: Listener) -> str | None:
    """Write the report, or say what to install for it: a job does not fail for want of a picture."""
    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        listener.say("no report: pip install 'qkd_qiskit[report]' and give `qkd-qiskit report`")
        return None
    return str(write_reports(folders))
