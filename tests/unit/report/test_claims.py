"""The rules that decide the claims of the paper: their thresholds by value, and what an interval makes of a claim."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars
import pytest

from scalinglaws.dag import inputs
from scalinglaws.laws.registry import LAWS
from scalinglaws.report.claims import intervals, page, rules
from scalinglaws.report.claims.catalogue import CLAIMS
from scalinglaws.report.claims.judge import counted, judge, judge_one
from scalinglaws.report.claims.rules import Claim, Criterion, Demand, Estimate, Measured
from scalinglaws.study.questions import WORDS
from scalinglaws.tables.schema import SCHEMAS
from unit.test_rooms import imports, modules

ANY = math.inf
MISFIT, POSITIVE = (-ANY, 4.0), (0.0, ANY)
# For each claim the regions of its criteria, then the limits of its demands.
THRESHOLDS: dict[int, tuple[list[tuple[float, float]], list[tuple[str, float, float]]]] = {
    1: ([POSITIVE, MISFIT], [("error", -ANY, 0.25), ("span", 10, ANY), ("sizes", 5, ANY)]),
    2: ([POSITIVE, MISFIT], [("error", -ANY, 0.25), ("span", 8, ANY), ("sizes", 4, ANY), ("stopped", 0.75, ANY)]),
    3: ([POSITIVE, MISFIT], [("error", -ANY, 0.25), ("span", 30, ANY), ("sizes", 5, ANY)]),
    4: ([MISFIT, POSITIVE, POSITIVE], [("sizes", 3, ANY), ("datasets", 4, ANY), ("stopped", 0.75, ANY)]),
    5: ([MISFIT], [("sizes", 2, ANY), ("runs", 6, ANY), ("largest", 0.15, ANY)]),
    6: ([(-ANY, 5.0)], [("ratios", 3, ANY)]),
    7: ([(1.0, ANY)], [("sizes", 6, ANY), ("depths", 2, ANY)]),
    8: ([(1.0, ANY)], [("span", 10, ANY), ("sizes", 5, ANY)]),
    9: ([(-3.0, 3.0)], [("sizes", 4, ANY)]),
    10: ([(1.0, ANY)], [("sizes", 4, ANY)]),
    11: ([(0.8, 1.2)], [("sizes", 5, ANY), ("range", 0.2, ANY)]),
    12: ([(-1.5, 1.5)], [("sizes", 4, ANY), ("span", 4, ANY)]),
    13: ([(-0.3, 0.3), POSITIVE], [("span", 4, ANY), ("losses", 3, ANY)]),
    14: ([(1 / 3, 3.0), (0.5, 2.0)], [("trunks", 4, ANY)]),
    15: ([MISFIT, POSITIVE, POSITIVE], [("sizes", 4, ANY), ("trunks", 8, ANY)]),
    16: ([POSITIVE, MISFIT, (2 / 3, 1.5)], [("error", -ANY, 0.25), ("span", 10, ANY), ("sizes", 5, ANY)]),
    17: ([(0.6, ANY)], [("sizes", 5, ANY)]),
    18: ([(-ANY, 0.1)], [("sizes", 5, ANY)]),
    19: ([(2 / 3, ANY)], [("runs", 6, ANY)]),
    20: ([(5.0, 20.0)], [("sizes", 4, ANY)]),
    21: ([POSITIVE], [("sizes", 4, ANY)]),
    22: ([POSITIVE, MISFIT, POSITIVE], [("span", 16, ANY), ("sizes", 4, ANY)]),
    23: ([(-ANY, 0.0)], [("sizes", 4, ANY), ("span", 8, ANY)]),
    24: ([(-ANY, 3.0)], [("schedules", 4, ANY)]),
}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim.number))
def test_thresholds_are_those_set_before_the_study(claim: Claim) -> None:
    """The thresholds were set before the study that they judge was trained. They must not be moved to change a verdict."""
    regions, limits = THRESHOLDS[claim.number]
    assert [(each.low, each.high) for each in claim.criteria] == regions
    assert [(each.name, each.least, each.most) for each in claim.demands] == limits
    assert set(claim.needs) <= set(WORDS) and set(claim.laws) <= set(LAWS)
    assert len({each.name for each in claim.criteria}) == len(claim.criteria) and claim.sentence.endswith(".")


def test_every_claim_has_one_number() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, 25)) == sorted(THRESHOLDS)


CLAIM = Claim(
    1, "A claim.", "1", "By counting.",
    (Criterion("first", "the first", 0.6, ANY), Criterion("second", "the second", -1, 1, "%")),
    (Demand("sizes", "the number of sizes", least=4),), ("size", "seed"), ("power-n",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "sizes", "word", "decided"),
    [
        ((0.61, 0.9), (-1, 1), 4, rules.REPRODUCED, "first"),
        ((0.59, 0.9), (-1, 1), 4, rules.NOT_RESOLVED, "first"),
        ((0.61, 0.9), (0.5, 1.1), 4, rules.NOT_RESOLVED, "second"),
        ((0.59, 0.9), (1.1, 1.2), 4, rules.CONTRADICTED, "second"),
        ((0.1, 0.5), (-1, 1), 4, rules.CONTRADICTED, "first"),
        ((0.1, 0.5), (-1, 1), 3, rules.NOT_RESOLVED, "first"),
        ((0.61, 0.9), (math.nan, math.nan), 4, rules.NOT_RESOLVED, "second"),
    ],
)
def test_an_interval_decides(
    first: tuple[float, float], second: tuple[float, float], sizes: float, word: str, decided: str
) -> None:
    numbers = {name: Estimate(sum(ends) / 2, *ends) for name, ends in (("first", first), ("second", second))}
    found = rules.decide(CLAIM, Measured(numbers, {"sizes": sizes}))
    assert (found.word, found.criterion.name) == (word, decided)
    assert ("the number of sizes must be at least 4 (here 3)" in found.why) == (sizes < 4)


def test_what_is_missing_is_said() -> None:
    found = rules.decide(CLAIM, Measured(lack=rules.lacking(CLAIM, {"data"}, {"power-d"})))
    assert (found.word, found.estimate) == (rules.NOT_RESOLVED, None)
    assert found.why == f"it takes {WORDS['size']}, {WORDS['seed']} and a fit of power-n"
    assert rules.lacking(CLAIM, {"size"}, {"power-n"}) == f"it takes {WORDS['seed']}"
    assert rules.lacking(CLAIM, {"size", "seed"}, {"power-n"}) == ""
    assert "it is not known" in rules.decide(CLAIM, Measured()).why
    assert [each.region for each in CLAIM.criteria] == ["at least 0.6", "−1 to 1 %"]


def test_a_study_of_nothing_resolves_nothing() -> None:
    tables = {name: polars.DataFrame(polars.from_arrow(SCHEMAS[name].empty_table())) for name in ("runs", "curves", "evals")}
    rows = judge(tables, {}, ())
    assert counted(rows) == "0 reproduced, 0 contradicted, 24 not resolved"
    assert {row.plain()["estimate"] for row in rows} == {None} and rows[0].plain()["published"] == "0.076"
    lines = page.section(tables, {}, ["size"])
    assert (
        lines[0].startswith("0 reproduced, 0 contradicted, 24 not resolved. ") and len([k for k in lines if k[:2] == "| "]) == 25
    )
    assert "- Claim 9: not resolved: it takes LSTMs." in lines


def test_a_parameter_at_the_edge_of_its_range_decides_nothing() -> None:
    """The interval of a positive parameter ends at its bound, above 0, although the runs say nothing about it."""
    joint = next(claim for claim in CLAIMS if claim.number == 4)
    flags = ["Bound hit: alpha_N/alpha_D lies at the edge of its range, so the data do not determine it."]
    fit = {"parameters": {"alpha_N": {"estimate": 1e-4, "ci_low": 9e-5, "ci_high": 0.1}}, "flags": flags}
    row = judge_one(joint, {}, {"kaplan-nd": fit}, set(WORDS))
    assert row.verdict.word == rules.NOT_RESOLVED
    assert row.verdict.why == "the fit of kaplan-nd has alpha_N/alpha_D at the edge of its range, so the runs do not determine it"


def test_the_page_of_the_documentation_states_the_rules() -> None:
    text = (Path(__file__).parents[3] / "docs" / "claims.md").read_text()
    assert "\n".join(page.rules_in_words()) in text


def test_the_report_is_made_again_when_a_module_that_measures_claims_is_edited() -> None:
    known = modules(inputs.PACKAGE)
    own = {name for name in known if name.startswith("report.claims.")}
    used = {found for name in own for found in imports(known[name], known) if found.startswith("figures.")} | own
    assert used and {known[name].resolve() for name in used} <= {Path(path).resolve() for path in inputs.modules_of_report()}


def test_the_ratio_of_paired_scatters_ends_where_a_correlation_is_told() -> None:
    """The ends of the interval are the ratios w at which first + w·second and first − w·second have |t| = t(0.975)."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=40)
    a, b = 2 * rng.normal(size=40) + shared, rng.normal(size=40) + shared
    found = intervals.ratio_of_scatters(a, b, 2)
    assert found.value == pytest.approx(math.sqrt(a @ a / (b @ b))) and found.low < found.value < found.high
    for w in (found.low, found.high):
        first, second = a + w * b, a - w * b
        r = first @ second / math.sqrt((first @ first) * (second @ second))
        assert abs(r) * math.sqrt(37 / (1 - r * r)) == pytest.approx(2.0262, abs=1e-3)  # Student's t of 40 − 2 − 1 degrees


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    x, hits = np.linspace(0, 1, 8), np.zeros(4)
    for _ in range(1000):
        noise = rng.normal(size=8)
        sloped, centre = intervals.slope(x, 2 * x + noise), intervals.mean(3 + noise)
        spread, parts = intervals.scatter(noise, 0, unit=1.0), [np.delete(noise, k).mean() for k in range(8)]
        jack = intervals.jackknife(float(noise.mean()), parts)
        hits += [one.low <= true <= one.high for one, true in ((sloped, 2), (centre, 3), (spread, 1), (jack, 0))]
    assert (np.abs(hits / 1000 - 0.95) < 0.025).all()
    assert intervals.share(9, 9).low == pytest.approx(0.763, abs=2e-3) and intervals.share(0, 9).low == 0.0  # Jeffreys
    assert intervals.mean([1.0, 1.0], floor=0.5).high == pytest.approx(1 + 1.96 * 0.5 / math.sqrt(2))
