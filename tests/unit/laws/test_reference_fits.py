"""Reference fits: certified and published numbers, and the same fits by independent code of scipy.

The numbers of the first tests stand here, so that they run in every clone. The last tests read published tables whose licence
keeps them out of the repository; they skip, and say so, where the tables are not there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.optimize import least_squares

from fixtures.planted_laws import FARSEER, farseer_loss, repeated_loss
from scalinglaws.laws.allocation import exponents, optimum
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.envelope import frontier_exponents
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.select import Points, read_table

PUBLISHED_FITS = Path(__file__).parents[4] / "shared" / "validation" / "gemstone"
GEMSTONE_COLUMNS = {"run": "run_name", "n_params": "params_active_precise", "loss": "final_loss"}

# NIST Statistical Reference Datasets, Norris: y = B_0 + B_1 x, with the certified least-squares estimates.
NORRIS_Y = """0.1 338.8 118.1 888.0 9.2 228.1 668.5 998.5 449.1 778.9 559.2 0.3 0.1 778.1 668.8 339.3 448.9 10.8
557.7 228.3 998.0 888.8 119.6 0.3 0.6 557.6 339.3 888.0 998.5 778.9 10.2 117.6 228.9 668.4 449.2 0.2"""
NORRIS_X = """0.2 337.4 118.2 884.6 10.1 226.5 666.3 996.3 448.6 777.0 558.2 0.4 0.6 775.5 666.9 338.0 447.5 11.6
556.0 228.1 995.8 887.6 120.2 0.3 0.3 556.8 339.1 887.2 999.0 779.0 11.1 118.3 229.2 669.1 448.9 0.5"""
NORRIS = {"intercept": -0.262323073774029, "slope": 1.00211681802045, "squares": 26.6173985294224}
# Hoffmann et al. 2022 and Besiroglu et al. 2024, abstract and Table 1: E, A, B, alpha, beta.
HOFFMANN = (1.69, 406.4, 410.7, 0.34, 0.28)
BESIROGLU = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)
# Hoffmann et al. 2022, Table 3 (approach 1): parameters, and the FLOP at which they are the best size.
HOFFMANN_BEST = (
    (400e6, 1.92e19), (1e9, 1.21e20), (10e9, 1.23e22), (67e9, 5.76e23), (175e9, 3.85e24), (280e9, 9.90e24), (520e9, 3.43e25),
    (1e12, 1.27e26), (10e12, 1.30e28),
)  # fmt: skip

Array = np.ndarray
# The laws a second time, in the parameters of the literature and in their order.
EQUATIONS: dict[str, Callable[..., Array]] = {
    "power-n": lambda p, n: (p[1] / n) ** p[0],
    "power-d-offset": lambda p, d: p[0] + (p[2] / d) ** p[1],
    "kaplan-nd": lambda p, n, d: ((p[2] / n) ** (p[0] / p[1]) + p[3] / d) ** p[1],
    "kaplan-nd-offset": lambda p, n, d: p[0] + ((p[3] / n) ** (p[1] / p[2]) + p[4] / d) ** p[2],
    "farseer": lambda p, n, d: farseer_loss(dict(zip(FARSEER, p, strict=True)), n, d),
    "kaplan-ns": lambda p, n, s: (p[2] / n) ** p[0] + (p[3] / s) ** p[1],
    "chinchilla": lambda p, n, d: p[0] + p[1] * n ** -p[3] + p[2] * d ** -p[4],
    "overtraining": lambda p, n, d: p[0] + (p[1] * (d / n) ** p[3] + p[2] * (n / d) ** p[3]) * (6 * n * d) ** -p[3],
    "repetition": lambda p, n, d, u: repeated_loss(
        dict(zip(("E", "A", "B", "alpha", "beta", "R_D*", "R_N*"), p, strict=True)), n, d, u
    ),
}
PLANTED = {
    "power-n": (0.076, 8.8e13),
    "power-d-offset": (1.7, 0.3, 1e9),
    "kaplan-nd": (0.076, 0.103, 6.4e13, 1.8e13),
    "kaplan-nd-offset": (1.2, 0.3, 0.4, 1e8, 1e9),
    "farseer": tuple(FARSEER.values()),
    "kaplan-ns": (0.077, 0.76, 6.5e13, 2.1e3),
    "chinchilla": BESIROGLU,
    "overtraining": (1.5, 141.0, 190.0, 0.12),
    "repetition": (1.87, 521.0, 1488.0, 0.353, 0.353, 15.4, 5.31),
}
RANGES = {"n_params": (1e7, 1e10), "tokens": (1e9, 1e12), "dataset_tokens": (3e8, 3e11), "steps_min": (1e3, 1e5)}


def test_a_power_law_is_the_certified_straight_line() -> None:
    """With log L = y/100 and log N = -x/100, alpha is B_1 and alpha log N_c is B_0/100."""
    x, y = (np.array(text.split(), float) / 100 for text in (NORRIS_X, NORRIS_Y))
    fit = best_fit(LAWS["power-n"], -x[:, None], y, Objective("squared"))
    alpha, scale = fit.natural
    assert alpha == pytest.approx(NORRIS["slope"], rel=1e-12)
    assert 100 * alpha * np.log(scale) == pytest.approx(NORRIS["intercept"], rel=1e-10)
    assert 1e4 * fit.value == pytest.approx(NORRIS["squares"], rel=1e-10)


@pytest.mark.parametrize("published", [HOFFMANN, BESIROGLU])
def test_published_constants_come_back_from_the_losses_that_they_give(published: tuple[float, ...]) -> None:
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(4e7, 1.6e10, 6), np.geomspace(1e9, 5e11, 6)))
    table = pl.DataFrame({"n_params": n, "tokens": d, "loss": EQUATIONS["chinchilla"](published, n, d)})
    fit = fit_table(table, "chinchilla", n_bootstrap=0)
    assert [value["estimate"] for value in fit["parameters"].values()] == pytest.approx(published, rel=1e-6)
    assert fit["exponents"]["a"]["estimate"] == pytest.approx(published[4] / (published[3] + published[4]), rel=1e-6)


def test_the_refit_of_2024_explains_the_size_of_chinchilla() -> None:
    """70e9 parameters and 1.4e12 tokens at 5.76e23 FLOP; the constants of 2022 put ever more tokens there, as the authors say."""
    _, a, b, alpha, beta = BESIROGLU
    assert exponents(alpha, beta)[0] == pytest.approx(0.512, abs=1e-3)
    n, d = optimum(5.76e23, a, b, alpha, beta)
    assert (n, d) == (pytest.approx(70e9, rel=0.1), pytest.approx(1.4e12, rel=0.1))
    _, a, b, alpha, beta = HOFFMANN
    n, d = optimum(5.76e23, a, b, alpha, beta)
    assert d / n > 50


def test_the_exponent_of_approach_1_follows_from_its_published_table() -> None:
    n, c = np.array(HOFFMANN_BEST).T
    names = [f"{size:g}" for size in n]
    found = frontier_exponents(Points(names, names, np.ones(len(n)), {"n_params": n, "flops": c}, [], []), 0, 0)
    assert found["a"]["estimate"] == pytest.approx(0.50, abs=0.005)
    assert found["b"]["estimate"] == pytest.approx(0.50, abs=0.005)


@pytest.mark.parametrize("objective", ["squared", "huber"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_scipy_finds_the_same_fit(name: str, objective: str) -> None:
    """Scipy fits the equation in the parameters of the literature, from the truth and with derivatives by differences."""
    law, delta, rng = LAWS[name], 3e-3, np.random.default_rng(7)
    ranges = [RANGES[column] for column in law.variables]
    columns = [np.exp(rng.uniform(np.log(low), np.log(high), 80)) for low, high in ranges]
    truth = np.array(PLANTED[name])
    y = np.log(EQUATIONS[name](truth, *columns)) + 0.004 * rng.standard_normal(80)
    fit = best_fit(law, np.log(np.column_stack(columns)), y, Objective(objective, delta))
    options = {"loss": "huber", "f_scale": delta} if objective == "huber" else {}

    def residuals(log_ratio: Array) -> Array:
        return np.asarray(np.log(EQUATIONS[name](truth * np.exp(log_ratio), *columns)) - y)

    other = least_squares(
        residuals,
        np.zeros(len(truth)),
        jac="3-point",
        x_scale="jac",
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
        max_nfev=5000,
        **options,
    )
    value = other.cost if objective == "huber" else 2 * other.cost
    assert fit.value <= value * (1 + 1e-9)
    assert fit.value == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(np.log(fit.natural / truth), other.x, atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("file", "objective", "alpha", "beta", "log_scales"),
    [
        ("cool_end", 0.0019640865, 0.3002728, 0.5802411, (0.7297863, 5.4197160, 12.5138999)),
        ("hot", 0.0019816129, 0.2928687, 0.7128722, (0.7622637, 5.3613398, 15.4159945)),
    ],
)
def test_published_fits_are_found_again(
    file: str, objective: float, alpha: float, beta: float, log_scales: tuple[float, ...]
) -> None:
    path = PUBLISHED_FITS / f"{file}.jsonl"
    if not path.exists():
        pytest.skip(f"needs the published table {path.name}, which is no part of the repository")
    fit = fit_table(read_table(path), "chinchilla", columns=GEMSTONE_COLUMNS, n_bootstrap=0)
    found = {name: value["estimate"] for name, value in fit["parameters"].items()}
    assert fit["objective"]["value"] <= objective + 1e-8
    assert (found["alpha"], found["beta"]) == pytest.approx((alpha, beta), rel=1e-3)
    assert [np.log(found[name]) for name in "EAB"] == pytest.approx(log_scales, rel=1e-3)
    assert not any("Not identified" in flag for flag in fit["flags"])


def test_a_published_table_of_one_width_is_not_identified() -> None:
    path = PUBLISHED_FITS / "hot_100bplus_512x.jsonl"
    if not path.exists():
        pytest.skip(f"needs the published table {path.name}, which is no part of the repository")
    fit = fit_table(read_table(path), "chinchilla", columns=GEMSTONE_COLUMNS, n_bootstrap=20)
    assert fit["objective"]["value"] <= 0.0000792507 + 1e-8
    assert any("Not identified" in flag and "n_params" in flag for flag in fit["flags"])
