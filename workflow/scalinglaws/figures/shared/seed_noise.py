"""The noise between seeds: how much losses of runs that differ in their seed alone scatter."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from scipy.stats import chi2

from scalinglaws.figures.shared import style
from scalinglaws.figures.shared.groups import comparison, sized

OVERLAP = 2.0  # the noise of a model is told by the seeds of models within this factor of its N


def smallest(runs: polars.DataFrame, data: polars.DataFrame) -> str:
    """Say by how much single runs of the models of ``data`` must differ to tell anything."""
    known = noise(runs, float(data["n_params"].median()))  # type: ignore[arg-type]
    if known is None:
        return "not resolved: how much seeds differ, as no run has a second one"
    return f"two runs less than {100 * style.Z95 * np.sqrt(2) * known[0]:.2g} % apart may differ by chance"


def seed_spread(runs: polars.DataFrame) -> polars.DataFrame:
    """Return a row for each size (N within 2 %) and budget that has runs which differ in their seed alone, sorted.

    The columns are n_params, tokens, the numbers of groups and runs, freedom (runs less groups), the mean loss, sd (the standard
    deviation within the groups in nats, pooled), low and high (its 95 % interval, chi squared) and the mean loss_stderr.
    """
    kinds: dict[str, Any] = dict.fromkeys(("n_params", "tokens", "groups", "runs", "freedom"), polars.Int64)
    kinds |= dict.fromkeys(("loss", "sd", "low", "high", "loss_stderr"), polars.Float64)
    groups = comparison(runs, "seed")
    if not groups:
        return polars.DataFrame(schema=kinds)
    marked = [
        group.with_columns(group=polars.lit(place), away=polars.col("loss") - polars.col("loss").mean())
        for place, group in enumerate(groups)
    ]
    rows = []
    for part in sized(polars.concat(marked)).partition_by("size", "tokens", maintain_order=True):
        count = part["group"].n_unique()
        freedom = len(part) - count
        sd = float(np.sqrt(float((part["away"] ** 2).sum()) / freedom))
        low, high = sd_interval(sd, freedom)
        row = {"n_params": part["n_params"][0], "tokens": part["tokens"][0], "groups": count, "runs": len(part)}
        row |= {"freedom": freedom, "loss": part["loss"].mean(), "loss_stderr": part["loss_stderr"].mean()}
        rows.append(row | {"sd": sd, "low": low, "high": high})
    return polars.DataFrame(rows, schema=kinds).sort("n_params", "tokens")


def sd_interval(sd: float, freedom: int) -> tuple[float, float]:
    """Return the 95 % interval of a standard deviation of normal values with ``freedom`` degrees of freedom."""
    return sd * float(np.sqrt(freedom / chi2.ppf(0.975, freedom))), sd * float(np.sqrt(freedom / chi2.ppf(0.025, freedom)))


def pooled(spread: polars.DataFrame) -> tuple[float, int] | None:
    """Return the standard deviation between seeds as a share of the loss and its degrees of freedom, over ``seed_spread``."""
    freedom = int(spread["freedom"].sum())
    if not freedom:
        return None
    square = float((spread["freedom"] * (spread["sd"] / spread["loss"]) ** 2).sum())
    return float(np.sqrt(square / freedom)), freedom


def noise(runs: polars.DataFrame, n_params: float) -> tuple[float, int] | None:
    """Return ``pooled`` over the models near ``n_params``, or over all models where none near it has several seeds."""
    spread = seed_spread(runs)
    near = spread.filter(polars.col("n_params").is_between(n_params / OVERLAP, n_params * OVERLAP))
    return pooled(near) or pooled(spread)
