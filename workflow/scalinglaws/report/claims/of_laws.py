"""Claims that follow from fits of the losses: 1 to 5, 8, 15, 16 and 20."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars

from scalinglaws.figures.scaling.fig23_power_law_alternatives import fit_logarithm, fit_power
from scalinglaws.figures.shared import fit_json, groups
from scalinglaws.figures.shared.compute_efficient import trend_exponents, trends
from scalinglaws.figures.shared.fit_json import Fit
from scalinglaws.report.claims import intervals
from scalinglaws.report.claims.rules import Measured
from scalinglaws.report.claims.runs import experiments

Tables = dict[str, polars.DataFrame]
Fits = dict[str, Fit]
PARAMETERS = {"power-n": 2, "power-d": 2, "power-c": 2, "power-cmin": 2, "kaplan-nd": 4, "kaplan-ns": 4}


def points_of(tables: Tables, fit: Fit) -> polars.DataFrame:
    """Return the points of a fit with the law's prediction, and with ``dataset_limited`` of their runs."""
    limited = tables["runs"].select("run", "dataset_limited").unique("run", keep="first")
    return fit_json.points(fit).drop_nulls("predicted").join(limited, on="run", how="left", maintain_order="left")


def misfit(points: polars.DataFrame, law: str) -> intervals.Estimate:
    """Return how far the points of a fit scatter about its law, in percent; the trunks count as independent."""
    residuals = (points["loss"] / points["predicted"]).log().to_numpy()
    return intervals.scatter(residuals, PARAMETERS[law], points["trunk"].n_unique())


def relative_error(fit: Fit, name: str) -> float:
    """Return the standard error of a parameter as a share of it."""
    found = (fit.get("parameters") or {}).get(name) or {}
    value, error = found.get("estimate"), found.get("stderr")
    return abs(error / value) if value and error is not None else math.nan


def stopped(tables: Tables, runs: list[str]) -> float:
    """Return the share of ``runs``, early-stopped ones, that lost patience before their cap of tokens; NaN where none says so."""
    ends = tables["runs"].filter(polars.col("run").is_in(runs))["stopped"].drop_nulls()
    return float((ends == "patience").sum()) / len(ends) if len(ends) else math.nan


def one_variable(tables: Tables, fits: Fits, law: str, points: str) -> Measured:
    """Return what a power law of one variable says: its exponent and misfit, and the range of the variable.

    ``points`` says what its points are.
    """
    form, fit = fit_json.POWER_LAWS[law], fits[law]
    data = points_of(tables, fit).drop_nulls(form.x)
    of = data[form.x]
    quantities = {"error": relative_error(fit, form.exponent), "span": intervals.factor(of)}
    quantities["sizes"] = float(of.n_unique())
    return Measured(
        {"exponent": intervals.of_fit(fit, form.exponent), "misfit": misfit(data, law)},
        quantities, runs=experiments(tables, data["run"]), n=len(data), points=points,
    )  # fmt: skip


def size(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 1, from L(N)."""
    return one_variable(tables, fits, "power-n", "final losses")


def data(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 2, from L(D)."""
    found = one_variable(tables, fits, "power-d", "early-stopped runs")
    return _with_stopped(found, tables, points_of(tables, fits["power-d"]))


def compute(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 3, from L(C)."""
    return one_variable(tables, fits, "power-c", "final losses on the frontier")


def _with_stopped(found: Measured, tables: Tables, points: polars.DataFrame) -> Measured:
    part = points.filter(polars.col("dataset_limited"))["run"].to_list()
    return replace(found, quantities={**found.quantities, "stopped": stopped(tables, part)})


def joint(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 4, from L(N, D)."""
    fit = fits["kaplan-nd"]
    points = points_of(tables, fit)
    found = Measured(
        {"misfit": misfit(points, "kaplan-nd")} | {name: intervals.of_fit(fit, name) for name in ("alpha_N", "alpha_D")},
        {"sizes": float(points["n_params"].n_unique()), "datasets": float(points["dataset_tokens"].n_unique())},
        runs=experiments(tables, points["run"]), n=len(points), points="early-stopped runs",
    )  # fmt: skip
    return _with_stopped(found, tables, points)


def collapse(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 5: the scatter of log(1 + δL) about a parabola in log(N^(α_N/α_D)/D)."""
    fit = fits["kaplan-nd"]
    alpha_n, alpha_d = (intervals.of_fit(fit, name).value for name in ("alpha_N", "alpha_D"))
    points = fit_json.points(fit, tables["runs"]).drop_nulls(["n_params", "dataset_tokens"])
    part = groups.overfitting(groups.with_whole(points, fit_json.left_out(fit, tables["runs"])), tables["runs"])
    quantities = {"sizes": float(part["n_params"].n_unique()), "runs": float(len(part))}
    quantities["largest"] = float(part["delta"].max() or math.nan)  # type: ignore[arg-type]
    if len(part) < 4 or not alpha_n / alpha_d > 0:
        return Measured(quantities=quantities)
    x = alpha_n / alpha_d * part["n_params"].log().to_numpy() - part["dataset_tokens"].log().to_numpy()
    y = np.log1p(part["delta"].to_numpy())
    left = y - np.polyval(np.polyfit(x - x.mean(), y, 2), x - x.mean())
    return Measured(
        {"scatter": intervals.scatter(left, 3)}, quantities,
        runs=experiments(tables, part["run"]), n=len(part), points="early-stopped runs on part of the data",
    )  # fmt: skip


def logarithm(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 8: the scatter of the points of L(N) about a logarithm over that about a power law."""
    data = points_of(tables, fits["power-n"]).drop_nulls("n_params")
    n, loss = data["n_params"].to_numpy(), data["loss"].to_numpy()
    quantities = {"span": intervals.factor(n), "sizes": float(data["n_params"].n_unique())}
    if quantities["sizes"] < 3:
        return Measured(quantities=quantities)
    about = [np.log(loss / fit(n, loss)(n)) for fit in (fit_logarithm, fit_power)]
    return Measured(
        {"ratio": intervals.ratio_of_scatters(about[0], about[1], 2)}, quantities,
        runs=experiments(tables, data["run"]), n=len(data), points="final losses",
    )  # fmt: skip


def steps(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 15, from L(N, S_min)."""
    fit = fits["kaplan-ns"]
    points = fit_json.points(fit).drop_nulls("predicted")
    trunks = points["trunk"].n_unique()
    return Measured(
        {"misfit": misfit(points, "kaplan-ns")} | {name: intervals.of_fit(fit, name) for name in ("alpha_N", "alpha_S")},
        {"sizes": float(points["n_params"].n_unique()), "trunks": float(trunks)},
        runs=experiments(tables, points["trunk"], "trunk"), n=trunks, points="learning curves",
    )  # fmt: skip


def above_converged(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 20: α_N/α_S of L(N, S_min) in percent (B.5)."""
    fit = fits["kaplan-ns"]
    points = fit_json.points(fit)
    alpha_n, alpha_s = (intervals.of_fit(fit, name).value for name in ("alpha_N", "alpha_S"))

    def percent(draw: dict[str, float]) -> float:
        return _positive(100 * draw["alpha_N"] / draw["alpha_S"])

    value = 100 * alpha_n / alpha_s if alpha_s else math.nan
    trunks = points["trunk"].n_unique()
    return Measured(
        {"above": intervals.of_resamples(fits, ["kaplan-ns"], value, percent)},
        {"sizes": float(points["n_params"].n_unique())},
        runs=experiments(tables, points["trunk"], "trunk"), n=trunks, points="learning curves",
    )  # fmt: skip


def small_batches(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 16: L(C_min), and its exponent over that of equation 6.4."""
    found = one_variable(tables, fits, "power-cmin", "final losses on the frontier")
    measured, predicted = found.numbers["exponent"].value, trends(fits).values["alpha_C_min"]["estimate"] or math.nan

    def over(draw: dict[str, float]) -> float:
        alphas = [draw[name] for name in ("alpha_N", "alpha_S", "alpha_B")]
        known = all(math.isfinite(value) and value > 0 for value in alphas)
        return _positive(draw["alpha_C"] / trend_exponents(*alphas)["alpha_C_min"]) if known else math.nan

    laws = ["power-cmin", "kaplan-ns", "critical-batch"]
    ratio = intervals.of_resamples(fits, laws, measured / predicted, over)
    detail = f"Equation 6.4 predicts {predicted:.3f}." if math.isfinite(predicted) else ""
    return replace(found, numbers={**found.numbers, "ratio": ratio}, detail=detail)


def _positive(value: float) -> float:
    """Return a positive value, and NaN for any other."""
    return value if value > 0 else math.nan
