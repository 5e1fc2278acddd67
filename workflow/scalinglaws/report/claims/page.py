"""The claims as Markdown: the section of a study's report, and the rules in words for the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scalinglaws.common.numbers import listed, number
from scalinglaws.figures.shared.fit_json import Fit
from scalinglaws.report.claims import judge, rules
from scalinglaws.report.claims.catalogue import CLAIMS
from scalinglaws.report.claims.judge import Row, Tables
from scalinglaws.report.markdown import table

HEAD = ("claim", "", "finding", "here", "95 % interval", "claimed", "published", "decided by", "number that decides")
NOTE = (
    "Each claim has a rule that was set before the runs (docs/claims.md in the repository of the workflow): it is reproduced "
    "where the whole 95 % interval of every number that it is about lies inside the claimed region, contradicted where one lies "
    "wholly outside, and not resolved otherwise. The number shown is the one that decides."
)


def section(tables: Tables, fits: dict[str, Fit], kinds: Iterable[str]) -> list[str]:
    """Return the lines of the section: the count of verdicts, a row for each claim, and reasons and remarks below."""
    rows = judge.judge(tables, fits, kinds)
    cells = [_cells(row) for row in rows]
    return [f"{judge.counted(rows)}. {NOTE}", "", *table(HEAD, cells), *_remarks(rows)]


def _cells(row: Row) -> list[str]:
    criterion, estimate = row.verdict.criterion, row.verdict.estimate
    unit = f" {criterion.unit}" if criterion.unit else ""
    value, interval = "none", "none"
    if estimate is not None and math.isfinite(estimate.value):
        value = f"{number(estimate.value)}{unit}"
        if estimate.low <= estimate.high:
            interval = f"{number(estimate.low)} to {number(estimate.high)}{unit}"
    by = f"{listed(row.measured.runs)} ({row.measured.n} {row.measured.points})" if row.measured.n else "no runs"
    finding = row.verdict.word if row.verdict.word == rules.NOT_RESOLVED else f"**{row.verdict.word}**"
    cells = [str(row.claim.number), row.claim.sentence, finding, _minus(value), _minus(interval), criterion.region]
    return [*cells, criterion.published, by, criterion.statistic]


def _minus(text: str) -> str:
    return text.replace("-", "−") if "e-" not in text else text


def _remarks(rows: Sequence[Row]) -> list[str]:
    """Return a list of why claims are not resolved or contradicted, and of what else is to be said of a number."""
    lines = []
    for row in rows:
        why = f"{row.verdict.word}: {row.verdict.why}." if row.verdict.word != rules.REPRODUCED else ""
        if said := " ".join(filter(None, (why, row.measured.detail))):
            lines.append(f"- Claim {row.claim.number}: {said}")
    return ["", *lines] if lines else []


def rules_in_words() -> list[str]:
    """Return the lines that state the rule of each claim, as docs/claims.md has them."""
    lines = []
    for claim in CLAIMS:
        claimed = "; ".join(f"{each.statistic}, {each.region}" for each in claim.criteria)
        demanded = "; ".join(f"{demand.words}, {demand.limit}" for demand in claim.demands)
        found = "; ".join(each.published for each in claim.criteria)
        lines += [
            f"**{claim.number}. {claim.sentence}** (paper: {claim.section})",
            "",
            f"- Claimed region: {claimed}.",
            f"- The runs must offer: {demanded}.",
            f"- How the numbers are found: {claim.how}",
            f"- Published: {found}.",
            "",
        ]
    return lines[:-1]
