"""The common canvas: matplotlib figures as SVG whose colours are CSS variables, so that a page can be dark or light."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT, GRID, SURFACE = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
IDEAL, DEVICE, TINT = "#0a0005", "#0a0006", "#0a0007"
STEPS = ("#0a0008", "#0a0009", "#0a000a", "#0a000b")
KINDS = ("#0a000c", "#0a000d", "#0a000e", "#0a000f", "#0a0010")
MARKERS = ("o", "s", "^", "D", "v")
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)), (0, (3, 1.2)))
"""Colours, markers and dashes of unordered kinds; the same place in each belongs together."""

COLOURS = {
    INK: ("ink", "#1c2127", "#e7e9ec"),
    FAINT: ("faint", "#5b6570", "#a3acb6"),
    GRID: ("grid", "#dde1e6", "#343b44"),
    SURFACE: ("surface", "#ffffff", "#14181d"),
    IDEAL: ("ideal", "#0b62a8", "#6cb6f5"),
    DEVICE: ("device", "#c2410c", "#fb9a5b"),
    TINT: ("tint", "#d6e6f4", "#21384e"),
    STEPS[0]: ("step1", "#45b07c", "#f4e04d"),
    STEPS[1]: ("step2", "#1d7291", "#7ccf6a"),
    STEPS[2]: ("step3", "#3d4a8f", "#3fa7b5"),
    STEPS[3]: ("step4", "#3b0f4f", "#8f86e0"),
    KINDS[0]: ("kind1", "#0b62a8", "#6cb6f5"),
    KINDS[1]: ("kind2", "#c2410c", "#fb9a5b"),
    KINDS[2]: ("kind3", "#00805c", "#3ecb9d"),
    KINDS[3]: ("kind4", "#9a3d80", "#e59bcb"),
    KINDS[4]: ("kind5", "#4a4f57", "#c9cdd3"),
}
"""What is drawn with: the CSS variable it becomes, in light, in dark. Blue and orange differ for every kind of colour
blindness; markers and dashes tell the same in grey."""

MARGINS = (0.56, 0.12, 0.3, 0.5)

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": True,
    "legend.facecolor": SURFACE,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Panel:
    """One drawing of a page.

    Attributes:
        svg: an `<svg>` element with its text alternative.
        width: its natural width in CSS pixels.
        wide: whether it takes the whole width of a page.
    """

    svg: str
    width: int
    wide: bool = False


def render(
    name: str,
    alternative: str,
    size: tuple[float, float],
    draw: Callable[[Figure], None],
    *,
    margins: tuple[float, float, float, float] = MARGINS,
    wide: bool = False,
) -> Panel:
    """Draw and convert.

    Args:
        name: unique on its page; also makes the drawing's inner names unique.
        alternative: what the drawing shows, in words.
        size: width and height in inches.
        draw: draws into the figure it is given.
        margins: left, right, top, bottom of the axes in inches; fixed, since fitting them costs more than drawing.
        wide: see `Panel`.
    """
    (width, height), (left, right, top, bottom) = size, margins
    style: Any = {**STYLE, "svg.hashsalt": name}
    stream = io.StringIO()
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has its own fonts
        figure = Figure(figsize=size)
        figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, hspace=0.12)
        draw(figure)
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Panel(_clean(stream.getvalue(), name, alternative), round(width * 110), wide)


def outline(axes: Axes) -> None:
    """Draw a thin frame on all sides, for square axes with a diagonal."""
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(GRID)


def write_points(share: float) -> str:
    """Write a difference of shares in percentage points, for an axis."""
    return "0" if abs(share) < 1e-9 else f"{100 * share:+.3g}".replace("-", "−")


def step_colour(index: int, total: int) -> str:
    """Return the colour of item `index` of `total` ordered ones."""
    return STEPS[round(index * (len(STEPS) - 1) / max(1, total - 1))]


def _clean(svg: str, name: str, alternative: str) -> str:
    """Keep the drawing only: no prolog, style, metadata, fonts or fixed colours; short numbers; a text alternative."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>|<!--.*?-->", "", inner, flags=re.S)
    inner = re.sub(r'<g id="[^"]*"', "<g", inner).replace("xlink:href", "href")
    inner = re.sub(r"font: (?:(bold|italic) )?([\d.]+px) [^;\"]*", _shorten_font, inner)
    inner = re.sub(r"-?\d+\.\d{4,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), inner)
    inner = re.sub(r"M (\S+) (\S+) \nL \1 \2 \n", r"M\1 \2h0", inner)  # a dot is a line without length
    inner = re.sub("#0a00[0-9a-f]{2}", lambda found: f"var(--{COLOURS[found[0]][0]},{COLOURS[found[0]][1]})", inner)
    title = html.escape(alternative, quote=True)
    extent = box[1] if box else "0 0 1 1"
    return (
        f'<svg viewBox="{extent}" role="img" aria-labelledby="{name}-title"><title id="{name}-title">{title}</title>'
        f"{inner.strip()}</svg>"
    )


def _shorten_font(found: re.Match[str]) -> str:
    weight = {"bold": "; font-weight: 600", "italic": "; font-style: italic"}.get(found[1], "")
    return f"font-size: {found[2]}{weight}"
