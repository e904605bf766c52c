"""The report of a run: `report.html` to look at, `report.json` with every number behind it, `report.md` to paste.

Needs matplotlib and jinja2: `pip install 'qkd_qiskit[report]'`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qkd_qiskit.files import write_atomically
from qkd_qiskit.report.markdown import render_markdown
from qkd_qiskit.report.numbers.report import collect_report
from qkd_qiskit.report.page import render_page
from qkd_qiskit.report.reading import read_run
from qkd_qiskit.runs import RunDirectory

__all__ = ["collect_report", "read_run", "render_markdown", "render_page", "write_report"]


def write_report(run: RunDirectory) -> Path:
    """Write `report.html`, `report.json` and `report.md` into a run directory, over older ones.

    What a run does not have yet (a teacher, evaluations, an end) is left out, and the page says so.

    Args:
        run: trained, in training, or just begun.

    Returns:
        The path of `report.html`.

    Raises:
        RunError: it is not a run directory, a file in it is damaged, or it can't be written.
    """
    numbers = collect_report(read_run(run))
    contents = {
        "report.json": format_json(numbers),
        "report.md": render_markdown(numbers),
        "report.html": render_page(numbers),
    }
    for name, text in contents.items():
        _write(run.path / name, text)
    return run.path / "report.html"


def format_json(content: Any) -> str:
    """Format JSON with indents, but a list of numbers on one line. Strict: no NaN.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\s+([-+\d.eE,\s]*?(?:null[,\s]+[-+\d.eE,\s]*?)*)\s*\]", _join_lines, text) + "\n"


def _join_lines(found: re.Match[str]) -> str:
    return f"[{', '.join(item.strip() for item in found[1].split(','))}]"


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda aside: _write_text(aside, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
