"""Colour scales over sizes and losses, with their colour bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from scalinglaws.figures.shared import style

# Colours of scales, from the darkest to the lightest: "cool" is for model sizes, "warm" for losses and sizes of datasets.
RAMPS = {
    "cool": ("#35084f", "#37418f", "#1d6c95", "#11837c", "#3f9138", "#889100"),
    "warm": ("#0d0887", "#5f02a0", "#a01a9c", "#c8386f", "#dc5a3c", "#dd6c00"),
}


class Scale:
    """A colour scale over the logarithm of a size, and its colour bar."""

    def __init__(self, values: Sequence[int], label: str, ramp: str = "cool") -> None:
        """``values`` are the sizes to tell apart, in any order and with repeats; there may be none. ``ramp`` is one of RAMPS."""
        self.values: list[float] = sorted({int(value) for value in values if value and value > 0})
        self.label = label
        low, high = (self.values[0], self.values[-1]) if self.values else (1, 10)
        if low == high:
            low, high = max(1, low // 2), high * 2
        self.colours: Colormap = LinearSegmentedColormap.from_list(ramp, RAMPS[ramp])
        self.norm = LogNorm(low, high)

    def __call__(self, value: float) -> tuple[float, float, float, float]:
        return self.colours(self.norm(value))

    def bar(self, figure: Figure, axes: Sequence[Axes], counts: bool = True) -> None:
        """Put a colour bar above ``axes``, with ticks at the sizes themselves, thinned where they would collide.

        It lies above them, as an upright one would read as the axis of the next panel. Its ticks are written as 10k, 20k where
        they are ``counts``, and as 2.1·10¹² where they are not.
        """
        if len(self.values) < 2:
            return
        abreast = min(len(axes), style.grid_of(axes[0])[1])
        with style.style():
            shrink = {1: 0.95, 2: 0.5}.get(abreast, 0.4)
            bar = figure.colorbar(
                ScalarMappable(self.norm, self.colours), ax=list(axes), location="top", shrink=shrink, aspect=36, pad=0.01
            )
            bar.ax.xaxis.set_major_locator(FixedLocator(self._ticks()))
            bar.ax.xaxis.set_minor_locator(NullLocator())
            bar.ax.xaxis.set_major_formatter(FuncFormatter(style.count if counts else style.scientific))
            bar.set_label(self.label)
            bar.outline.set_linewidth(0.4)

    def _ticks(self) -> list[float]:
        span = np.log(self.values[-1] / self.values[0])
        kept = [self.values[0]]
        for value in self.values[1:-1]:
            if min(np.log(value / kept[-1]), np.log(self.values[-1] / value)) > span / 7:
                kept.append(value)
        return [*kept, self.values[-1]]


class LossScale(Scale):
    """A colour scale over losses, which are not whole numbers."""

    def __init__(self, values: Sequence[float], ramp: str = "warm") -> None:
        super().__init__([], "Test loss (nats per token)", ramp)
        self.values = sorted({float(value) for value in values if value and value > 0})
        if self.values:
            self.norm = LogNorm(self.values[0] / 1.001, self.values[-1] * 1.001)

    def bar(self, figure: Figure, axes: Sequence[Axes], counts: bool = False) -> None:
        super().bar(figure, axes, counts)
        if len(self.values) > 1:
            figure.axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
