"""The look of all figures: sizes, axes, colours, legends, and files that are equal byte for byte when they are drawn again.

Every picture starts from matplotlib's own defaults, so neither a matplotlibrc nor the environment of a user changes it.
"""

from __future__ import annotations

import io
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
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from scalinglaws.common.files import write_bytes
from scalinglaws.common.numbers import short

MOST_COUNTED = 1e14  # the largest number that is written as a count (100T); larger ones are written as powers of ten
NOMINAL = 2.1  # inches, the height of a panel of which the offset of a legend is a share
COLUMN = 3.5  # inches, one column of a paper
PAGE = 7.2  # inches, both columns
Z95 = 1.96  # half-width of a 95 % normal interval, in standard errors
FIT = "#b2182b"
SECOND = "#e08214"
GUIDE = "0.6"

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 7.5,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
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


def panels(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``width`` by ``height`` inches with rows of panels, lettered where there is more than one."""
    with style():
        figure, grid = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
        axes = [axis for row in grid for axis in row]
        for letter, axis in zip("abcdefgh", axes if len(axes) > 1 else [], strict=False):
            axis.set_title(letter, loc="left", fontweight="bold")
    return figure, axes


def save(figure: Figure, svg: str | Path, png: str | Path, pdf: str | Path | None = None) -> None:
    """Write a figure's files, without dates and versions in their metadata, and close it."""
    with style():
        # The figure is laid out once: the layout takes as long as the drawing, and the files then agree to the last coordinate.
        figure.draw_without_rendering()
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


def _scientific(value: float, _position: int | None = None) -> str:
    """Write a number with two digits and a power of ten, as 2.1·10¹²."""
    power = int(np.floor(np.log10(value) + 1e-9))
    return f"{value / 10.0**power:.1f}·{_power(10.0**power)}"


def _count(value: float, _position: int | None = None) -> str:
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
    axis.yaxis.set_major_formatter(FuncFormatter(_count if counts and high <= MOST_COUNTED else plain_number))


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
        ruler.set_major_formatter(FuncFormatter(_count if counts else lambda v, _: f"{v:.2g}"))
    else:
        ruler.set_major_locator(LogLocator(10, numticks=9))
        ruler.set_major_formatter(FuncFormatter(_power))
    ruler.set_minor_formatter(NullFormatter())


def plain_ticks(axis: Axes) -> None:
    """Put plain numbers (1, 2, 5, 10, 100) at the ticks of a logarithmic x axis."""
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high / low < 1000 else (1,), numticks=12))
    axis.xaxis.set_major_formatter(FuncFormatter(_number))


class Scale:
    """A perceptual colour scale over the logarithm of a size, and its colour bar."""

    def __init__(self, values: Sequence[int], label: str, palette: str = "viridis") -> None:
        """``values`` are the sizes to tell apart, in any order and with repeats; there may be none."""
        self.values: list[float] = sorted({int(value) for value in values if value and value > 0})
        self.label = label
        low, high = (self.values[0], self.values[-1]) if self.values else (1, 10)
        if low == high:
            low, high = max(1, low // 2), high * 2
        # The palest end of the palette is unreadable on white.
        ramp = matplotlib.colormaps[palette](np.linspace(0.0, 0.88, 256))
        self.colours: Colormap = LinearSegmentedColormap.from_list(f"{palette}-print", ramp)
        self.norm = LogNorm(low, high)

    def __call__(self, value: float) -> tuple[float, float, float, float]:
        return self.colours(self.norm(value))

    def bar(self, figure: Figure, axes: Sequence[Axes], counts: bool = True) -> None:
        """Put a colour bar beside ``axes``, with ticks at the sizes themselves, thinned where they would collide.

        They are written as 10k, 20k where they are ``counts``, and as 2.1·10¹² where they are not.
        """
        if len(self.values) < 2:
            return
        with style():
            bar = figure.colorbar(ScalarMappable(self.norm, self.colours), ax=list(axes), aspect=30, pad=0.02)
            bar.ax.yaxis.set_major_locator(FixedLocator(self._ticks()))
            bar.ax.yaxis.set_minor_locator(NullLocator())
            bar.ax.yaxis.set_major_formatter(FuncFormatter(_count if counts else _scientific))
            bar.set_label(self.label)
            bar.outline.set_linewidth(0.4)

    def _ticks(self) -> list[float]:
        span = np.log(self.values[-1] / self.values[0])
        kept = [self.values[0]]
        for value in self.values[1:-1]:
            if min(np.log(value / kept[-1]), np.log(self.values[-1] / value)) > span / 14:
                kept.append(value)
        return [*kept, self.values[-1]]


class LossScale(Scale):
    """A colour scale over losses, which are not whole numbers."""

    def __init__(self, values: Sequence[float], palette: str = "plasma") -> None:
        super().__init__([], "Test loss (nats per token)", palette)
        self.values = sorted({float(value) for value in values if value and value > 0})
        if self.values:
            self.norm = LogNorm(self.values[0] / 1.001, self.values[-1] * 1.001)

    def bar(self, figure: Figure, axes: Sequence[Axes], counts: bool = False) -> None:
        super().bar(figure, axes, counts)
        if len(self.values) > 1:
            figure.axes[-1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def plain(text: str, width: int = 46) -> str:
    """Wrap a sentence to lines of ``width`` characters; a dollar sign in it does not start mathematics."""
    return textwrap.fill(" ".join(text.replace("$", r"\$").split()), width)


def sentence(axis: Axes, text: str) -> None:
    """Write in an empty panel why it is empty, and take the ticks from its axes."""
    axis.text(0.5, 0.5, plain(text, 32), transform=axis.transAxes, ha="center", va="center", fontsize=7, color="0.35")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(NullLocator())
        side.set_minor_locator(NullLocator())


def legend_below(axis: Axes, notes: Sequence[str] = (), offset: float = -0.2, width: int = 46) -> None:
    """Put the legend under the panel, where it hides no point; ``notes``, such as what is not resolved, are its last lines."""
    handles, labels = axis.get_legend_handles_labels()
    handles += [Line2D([], [], linestyle="none") for _ in notes]
    labels += [plain(note, width) for note in notes]
    if not handles:
        return
    with style():
        # The offset is a length, not a share of the panel: a tall legend makes the panel low and would then cover the axis label.
        below = axis.transAxes + ScaledTranslation(0, offset * NOMINAL, axis.figure.dpi_scale_trans)
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": below}
        axis.legend(handles, labels, borderaxespad=0, labelspacing=0.35, **place)
