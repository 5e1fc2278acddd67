"""Claims that compare models: 6, 7, 9 to 12, 21, 22 and 24."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars

from scalinglaws.figures.models import fig05_shape, fig06_depth, fig07_lstm, fig08_transfer, fig17_recurrent, fig24_transfer_depth
from scalinglaws.figures.shared import groups, loss_by_position, model_comparison
from scalinglaws.figures.shared.loss_by_text import beside_own, measured
from scalinglaws.figures.training import fig20_position, fig22_schedules
from scalinglaws.laws import alternatives
from scalinglaws.laws.fit import Objective
from scalinglaws.report.claims import intervals
from scalinglaws.report.claims.rules import Estimate, Measured
from scalinglaws.report.claims.runs import difference, experiments
from scalinglaws.study.questions import COMPARISONS

Tables = dict[str, polars.DataFrame]
Fits = dict[str, dict]
EARLY = 8  # the last of the early positions in the context
WIDE, SHAPES = 8.0, 4  # the factor that a ratio varies by, and the number of its shapes, before a series counts
WITH_OFFSET = "power with offset"


def shape(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 6: the largest loss, in percent, above the best shape of each of the three series."""
    lost: list[tuple[float, polars.DataFrame, str]] = []
    for ratio, _, fixed in fig05_shape.RATIOS:
        series = [
            one
            for one in fig05_shape.series(tables["runs"], ratio, fixed)
            if len(one) >= SHAPES and intervals.factor(one[ratio]) >= WIDE
        ]
        if series:
            one = max(series, key=lambda each: (len(each), each["tokens"][0]))
            lost.append((float(one["change"].max()), one, ratio))  # type: ignore[arg-type]
    quantities = {"ratios": float(len(lost))}
    if not lost:
        return Measured(quantities=quantities)
    worst, series_of, ratio = max(lost, key=lambda each: each[0])
    every = polars.concat([one for _, one, _ in lost])
    return Measured(
        {"lost": _of_pair(worst, tables["runs"], series_of)}, quantities,
        runs=experiments(tables, every["run"]), n=len(every), points="shapes",
        detail=f"The largest loss is that of the series of {RATIOS[ratio]}.",
    )  # fmt: skip


RATIOS = {"feed_forward": "d_ff/d_model", "aspect": "d_model/n_layer", "head_width": "d_attn/n_heads"}


def _of_pair(percent: float, runs: polars.DataFrame, data: polars.DataFrame) -> Estimate:
    """Return a difference in percent between two models, with the interval of the noise between seeds; none without seeds."""
    noise = difference(runs, data)
    if noise is None:
        return Estimate(percent)
    seeds = float(data["seeds"].mean()) if "seeds" in data.columns else 1.0  # type: ignore[arg-type]
    half = intervals.Z95 * noise / math.sqrt(seeds)
    return Estimate(percent, percent - half, percent + half)


def embeddings(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 7: the scatter about a curve of all parameters over that about a curve of N."""
    data = fig06_depth.depths(tables["runs"]).filter(polars.col("n_layer") > 1).drop_nulls(["n_params_total", "n_params"])
    quantities = {"sizes": float(len(data)), "depths": float(data["n_layer"].n_unique())}
    if len(data) < 5:
        return Measured(quantities=quantities)
    about = []
    for column in ("n_params_total", "n_params"):
        x, y = np.log(data[column].to_numpy()), np.log(data["loss"].to_numpy())
        about.append(y - np.polyval(np.polyfit(x - x.mean(), y, 2), x - x.mean()))
    return Measured(
        {"ratio": intervals.ratio_of_scatters(about[0], about[1], 3)}, quantities,
        runs=experiments(tables, data["run"]), n=len(data), points="models",
    )  # fmt: skip


def early_context(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 9: by how many percent LSTMs lie above Transformers of the same N at positions 1 to 8."""
    return _lstm(tables, lambda n_ctx: polars.col("position") <= EARLY)


def late_context(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 10: as claim 9, in the second half of the context."""
    return _lstm(tables, lambda n_ctx: polars.col("position") > n_ctx / 2)


def _lstm(tables: Tables, where: Callable[[int], polars.Expr]) -> Measured:
    data = fig07_lstm.compared(tables["runs"])
    places = loss_by_position.final(tables["evals"], data)
    if places.is_empty():
        return Measured(quantities={"sizes": 0.0})
    at = places.filter(where(int(places["n_ctx"].max()))).group_by("run").agg(polars.col("loss").mean())  # type: ignore[arg-type]
    data = data.drop("loss").join(at, on="run", how="inner", maintain_order="left")
    standard, lstm = (data.filter(polars.col("architecture") == name) for name in ("transformer", "lstm"))
    return _excess(tables, standard, lstm, "n_params", "LSTMs")


def _excess(tables: Tables, standard: polars.DataFrame, others: polars.DataFrame, column: str, points: str) -> Measured:
    """Return by how many percent ``others`` lie above the ``standard`` models of the same ``column``, on average."""
    above = model_comparison.excess(standard, column, others)
    inside = others.filter(polars.Series(np.isfinite(above), dtype=polars.Boolean))
    above = above[np.isfinite(above)]
    floor = difference(tables["runs"], inside) or 0.0
    return Measured(
        {"excess": intervals.mean(above, floor) if len(above) > 1 else intervals.NOTHING}, {"sizes": float(len(above))},
        runs=experiments(tables, [*standard["run"], *inside["run"]]), n=len(above), points=points,
    )  # fmt: skip


def other_text(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 11: the slope of the mean loss on the other texts in that on the own text."""
    points = beside_own(fig08_transfer.transferred(tables["runs"], tables["evals"]), "loss").filter(polars.col("final"))
    found = _over_texts(points)
    own = found["inside"].to_numpy()
    quantities = {"sizes": float(len(found)), "range": float(np.ptp(own)) if len(own) else 0.0}
    above = float((found["loss"] - found["inside"]).mean() or math.nan)  # type: ignore[arg-type]
    detail = f"The mean offset is {above:.2f} nats." if math.isfinite(above) else ""
    return Measured(
        {"slope": intervals.slope(own, found["loss"].to_numpy())}, quantities,
        runs=experiments(tables, found["run"]), n=len(found), points="models", detail=detail,
    )  # fmt: skip


def _over_texts(points: polars.DataFrame) -> polars.DataFrame:
    """Return, for each model that was measured on all the other texts, the mean loss on them and ``inside``, sorted."""
    texts = points["tested_id"].n_unique()
    found = points.group_by("run", "n_layer").agg(
        polars.col("loss").mean(), polars.col("inside").first(), count=polars.col("tested_id").n_unique()
    )
    return found.filter(polars.col("count") == texts).sort("run")


def depth_of_transfer(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 12: the change of loss on other text over that on the own text with a doubling of the depth."""
    data = fig24_transfer_depth.depths(tables["runs"], tables["evals"])
    model = ["n_layer", "d_model", "n_heads", "d_ff", "d_attn"]
    own = data.filter(polars.col("tested") == polars.col("own")).select(*model, inside="loss")
    other = data.filter(polars.col("tested") != polars.col("own")).group_by(model).agg(polars.col("loss").log().mean())
    found = other.join(own, on=model, how="inner", nulls_equal=True).sort(*model)
    depth, ratio = found["n_layer"].to_numpy(), found["loss"].to_numpy() - np.log(found["inside"].to_numpy())
    quantities = {"sizes": float(found["n_layer"].n_unique()), "span": intervals.factor(depth)}
    return Measured(
        {"change": intervals.slope(np.log2(depth), ratio, lambda value: 100 * math.expm1(value))}, quantities,
        runs=_on_other_text(tables, data, model), n=len(found), points="depths",
    )  # fmt: skip


def _on_other_text(tables: Tables, data: polars.DataFrame, model: list[str]) -> tuple[str, ...]:
    """Return the experiments of the runs on other text behind ``data``: those of its shapes, its budget and its corpus."""
    same = [*model, "tokens", "own"]
    seen = measured(tables["runs"], tables["evals"])
    runs = seen.join(data.select(same), on=same, how="semi", nulls_equal=True)
    return experiments(tables, runs["run"].unique().sort())


def sharing(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 21: by how many percent models with shared layers lie above standard ones of the same 6NBS."""
    standard, shared = fig17_recurrent.compared(tables["runs"])
    return _excess(tables, standard, shared, "flops_6nd", "models with shared layers")


def position(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 22: p of L = E + A/T^p in the largest model, its misfit, and how p moves with log10 N."""
    runs = fig20_position.chosen_runs(tables["runs"])
    places = loss_by_position.final(tables["evals"], runs)
    sizes, powers, binned = [], [], []
    for (n_params,), rows in places.group_by("n_params", maintain_order=True):
        at, loss, _ = loss_by_position.binned(rows)
        power = exponent(at, loss)
        if math.isfinite(power):
            sizes.append(float(n_params))
            powers.append(power)
            binned.append((at, loss))
    if not sizes:
        return Measured(quantities={"sizes": 0.0})
    at, loss = binned[-1]
    form = with_offset(at, loss)
    left = np.log(loss / alternatives.predict(form, at)) if form else np.array([math.nan])
    without = [exponent(np.delete(at, k), np.delete(loss, k)) for k in range(len(at))]
    used = runs.filter(polars.col("n_params").is_in([int(n) for n in sizes]))
    return Measured(
        {"exponent": intervals.jackknife(powers[-1], without), "misfit": intervals.scatter(left, 3),
         "trend": intervals.slope(np.log10(sizes), powers)},
        {"span": intervals.factor(at), "sizes": float(len(sizes))},
        runs=experiments(tables, used["run"]), n=len(sizes), points="model sizes",
    )  # fmt: skip


def with_offset(at: np.ndarray, loss: np.ndarray) -> alternatives.Alternative | None:
    """Return the least-squares fit of L = E + (T_c/T)^p in log loss to bins of the position T; None where it cannot be made."""
    if len(at) < 5:
        return None
    (form,) = alternatives.compare(at, loss, Objective("squared"), names=[WITH_OFFSET])
    return form if form.theta else None


def exponent(at: np.ndarray, loss: np.ndarray) -> float:
    """Return p of ``with_offset``; NaN where it cannot be fitted."""
    form = with_offset(at, loss)
    return form.parameters["alpha"] if form else math.nan


def schedule(tables: Tables, fits: Fits) -> Measured:
    """Return what decides claim 24: the largest loss, in percent, above the best of the schedules that warm up and decay."""
    key, follow, fewest = COMPARISONS["schedule"]
    family = groups.family(tables["runs"], key, follow, fewest)
    if family.is_empty():
        return Measured(quantities={"schedules": 0.0})
    decays = (polars.col("schedule") != "constant") & ((polars.col("schedule") != "wsd") | (polars.col("decay") > 0))
    chosen = fig22_schedules.one_size(family).filter(decays & (polars.col("warmup_tokens") > 0))
    cell = list(fig22_schedules.VARIANT)
    found = chosen.group_by(cell).agg(
        polars.col("loss").mean(), polars.col("n_params").first(), seeds=polars.len()
    ).sort("loss", *cell)  # fmt: skip
    quantities = {"schedules": float(len(found))}
    if len(found) < 2:
        return Measured(quantities=quantities)
    worst = 100 * (float(found["loss"][-1]) / float(found["loss"][0]) - 1)
    single = found.with_columns(seeds=polars.lit(1))
    return Measured(
        {"lost": _of_pair(worst, tables["runs"], single)}, quantities,
        runs=experiments(tables, chosen["run"]), n=len(found), points="schedules",
    )  # fmt: skip
