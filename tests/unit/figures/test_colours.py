"""The colours of the figures: a contrast of 3:1 or more on white, and told apart by colour-blind readers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from fixtures.colours import BLIND, apart, contrast, lab, linear
from scalinglaws.figures.shared import style
from scalinglaws.figures.shared.scales import RAMPS, LossScale, Scale

FIGURES = Path(__file__).parents[3] / "workflow" / "scalinglaws" / "figures"
LEAST = 3.0  # contrast that WCAG 2.1 asks of graphics (success criterion 1.4.11)
# A colour in the source of a figure: a hexadecimal number, or a shade of grey for the colour of a line, a point or letters.
WRITTEN = re.compile(r'"(#[0-9a-fA-F]{6})"|\bcolor="(0\.\d+)"')


def test_contrast_is_that_of_the_definition() -> None:
    assert contrast("black") == pytest.approx(21) and contrast("white") == pytest.approx(1)
    assert contrast("#767676") == pytest.approx(4.54, abs=0.01)  # the darkest grey that text may have by WCAG is #767676
    assert contrast((0, 0, 0, 0)) == pytest.approx(1)  # nothing shows of what is transparent
    assert lab(linear("white")) == pytest.approx([100, 0, 0], abs=1e-6)


def test_every_colour_that_a_figure_names_shows_on_white() -> None:
    found = [(path.name, *match) for path in sorted(FIGURES.glob("*/*.py")) for match in WRITTEN.findall(path.read_text())]
    pale = [f"{name}: {hexadecimal or grey}" for name, hexadecimal, grey in found if contrast(hexadecimal or grey) < LEAST]
    assert len(found) > 20 and pale == []
    assert all(contrast(colour) >= LEAST for colour in (*style.COLOURS, style.FIT, style.SECOND, style.GUIDE))


@pytest.mark.parametrize("ramp", RAMPS)
def test_a_scale_is_dark_enough_from_end_to_end_and_grows_lighter(ramp: str) -> None:
    shades = Scale([1, 10], "N", ramp).colours(np.linspace(0, 1, 101))
    assert min(map(contrast, shades)) >= LEAST
    lightness = [lab(linear(shade))[0] for shade in shades]
    assert np.diff(lightness).min() > -0.3 and lightness[-1] - lightness[0] > 40
    for blindness in BLIND:  # five sizes are told apart
        assert min(apart(*pair, blindness) for pair in itertools.pairwise(shades[::25])) > 8


def test_the_ends_of_a_scale_are_those_of_its_ramp() -> None:
    scale, losses = Scale([3, 300, 30], "N"), LossScale([2.0, 3.0])
    assert min(contrast(scale(value)) for value in (3, 30, 300)) >= LEAST
    assert min(contrast(losses(value)) for value in (2.0, 2.5, 3.0)) >= LEAST


@pytest.mark.parametrize("blindness", BLIND)
def test_categories_are_told_apart(blindness: str) -> None:
    assert min(apart(*pair, blindness) for pair in itertools.combinations(style.COLOURS, 2)) > 10
    assert apart(style.FIT, style.SECOND, blindness) > 20
