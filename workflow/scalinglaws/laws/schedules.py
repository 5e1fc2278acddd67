"""Loss curves under learning-rate schedules: a table becomes curves, whose rate between two rows is a line or a jump.

Laws of whole curves take sums over all steps of a training. Only steps at which the rate changes add anything to them, and where
it changes smoothly a few nodes of Gauss and Legendre between two rows stand for all the steps there. So the work grows with the
rows of a table and not with the steps of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array
from scalinglaws.tables import rows
from scalinglaws.tables.read import named

COLUMNS = ("run", "trunk", "n_params", "batch_tokens", "steps", "learning_rate", "loss")
NUMBERS = COLUMNS[2:]
# A change of the rate that exceeds those beside it by this factor happens at once, at the later of its two rows.
ALONE = 4.0
MOST_ROWS = 600  # rows of a curve that enter sums; of a longer curve an even choice of rows is taken
WARM_UP = 16  # pieces of a warm-up that lies before the first row
NODES, WEIGHTS = ((each + shift) / 2 for each, shift in zip(np.polynomial.legendre.leggauss(2), (1.0, 0.0), strict=True))
HINT = "map its column with --columns {name}=NAME"


@dataclass(frozen=True)
class Curve:
    """A loss curve and its schedule at R rows: ``steps`` ascend, ``loss`` is NaN where a row states the schedule alone.

    ``area`` (R,) is the sum of the rates from the first step up to each row. At row ``start`` the warm-up has ended.
    The changes of the rate are Q sources: ``drop`` (Q,) is how much the rate falls, which is negative where it rises, as in the
    warm-up, ``rate_after`` the rate then, and ``at`` the sum of the rates up to there.
    """

    name: str
    steps: Array
    rate: Array
    loss: Array
    start: int
    area: Array
    drop: Array
    rate_after: Array
    at: Array

    @property
    def decays(self) -> bool:
        """Tell whether the rate changes after the warm-up."""
        return bool(np.ptp(self.rate[self.start :]) > 1e-9 * self.rate.max())

    @property
    def measured(self) -> np.ndarray:
        """Return the places of the rows after the warm-up that have a loss."""
        there = np.isfinite(self.loss)
        there[: self.start] = False
        return np.flatnonzero(there)


def curve(name: str, steps: ArrayLike, rate: ArrayLike, loss: ArrayLike | None = None) -> Curve:
    """Return the curve of a schedule.

    What lies before the first row is taken for a linear warm-up from zero. The warm-up ends at the last row of the first rise of
    the rate. Between two rows the rate is a straight line, unless its change stands alone: then it jumps at the later row.

    Parameters
    ----------
    name
        Name of the run, for messages.
    steps, rate, loss
        Steps (R,) in ascending order, the rate there, and the loss in nats, NaN where it is not known.

    Raises
    ------
    StudyError
        If there are no two rows, steps do not ascend, a rate is negative or not finite, or all are zero.
    """
    t, eta = np.asarray(steps, np.float64), np.asarray(rate, np.float64)
    y = np.full(len(t), np.nan) if loss is None else np.asarray(loss, np.float64)
    if len(t) < 2:
        raise StudyError(f"curve {name} has {len(t)} row: a schedule takes two rows at least, with the steps and the rates")
    if not (np.isfinite(t).all() and t[0] >= 0 and (np.diff(t) > 0).all()):
        raise StudyError(f"curve {name}: its steps must ascend from row to row, each with one rate: give every step once")
    if not (np.isfinite(eta).all() and (eta >= 0).all() and eta.max() > 0):
        raise StudyError(f"curve {name}: a learning_rate is negative or missing, or all are zero: give the rate of every row")
    rises = np.diff(eta) > 1e-9 * eta[:-1]
    start = len(t) - 1 if rises.all() else int(np.argmin(rises))
    jump = _jumps(eta, start)
    keep = _kept(y, jump, start)
    jump = np.add.reduceat(jump, keep[:-1]).astype(bool) if len(keep) < len(t) else jump
    t, eta, y, start = t[keep], eta[keep], y[keep], int(np.searchsorted(keep, start))
    width, before, after = np.diff(t), eta[:-1], eta[1:]
    # A jump is that of the later row's own step.
    step_area = np.where(jump, np.maximum(width - 1, 0) * before + np.minimum(width, 1) * after, width * (before + after) / 2)
    area = t[0] * eta[0] / 2 + np.concatenate([[0.0], np.cumsum(step_area)])
    # The rise from zero before the first row is a slope as well, in WARM_UP pieces.
    share = np.arange(WARM_UP) / WARM_UP if t[0] > 0 else np.zeros(1)
    whole, sums = np.append(share * eta[0], eta), np.append(share**2 * area[0], area)
    width, sudden = np.append(np.full(len(share), t[0] / len(share)), width), np.append(np.full(len(share), t[0] == 0), jump)
    return Curve(name, t, eta, y, start, area, *_sources(whole, width, sums, sudden))


def _jumps(rate: Array, start: int) -> np.ndarray:
    """Return which of the R − 1 changes of the rate stand alone after the warm-up."""
    change = np.abs(np.diff(rate))
    change[:start] = 0.0
    padded = np.concatenate([[0.0], change, [0.0]])
    return np.asarray(change > np.maximum(ALONE * np.maximum(padded[:-2], padded[2:]), 1e-9 * rate.max()))


def _kept(loss: Array, jump: np.ndarray, start: int) -> np.ndarray:
    """Return the places of the rows that are taken: all up to MOST_ROWS, else an even choice with both sides of each jump."""
    if len(loss) <= MOST_ROWS:
        return np.arange(len(loss))
    measured = np.flatnonzero(np.isfinite(loss))
    pools = [np.arange(len(loss)), measured] if len(measured) else [np.arange(len(loss))]
    even = [pool[np.linspace(0, len(pool) - 1, min(len(pool), MOST_ROWS // len(pools))).round().astype(int)] for pool in pools]
    at = np.flatnonzero(jump)
    return np.unique(np.concatenate([[0, start, len(loss) - 1], at, at + 1, *even]))


def _sources(rate: Array, width: Array, area: Array, jump: np.ndarray) -> tuple[Array, Array, Array]:
    """Return drop, rate after and sum of rates (Q,) of the sources: a jump is one, and a slope one for each node."""
    place = np.arange(len(width))
    changes = np.abs(np.diff(rate)) > 1e-12 * rate.max()
    sudden, smooth = place[jump & changes], place[~jump & changes]
    change, low = np.diff(rate)[smooth, None], rate[smooth, None]
    drop = [(rate[:-1] - rate[1:])[sudden], (-change * WEIGHTS).ravel()]
    after = [rate[1:][sudden], (low + change * NODES).ravel()]
    at = [area[1:][sudden], (area[smooth, None] + width[smooth, None] * (low * NODES + change * NODES**2 / 2)).ravel()]
    # The sum of rates since a change holds the rate of its own step.
    return np.concatenate(drop), np.concatenate(after), np.concatenate(at) - np.concatenate(after)


def curves_of(table: pl.DataFrame, columns: Mapping[str, str]) -> dict[str, pl.DataFrame]:
    """Return the rows of each curve of a table by the name of its run, sorted by step.

    Parameters
    ----------
    table
        A row for each step that is known: run, steps (or step), learning_rate, and loss, which may be empty. Without a column run
        it is one curve. The table ``curves`` of a study is taken as well: rows without a run are the curve of their trunk, and
        the schedule of its runs up to their own first rows.
    columns
        Our name of a column -> the table's own.

    Raises
    ------
    StudyError
        If a column is missing, or a value of the steps or the rate is no number.
    """
    own = [name for name in ("loss_test",) if name in table.columns and "loss" not in (*table.columns, *columns)]
    table = named(table.rename(dict.fromkeys(own, "loss")), COLUMNS, columns, "the table of curves")
    if missing := [name for name in ("steps", "learning_rate") if name not in table.columns]:
        raise StudyError(f"the table of curves has no column {missing[0]}: {HINT.format(name=missing[0])}")
    table = rows.texts(rows.numbers(rows.numbered(table), NUMBERS, "the table of curves", HINT), ("run", "trunk"))
    for name in ("steps", "learning_rate"):
        if table[name].null_count():
            bad = table.filter(pl.col(name).is_null())[rows.ROW][0]
            raise StudyError(f"the table of curves: row {bad} has no number in the column {name}: fill it, or leave out the row")
    absent = [pl.lit(None, pl.String if name in ("run", "trunk") else pl.Float64).alias(name) for name in COLUMNS]
    table = table.with_columns(each for each, name in zip(absent, COLUMNS, strict=True) if name not in table.columns)
    out: dict[str, pl.DataFrame] = {}
    for trunk in table.partition_by("trunk", maintain_order=True):
        out |= _of_trunk(trunk)
    return dict(sorted(out.items()))


def _of_trunk(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the curves of a trunk and of its runs, whose losses up to their own first rows are the trunk's and count once."""
    shared = table.filter(pl.col("run").is_null()).sort("steps")
    own = {group["run"][0]: group for group in table.drop_nulls("run").partition_by("run", maintain_order=True)}
    out = {str(shared["trunk"][0] or "the curve"): shared} if len(shared) else {}
    for name, group in own.items():
        group = group.sort("steps")
        before = shared.filter(pl.col("steps") < group["steps"][0]).with_columns(pl.lit(None, pl.Float64).alias("loss"))
        out[name] = pl.concat([before, group], how="vertical_relaxed")
    return out
