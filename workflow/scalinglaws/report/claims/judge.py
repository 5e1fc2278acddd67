"""All claims judged on the tables and fits of a study: a row for each, for the report and for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars

from scalinglaws.figures.shared.fit_json import Fit
from scalinglaws.laws.uncertainty import BOUND_HIT
from scalinglaws.report.claims import of_laws, of_models, of_training, rules
from scalinglaws.report.claims.catalogue import CLAIMS
from scalinglaws.report.claims.rules import Claim, Measured, Verdict
from scalinglaws.study.questions import WORDS

Tables = dict[str, polars.DataFrame]
Measure = Callable[[Tables, dict[str, Fit]], Measured]
MEASURES: dict[int, Measure] = {
    1: of_laws.size,
    2: of_laws.data,
    3: of_laws.compute,
    4: of_laws.joint,
    5: of_laws.collapse,
    6: of_models.shape,
    7: of_models.embeddings,
    8: of_laws.logarithm,
    9: of_models.early_context,
    10: of_models.late_context,
    11: of_models.other_text,
    12: of_models.depth_of_transfer,
    13: of_training.critical_batch,
    14: of_training.noise,
    15: of_laws.steps,
    16: of_laws.small_batches,
    17: of_training.best_size,
    18: of_training.steps,
    19: of_training.early_stopping,
    20: of_laws.above_converged,
    21: of_models.sharing,
    22: of_models.position,
    23: of_training.tokens_to_loss,
    24: of_models.schedule,
}


@dataclass(frozen=True)
class Row:
    """A claim, what was measured for it, and the verdict."""

    claim: Claim
    measured: Measured
    verdict: Verdict

    def plain(self) -> dict[str, Any]:
        """Return the row as JSON values: the claim, the number that decides with its interval, and the verdict."""
        estimate = self.verdict.estimate
        ends = (estimate.value, estimate.low, estimate.high) if estimate else (math.nan,) * 3
        known = [end if math.isfinite(end) else None for end in ends]
        return {
            "number": self.claim.number,
            "claim": self.claim.sentence,
            "statistic": self.verdict.criterion.statistic,
            "unit": self.verdict.criterion.unit,
            **dict(zip(("estimate", "ci_low", "ci_high"), known, strict=True)),
            "region": self.verdict.criterion.region,
            "published": self.verdict.criterion.published,
            "verdict": self.verdict.word,
            "reason": self.verdict.why,
            "experiments": list(self.measured.runs),
            "n": self.measured.n,
        }


def judge(tables: Tables, fits: dict[str, Fit], kinds: Iterable[str]) -> list[Row]:
    """Judge every claim.

    Parameters
    ----------
    tables
        The tables ``runs``, ``curves`` and ``evals`` of the study.
    fits
        The fit.json of each law that the study fits.
    kinds
        The questions that its runs can answer (study/questions.py). A claim that needs another one is not resolved. Without any,
        every claim is measured.
    """
    known = set(kinds) or set(WORDS)
    return [judge_one(claim, tables, fits, known) for claim in CLAIMS]


def judge_one(claim: Claim, tables: Tables, fits: dict[str, Fit], kinds: set[str]) -> Row:
    """Judge one claim; see ``judge``."""
    measured = _measured(claim, tables, fits, kinds)
    return Row(claim, measured, rules.decide(claim, measured))


def _measured(claim: Claim, tables: Tables, fits: dict[str, Fit], kinds: set[str]) -> Measured:
    if lack := rules.lacking(claim, kinds, fits):
        return Measured(lack=lack)
    unfitted = [law for law in claim.laws if not fits[law].get("parameters")]
    if unfitted:
        return Measured(lack=f"the fit of {unfitted[0]} has no parameters (see the flags of the fits)")
    at_edge = [(law, flag) for law in claim.laws for flag in fits[law].get("flags", []) if flag.startswith(BOUND_HIT)]
    if at_edge:  # its interval starts at the edge of the range that was searched, and would pass for one that excludes 0
        law, flag = at_edge[0]
        name = flag.removeprefix(BOUND_HIT).split()[0]
        return Measured(lack=f"the fit of {law} has {name} at the edge of its range, so the runs do not determine it")
    return MEASURES[claim.number](tables, fits)


def counted(rows: Sequence[Row]) -> str:
    """Return a sentence that counts the verdicts: "12 reproduced, 5 contradicted, 7 not resolved"."""
    found = Counter(row.verdict.word for row in rows)
    return ", ".join(f"{found[word]} {word}" for word in (rules.REPRODUCED, rules.CONTRADICTED, rules.NOT_RESOLVED))
