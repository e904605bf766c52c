"""The report of a run, or of several runs and studies.

`report.html` to look at, `report.json` with every number behind it, `report.md` to paste.

Needs matplotlib and jinja2: `pip install 'qkd_qiskit[report]'`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qkd_qiskit.exceptions import RunError
from qkd_qiskit.files import write_atomically
from qkd_qiskit.report.markdown import render_markdown, render_several_markdown
from qkd_qiskit.report.numbers.report import collect_report
from qkd_qiskit.report.page import render_page
from qkd_qiskit.report.reading import read_run
from qkd_qiskit.report.several import collect_several, render_several
from qkd_qiskit.runs import RunDirectory

__all__ = [
    "collect_report",
    "collect_several",
    "read_run",
    "render_markdown",
    "render_page",
    "write_comparison",
    "write_report",
]


def write_report(run: RunDirectory, out: Path | None = None) -> Path:
    """Write `report.html`, `report.json` and `report.md` into a run directory, over older ones.

    What a run does not have yet (a teacher, evaluations, an end) is left out, and the page says so.

    Args:
        run: trained, in training, or just begun.
        out: another folder to write it into.

    Returns:
        The path of `report.html`.

    Raises:
        RunError: it is not a run directory, a file in it is damaged, or it can't be written.
    """
    numbers = collect_report(read_run(run))
    return _write_all(out or run.path, numbers, render_markdown(numbers), render_page(numbers))


def write_comparison(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write one `report.html`, `report.json` and `report.md` of several runs and studies.

    Args:
        folders: run directories and study folders.
        out: where to; by default beside the first one, and of a single study into its own folder.

    Returns:
        The path of `report.html`.

    Raises:
        RunError: a folder is neither a run nor a study, is empty or damaged, or the report can't be written.
    """
    if out is None:
        out = folders[0] if len(folders) == 1 else folders[0].resolve().parent
    numbers = collect_several(folders)
    return _write_all(out, numbers, render_several_markdown(numbers), render_several(numbers))


def format_json(content: Any) -> str:
    """Format JSON with indents, but a list of numbers on one line. Strict: no NaN.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\s+([-+\d.eE,\s]*?(?:null[,\s]+[-+\d.eE,\s]*?)*)\s*\]", _join_lines, text) + "\n"


def _join_lines(found: re.Match[str]) -> str:
    return f"[{', '.join(item.strip() for item in found[1].split(','))}]"


def _write_all(folder: Path, numbers: dict[str, Any], markdown: str, page: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"can't write in {folder}: {error.strerror or error}; choose another --out") from error
    for name, text in (("report.json", format_json(numbers)), ("report.md", markdown), ("report.html", page)):
        _write(folder / name, text)
    return folder / "report.html"


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda aside: _write_text(aside, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
