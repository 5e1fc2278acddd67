"""The law ``learning-rate``: the best learning rate, LR = K_LR·N^alpha·D^beta, and the best batch size, B = K_B·D^gamma.

``laws/rate_optima.py`` finds the optimum of each size N and budget D; here are the lines through their logarithms, by least
squares. A quantity that does not vary in the table, or that follows another one, gets no exponent: a sweep at one budget and one
batch size gives LR = K_LR·N^alpha.

Each optimum stands for itself: in a resample its distance from the line keeps or changes its sign (a wild bootstrap). Whatever
made the distance, noise of the losses or a surface that is no quadratic, enters the interval, and no resample loses a size.

References
----------
Li et al. 2025, Step Law (arXiv:2503.04715), with the published values; N without embeddings, D and B in tokens.
Davidson and Flachaire 2008 for the wild bootstrap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.forms import Array
from scalinglaws.laws.methods import Method, fields
from scalinglaws.laws.rate_optima import Optimum, optima
from scalinglaws.laws.rules import FINALS, decayed, drop, single_epoch
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import FEW_TRUNKS, interval, kept
from scalinglaws.study.questions import SHAPE, fields_but

QUANTITIES = ("n_params", "tokens")
# The coefficients of each line: that of the constant, and the exponent of each quantity.
NAMES = {
    "learning_rate": {"": "K_LR", "n_params": "alpha", "tokens": "beta"},
    "batch_tokens": {"": "K_B", "tokens": "gamma"},
}
# What a sweep may vary; runs that differ in another setting are not compared.
VARIED = (*SHAPE, "learning_rate", "batch_tokens", "tokens", "seed", "decay", "dataset_tokens", "threads")
SPREAD = 1.5  # factor by which a quantity must vary for an exponent of its own
ALIKE = 0.99  # correlation of log N and log D above which no exponents of both are fitted
LARGE_SCATTER = 0.3  # of log rate or log batch about the line: a third
FAR = 10.0  # factor beyond the fitted sizes or budgets at which a recommendation is doubted


@dataclass(frozen=True)
class Line:
    """A line through logs: ``names`` (P,) of its coefficients, the log of a constant first, and their ``draws`` (B, P).

    ``of`` are the quantities that the exponents belong to, and ``scatter`` the standard deviation of the optima about it.
    """

    names: tuple[str, ...]
    of: tuple[str, ...]
    best: Array
    draws: Array
    n: int
    scatter: float
    far: float  # exp of the largest residual, as a factor

    @property
    def freedom(self) -> int:
        """Return the degrees of freedom of the scatter."""
        return self.n - len(self.best)

    def parameters(self, unit: str) -> dict[str, Any]:
        """Return the natural parameters with their intervals, as ``uncertainty.interval`` does."""
        best, draws = self.natural
        units = [unit, *("" for _ in self.of)]
        return {
            name: interval(float(best[k]), draws[:, k], k == 0, self.freedom + 1) | {"unit": units[k]}
            for k, name in enumerate(self.names)
        }

    @property
    def natural(self) -> tuple[Array, Array]:
        """Return the coefficients (P,) and those of the resamples (B, P), with the constant in place of its logarithm."""
        with np.errstate(over="ignore", under="ignore"):
            best, draws = (np.hstack([np.exp(each[..., :1]), each[..., 1:]]) for each in (self.best, self.draws))
        return best, draws


def line(names: Mapping[str, str], columns: Mapping[str, Array], y: Array, n_bootstrap: int, rng: np.random.Generator) -> Line:
    """Return the least-squares line of logs y (n,) on the logs of ``columns``, each (n,), with wild resamples.

    ``names`` has the name of each column's exponent, and that of the constant under an empty text. Residuals are divided by
    1 − leverage (HC3) before their signs change.
    """
    of = tuple(columns)
    centre = np.array([columns[name].mean() for name in of])
    x = np.column_stack([np.ones(len(y)), *(columns[name] - centre[k] for k, name in enumerate(of))])
    inverse = np.linalg.pinv(x)
    best = inverse @ y
    off = y - x @ best
    leverage = np.einsum("ij,ji->i", x, inverse)
    sign = rng.choice([-1.0, 1.0], size=(n_bootstrap, len(y)))
    draws = best + (sign * (off / np.maximum(1 - leverage, 1e-9))) @ inverse.T
    for each in (best[None], draws):  # the constant is that at N = D = 1
        each[:, 0] -= each[:, 1:] @ centre
    freedom = len(y) - x.shape[1]
    scatter = float(np.sqrt((off**2).sum() / freedom)) if freedom > 0 else np.nan
    named = (names[""], *(names[name] for name in of))
    return Line(named, of, best, draws if freedom > 0 else draws[:0], len(y), scatter, float(np.exp(np.abs(off).max())))


def same_settings(table: pl.DataFrame, excluded: list[dict[str, str]], notes: list[str]) -> pl.DataFrame:
    """Keep the runs of the commonest settings, in all columns of a run's settings that a sweep does not vary."""
    names = [name for name in fields_but(VARIED) if name in table.columns and table[name].dtype != pl.List]
    if not names or table.is_empty():
        return table
    counts = table.group_by(names).len().sort(["len", *names], descending=[True, *(False for _ in names)])
    best = counts.row(0, named=True)
    keep = pl.all_horizontal([pl.col(name).eq_missing(pl.lit(best[name], table[name].dtype)) for name in names])
    return drop(table, keep, "other settings than most runs", excluded)


def _varying(used: Sequence[Optimum]) -> tuple[dict[str, Array], list[str]]:
    """Return logs of N and D of the optima, those that vary, and sentences on what has no exponent."""
    logs = {"n_params": np.log([each.n_params for each in used]), "tokens": np.log([each.tokens for each in used])}
    found = {name: values for name, values in logs.items() if np.ptp(values) > np.log(SPREAD)}
    said = [
        f"{name} does not vary by a factor of {SPREAD:g} among the optima: no exponent of it is fitted."
        for name in logs
        if name not in found
    ]
    if len(found) == 2 and abs(np.corrcoef(logs["n_params"], logs["tokens"])[0, 1]) > ALIKE:
        del found["tokens"]
        said.append("tokens follow n_params: the exponents of N are those along this line, and none of tokens is fitted.")
    return found, said


def _result(points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> dict[str, Any]:
    """Return fit.json, with the optimum of each size and budget under ``optima``."""
    columns = points.columns
    # The batch size follows from tokens and steps where it is not given.
    batch = np.where(np.isfinite(columns["batch_tokens"]), columns["batch_tokens"], columns["tokens"] / columns["steps"])
    found = optima(columns["n_params"], columns["tokens"], columns["learning_rate"], batch, points.loss)
    used = [each for each in found if not each.why]
    counts = {"points": len(points), "runs": len(set(points.run)), "trunks": len(used)}
    own: dict[str, Any] = {"optima": [dataclasses.asdict(each) for each in found], "held_out": _held_out(used), "resamples": {}}
    own |= {"checks": {}, "scatter": {}}
    flags = [f"N = {each.n_params:.4g}, D = {each.tokens:.4g} is left out: {each.why}." for each in found if each.why]
    vary, said = _varying(used) if used else ({}, [])
    if not vary or len(used) <= len(vary):
        flags.append(
            f"No law: {len(used)} of {len(found)} sizes and budgets have an optimum between their rates, which is too few."
        )
        if not allow_empty:
            raise StudyError(f"law learning-rate: {' '.join(flags)}")
        return fields(LEARNING_RATE, points, counts, {}, own, flags)
    rng = np.random.default_rng(seed)
    y = np.log([each.learning_rate for each in used])
    lines = {"learning_rate": line(NAMES["learning_rate"], vary, y, n_bootstrap, rng)}
    parameters = lines["learning_rate"].parameters("")
    with_batch = [each for each in used if np.isfinite(each.batch_tokens)]
    batches, also = _batch_line(with_batch, n_bootstrap, rng)
    if batches is not None:
        lines["batch_tokens"] = batches
        parameters |= batches.parameters("tokens")
        own["checks"], doubts = _check(with_batch, n_bootstrap, rng)
        also += doubts
    own["scatter"] = {name: each.scatter for name, each in lines.items()}
    own["lines"] = {name: {"of": list(each.of), "optima": each.n} for name, each in lines.items()}
    own["resamples"] = _kept(lines)
    flags += [*said, *also, *_flags(lines, used)]
    return fields(LEARNING_RATE, points, counts, parameters, own, flags)


def _batch_line(used: Sequence[Optimum], n_bootstrap: int, rng: np.random.Generator) -> tuple[Line | None, list[str]]:
    """Return the line of the best batch size on D, or None and the sentence that says why there is none."""
    if len(used) < 2:
        return None, ["No law of the batch size: fewer than two optima lie between several batch sizes."]
    logs = np.log([each.tokens for each in used])
    if np.ptp(logs) <= np.log(SPREAD):
        return None, ["No law of the batch size: the tokens of its optima do not vary."]
    y = np.log([each.batch_tokens for each in used])
    return line(NAMES["batch_tokens"], {"tokens": logs}, y, n_bootstrap, rng), []


def _check(used: Sequence[Optimum], n_bootstrap: int, rng: np.random.Generator) -> tuple[dict[str, Any], list[str]]:
    """Return the exponents of N and D in the best batch size where both are fitted, and a sentence if that of N is not zero."""
    vary, _ = _varying(used)
    if len(vary) < 2 or len(used) < 4:
        return {}, []
    y = np.log([each.batch_tokens for each in used])
    found = line({"": "", "n_params": "batch_N", "tokens": "batch_D"}, vary, y, n_bootstrap, rng).parameters("")
    of_n = found["batch_N"]
    if not of_n["ci_low"] * of_n["ci_high"] > 0:
        return {name: found[name] for name in ("batch_N", "batch_D")}, []
    sentence = (
        f"The best batch size depends on N as well, as N^{of_n['estimate']:.2f} [{of_n['ci_low']:.2f}, {of_n['ci_high']:.2f}] "
        f"beside D^{found['batch_D']['estimate']:.2f}: K_B·D^gamma holds for sizes as in this table."
    )
    return {name: found[name] for name in ("batch_N", "batch_D")}, [sentence]


def _kept(lines: Mapping[str, Line]) -> dict[str, list[float]]:
    """Return the first resamples of all parameters, as ``uncertainty.kept`` does."""
    names = [name for each in lines.values() for name in each.names]
    drawn = [each.natural[1] for each in lines.values()]
    rows = min(len(each) for each in drawn)
    return kept(names, np.hstack([each[:rows] for each in drawn])) if rows else {}


def _held_out(used: Sequence[Optimum]) -> dict[str, Any]:
    """Return the relative error of the rate at the largest N·D, as the line through the other optima predicts it."""
    error, rest = float("nan"), sorted(used, key=lambda each: each.n_params * each.tokens)
    if len(rest) > 3:
        *rest, last = rest
        vary, _ = _varying(rest)
        if vary and len(rest) > len(vary) + 1:
            y = np.log([each.learning_rate for each in rest])
            best = line(NAMES["learning_rate"], vary, y, 0, np.random.default_rng(0)).best
            at = np.log([getattr(last, name) for name in vary])
            error = float(abs(np.expm1(best[0] + best[1:] @ at - np.log(last.learning_rate))))
    rule = "fitted without the largest N·D, whose best rate is predicted"
    return {"rule": rule, "error": error, "n": int(np.isfinite(error)), "windows": []}


def _flags(lines: Mapping[str, Line], used: Sequence[Optimum]) -> list[str]:
    """Return sentences on what is not to be believed."""
    out = []
    words = {"learning_rate": "rates", "batch_tokens": "batch sizes"}
    for name, each in lines.items():
        if each.freedom < 2:
            out.append(
                f"No intervals: {each.n} optima for {len(each.best)} parameters of the best {words[name]}: nothing tests the law."
            )
        elif each.scatter > LARGE_SCATTER:
            out.append(
                f"The best {words[name]} scatter by {100 * np.expm1(each.scatter):.0f} % about the law, up to a factor of "
                f"{each.far:.2g}."
            )
    if len(used) < FEW_TRUNKS:
        out.append(f"Only {len(used)} sizes and budgets: intervals are widened for it (Student's t), and are rough.")
    return out


def _recommend(fit: dict[str, Any], at: Sequence[Mapping[str, float]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the best rate and batch size at places, with the 95 % intervals of the law, and sentences on far places.

    Raises StudyError where a place does not name each quantity of the law with a positive value.
    """
    lines = fit.get("lines", {})
    if not lines:
        return [], []
    needed = [name for name in QUANTITIES if any(name in each["of"] for each in lines.values())]
    out, said = [], []
    for place in at:
        if not set(needed) <= set(place) <= set(QUANTITIES) or not all(value > 0 for value in place.values()):
            named = ", ".join(needed or QUANTITIES)
            raise StudyError(f"--at: law learning-rate recommends at positive values of {named}: give each once, and no other")
        item: dict[str, Any] = {"at": dict(place)}
        for name, each in lines.items():
            item[name] = _at(fit, NAMES[name], each, np.log([place[quantity] for quantity in each["of"]]))
        flag = _far(fit, place)
        out.append(item | {"flag": flag})
        said += [flag] if flag else []
    return out, said


def _at(fit: dict[str, Any], names: Mapping[str, str], line_of: Mapping[str, Any], logs: Array) -> dict[str, float]:
    """Return what one line says at the logs of its quantities, with its interval; ``names`` are those of its coefficients."""
    constant, exponents = names[""], [names[quantity] for quantity in line_of["of"]]
    best = np.log(fit["parameters"][constant]["estimate"]) + logs @ [fit["parameters"][name]["estimate"] for name in exponents]
    drawn = np.empty(0)
    if constant in fit["resamples"]:
        drawn = np.log(fit["resamples"][constant]) + logs @ np.array([fit["resamples"][name] for name in exponents])
    return interval(float(np.exp(best)), np.exp(drawn), True, line_of["optima"] - len(exponents))


def _far(fit: dict[str, Any], place: Mapping[str, float]) -> str | None:
    """Return a sentence where a place lies far beyond the sizes and budgets of the optima."""
    used = [each for each in fit["optima"] if not each["why"]]
    for name in place:
        values = [each[name] for each in used]
        factor = max(place[name] / max(values), min(values) / place[name])
        if factor > FAR:
            return f"{name} = {place[name]:.4g} lies a factor of {factor:.3g} beyond the optima: nothing tests the law there."
    return None


LEARNING_RATE = Method(
    name="learning-rate",
    title="Best learning rate and batch size",
    formula="LR = K_LR·N^alpha·D^beta, B = K_B·D^gamma",
    source="Li et al. 2025, Step Law",
    rule=f"{FINALS}, of sweeps of the learning rate (and of the batch size) at several sizes, that differ in nothing else",
    selection=(decayed, single_epoch, same_settings),
    variables=("n_params", "tokens", "learning_rate"),
    published={"K_LR": 1.79, "alpha": -0.713, "beta": 0.307, "K_B": 0.58, "gamma": 0.571},
    derived=("alpha", "beta", "gamma"),
    recommend=_recommend,
    result=_result,
)
LAWS = (LEARNING_RATE,)
