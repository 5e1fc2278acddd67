"""Losses by position in the context. Positions are counted from 1, the first token that is predicted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars
from numpy.typing import NDArray

Array = NDArray[np.float64]
PER_OCTAVE = 2  # bins of positions in a factor of two
SHOWN = 5  # most lines of a panel


def final(evals: polars.DataFrame, runs: polars.DataFrame) -> polars.DataFrame:
    """Return losses of ``runs`` on test text of their own corpus by position.

    The columns are run, n_params, n_ctx, seed, position (from 1), loss and stderr.
    """
    own = runs.select("corpus", "n_params", "n_ctx", "seed", "run")
    rows = evals.filter(polars.col("position").is_not_null() & polars.col("loss").is_not_null())
    rows = rows.join(own, on=["run", "corpus"], how="inner", maintain_order="left")
    rows = rows.with_columns(position=polars.col("position") + 1, stderr=polars.col("stderr").cast(polars.Float64))
    return rows.select("run", "n_params", "n_ctx", "seed", "position", "loss", "stderr").sort("n_params", "run", "position")


def bin_edges(n_ctx: int) -> NDArray[np.int64]:
    """Return the first position of each bin, where bins grow as powers of √2, and n_ctx + 1 as the last edge."""
    starts = np.unique(np.round(2.0 ** (np.arange(0, PER_OCTAVE * 40) / PER_OCTAVE)).astype(np.int64))
    return np.append(starts[starts <= n_ctx], n_ctx + 1)


def binned(rows: polars.DataFrame) -> tuple[Array, Array, Array]:
    """Return position, loss and standard error of one run in bins: their geometric mean, mean loss and mean standard error.

    The mean of the standard errors of the positions is an upper bound for the bin; the positions of one text are not independent.
    """
    position, loss = rows["position"].to_numpy(), rows["loss"].to_numpy()
    stderr = rows["stderr"].fill_null(np.nan).to_numpy()
    inside = [(position >= low) & (position < high) for low, high in pairwise(bin_edges(int(position.max(initial=1))))]
    inside = [mask for mask in inside if mask.any()]
    centres = np.array([np.exp(np.log(position[mask]).mean()) for mask in inside])
    return centres, np.array([loss[mask].mean() for mask in inside]), np.array([stderr[mask].mean() for mask in inside])


def octaves(count: int, n_ctx: int) -> Array:
    """Return the geometric mean position of each of the ``count`` bins [1], [2, 3], [4..7], … of the table of curves.

    The last bin ends at n_ctx.
    """
    starts = 2 ** np.arange(count)
    ends = np.minimum(2 * starts - 1, n_ctx)
    return np.array([np.exp(np.log(np.arange(low, high + 1)).mean()) for low, high in zip(starts, ends, strict=True)])


def spread(values: list[int], count: int = SHOWN) -> list[int]:
    """Return at most ``count`` of the distinct values, sorted and evenly spaced in rank, with both ends."""
    values = sorted(set(values))
    places = {round(k) for k in np.linspace(0, len(values) - 1, min(count, len(values)))}
    return [values[k] for k in sorted(places)]
