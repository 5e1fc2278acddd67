"""Every figure as a reader meets it: data in every panel, labels with units, no text that collides or is cut off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.axes import Axes

from fixtures import planted_figures
from fixtures.drawing import draw
from fixtures.pictures import faults, has_data, panels
from scalinglaws.figures.registry import FIGURES
from scalinglaws.figures.shared import style


@pytest.mark.parametrize("name", FIGURES)
def test_a_full_study_gives_a_picture_without_faults(name: str) -> None:
    figure = draw(name, *planted_figures.study(name))
    assert faults(figure) == []
    assert all(has_data(axis) for axis in panels(figure))
    letters = [axis.get_title(loc="left") for axis in panels(figure)]
    assert letters == (list("abcdefgh"[: len(letters)]) if len(letters) > 1 else [""])


def _empty(axis: Axes) -> None:
    axis.lines[0].remove()


def _unlabelled(axis: Axes) -> None:
    axis.set_xlabel("Tokens seen")


def _crowded(axis: Axes) -> None:
    axis.set_xticks([1.0, 1.001, 1.002], ["one", "two", "three"])


def _wordy(axis: Axes) -> None:
    axis.plot([], [], linestyle="none", label="\n".join(f"line {k}" for k in range(style.MOST_LINES + 1)))
    style.legend_below(axis)


def _pale(axis: Axes) -> None:
    axis.plot([1, 2], [2.5, 2.5], color="#bddf26")  # the light end of viridis, at 1.5:1


def _small(axis: Axes) -> None:
    axis.set_ylabel("Loss (nats)", fontsize=5)


def _wide(axis: Axes) -> None:
    axis.figure.set_figwidth(5.0)  # type: ignore[union-attr]


def _cut_off(axis: Axes) -> None:
    axis.set_title("a title that is longer than the picture is wide, which no layout can make room for, however it tries to")


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_empty, "panel 0: empty"),
        (_unlabelled, "'Tokens seen' names no unit"),
        (_crowded, "labels of the x ticks overlap"),
        (_wordy, "5 lines of notes below it"),
        (_pale, "colour #bddf26ff is pale"),
        (_small, "letters of under 6.5 points: 'Loss (nats)'"),
        (_wide, "5.00 by 2.60 inches is no size of a figure"),
        (_cut_off, "cut off at the edge"),
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[Axes], None], said: str) -> None:
    with style.style():
        figure, (axis,) = style.panels()
        axis.plot([1, 2, 3], [3.0, 2.5, 2.2], "o", label="runs")
        style.loss_axis(axis, [3.0, 2.2])
        style.log_axis(axis, [1, 3], "D (tokens)")
        assert faults(figure) == []
        plant(axis)
        found = faults(figure)
    assert any(said in fault for fault in found), found


def test_notes_are_wrapped_cut_after_four_lines_and_have_symbols_set_as_mathematics() -> None:
    with style.style():
        _, (left, _) = style.panels(2)
        left.plot([1, 2], [3, 2], label="loss by C_min")
        style.legend_below(left, ["the interval of α_N and of B_crit", "word " * 100, "never seen"])
    legend = left.get_legend()
    assert legend is not None
    told = [text.get_text() for text in legend.get_texts()]
    assert told[0] == r"loss by $C_{min}$"
    assert told[1] == r"the interval of $\alpha_{N}$ and of $B_{crit}$"
    assert len(told) == 3 and told[2].count("\n") == style.MOST_LINES - 2 and told[2].endswith(" …")
    assert style.plain("costs $5 a_b", 40) == r"costs \$5 a_b"


@pytest.mark.parametrize(("entries", "height"), [(0, 2.6), (5, 3.6), (30, 4.1)])
def test_a_picture_is_as_high_as_its_legend_needs(entries: int, height: float) -> None:
    with style.style():
        figure, (axis,) = style.panels()
        for k in range(entries):
            axis.plot([1, 2], [1, 2], label=f"line {k}")
        style.legend_below(axis)
        style.lay_out(figure)
    assert figure.get_size_inches().tolist() == [style.COLUMN, height]
