"""The look of all figures: sizes, axes, colours, legends, and files that are equal byte for byte when they are drawn again.

Every picture starts from matplotlib's own defaults, so neither a matplotlibrc nor the environment of a user changes it.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from scalinglaws.common.files import write_bytes
from scalinglaws.common.numbers import short

MOST_COUNTED = 1e14  # the largest number that is written as a count (100T); larger ones are written as powers of ten
COLUMN = 3.3  # inches, the width of one column of a paper, and of a figure with one panel
PAGE = 6.9  # inches, the width of both columns, and of a figure with several panels side by side
HEIGHTS = (2.6, 3.1, 3.6, 4.1)  # inches, the heights that a row of panels may have with what stands above and below it
PANEL = 1.9  # inches, the height that a panel itself should have
BAR = "<colorbar>"  # matplotlib's name of the axes of a colour bar
LEGEND_BELOW = "<below>"  # the name of a legend that stands below its panel
LEAST_FONT = 6.5  # points, the smallest letters at the printed width
BELOW = 0.42  # inches from the lower edge of a panel to its legend: the room of tick labels and axis label
MOST_LINES = 4  # lines of notes below a panel
CHARACTERS = {1: 54, 2: 54, 3: 35}  # characters in a line of a legend, by the number of panels side by side
Z95 = 1.96  # half-width of a 95 % normal interval, in standard errors
# All colours of lines and points have a contrast of 3:1 or more on white (tests/unit/figures/test_colours.py).
FIT = "#b2182b"
SECOND = "#c46a00"
GUIDE = "0.45"
# Colours of categories, told apart with each kind of colour blindness. Black is kept for what the others are compared with.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#332288", "#5b3206", "#767676")

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 8,
    "xtick.labelsize": LEAST_FONT,
    "ytick.labelsize": LEAST_FONT,
    "legend.fontsize": LEAST_FONT,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "axes.grid": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,  # the PNG has it too, so that text measured for the layout is not measured again
    "svg.hashsalt": "scalinglaws",
    "svg.fonttype": "path",
    "axes.unicode_minus": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib's defaults and ``RC`` on top of them while a figure is made or saved."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        plt.rcParams.update(RC)  # type: ignore[arg-type]
        yield


def sides(values: Any, low: Any, high: Any) -> np.ndarray:
    """Return the lengths (2, n) of error bars from ``low`` to ``high`` about n values, NaN where a bar has no end.

    A value may lie outside of its bar, by rounding or as an estimate outside of its bootstrap interval: that side has no length,
    since matplotlib draws no negative one.
    """
    values, low, high = (np.atleast_1d(np.asarray(given, np.float64)) for given in (values, low, high))
    return np.maximum([values - low, high - values], 0.0)


def panels(columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with rows of panels, lettered where there is more than one; ``lay_out`` gives it its height."""
    with style():
        size = (COLUMN if columns == 1 else PAGE, rows * HEIGHTS[-1])
        figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
        axes = [axis for row in grid for axis in row]
        for letter, axis in zip("abcdefgh", axes if len(axes) > 1 else [], strict=False):
            axis.set_title(letter, loc="left", fontweight="bold")
    return figure, axes


def lay_out(figure: Figure) -> None:
    """Give a figure the least height of ``HEIGHTS`` with which its panels are ``PANEL`` inches high, and place its parts."""
    grown = any(axis.get_label() == BAR for axis in figure.axes)
    shown = [axis for axis in figure.axes if axis.get_label() != BAR]
    rows = max((grid_of(axis)[0] for axis in shown), default=1)
    needed = PANEL + BELOW + 0.2 + (0.45 / rows if grown else 0.0) + max(map(_legend_height, shown), default=0.0)
    with style():
        figure.set_figheight(rows * next((height for height in HEIGHTS if height >= needed), HEIGHTS[-1]))
        figure.draw_without_rendering()


def grid_of(axis: Axes) -> tuple[int, int]:
    """Return the number of rows and of columns of panels in the figure of a panel."""
    place = axis.get_subplotspec()
    return (place.get_gridspec().nrows, place.get_gridspec().ncols) if place else (1, 1)


def _legend_height(axis: Axes) -> float:
    """Return the height in inches of the legend below a panel."""
    legend = axis.get_legend()
    if legend is None or legend.get_label() != LEGEND_BELOW:
        return 0.0
    lines = [1 + text.get_text().count("\n") for text in legend.get_texts()]
    return LEAST_FONT / 72 * (1.2 * sum(lines) + 0.35 * len(lines))


def save(figure: Figure, svg: str | Path, png: str | Path, pdf: str | Path | None = None) -> None:
    """Write a figure's files, without dates and versions in their metadata, and close it."""
    with style():
        # The figure is laid out once: the layout takes as long as the drawing, and the files then agree to the last coordinate.
        lay_out(figure)
        figure.set_layout_engine("none")
        metadata: dict[str, dict[str, None]] = {
            "svg": {"Date": None, "Creator": None},
            "png": {"Software": None},
            "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        }
        for kind, path in (("svg", svg), ("png", png), ("pdf", pdf)):
            if path:
                drawn = io.BytesIO()
                figure.savefig(drawn, format=kind, metadata=metadata[kind])
                write_bytes(Path(path), drawn.getvalue())
    plt.close(figure)


def _number(value: float, _position: int | None = None) -> str:
    return f"{value:.6g}"


def _power(value: float, _position: int | None = None) -> str:
    """Write a power of ten in plain characters, as 10¹²: typesetting it as mathematics would take ten times as long."""
    return "10" + f"{round(np.log10(value)):d}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def scientific(value: float, _position: int | None = None) -> str:
    """Write a number with two digits and a power of ten, as 2.1·10¹²."""
    power = int(np.floor(np.log10(value) + 1e-9))
    return f"{value / 10.0**power:.1f}·{_power(10.0**power)}"


def count(value: float, _position: int | None = None) -> str:
    """Write a count in a few characters, as 10k or 1.5M."""
    return short(round(value)).replace(".0", "")


def _around(values: Sequence[float] | np.ndarray, least: float) -> tuple[float | None, float | None]:
    """Return limits of a logarithmic axis, 6 % of its length or the factor ``least`` beyond the values; None without values."""
    finite = np.asarray([v for v in values if v is not None and np.isfinite(v) and v > 0], dtype=float)
    if not len(finite):
        return None, None
    low, high = float(finite.min()), float(finite.max())
    margin = max((high / low) ** 0.06, least)
    return low / margin, high * margin


def loss_axis(axis: Axes, values: Sequence[float] | np.ndarray, label: str = "Test loss (nats per token)") -> None:
    """Make y a logarithmic axis of losses that shows ``values`` with a margin, with ticks in plain numbers (1.6, 1.8, 2, …)."""
    axis.set_yscale("log")
    axis.set_ylabel(label)
    axis.set_ylim(*_around(values, 1.01))
    _loss_ticks(axis.yaxis, axis.get_ylim())


def falling_loss_axis(axis: Axes, values: Sequence[float] | np.ndarray, label: str = "Test loss (nats per token)") -> None:
    """Make x an axis of losses as ``loss_axis`` does, from high losses on the left to low ones, as training goes."""
    axis.set_xscale("log")
    axis.set_xlabel(label)
    axis.set_xlim(*_around(values, 1.01)[::-1])
    _loss_ticks(axis.xaxis, sorted(axis.get_xlim()))


def _loss_ticks(ruler: XAxis | YAxis, limits: Sequence[float]) -> None:
    wide = limits[1] / limits[0] > 10
    ruler.set_major_locator(LogLocator(10, subs=(1, 2, 5)) if wide else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    ruler.set_minor_locator(NullLocator())
    ruler.set_major_formatter(FuncFormatter(_number))


def positive_axis(axis: Axes, values: Sequence[float] | np.ndarray, counts: bool = False) -> None:
    """Make y a logarithmic axis around ``values`` other than losses, with ticks as 0.002, or as 10k where they are ``counts``."""
    axis.set_yscale("log")
    axis.set_ylim(*_around(values, 1.15))
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high / low < 300 else (1,), numticks=12))
    axis.yaxis.set_minor_formatter(NullFormatter())
    plain_number = _power if high > MOST_COUNTED else lambda v, _: f"{v:.3g}"
    axis.yaxis.set_major_formatter(FuncFormatter(count if counts and high <= MOST_COUNTED else plain_number))


def log_axis(axis: Axes, values: Sequence[float] | np.ndarray, label: str, counts: bool = True) -> None:
    """Make x a logarithmic axis around ``values``, with ticks as 10k, 20k, 1M where they are ``counts``, or as powers of ten."""
    axis.set_xscale("log")
    axis.set_xlabel(label)
    axis.set_xlim(*_around(values, 1.15))
    _log_ticks(axis.xaxis, axis.get_xlim(), counts)


def upright_log_axis(axis: Axes, values: Sequence[float] | np.ndarray, label: str, counts: bool = True) -> None:
    """Make y an axis as ``log_axis`` makes x."""
    axis.set_yscale("log")
    axis.set_ylabel(label)
    axis.set_ylim(*_around(values, 1.15))
    _log_ticks(axis.yaxis, axis.get_ylim(), counts)


def _log_ticks(ruler: XAxis | YAxis, limits: Sequence[float], counts: bool) -> None:
    decades = np.log10(limits[1] / limits[0])
    counts = counts and limits[1] <= MOST_COUNTED
    if counts or decades < 1:
        subs = (1.0,) if decades > 2.6 else (1.0, 3.0) if decades > 1.6 else (1.0, 2.0, 5.0)
        ruler.set_major_locator(LogLocator(10, subs=subs, numticks=12))
        ruler.set_major_formatter(FuncFormatter(count if counts else lambda v, _: f"{v:.2g}"))
    else:
        ruler.set_major_locator(LogLocator(10, numticks=9))
        ruler.set_major_formatter(FuncFormatter(_power))
    ruler.set_minor_formatter(NullFormatter())


def plain_ticks(axis: Axes, subs: tuple[int, ...] = (1, 2, 5)) -> None:
    """Put plain numbers at the ticks of a logarithmic x axis: 1, 2, 5, 10, or those that ``subs`` names in each decade."""
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(10, subs=subs if high / low < 1000 else (1,), numticks=12))
    axis.xaxis.set_major_formatter(FuncFormatter(_number))


# Symbols as they are written in plain text: a Greek or Latin letter, an underscore and what is set below the line.
SYMBOL = re.compile(r"(?<![\w\\])([A-Zα-ω])_(\w+|\*)")
LETTERS = {"α": r"\alpha", "β": r"\beta"}


def symbols(text: str) -> str:
    """Return text with symbols such as α_N and C_min as mathematics; text that has mathematics already is returned as it is."""
    return text if "$" in text else SYMBOL.sub(_subscript, text)


def _subscript(found: re.Match[str]) -> str:
    letter, below = LETTERS.get(found[1], found[1]), found[2]
    return f"${letter}_{{{below}}}$"


def plain(text: str, width: int) -> str:
    """Wrap a sentence to lines of ``width`` characters, with symbols as mathematics; a dollar sign in it starts none."""
    return "\n".join(
        r"\$".join(symbols(part) for part in line.split("$")) for line in textwrap.wrap(" ".join(text.split()), width)
    )


def sentence(axis: Axes, text: str) -> None:
    """Write in an empty panel why it is empty, and take the ticks from its axes."""
    axis.text(0.5, 0.5, plain(text, 32), transform=axis.transAxes, ha="center", va="center", fontsize=7, color="0.35")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(NullLocator())
        side.set_minor_locator(NullLocator())


def legend_below(axis: Axes, notes: Sequence[str] = ()) -> None:
    """Put the legend under the panel, where it hides no point; ``notes``, such as what is not resolved, are its last lines.

    Notes have ``MOST_LINES`` lines together, the first ones first; what is cut off ends in an ellipsis.
    """
    handles, labels = axis.get_legend_handles_labels()
    width = CHARACTERS[grid_of(axis)[1]]
    labels = [label if "$" in label or "\n" in label else plain(label, width) for label in labels]
    left = MOST_LINES
    for note in notes:
        lines = plain(note, width).split("\n")
        if left:
            handles.append(Line2D([], [], linestyle="none"))
            labels.append("\n".join(lines[:left]) + (" …" if len(lines) > left else ""))
        left = max(0, left - len(lines))
    if not handles:
        return
    with style():
        # The distance is a length, not a share of the panel: beside a tall legend the panel is low.
        below = axis.transAxes + ScaledTranslation(0, -BELOW, axis.figure.dpi_scale_trans)
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": below}
        axis.legend(handles, labels, borderaxespad=0, labelspacing=0.35, **place).set_label(LEGEND_BELOW)
