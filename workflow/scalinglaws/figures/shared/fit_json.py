"""What figures and the report read from a fit.json: its points, its parameters, and the reasons to doubt them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars

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
# Flags that begin so doubt the parameters themselves; others (few trunks, say) are for the table of exponents to tell.
DOUBTS: tuple[str, ...] = (
    "not fitted",
    "not identified",
    "not resolved",
    "no intervals",
    "bound hit",
    "the term of",
    "the optimiser",
)
DOUBTS += ("no law", "alpha_b is not resolved", "the steps scatter")  # of the critical batch size
GREEK = {"alpha_N": "α_N", "alpha_D": "α_D", "alpha_C": "α_C", "alpha_S": "α_S", "alpha_B": "α_B", "alpha": "α", "beta": "β"}
JOINT = ("alpha_N", "alpha_D")  # the exponents of equation 1.5


@dataclass(frozen=True)
class PowerLaw:
    """L(x) = (scale/x)^exponent, equations 1.1, 1.2 and 3.3: the names of its parts in fit.json."""

    x: str
    symbol: str
    exponent: str
    scale: str


POWER_LAWS = {
    "power-n": PowerLaw("n_params", "N", "alpha_N", "N_c"),
    "power-d": PowerLaw("dataset_tokens", "D", "alpha_D", "D_c"),
    "power-c": PowerLaw("flops", "C", "alpha_C", "C_c"),
    "power-cmin": PowerLaw("flops_min", "C", "alpha_C", "C_c"),
    "envelope": PowerLaw("flops", "C", "alpha_C", "C_c"),
}


def points(fit: Fit | None, runs: polars.DataFrame | None = None) -> polars.DataFrame:
    """The points that entered a fit, sorted; none for no fit. ``runs`` adds loss_stderr (nats per token; null if unknown)."""
    rows = [{key: row.get(key) for key in POINT_SCHEMA} for row in (fit or {}).get("points", [])]
    frame = polars.DataFrame(rows, schema=POINT_SCHEMA, strict=False).drop_nulls("loss")
    frame = frame.sort("n_params", "dataset_tokens", "tokens", "flops", "run")
    if runs is None or runs.is_empty():
        return frame.with_columns(loss_stderr=polars.lit(None, polars.Float64))
    stderr = runs.select("run", loss_stderr=polars.col("loss_stderr").cast(polars.Float64)).unique("run", keep="first")
    return frame.join(stderr, on="run", how="left", maintain_order="left")


def parameter(fit: Fit | None, name: str) -> dict[str, float | None]:
    """{"estimate", "ci_low", "ci_high"} of a parameter or exponent; None where it is missing or not finite."""
    found = {**((fit or {}).get("parameters") or {}), **((fit or {}).get("exponents") or {})}.get(name) or {}
    return {key: _finite(found.get(key)) for key in ("estimate", "ci_low", "ci_high")}


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def paired(fits: Mapping[str, Fit], laws: Sequence[str], shifts: int = 1) -> list[dict[str, float]]:
    """Parameters of all ``laws`` together, one dictionary a draw, NaN where one is beyond the range of numbers.

    All fits draw with one seed: place by place their resamples would be tied, though they have nothing in common. So each
    law's are moved on by another number of places, ``shifts`` times. Empty where a fit keeps none.
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
    """The published value of a parameter, None where there is none."""
    return _finite(((fit or {}).get("published") or {}).get(name))


def with_interval(fit: Fit | None, name: str) -> str:
    """ "0.0621 [0.055, 0.069]", for legends."""
    found = parameter(fit, name)
    if found["estimate"] is None:
        return "not fitted"
    if found["ci_low"] is None or found["ci_high"] is None:
        return f"{found['estimate']:.3g} (no interval)"
    return f"{found['estimate']:.3f} [{found['ci_low']:.3f}, {found['ci_high']:.3f}]"


def unresolved(fit: Fit | None, law: str, exponents: tuple[str, ...]) -> str | None:
    """A sentence saying why the exponents of a law cannot be relied on, or None where they can.

    Not resolved: no fit, no parameters, no interval, an interval that includes 0, or a flag that doubts the parameters.
    """
    if fit is None:
        return f"not resolved: this study has no fit of {law}"
    flags = [str(flag) for flag in fit.get("flags") or []]
    doubts = [flag for flag in flags if flag.lower().startswith(DOUBTS)]
    reason = _because(doubts or flags)
    for name in exponents:
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
    """A note of at most so many sentences of a doubt, what stands in parentheses left out; none for no doubt."""
    if not doubt:
        return []
    plain = re.sub(r"\s*\((?:[^()]|\([^()]*\))*\)", "", doubt)
    return [". ".join(plain.split(". ")[:sentences])]


def _because(flags: list[str]) -> str | None:
    text = " ".join(flag if flag.endswith(".") else f"{flag}." for flag in flags).removesuffix(".")
    text = re.sub(r"\b(alpha(_[A-Z])?|beta)\b", lambda name: GREEK.get(name[0], name[0]), text)
    return f"not resolved: {re.sub('^not resolved: ', '', text, flags=re.IGNORECASE)}" if flags else None
