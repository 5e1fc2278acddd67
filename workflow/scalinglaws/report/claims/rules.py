"""How a claim is decided: numbers with 95 % intervals against the regions that the claim allows them.

A claim has criteria and demands. A criterion names a number and the region in which the claim says that it lies. The claim is
*reproduced* where the whole interval of every number lies inside its region, *contradicted* where the interval of one of them
lies wholly outside, and *not resolved* otherwise. A demand says what the runs must offer, for example a range of sizes, before
anything is decided: where one is not met, the claim is not resolved. ``catalogue.py`` holds the claims with their thresholds,
which are set before the runs that they judge and do not move afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from scalinglaws.common.numbers import listed
from scalinglaws.study.questions import WORDS

REPRODUCED, CONTRADICTED, NOT_RESOLVED = "reproduced", "contradicted", "not resolved"


@dataclass(frozen=True)
class Criterion:
    """A number that decides, and the region from ``low`` to ``high``, both included, in which the claim says that it lies."""

    name: str  # under which the number is measured
    statistic: str  # what the number is, in words
    low: float
    high: float
    unit: str = ""
    published: str = "no number"  # what the paper found for it

    @property
    def region(self) -> str:
        """Return the region in words: "at least 0.6", "at most 5 %" or "0.8 to 1.2"."""
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.high):
            return f"at least {self.low:.3g}{unit}" if self.low else f"above 0{unit}"
        if math.isinf(self.low):
            return f"at most {self.high:.3g}{unit}" if self.high else f"below 0{unit}"
        return f"{self.low:.3g} to {self.high:.3g}{unit}".replace("-", "−")


@dataclass(frozen=True)
class Demand:
    """A quantity of the runs or of a fit that must be at least ``least`` and at most ``most`` before a claim is decided."""

    name: str  # under which the quantity is measured
    words: str  # what the quantity is
    least: float = -math.inf
    most: float = math.inf

    @property
    def limit(self) -> str:
        """Return the limit in words: "at least 5" or "at most 0.25"."""
        return f"at most {self.most:g}" if math.isinf(self.least) else f"at least {self.least:g}"

    def unmet(self, value: float) -> str | None:
        """Say that a measured value does not meet the demand; None where it does."""
        if self.least <= value <= self.most:
            return None
        found = "it is not known" if math.isnan(value) else f"here {value:.3g}"
        return f"{self.words} must be {self.limit} ({found})"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: what it says, where the paper says it, what decides it, and what a study needs to judge it."""

    number: int
    sentence: str
    section: str  # section, equation or figure of the paper
    how: str  # how the numbers and their intervals are found
    criteria: tuple[Criterion, ...]
    demands: tuple[Demand, ...]
    needs: tuple[str, ...]  # questions of study/questions.py that a study's runs must answer
    laws: tuple[str, ...] = ()  # laws whose fits are used


@dataclass(frozen=True)
class Estimate:
    """A measured number with its 95 % interval; ``low`` and ``high`` are NaN where it has none."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Measured:
    """What a study's tables and fits say about a claim.

    ``numbers`` holds an estimate for each criterion and ``quantities`` a value for each demand, by their names. ``lack`` says
    what is missing where they could not be had at all. ``runs`` names the experiments whose runs were used, ``n`` counts the
    points that the numbers rest on, ``points`` says what these are, and ``detail`` is a sentence for the reader.
    """

    numbers: Mapping[str, Estimate] = field(default_factory=dict)
    quantities: Mapping[str, float] = field(default_factory=dict)
    lack: str = ""
    runs: tuple[str, ...] = ()
    n: int = 0
    points: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim: one of the three words, why, and the criterion and the number that decided it, where one did."""

    word: str
    why: str
    criterion: Criterion
    estimate: Estimate | None


def decide(claim: Claim, measured: Measured) -> Verdict:
    """Return the verdict of a claim on what was measured.

    The criterion of the verdict is the first that is violated; else the first that is not settled; else the first of all.
    """
    first = claim.criteria[0]
    if measured.lack:
        return Verdict(NOT_RESOLVED, measured.lack, first, measured.numbers.get(first.name))
    unmet = [demand.unmet(measured.quantities.get(demand.name, math.nan)) for demand in claim.demands]
    if doubts := [doubt for doubt in unmet if doubt]:
        return Verdict(NOT_RESOLVED, "; ".join(doubts), first, measured.numbers.get(first.name))
    places = [(place(each, measured.numbers.get(each.name)), each) for each in claim.criteria]
    for word in (CONTRADICTED, NOT_RESOLVED, REPRODUCED):
        for found, criterion in places:
            if found == word:
                estimate = measured.numbers.get(criterion.name)
                return Verdict(word, f"{criterion.statistic}: {_where(criterion, estimate, word)}", criterion, estimate)
    raise AssertionError("a claim has at least one criterion")


def place(criterion: Criterion, estimate: Estimate | None) -> str:
    """Return the word for one number: whether its interval lies inside the region, wholly outside, or across its edge."""
    if estimate is None or not (math.isfinite(estimate.value) and estimate.low <= estimate.high):
        return NOT_RESOLVED
    if criterion.low <= estimate.low and estimate.high <= criterion.high:
        return REPRODUCED
    return CONTRADICTED if estimate.high < criterion.low or estimate.low > criterion.high else NOT_RESOLVED


def _where(criterion: Criterion, estimate: Estimate | None, word: str) -> str:
    if estimate is None or not estimate.low <= estimate.high:
        return "it has no interval"
    words = {REPRODUCED: "lies inside", CONTRADICTED: "lies outside", NOT_RESOLVED: "reaches beyond"}[word]
    return f"its interval {words} the claimed region, {criterion.region}"


def lacking(claim: Claim, kinds: Collection[str], laws: Collection[str]) -> str:
    """Say which runs and fits a claim takes that a study does not have; the empty string where it has all.

    ``kinds`` are the questions that the study's runs can answer, and ``laws`` those that it has fits of.
    """
    runs = [WORDS[kind] for kind in claim.needs if kind not in kinds]
    fits = [law for law in claim.laws if law not in laws]
    return f"it takes {listed([*runs, *([f'a fit of {listed(fits)}'] if fits else [])])}" if runs or fits else ""
