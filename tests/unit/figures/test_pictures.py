"""Every figure as a reader meets it: data in every panel, labels with units, no text that collides or is cut off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.axes import Axes

from fixtures import planted_figures
from fixtures.drawing import draw
from fixtures.pictures import MOST_NOTES, faults, has_data, panels
from scalinglaws.figures.registry import FIGURES
from scalinglaws.figures.shared import style


@pytest.mark.parametrize("name", FIGURES)
def test_a_full_study_gives_a_picture_without_faults(name: str) -> None:
    figure = draw(name, *planted_figures.study(name))
    assert faults(figure) == []
    assert all(has_data(axis) for axis in panels(figure))
    letters = [axis.get_title(loc="left") for axis in panels(figure)]
    assert letters == (list("abcdefgh"[: len(letters)]) if len(letters) > 1 else [""])
    assert style.COLUMN <= figure.get_size_inches()[0] <= style.PAGE


def _empty(axis: Axes) -> None:
    axis.lines[0].remove()


def _unlabelled(axis: Axes) -> None:
    axis.set_xlabel("Tokens seen")


def _crowded(axis: Axes) -> None:
    axis.set_xticks([1.0, 1.001, 1.002], ["one", "two", "three"])


def _wordy(axis: Axes) -> None:
    style.legend_below(axis, [f"note {k}" for k in range(MOST_NOTES + 1)])


def _cut_off(axis: Axes) -> None:
    axis.set_title("a title that is longer than the picture is wide, which no layout can make room for, however it tries to")


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_empty, "panel 0: empty"),
        (_unlabelled, "'Tokens seen' names no unit"),
        (_crowded, "labels of the x ticks overlap"),
        (_wordy, "5 notes below it"),
        (_cut_off, "cut off at the edge"),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[Axes], None], said: str) -> None:
    with style.style():
        figure, (axis,) = style.panels(style.COLUMN, 3.0)
        axis.plot([1, 2, 3], [3.0, 2.5, 2.2], "o", label="runs")
        style.loss_axis(axis, [3.0, 2.2])
        style.log_axis(axis, [1, 3], "D (tokens)")
        assert faults(figure) == []
        plant(axis)
        found = faults(figure)
    assert any(said in fault for fault in found), found
