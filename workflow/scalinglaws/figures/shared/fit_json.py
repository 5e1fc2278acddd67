"""What figures and the report read from a fit.json: its points, its parameters, and the reasons to doubt them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars

from scalinglaws.laws.rules import FALLING

Fit = dict[str, Any]

POINT_SCHEMA: dict[str, Any] = {
    "run": polars.String,
    "trunk": polars.String,
    "n_params": polars.Float64,
    "tokens": polars.Float64,
    "dataset_tokens": polars.Float64,
    "flops": polars.Float64,
    "flops_min": polars.Float64,
    "steps_min": polars.Float64,
    "loss": polars.Float64,
    "predicted": polars.Float64,
}
# Beginnings of flags that doubt the parameters themselves. The table of exponents tells the others, such as few trunks.
DOUBTS: tuple[str, ...] = (
    "not fitted",
    "not identified",
    "not resolved",
    "no intervals",
    "bound hit",
    "the term of",
    "the optimiser",
)
DOUBTS += ("no law", "alpha_b is not resolved", "the steps scatter")  # these are flags of the fit of the critical batch size
GREEK = {"alpha_N": "α_N", "alpha_D": "α_D", "alpha_C": "α_C", "alpha_S": "α_S", "alpha_B": "α_B", "alpha": "α", "beta": "β"}


@dataclass(frozen=True)
class PowerLaw:
    """A power law of one variable, L(x) = (scale/x)^exponent (equations 1.1, 1.2 and 3.3)."""

    x: str  # the column of the points that holds the variable
    symbol: str  # the letter of the variable

    @property
    def exponent(self) -> str:
        """Return the name of its exponent in fit.json."""
        return f"alpha_{self.symbol}"


POWER_LAWS = {
    "power-n": PowerLaw("n_params", "N"),
    "power-d": PowerLaw("dataset_tokens", "D"),
    "power-c": PowerLaw("flops", "C"),
    "power-cmin": PowerLaw("flops_min", "C"),
    "envelope": PowerLaw("flops", "C"),
}
# The exponents of each law that is drawn, which must be resolved for a picture to say that the law is.
EXPONENTS: dict[str, tuple[str, ...]] = {name: (law.exponent,) for name, law in POWER_LAWS.items()}
EXPONENTS |= {"kaplan-nd": ("alpha_N", "alpha_D"), "kaplan-ns": ("alpha_N", "alpha_S"), "critical-batch": ("alpha_B",)}
EXPONENTS |= {"repetition": ("alpha", "beta")}


def points(fit: Fit | None, runs: polars.DataFrame | None = None) -> polars.DataFrame:
    """Return the points that entered a fit, sorted; an empty table where there is no fit.

    The table of ``runs`` adds the column loss_stderr in nats per token, null where it is not known.
    """
    rows = [{key: row.get(key) for key in POINT_SCHEMA} for row in (fit or {}).get("points", [])]
    frame = polars.DataFrame(rows, schema=POINT_SCHEMA, strict=False).drop_nulls("loss")
    frame = frame.sort("n_params", "dataset_tokens", "tokens", "flops", "run")
    if runs is None or runs.is_empty():
        return frame.with_columns(loss_stderr=polars.lit(None, polars.Float64))
    stderr = runs.select("run", loss_stderr=polars.col("loss_stderr").cast(polars.Float64)).unique("run", keep="first")
    return frame.join(stderr, on="run", how="left", maintain_order="left")


def left_out(fit: Fit | None, runs: polars.DataFrame) -> polars.DataFrame:
    """Return the runs that a fit leaves out since max_tokens ended them while their loss still fell (``rules.turned``), sorted.

    They have the columns of ``points`` that the table of ``runs`` has, and dataset_limited.
    """
    names = [item["run"] for item in (fit or {}).get("excluded") or [] if item.get("reason") == FALLING]
    kept = [name for name in (*POINT_SCHEMA, "loss_stderr", "dataset_limited") if name in runs.columns]
    types = [(name, dtype) for name, dtype in (POINT_SCHEMA | {"loss_stderr": polars.Float64}).items() if name in kept]
    found = runs.filter(polars.col("run").is_in(names)).select(kept)
    found = found.with_columns(polars.col(name).cast(dtype) for name, dtype in types)
    return found.drop_nulls(["n_params", "dataset_tokens", "loss"]).sort("n_params", "dataset_tokens", "run")


def parameter(fit: Fit | None, name: str) -> dict[str, float | None]:
    """Return estimate, ci_low and ci_high of a parameter or derived exponent, each None where it is missing or not finite."""
    found = {**((fit or {}).get("parameters") or {}), **((fit or {}).get("exponents") or {})}.get(name) or {}
    return {key: _finite(found.get(key)) for key in ("estimate", "ci_low", "ci_high")}


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def paired(fits: Mapping[str, Fit], laws: Sequence[str], shifts: int = 1) -> list[dict[str, float]]:
    """Return resampled parameters of all ``laws`` together, a dictionary for each draw; none where a fit keeps no resamples.

    A value beyond the range of numbers is NaN. All fits draw their resamples with one seed, so pairing them place by place would
    tie parameters that have nothing in common. Therefore the resamples of each law are moved on by a different number of places,
    and this is done ``shifts`` times with other numbers.
    """
    kept = [
        {name: np.array(column, np.float64) for name, column in ((fits.get(law) or {}).get("resamples") or {}).items()}
        for law in laws
    ]
    lengths = [min(map(len, columns.values()), default=0) for columns in kept]
    out: list[dict[str, float]] = []
    for shift in range(shifts if min(lengths, default=0) > 1 else 0):
        for k in range(min(lengths)):
            draw: dict[str, float] = {}
            for m, (columns, length) in enumerate(zip(kept, lengths, strict=True)):
                draw |= {name: float(column[(k + m * (1 + 7 * shift)) % length]) for name, column in columns.items()}
            out.append(draw)
    return out


def published(fit: Fit | None, name: str) -> float | None:
    """Return the published value of a parameter; None where there is none."""
    return _finite(((fit or {}).get("published") or {}).get(name))


def with_interval(fit: Fit | None, name: str) -> str:
    """Return a parameter with its interval for a legend: "0.062 [0.055, 0.069]"."""
    found = parameter(fit, name)
    if found["estimate"] is None:
        return "not fitted"
    if found["ci_low"] is None or found["ci_high"] is None:
        return f"{found['estimate']:.3g} (no interval)"
    return f"{found['estimate']:.3f} [{found['ci_low']:.3f}, {found['ci_high']:.3f}]"


def unresolved(fit: Fit | None, law: str, parameters: Sequence[str] | None = None) -> str | None:
    """Say why ``parameters`` of a law, or all its exponents, cannot be relied on; None where they can.

    They cannot where there is no fit, no parameter, no interval, an interval that includes 0, or a flag that doubts them.
    """
    if fit is None:
        return f"not resolved: this study has no fit of {law}"
    flags = [str(flag) for flag in fit.get("flags") or []]
    doubts = [flag for flag in flags if flag.lower().startswith(DOUBTS)]
    reason = _because(doubts or flags)
    for name in EXPONENTS[law] if parameters is None else parameters:
        found = parameter(fit, name)
        symbol = GREEK.get(name, name)
        if found["estimate"] is None:
            return reason or f"not resolved: {law} gave no {symbol}"
        if found["ci_low"] is None or found["ci_high"] is None:
            return reason or f"not resolved: {symbol} has no interval"
        if found["ci_low"] <= 0 <= found["ci_high"]:
            return f"not resolved: the 95 % interval of {symbol} includes 0"
    return _because(doubts)


def brief(doubt: str | None, sentences: int = 2) -> list[str]:
    """Return the first ``sentences`` of a doubt as a note, without parentheses and what they hold; no note without a doubt."""
    if not doubt:
        return []
    plain = re.sub(r"\s*\((?:[^()]|\([^()]*\))*\)", "", doubt)
    plain = re.sub(r"(?<=: )[A-Z](?=[a-z])", lambda letter: letter[0].lower(), plain, count=1)
    return [". ".join(plain.split(". ")[:sentences])]


def _because(flags: list[str]) -> str | None:
    text = " ".join(flag if flag.endswith(".") else f"{flag}." for flag in flags).removesuffix(".")
    text = re.sub(r"\b(alpha(_[A-Z])?|beta)\b", lambda name: GREEK.get(name[0], name[0]), text)
    return f"not resolved: {re.sub('^not resolved: ', '', text, flags=re.IGNORECASE)}" if flags else None
