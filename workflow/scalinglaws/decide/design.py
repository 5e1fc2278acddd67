"""What the design of a study cannot tell, said before anything is trained: laws that will have no or too few points.

Each law chooses among the planned runs by its own rules, and what is left is held against what the law needs. Nothing is fitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import counted
from scalinglaws.decide.plan_record import LawPlan
from scalinglaws.decide.planned import planned_curves, planned_evals, planned_runs
from scalinglaws.laws import registry
from scalinglaws.laws.allocation import CriticalBatch
from scalinglaws.laws.catalogue import METHODS, find
from scalinglaws.laws.critical import HONEST_SPAN
from scalinglaws.laws.forms import Law
from scalinglaws.laws.isoflop import FEWEST_PROFILES, HONEST_PROFILES, HONEST_SIZES
from scalinglaws.laws.profiles import FEWEST_SIZES, SAME_SIZE, groups
from scalinglaws.laws.rules import FALLING
from scalinglaws.laws.select import Points, select
from scalinglaws.laws.uncertainty import FEWEST_TRUNKS, NARROW_RANGE
from scalinglaws.study.questions import FEWEST_BATCHES, WORDS
from scalinglaws.study.study import Study
from scalinglaws.tables.external import External

EXPECTED = "early-stopped on all the data, where max_tokens is expected to end a run while its loss falls"
# What the values of a variable are called in a sentence, and what gives more of them.
VARIABLES = {
    "n_params": ("model sizes", "models"),
    "tokens": ("budgets", "values of tokens"),
    "dataset_tokens": ("dataset sizes", "values of dataset_tokens"),
    "flops": ("computes", "model sizes or budgets"),
    "flops_min": ("computes", "model sizes or budgets"),
    "steps_min": ("numbers of steps", "budgets"),
}


def warnings(study: Study) -> list[str]:
    """Tell which laws of a study its runs, and those made elsewhere, will not determine.

    Parameters
    ----------
    study
        The study; nothing of it need be trained.

    Returns
    -------
    list of str
        Sentences that name the law, the numbers, and what to add; none where every law has what it needs, or where the study
        trains nothing.

    Raises
    ------
    StudyError
        If a table of ``external_runs`` cannot be read.
    """
    return warnings_of(law_plans(study))


def warnings_of(laws: list[LawPlan]) -> list[str]:
    """Return the sentences of ``warnings`` about these laws."""
    return [f"law {planned['law']} {sentence}" for planned in laws for sentence in planned["lacks"]]


def law_plans(study: Study) -> list[LawPlan]:
    """Tell what each law of a study will have to be fitted to, by its own rules applied to the planned runs and curves.

    Parameters
    ----------
    study
        The study; nothing of it need be trained.

    Returns
    -------
    list of LawPlan
        The laws that it fits, after those that ``fits.laws`` names and that no run feeds; none where the study trains nothing.

    Raises
    ------
    StudyError
        If a table of ``external_runs`` cannot be read.
    """
    if not study.runs:
        return []
    runs, curves, evals = _with_external(planned_runs(study), study), None, planned_evals(study)
    found = [_planned(law, None, [lack]) for law, lack in _unfed(study)]
    for name in registry.laws_of(study):
        if registry.LAWS.find(name).curves and curves is None:
            curves = planned_curves(study)
        points = chosen(name, runs, evals if registry.LAWS.find(name).evals else curves)
        found.append(_planned(name, points, _lacks(name, points)))
    return found


def _planned(law: str, points: Points | None, lacks: list[str]) -> LawPlan:
    """Return what a law will have, counted; ``points`` is None where no row can be used."""
    columns = points.columns if points else {}
    sizes, datasets = (np.unique(columns.get(name, np.empty(0))) for name in ("n_params", "dataset_tokens"))
    return LawPlan(
        law=law,
        points=len(points) if points else 0,
        runs=len(set(points.run)) if points else 0,
        trunks=len(set(points.trunk)) if points else 0,
        sizes=int(np.isfinite(sizes).sum()),
        datasets=int(np.isfinite(datasets).sum()),
        left_out=_reasons(points) if points is not None else {},
        lacks=lacks,
    )


def _with_external(runs: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Return the planned runs and the rows of the study's tables of runs made elsewhere, in their columns."""
    external = External()
    rows = [row for table in study.external for row in external.rows(Path(table.path), table.columns)]
    if not rows:
        return runs
    theirs = pl.DataFrame(rows, infer_schema_length=None)
    kept = [name for name in runs.columns if name in theirs.columns and theirs[name].dtype != pl.Null]
    return pl.concat([runs, theirs.select(kept)], how="diagonal_relaxed")


def _unfed(study: Study) -> Iterator[tuple[str, str]]:
    """Yield each law that fits.laws names and that no run of the study feeds, and the end of a sentence about it."""
    if study.fits.laws == "all":
        return
    fed = registry.laws_of(study)
    for name in registry.asked(study.fits.laws):
        if name not in fed:
            entry = registry.LAWS.find(name)
            needs = WORDS["curves" if entry.curves and "curves" not in study.fitted_kinds else entry.question]
            yield name, f"is named under fits.laws and will not be fitted: it takes {needs}, in experiments with fit: true"


def of_law(name: str, runs: pl.DataFrame, curves: pl.DataFrame | None) -> list[str]:
    """Return the ends of sentences, after "law NAME", on what planned runs lack for a law; none where they have what it needs.

    Parameters
    ----------
    name
        The law.
    runs, curves
        Tables of runs and of learning curves, such as ``planned_runs`` and ``planned_curves`` make. A law of losses on several
        texts takes these in place of curves, as ``planned_evals`` makes them.
    """
    return _lacks(name, chosen(name, runs, curves))


def chosen(name: str, runs: pl.DataFrame, curves: pl.DataFrame | None) -> Points | None:
    """Return the points that a law's own rules choose in tables of planned runs and curves; None where it can use no row of them.

    The parameters are those of ``of_law``.
    """
    published, entry = METHODS["critical-batch"].published, registry.LAWS.find(name)
    critical = CriticalBatch(published["B_star"], published["alpha_B"]) if entry.small_batches else None
    try:
        return select(runs, find(name), curves=curves if entry.curves or entry.evals else None, critical_batch=critical)
    except StudyError:
        return None


def _lacks(name: str, points: Points | None) -> list[str]:
    """Return what the points of a law lack, as ``of_law`` does."""
    law = find(name)
    if not points:
        return [f"will have no points: it takes {law.rule}{_left_out(points) if points is not None else ''}"]
    if isinstance(law, Law):
        return of_equation(law, points)
    of_method = {"isoflop": _of_profiles, "critical-batch": _of_batches, "mixture": _of_mixtures}
    return of_method.get(name, lambda points: [])(points)


def _reasons(points: Points) -> dict[str, int]:
    """Return why the law's rules leave out runs of fitted experiments, and how many each time, the commonest reason first."""
    reasons = Counter(item["reason"] for item in points.excluded if "fit: false" not in item["reason"])
    return {EXPECTED if reason == FALLING else reason: count for reason, count in reasons.most_common()}


def _left_out(points: Points) -> str:
    """Return how many runs of fitted experiments the law's rules leave out, by reason, as the end of a sentence."""
    parts = [f"{count} ({reason})" for reason, count in _reasons(points).items()]
    return f"; left out: {', '.join(parts)}" if parts else ""


def of_equation(law: Law, points: Points) -> list[str]:
    """Return what the points of an equation lack: their number, values of each variable, trunks, variation apart."""
    if len(points) <= law.n_parameters:
        few = f"will have {counted(len(points), 'point')} for its {law.n_parameters} parameters and needs {law.n_parameters + 1}"
        return [f"{few}: it takes {law.rule}{_left_out(points)}"]
    out = []
    for name in law.varied:
        values, (what, more) = points.columns[name], VARIABLES[name]
        distinct, ratio = len(np.unique(values)), values.max() / values.min()
        if distinct < law.distinct:
            out.append(f"will have {distinct} of the {law.distinct} {what} that identify it: add {more}{_left_out(points)}")
        elif ratio < NARROW_RANGE:
            out.append(f"has {what} that span a factor of {ratio:.3g} only: spread them over {NARROW_RANGE:g} at least")
    if not out and len(law.varied) > 1:
        out += _together(law, points)
    trunks = len(set(points.trunk))
    if trunks < FEWEST_TRUNKS:
        out.append(f"will have {counted(trunks, 'trunk')}, and intervals take {FEWEST_TRUNKS}: add models or seeds")
    return out


def _together(law: Law, points: Points) -> list[str]:
    """Return a sentence where one variable follows from the others, within the factor NARROW_RANGE, as tokens ∝ N does."""
    logs = points.log_variables(law.varied)
    for k, name in reversed(list(enumerate(law.varied))):
        others = np.column_stack([np.ones(len(logs)), np.delete(logs, k, axis=1)])
        left = logs[:, k] - others @ np.linalg.lstsq(others, logs[:, k], rcond=None)[0]
        factor = float(np.exp(np.ptp(left)))
        if factor < NARROW_RANGE:
            rest = " and ".join(VARIABLES[other][0] for other in law.varied if other != name)
            ratio = ""
            if {"n_params", "tokens"} <= set(law.varied):
                per = points.columns["tokens"] / points.columns["n_params"]
                ratio = f" (tokens per parameter go from {per.min():.3g} to {per.max():.3g})"
            return [
                f"cannot tell its terms apart: {VARIABLES[name][0]} follow {rest} within a factor of {factor:.3g}{ratio}; "
                f"vary one over a factor of {NARROW_RANGE:g} while the other is held"
            ]
    return []


def _of_profiles(points: Points) -> list[str]:
    """Return what IsoFLOP profiles lack: profiles of at least three sizes, at several computes."""
    number, n_params = groups(points.columns["flops"]), points.columns["n_params"]
    sizes = [len(np.unique(groups(n_params[number == k], SAME_SIZE))) for k in range(number.max() + 1)]
    whole = [count for count in sizes if count >= FEWEST_SIZES]
    if len(whole) < FEWEST_PROFILES:
        return [
            f"will have {counted(len(whole), 'profile')} of at least {FEWEST_SIZES} sizes at one compute and needs "
            f"{FEWEST_PROFILES}: add budgets such that several model sizes have equal 6·N·tokens"
        ]
    out = []
    if len(whole) < HONEST_PROFILES:
        out.append(f"will have {len(whole)} profiles only, so that nothing tests its line: add a compute")
    if few := sum(count < HONEST_SIZES for count in whole):
        uncertain = f"profiles of fewer than {HONEST_SIZES} sizes, whose minima are uncertain"
        out.append(f"will have {few} of {len(whole)} {uncertain}: add model sizes")
    return out


def _of_mixtures(points: Points) -> list[str]:
    """Return what mixtures lack: as many of one size and budget as the law has parameters, with losses on each text."""
    try:
        result = find("mixture").result(points, 0, 0, False)  # type: ignore[union-attr]
    except StudyError as error:
        return [f"will not be fitted: {str(error).removeprefix('law mixture: Not fitted: ')}"]
    return [f"has too little of this: {flag}" for flag in result["flags"] if flag.startswith(("Not fitted", "Not resolved"))]


def _of_batches(points: Points) -> list[str]:
    """Return what a sweep of batch sizes lacks: three of one size, over a span on both sides of the critical one."""
    n, batch = points.columns["n_params"], points.columns["batch_tokens"]
    swept = {size: np.unique(batch[n == size]) for size in np.unique(n)}
    most = max(len(batches) for batches in swept.values())
    if most < FEWEST_BATCHES:
        has = f"will have {counted(most, 'batch size')} of a model at most"
        return [f"{has} and needs {FEWEST_BATCHES}: add values of batch_tokens"]
    spans = {size: b[-1] / b[0] for size, b in swept.items() if len(b) >= FEWEST_BATCHES}
    narrow = {size: span for size, span in spans.items() if span < HONEST_SPAN}
    if not narrow:
        return []
    size, span = min(narrow.items(), key=lambda item: item[1])
    return [
        f"has batch sizes that span a factor of {span:.3g} at {size:.3g} parameters, less than {HONEST_SPAN:g}: "
        "sweep well beyond the critical batch size on both sides"
    ]
