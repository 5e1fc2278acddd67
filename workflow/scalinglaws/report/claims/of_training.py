"""Claims about training: the critical batch size, compute-efficient training and early stopping (13, 14, 17 to 19, 23)."""

from __future__ import annotations

import math

import numpy as np
import polars

from scalinglaws.figures.batch.fig14_optimal_size import crossovers
from scalinglaws.figures.shared import batch_laws, fit_json, least_squares, loss_by_steps
from scalinglaws.figures.shared.compute_efficient import trends
from scalinglaws.figures.training.fig16_early_stopping import bounds
from scalinglaws.report.claims import intervals
from scalinglaws.report.claims.of_laws import Fits, Tables
from scalinglaws.report.claims.rules import Estimate, Measured
from scalinglaws.report.claims.runs import experiments

CROSSINGS = 5  # fewest crossings of neighbouring sizes that a line is drawn through
LOSSES = 6  # number of losses at which sizes are compared
NOISE_BINS = 6  # bins of the loss for the noise scale of a trunk


def critical_batch(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 13: the exponent of N in B_crit at the same loss, and α_B."""
    fit = fits["critical-batch"]
    levels = batch_laws.levels(fit).drop_nulls("b_crit")
    sizes = levels["n_params"].unique().sort().to_list()
    numbers = {"alpha_B": intervals.of_fit(fit, "alpha_B")}
    quantities = {"span": intervals.factor(levels["n_params"]), "losses": 0.0}
    if len(sizes) > 1:
        small, large = (levels.filter(polars.col("n_params") == n).sort("loss") for n in (sizes[0], sizes[-1]))
        ratios, errors = _at_same_loss(small, large)
        quantities["losses"] = float(len(ratios))
        scale = math.log(sizes[-1] / sizes[0])
        if len(ratios):
            value, half = float(ratios.mean()) / scale, intervals.Z95 * float(errors.mean()) / scale
            numbers["exponent"] = Estimate(value, value - half, value + half)
    of = tables["runs"].filter(polars.col("n_params").is_in([int(n) for n in sizes[:1] + sizes[1:][-1:]]))
    swept = of.filter(polars.col("batch_tokens").n_unique().over("n_params") > 2)
    return Measured(numbers, quantities, runs=_of_batches(tables, swept), n=int(quantities["losses"]), points="losses")


def _of_batches(tables: Tables, swept: polars.DataFrame) -> tuple[str, ...]:
    """Return the experiments in which a size was trained at several batch sizes."""
    each = swept.explode("experiments").drop_nulls("experiments")
    several = each.filter(polars.col("batch_tokens").n_unique().over("n_params", "experiments") > 2)
    return tuple(several["experiments"].unique().sort())


def _at_same_loss(small: polars.DataFrame, large: polars.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return log B_crit of the larger size less that of the smaller, with standard errors, at losses that both have.

    The losses are those of the larger size; the smaller one is read off between the logarithms of its own.
    """
    width = ((polars.col("b_crit_high") / polars.col("b_crit_low")).log() / (2 * intervals.Z95)).alias("error")
    small, large = (one.with_columns(width).drop_nulls("error") for one in (small, large))
    if small.is_empty() or large.is_empty():
        return np.empty(0), np.empty(0)
    at, known = np.log(large["loss"].to_numpy()), np.log(small["loss"].to_numpy())
    inside = (at >= known.min()) & (at <= known.max())
    level = np.interp(at, known, np.log(small["b_crit"].to_numpy()))
    error = np.hypot(np.interp(at, known, small["error"].to_numpy()), large["error"].to_numpy())
    return (np.log(large["b_crit"].to_numpy()) - level)[inside], error[inside]


def noise(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 14: the noise scale over the fitted B_crit(L), and its exponent in that, over trunks."""
    critical = batch_laws.critical_batch(fits["critical-batch"])
    levels = batch_laws.levels(fits["critical-batch"]).drop_nulls("b_crit")
    if critical is None or levels.is_empty():
        return Measured(quantities={"trunks": 0.0})
    ratios, slopes, trunks = [], [], []
    low, high = float(levels["loss"].min()), float(levels["loss"].max())  # type: ignore[arg-type]
    for trunk, loss, scale in noise_scales(tables["curves"], low, high):
        crit = np.log(critical.tokens(loss))
        trunks.append(trunk)
        ratios.append(float((np.log(scale) - crit).mean()))
        slopes.append(intervals.slope(crit, np.log(scale)).value)
    ratio, slope = intervals.mean(ratios), intervals.mean([one for one in slopes if math.isfinite(one)])
    ends = [math.exp(value) for value in (ratio.value, ratio.low, ratio.high)]
    return Measured(
        {"ratio": Estimate(*ends), "slope": slope}, {"trunks": float(len(trunks))},
        runs=experiments(tables, trunks, "trunk"), n=len(trunks), points="trunks",
    )  # fmt: skip


def noise_scales(curves: polars.DataFrame, low: float, high: float) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return, for each trunk that measured it, losses and noise scales in tokens in bins of the loss.

    The bins divide the range from ``low`` to ``high`` evenly in the logarithm. The noise scale tr(Σ)/|G|² of a bin is a ratio of
    sums, since single estimates of |G|² may be negative; bins whose sum is negative are left out. A slope takes three bins.
    """
    rows = curves.drop_nulls(["noise_square", "noise_trace", "loss_test"]).filter(polars.col("phase") == "stable")
    rows = rows.filter(polars.col("loss_test").is_between(low, high)).unique(["trunk", "step"], keep="first")
    edges = np.linspace(math.log(low), math.log(high), NOISE_BINS + 1)[1:-1]
    rows = rows.with_columns(bin=polars.Series(np.digitize(rows["loss_test"].log().to_numpy(), edges)))
    sums = [polars.col(name).sum() for name in ("noise_square", "noise_trace")]
    found = rows.group_by("trunk", "bin").agg(polars.col("loss_test").log().mean().exp(), *sums)
    good = (polars.col("noise_square") > 0) & (polars.col("noise_trace") > 0)
    found = found.filter(good).sort("trunk", "bin")
    return [
        (str(trunk), one["loss_test"].to_numpy(), (one["noise_trace"] / one["noise_square"]).to_numpy())
        for (trunk,), one in found.group_by("trunk", maintain_order=True)
    ]


def best_size(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 17: the exponent of N_opt in C_min."""
    return _trend(tables, fits, "n_params", "N_opt")


def steps(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 18: the exponent of S_min in C_min."""
    return _trend(tables, fits, "steps_min", "S_min")


def _trend(tables: Tables, fits: Fits, column: str, name: str) -> Measured:
    """Return an exponent in C_min from a line through the crossings of neighbouring sizes, else from equations 6.4 and 6.5."""
    critical = batch_laws.critical_batch(fits["critical-batch"])
    points = fit_json.points(fits["kaplan-ns"]).drop_nulls("steps_min")
    quantities = {"sizes": float(points["n_params"].n_unique())}
    found = crossovers(points, critical) if critical is not None and len(points) else polars.DataFrame()
    if len(found) >= CROSSINGS:
        line = least_squares.power_law(found["flops_min"], found[column])
        estimate = Estimate(line.slope, line.low, line.high) if line else intervals.NOTHING
        detail = f"From the line through {len(found)} crossings of neighbouring sizes."
    else:
        value = trends(fits).values[name]
        numbers = (math.nan if value[key] is None else float(value[key] or 0.0) for key in ("estimate", "ci_low", "ci_high"))
        estimate = Estimate(*numbers)
        detail = f"From equations 6.4 and 6.5, since {len(found)} pairs of neighbouring sizes cross."
    trunks = points["trunk"].unique().to_list()
    return Measured(
        {"exponent": estimate}, quantities,
        runs=experiments(tables, trunks, "trunk"), n=len(trunks), points="learning curves", detail=detail,
    )  # fmt: skip


def early_stopping(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 19: the share of runs that stopped at or after the bound of equation 5.7."""
    if batch_laws.loss_ns(fits["kaplan-ns"]) is None:
        return Measured(quantities={"runs": 0.0})
    data = bounds(tables["runs"], fits["kaplan-ns"]).drop_nulls("bound")
    told = data.filter(polars.col("excess") > intervals.Z95 * polars.col("excess_stderr").fill_null(0.0))
    waited = tables["runs"].filter(polars.col("stopped") == "patience").select("run")
    told = told.join(waited, on="run", how="semi", maintain_order="left")
    count = int((told["best_step"] >= told["bound"]).sum())
    return Measured(
        {"share": intervals.share(count, len(told))}, {"runs": float(len(told))},
        runs=experiments(tables, told["run"]), n=len(told), points="runs that stopped early",
        detail=f"{count} of {len(told)} runs." if len(told) else "",
    )  # fmt: skip


def tokens_to_loss(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 23: the exponent of N in the tokens that reach a loss at one batch size."""
    curves = loss_by_steps.sized_curves(tables["curves"], tables["runs"])
    curves = curves.with_columns(loss="loss_test", steps_min=polars.col("step").cast(polars.Float64))
    found = batch_laws.reached(curves, batch_laws.shared_losses(curves, LOSSES))
    found = found.filter(polars.col("n_params").n_unique().over("loss") > 1)
    sizes = found["n_params"].unique().sort().to_list()
    without = [_exponent(found.filter(polars.col("n_params") != n)) for n in sizes]
    return Measured(
        {"exponent": intervals.jackknife(_exponent(found), without)},
        {"sizes": float(len(sizes)), "span": intervals.factor(sizes)},
        runs=experiments(tables, curves["trunk"].unique(), "trunk"), n=len(sizes), points="model sizes",
    )  # fmt: skip


def _exponent(found: polars.DataFrame) -> float:
    """Return the slope of log steps in log N with a constant for each loss; NaN where no loss is reached by two sizes."""
    log = found.with_columns(x=polars.col("n_params").log(), y=polars.col("steps_min").log())
    away = log.select(*(polars.col(name) - polars.col(name).mean().over("loss") for name in ("x", "y")))
    x, y = away["x"].to_numpy(), away["y"].to_numpy()
    return float(x @ y / (x @ x)) if x @ x > 0 else math.nan
