"""What a page consists of, and how it is filled: sections with drawings and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from qkd_qiskit.report.figures.canvas import COLOURS, Panel
from qkd_qiskit.report.template import PAGE


@dataclass(frozen=True)
class Table:
    """A table; `small` ones stand side by side, `folded` ones are closed until asked for."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    small: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Drawing:
    """Panels that belong together, with what they show and where the numbers are from.

    Attributes:
        panels: drawn side by side where the page is wide enough.
        caption: what to see in them.
        provenance: samples, shots, backend, seeds, snapshot date.
        large: whether panels keep their width; else three stand side by side.
        table: the numbers drawn, folded below the drawing.
    """

    panels: list[Panel]
    caption: str
    provenance: list[str]
    large: bool = False
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page; `missing` says why it has nothing to show, `level` 1 begins a chapter."""

    name: str
    title: str
    intro: str = ""
    drawings: list[Drawing] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    missing: str = ""
    level: int = 2


def fill_page(sections: Sequence[Section], **words: Any) -> str:
    """Fill the template.

    Args:
        sections: in order.
        words: `title`, `run`, `lead`, `notes`, `schema`, `version`.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(PAGE).render(
        sections=sections,
        light=_variables(1),
        dark=_variables(2),
        svg=lambda panel: Markup(panel.svg),  # drawn by `render`, which escapes every text
        **words,
    )


def _variables(place: int) -> Markup:
    return Markup("".join(f"--{names[0]}:{names[place]};" for names in COLOURS.values()))
