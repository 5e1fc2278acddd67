"""The loss curve that a stored fit of the law multi-power predicts for a schedule, with the interval of the law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import stdtrit

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.laws.forms import Array
from scalinglaws.laws.loss_curves import errors
from scalinglaws.laws.multi_power import NAMES, internal, predict
from scalinglaws.laws.schedules import curve, curves_of

COLUMNS = ("step", "learning_rate", "loss", "run_low", "run_high", "ci_low", "ci_high")


def read_multi_power(path: Path) -> tuple[Array, Array, dict[str, Any] | None]:
    """Return the internal parameters (7,) of a fit.json of the law multi-power, those of its resamples (B, 7), and its law_error.

    Raises
    ------
    StudyError
        If the file is missing or damaged, is not a fit of that law, or has no parameters.
    """
    try:
        sums.require_own(path)
        fit = read_object(path)
        if fit["law"] != "multi-power":
            raise ValueError(f"it is a fit of {fit['law']}")
        values = [float(fit["parameters"][name]["estimate"]) for name in NAMES]
        drawn = np.array([fit["resamples"][name] for name in NAMES], np.float64).T if fit["resamples"] else np.empty((0, 7))
        found: dict[str, Any] | None = fit["law_error"]
        if found is not None:
            found = {name: float(found[name]) for name in ("rms", "curves", "area")}
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"--fit: {path} is not the result of fit --law multi-power with parameters: {error!r}") from None
    return internal(values), internal(drawn), found


def _of_run(values: dict[str, Array], own: dict[str, Any], area: Array) -> dict[str, Array]:
    """Return run_low and run_high (n,): the interval of the law and its own error, added in squares of logs."""
    error = stdtrit(own["curves"], 0.975) * own["rms"] * np.maximum(1.0, area / own["area"])
    below, above = (np.log(values["loss"] / values["ci_low"]), np.log(values["ci_high"] / values["loss"]))
    return {
        "run_low": values["loss"] * np.exp(-np.hypot(below, error)),
        "run_high": values["loss"] * np.exp(np.hypot(above, error)),
    }


def predicted(path: Path, table: pl.DataFrame, columns: Mapping[str, str]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Predict the loss curve of a schedule.

    Parameters
    ----------
    path
        The fit.json of the law multi-power.
    table
        The schedule, a row for each step that is stated: steps (or step), learning_rate, and perhaps loss.
    columns
        Our name of a column -> the table's own.

    Returns
    -------
    tuple
        A row of COLUMNS for each row of the schedule after its warm-up; and, where the schedule has losses, the errors that
        ``loss_curves.errors`` returns, else an empty dict. ``ci_low`` and ``ci_high`` are the 95 % interval of the law alone,
        empty where the fit has no resamples. ``run_low`` and ``run_high`` count the law's own error as well, as it is on curves
        left out of the fit, in proportion to the sum of rates beyond the largest that was fitted; empty where nothing tells it.

    Raises
    ------
    StudyError
        If the fit or the schedule cannot be used.
    """
    theta, drawn, own = read_multi_power(path)
    found = curves_of(table, columns)
    if len(found) != 1:
        raise StudyError(f"--schedule has {len(found)} runs ({', '.join(sorted(found)[:3])}): give the schedule of one run")
    ((name, frame),) = found.items()
    loss = frame["loss"].fill_null(math.nan).to_numpy()
    each = curve(name, frame["steps"].to_numpy(), frame["learning_rate"].to_numpy(), loss)
    places = np.arange(each.start, len(each.steps))
    values = {"step": each.steps[places], "learning_rate": each.rate[places], "loss": predict(theta, each, places)}
    if len(drawn) > 1:
        bounds = np.quantile([predict(one, each, places) for one in drawn], [0.025, 0.975], axis=0)
        values |= {"ci_low": np.minimum(bounds[0], values["loss"]), "ci_high": np.maximum(bounds[1], values["loss"])}
        if own is not None:
            values |= _of_run(values, own, each.area[places])
    out = pl.DataFrame(values | {name: np.full(len(places), np.nan) for name in COLUMNS if name not in values})
    told = (
        {key: value if math.isfinite(value) else None for key, value in errors(theta, each).items()} if len(each.measured) else {}
    )
    return out.select(COLUMNS).fill_nan(None), told
