"""The laws whose terms are no power laws: Farseer's against its printed equation and high precision, L(N, D) above an offset."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import polars as pl
import pytest

from fixtures.planted_laws import FARSEER, farseer_loss, planted
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.farseer import OF_B, OF_E, OF_H, _stretched, note_budgets
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.result import fit_table


def internal(centre: float) -> np.ndarray:
    """Return the solver's parameters of the published constants where log N is centred so."""
    theta = np.empty(9)
    for places, k, name in ((OF_E, 3, "gamma"), (OF_B, 2, "beta"), (OF_H, 1, "alpha")):
        a, b, e = FARSEER[f"a{k}"], FARSEER[f"b{k}"], FARSEER[name]
        v = a * e * np.exp(e * centre)
        theta[list(places)] = b + v / e, v, e
    return theta[None]


def test_the_law_is_the_printed_equation() -> None:
    law, rng = LAWS["farseer"], np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log(1e7), np.log(1e11), 60)), np.exp(rng.uniform(np.log(1e9), np.log(1e12), 60))
    x = np.log(np.column_stack([n, d]))
    centre = law.centre(x)
    theta = internal(centre[0])
    np.testing.assert_allclose(law.natural(theta, centre)[0], [FARSEER[each.name] for each in law.parameters], rtol=1e-9)
    np.testing.assert_allclose(np.exp(law.log_prediction(theta, x - centre)[0]), farseer_loss(FARSEER, n, d), rtol=1e-11)


@pytest.mark.parametrize("w", [0.0, 1e-9, 0.01, -0.3, 0.499, -0.501, 3.0, -7.0])
def test_stretched_exponentials_have_every_digit_near_zero_too(w: float) -> None:
    """Against the series Σ w^k/(k!·(k + m + 1)) with 80 terms of 60 digits."""
    z = 1.7
    found = _stretched(np.array([[z]]), np.array([[w / z]]))
    with localcontext() as context:
        context.prec = 60
        exact_w = Decimal(w / z) * Decimal(z)
        for order, value in enumerate(found):
            total, power, factor = Decimal(0), Decimal(1), Decimal(1)
            for k in range(80):
                total += power / (factor * (k + order + 1))
                power, factor = power * exact_w, factor * (k + 1)
            assert value.item() == pytest.approx(float(total * Decimal(z) ** (order + 1)), rel=2e-14)


def test_a_law_of_one_exponent_for_all_sizes_is_a_case_of_it() -> None:
    """With E and B power laws of N and the same h for all sizes, the losses are those of the law, and the curvatures vanish."""
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 8), np.geomspace(1e9, 1e12, 6)))
    loss = 3.0 * (n / 3e8) ** -0.02 + 300 * (n / 3e8) ** 0.05 * d**-0.25
    fit = best_fit(LAWS["farseer"], np.log(np.column_stack([n, d])), np.log(loss), Objective("squared"))
    assert fit.value < 1e-20
    np.testing.assert_allclose(fit.theta[[1, 2, 4, 5, 6, 7]], [-0.02, 0, 0.05, 0, np.log(0.25), 0], atol=1e-5)


def test_too_few_budgets_of_a_size_are_said() -> None:
    """Two sizes with three budgets are not enough, whatever other sizes have one; three are."""
    for several, told in ((2, ["Not identified: 2 sizes with 3 budgets or more, and 3 such sizes are needed"]), (3, [])):
        sizes = [1e8] * 3 + [2e8] * 3 + [3e8] * (3 if several == 3 else 2) + [4e8, 5e8]
        runs = pl.DataFrame({"n_params": sizes, "tokens": 1e9 * np.arange(1, len(sizes) + 1)})
        notes: list[str] = []
        assert note_budgets(runs, [], notes).equals(runs)
        assert [note.partition(":")[0] + ":" + note.split(":")[1] for note in notes] == told


@pytest.mark.parametrize(
    ("law", "at", "width", "truth"),
    [
        ("farseer", {"n_params": 25e9, "tokens": 1e12}, 1.7, farseer_loss(FARSEER, np.array(25e9), np.array(1e12)).item()),
        (
            "kaplan-nd-offset",
            {"n_params": 1e11, "dataset_tokens": 1e11},
            1.3,
            1.2 + ((1e8 / 1e11) ** (0.3 / 0.4) + 1e9 / 1e11) ** 0.4,
        ),
    ],
)
def test_forecasts_beyond_the_data_hold_the_law(law: str, at: dict[str, float], width: float, truth: float) -> None:
    (item,) = fit_table(planted(law, 2).runs, law, n_bootstrap=40, at=[at])["predictions"]
    assert item["run_low"] < truth < item["run_high"]
    assert item["run_high"] / item["run_low"] < width


def test_above_an_offset_of_nothing_the_law_is_that_without_one() -> None:
    """The losses of L(N, D) without an offset: E comes back as nothing, and the other parameters as planted."""
    made = planted("kaplan-nd", 0)
    n, d = (made.runs[name].to_numpy() for name in ("n_params", "dataset_tokens"))
    truth = LAWS["kaplan-nd"].published
    loss = ((truth["N_c"] / n) ** (truth["alpha_N"] / truth["alpha_D"]) + truth["D_c"] / d) ** truth["alpha_D"]
    fit = best_fit(LAWS["kaplan-nd-offset"], np.log(np.column_stack([n, d])), np.log(loss), Objective("squared"))
    plain = best_fit(LAWS["kaplan-nd"], np.log(np.column_stack([n, d])), np.log(loss), Objective("squared"))
    np.testing.assert_allclose(fit.log_prediction, plain.log_prediction, atol=1e-6)
    assert fit.natural[0] < 0.05 and fit.natural[1:3] == pytest.approx([truth["alpha_N"], truth["alpha_D"]], rel=0.03)
