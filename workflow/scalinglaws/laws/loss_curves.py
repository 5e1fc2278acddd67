"""The law ``multi-power`` fitted to a table of loss curves: which curves, intervals, and how it predicts the curves held out.

``laws/multi_power.py`` has the equation and its fit, ``laws/schedules.py`` what a schedule is.

Of two or three curves there is nothing to resample, so the intervals come from blocks of steps: each curve is cut into blocks
that are longer than its residuals are correlated, and in each resample the residuals of a block keep or change their sign
together (a wild bootstrap by blocks). The design stays whole: a resample without the steps after a jump would not know C at all.

References
----------
Luo et al. 2025 (arXiv:2503.12811). Cameron, Gelbach and Miller 2008 for the wild bootstrap by clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import counted
from scalinglaws.laws.forms import Array
from scalinglaws.laws.methods import Method, fields
from scalinglaws.laws.multi_power import (
    LOG,
    LOWER,
    NAMES,
    SHAPE,
    SPREAD,
    UPPER,
    CurveFit,
    correlation_time,
    fit_curves,
    natural,
    predict,
)
from scalinglaws.laws.schedules import Curve, curve, curves_of
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import BOUND_HIT, interval, kept
from scalinglaws.laws.where import condition
from scalinglaws.study.questions import fields_but

# Settings of runs in which curves of one model may differ.
VARIED = ("schedule", "decay", "warmup_tokens", "tokens", "seed", "threads", "eval_tokens", "curve_tokens")
DELTA = 1e-3
HELD, STEPS, RATE = "held_out", "steps", "learning_rate"
FEWEST_BLOCKS, MOST_BLOCKS = 4, 40  # of a curve
IRLS_ROUNDS = 30
LARGE_MISFIT = 0.01  # root mean square of the residuals of log loss above which the law is not that of the curves


def points_of(
    table: pl.DataFrame, curves: pl.DataFrame | None, columns: Mapping[str, str], where: str | None, held_out: str | None
) -> Points:
    """Return the rows of the curves of one model as points; those of curves that are held out have 1 in the column HELD.

    Parameters
    ----------
    table, curves
        The curves are taken from ``curves`` where these are given, else from the table itself (``schedules.curves_of``).
    columns
        Our name of a column -> the table's own.
    where, held_out
        Conditions on the columns: of the curves that are used, and of those among them that are judged and not fitted. A curve
        meets a condition where all its rows do.

    Raises
    ------
    StudyError
        If a column is missing or cannot be read, a condition cannot be used, or no curve is left.
    """
    found = curves_of(table if curves is None else curves, columns)
    found = {name: frame.with_columns(pl.lit(name).alias("run")) for name, frame in found.items()}
    excluded: list[dict[str, str]] = []
    if where is not None:
        excluded += [{"run": name, "reason": f"not ({where})"} for name, frame in found.items() if not _meets(frame, where)]
    left = {name: frame for name, frame in found.items() if name not in {item["run"] for item in excluded}}
    if not left:
        raise StudyError("the table of curves has no curve left: give curves, or another --where")
    model = _commonest(left, {} if curves is None else _settings(table))
    excluded += [
        {"run": name, "reason": "of another model, or of other settings, than most curves"} for name in left if name not in model
    ]
    others = len(left) - len(model)
    told = [f"{counted(others, 'curve')} left out: of another model, or of other settings, than most."] if others else []
    parts = [(name, left[name], held_out is not None and _meets(left[name], held_out)) for name in model]
    run = [name for name, frame, _ in parts for _ in range(len(frame))]
    arrays = {name: np.concatenate([frame[name].to_numpy().astype(float) for _, frame, _ in parts]) for name in (STEPS, RATE)}
    arrays[HELD] = np.concatenate([np.full(len(frame), float(held)) for _, frame, held in parts])
    loss = np.concatenate([frame["loss"].fill_null(float("nan")).to_numpy() for _, frame, _ in parts])
    return Points(run, run, loss, arrays, excluded, told, told)


def _meets(frame: pl.DataFrame, text: str) -> bool:
    """Tell whether all rows of a curve meet a condition; a row that does not say meets none."""
    return bool(frame.select(condition(frame, text).fill_null(False).alias("keep"))["keep"].all())


def _settings(runs: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the settings that schedules may not differ in, as texts, of each run and trunk of a table of runs."""
    names = [name for name in fields_but(VARIED) if name in runs.columns]
    out: dict[str, tuple[str, ...]] = {}
    for row in runs.select([*names, *(name for name in ("run", "trunk") if name in runs.columns)]).iter_rows(named=True):
        out |= {str(row[key]): tuple(str(row[name]) for name in names) for key in ("run", "trunk") if row.get(key) is not None}
    return out


def _commonest(found: Mapping[str, pl.DataFrame], settings: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the curves of the model that most curves are of: equal settings, n_params and batch_tokens, as far as known."""
    models: dict[tuple[Any, ...], list[str]] = {}
    for name, frame in found.items():
        known = tuple(float(frame[key].max() or 0.0) for key in ("n_params", "batch_tokens"))  # type: ignore[arg-type]
        models.setdefault((settings.get(name), *known), []).append(name)
    return max(models.values(), key=lambda names: (len(names), max(names)))


def curves_in(points: Points) -> tuple[list[Curve], list[Curve]]:
    """Return the curves to fit and those held out."""
    run = np.array(points.run)
    parts: tuple[list[Curve], list[Curve]] = ([], [])
    for name in dict.fromkeys(points.run):
        at = run == name
        made = curve(name, points.columns[STEPS][at], points.columns[RATE][at], points.loss[at])
        parts[int(points.columns[HELD][at][0])].append(made)
    return parts


def blocks(residuals: Array, lengths: Sequence[int]) -> np.ndarray:
    """Return the number (n,) of each row's block, which grows from curve to curve.

    A block is at least twice as long as the time over which the residuals are correlated.

    Parameters
    ----------
    residuals, lengths
        Residuals (n,) of all curves, one after another, and the number of rows of each curve.
    """
    out, first = [], 0
    for part in np.split(residuals, np.cumsum(lengths)[:-1]):
        length = max(2 * correlation_time(part), len(part) / MOST_BLOCKS)
        count = int(np.clip(len(part) // length, min(FEWEST_BLOCKS, len(part)), MOST_BLOCKS))
        out.append(first + np.arange(len(part)) * count // len(part))
        first += count
    return np.concatenate(out)


def resampled(fit: CurveFit, block: np.ndarray, n_bootstrap: int, seed: int) -> Array:
    """Return internal parameters (B, 7) of resamples in which the residuals of each block keep or change their sign together.

    Each is the fit of the law's tangent at the estimate by the same Huber function, by iterated least squares in one batch. What
    is expected of C, beta and gamma is drawn anew in each, since it is no better known than its standard deviation says.
    """
    n_blocks = int(block.max()) + 1
    rng = np.random.default_rng(seed)
    sign, drawn = rng.choice([-1.0, 1.0], size=(n_bootstrap, n_blocks)), rng.standard_normal((n_bootstrap, 3))
    free = (fit.theta > LOWER + 1e-6 * (UPPER - LOWER)) & (fit.theta < UPPER - 1e-6 * (UPPER - LOWER))
    jacobian = fit.jacobian[:, free]
    scale = np.linalg.norm(jacobian, axis=0)
    jacobian = jacobian / scale
    prior = np.zeros((3, len(NAMES)))
    prior[:, SHAPE] = np.diag(np.sqrt(fit.weight) / SPREAD)
    prior = prior[:, free] / scale
    pulled = np.sqrt(fit.weight) * drawn @ prior
    y = sign[:, block] * fit.residuals * np.sqrt(n_blocks / max(n_blocks - free.sum(), 1))
    delta = np.zeros((n_bootstrap, int(free.sum())))
    ridge = 1e-12 * np.eye(delta.shape[1]) + prior.T @ prior
    for _ in range(IRLS_ROUNDS):
        weight = DELTA / np.maximum(np.abs(y - delta @ jacobian.T), DELTA)
        matrix = np.einsum("bn,ni,nj->bij", weight, jacobian, jacobian, optimize=True) + ridge
        delta = np.linalg.solve(matrix, ((weight * y) @ jacobian + pulled)[:, :, None])[:, :, 0]
    out = np.tile(fit.theta, (n_bootstrap, 1))
    out[:, free] += delta / scale
    return np.clip(out, LOWER, UPPER)


def law_error(fitted: Sequence[Curve]) -> dict[str, Any] | None:
    """Return how the law errs on a curve that it was not fitted to, found by leaving out each curve whose rate changes.

    Returns
    -------
    dict or None
        ``rms``, the root mean square of the log residuals, a curve counting once; ``curves``, how many were left out; and
        ``area``, the largest sum of rates of a fitted curve. None where fewer than two curves have a rate that changes.
    """
    found = []
    for each in fitted:
        rest = [other for other in fitted if other is not each]
        enough = sum(len(other.measured) for other in rest) > len(NAMES)
        if each.decays and len(each.measured) and enough and any(other.decays for other in rest):
            theta, places = fit_curves(rest, DELTA).theta, each.measured
            found.append(float((np.log(predict(theta, each, places) / each.loss[places]) ** 2).mean()))
    if not found:
        return None
    area = max(float(each.area[-1]) for each in fitted)
    return {"rms": float(np.sqrt(np.mean(found))), "curves": len(found), "area": area}


def errors(theta: Array, each: Curve) -> dict[str, float]:
    """Return how the law predicts a curve: R², mean absolute and root mean square error in nats, share of the last loss."""
    places = each.measured
    if not len(places):
        return {"r2": np.nan, "mae": np.nan, "rmse": np.nan, "final_error": np.nan}
    loss, predicted = each.loss[places], predict(theta, each, places)
    off, spread = predicted - loss, ((loss - loss.mean()) ** 2).sum()
    return {
        "r2": float(1 - (off**2).sum() / spread) if spread > 0 else np.nan,
        "mae": float(np.abs(off).mean()),
        "rmse": float(np.sqrt((off**2).mean())),
        "final_error": float(predicted[-1] / loss[-1] - 1),
    }


def _result(points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> dict[str, Any]:
    """Return fit.json, with the errors of each curve under ``curves`` and their means over those held out under ``judged``."""
    fitted, held = curves_in(points)
    counts = {"points": sum(len(each.measured) for each in fitted), "runs": len(fitted), "trunks": 0}
    nothing: dict[str, Any] = {"curves": [], "judged": None, "held_out": _held([]), "resamples": {}, "law_error": None}
    try:
        fit = fit_curves(fitted, DELTA)
    except StudyError as error:
        if not allow_empty:
            raise
        return fields(MULTI_POWER, points, counts, {}, nothing, [f"Not fitted: {error}"])
    block = blocks(fit.residuals, [len(each.measured) for each in fitted])
    counts["trunks"] = int(block.max()) + 1
    drawn = natural(resampled(fit, block, n_bootstrap, seed)) if n_bootstrap else np.empty((0, len(NAMES)))
    free = max(counts["trunks"] - len(NAMES) + 1, 1)  # intervals are widened for the degrees of freedom that the blocks leave
    parameters = {
        name: interval(float(fit.natural[k]), drawn[:, k], LOG[k], free) | {"unit": UNITS.get(name, "")}
        for k, name in enumerate(NAMES)
    }
    judged = [errors(fit.theta, each) for each in held]
    rows = [{"run": each.name, "fitted": True, "rows": len(each.measured)} | errors(fit.theta, each) for each in fitted]
    rows += [
        {"run": each.name, "fitted": False, "rows": len(each.measured)} | error for each, error in zip(held, judged, strict=True)
    ]
    own = {
        "curves": rows,
        "judged": {name: float(np.mean([error[name] for error in judged])) for name in judged[0]} if judged else None,
        "held_out": _held(judged),
        "resamples": kept(NAMES, drawn) if len(drawn) else {},
        "scatter": float(np.sqrt((fit.residuals**2).mean())),
        "law_error": law_error(fitted),
    }
    out = fields(MULTI_POWER, points, counts, parameters, own, _flags(fit, fitted, counts["trunks"]))
    level = np.concatenate([np.log(each.loss[each.measured]) for each in fitted])
    explained = 1 - (fit.residuals**2).sum() / ((level - level.mean()) ** 2).sum()
    objective = {"name": "huber", "delta": DELTA, "value": fit.value}
    return out | {"objective": objective, "r2": float(explained), "starts": fit.starts}


def _held(judged: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the field held_out: the mean of the absolute errors of the last losses of curves that were not fitted."""
    error = float(np.mean([abs(each["final_error"]) for each in judged])) if judged else float("nan")
    return {"rule": "the last losses of the curves that are held out", "error": error, "n": len(judged), "windows": []}


def _flags(fit: CurveFit, fitted: Sequence[Curve], n_blocks: int) -> list[str]:
    """Return sentences on what is not to be believed."""
    out = []
    names = [f"log {name}" if log else name for name, log in zip(NAMES, LOG, strict=True)]
    for name, value, low, high in zip(names, fit.theta, LOWER, UPPER, strict=True):
        if min(value - low, high - value) < 1e-6 * (high - low):
            out.append(f"{BOUND_HIT}{name} lies at the edge of its range, so the curves do not determine it.")
    if fit.agreeing < 2:
        out.append("Only one of the best starts came to this fit: another minimum may be as good.")
    changing = sum(each.decays for each in fitted)
    if changing < 2:
        out.append("The rate changes in one fitted curve alone: it does not tell B, C, beta and gamma apart, nor test the law.")
    scatter = float(np.sqrt((fit.residuals**2).mean()))
    if scatter > LARGE_MISFIT:
        out.append(f"The losses scatter by {100 * scatter:.2g} % about the law: these curves do not follow it, or are noisy.")
    if n_blocks < 20:
        out.append(f"Only {n_blocks} blocks of steps: intervals are widened for it (Student's t), and are rough.")
    return out


UNITS = {"L0": "nats", "A": "nats", "B": "nats per unit of rate"}
MULTI_POWER = Method(
    name="multi-power",
    title="Loss curve under a learning-rate schedule",
    formula="L(t) = L0 + A·S(t)^-alpha - B·Σ_k (η_{k-1} - η_k)·G(η_k^-gamma·S_k(t)), G(x) = 1 - (C·x + 1)^-beta",
    source="Luo et al. 2025 (1)",
    rule="whole loss curves of one model after their warm-up, of a schedule or several",
    variables=(STEPS, RATE),
    published={"L0": 3.040, "A": 0.525, "alpha": 0.508, "B": 363.8, "C": 2.066, "beta": 0.583, "gamma": 0.641},
    derived=("alpha", "beta", "gamma"),
    own_points=points_of,
    result=_result,
)
LAWS = (MULTI_POWER,)
