"""Which runs to add next: those that most narrow the interval of a target for their FLOP, by a study's fits or a table's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.common.numbers import number
from scalinglaws.common.read import read_object
from scalinglaws.decide import entry
from scalinglaws.decide.candidates import NAME, Candidates, minutes, of_law
from scalinglaws.decide.suggestion import Everything, Interval, Suggested, Suggestion, Target
from scalinglaws.laws import targets
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.fit import Objective
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.optimal_design import choose
from scalinglaws.laws.result import enough
from scalinglaws.laws.select import Points, select
from scalinglaws.laws.targets import Ends, Prospect
from scalinglaws.laws.together import Fitted, fitted, of_file
from scalinglaws.laws.tradeoffs import SURFACES, surface
from scalinglaws.laws.uncertainty import flags
from scalinglaws.study import study as study_model
from scalinglaws.study.config import Config, parse

# The laws of decayed budgets, whose runs are planned by their size and tokens; a target is sought in them in this order.
PLANNED = ("chinchilla", "overtraining", "power-n", "power-n-offset", "power-c", "power-c-offset")
FORECAST = "forecast"
PLACES = ({"flops"}, {"n_params", "tokens"})  # what a forecast is asked at
RESOLVED = 0.5  # half-width over the estimate of an exponent, or e-folds of a scale, above which a target is not resolved
HARDLY = 0.9  # share of the interval above which what is left of it is told
LEAST, MOST = 1e-6, 1e40  # of numbers in a target


@dataclass(frozen=True)
class Asked:
    """A target as it was asked for: a parameter of a law, or a forecast at ``at``; ``law`` is empty where none was named."""

    text: str
    law: str
    name: str
    at: dict[str, float]


@dataclass(frozen=True)
class Based:
    """A fitted law with its points and the flags of its fit."""

    fit: Fitted
    points: Points
    flags: list[str]


@dataclass(frozen=True)
class Basis:
    """Where laws come from, and those of PLANNED that a target can be of, by name; each is fitted when it is called."""

    source: str
    laws: dict[str, Callable[[], Based]]


def target(text: str, law: str | None, quantities: Mapping[str, float] | None) -> Asked:
    """Return a target as the command line has it.

    Parameters
    ----------
    text
        "alpha", a parameter's name, or "forecast:flops=1e21".
    law
        The law that was named, or None.
    quantities
        The numbers after "forecast:" by name; None for a parameter.

    Raises
    ------
    StudyError
        The law is not one whose runs can be planned, or a forecast has not the numbers that it needs.
    """
    if law is not None and law not in PLANNED:
        raise StudyError(f"--law {law}: runs are suggested for laws of decayed budgets alone: {proposal(law, PLANNED)}")
    if quantities is None:
        return Asked(text, law or "", text, {})
    if set(quantities) not in PLACES:
        raise StudyError(f"--target {text}: a forecast takes flops=C, or n_params=N,tokens=D: forecast:flops=1e21")
    if bad := [name for name, value in quantities.items() if not LEAST <= value <= MOST]:
        raise StudyError(f"--target {text}: {bad[0]} is no number from {LEAST:g} to {MOST:g}")
    return Asked(text, law or "", FORECAST, dict(quantities))


def basis_of_study(name: str, fits: Path, n_bootstrap: int, seed: int) -> Basis:
    """Return the laws of PLANNED that a study was fitted with, from the folder of its fits.

    Raises StudyError where the folder is missing, or none of these laws was fitted.
    """
    if not fits.is_dir():
        raise StudyError(f"{fits} is not there: run the study first (snakemake), or name a table of runs with --table")
    found = {law: path for law in PLANNED if (path := fits / f"{law}.json").is_file() and read_object(path).get("parameters")}
    if not found:
        raise StudyError(f"{fits} has no fit of a law of decayed budgets: name {', '.join(PLANNED)} under fits.laws")
    return Basis(f"study {name}", {law: partial(_of_file, path, n_bootstrap, seed) for law, path in found.items()})


def _of_file(path: Path, n_bootstrap: int, seed: int) -> Based:
    """Fit a law again as its fit.json says. Raises StudyError as ``together.of_file`` does, which checks the file."""
    fit = of_file(path, n_bootstrap, seed)
    assert fit is not None  # only fits with parameters are asked
    found = read_object(path)
    rows = found["points"]
    names = dict.fromkeys(("n_params", "tokens", "flops", *fit.law.variables))
    columns = {name: np.array([row.get(name) or np.nan for row in rows], np.float64) for name in names}
    loss = np.array([row["loss"] for row in rows], np.float64)
    run, trunk = ([str(row[name]) for row in rows] for name in ("run", "trunk"))
    return Based(fit, Points(run, trunk, loss, columns, [], []), [str(flag) for flag in found.get("flags", [])])


def basis_of_table(
    table: pl.DataFrame, name: str, n_bootstrap: int, seed: int, columns: Mapping[str, str], where: str | None
) -> Basis:
    """Return the laws of PLANNED that a table of runs suffices for. Raises StudyError where there is none."""
    found: dict[str, Callable[[], Based]] = {}
    refused: list[StudyError] = []
    for law in PLANNED:
        try:
            points = select(table, LAWS[law], columns, where=where)
            enough(points, LAWS[law])
            found[law] = partial(_of_points, LAWS[law], points, n_bootstrap, seed)
        except StudyError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return Basis(name, found)


def _of_points(law: Law, points: Points, n_bootstrap: int, seed: int) -> Based:
    """Fit a law to points."""
    fit = fitted(law, points.columns, points.loss, points.trunk, Objective(), n_bootstrap, seed)
    return Based(fit, points, flags(fit.fit, points, fit.resamples))


def law_of(asked: Asked, basis: Basis) -> str:
    """Return the name of the law that a target is of: the one that was named, or the first of PLANNED that has it.

    Raises StudyError where it was not fitted, or has no such target; the message lists the possible ones.
    """
    if asked.law and asked.law not in basis.laws:
        raise StudyError(f"--law {asked.law} was not fitted in {basis.source}: {proposal(asked.law, basis.laws)}")
    able = [asked.law] if asked.law else list(basis.laws)
    if asked.name == FORECAST:
        of = [law for law in able if law in SURFACES or (set(asked.at) == {"flops"} and LAWS[law].variables == ("flops",))]
        if not of:
            raise StudyError(f"--target {asked.text}: no law of {', '.join(able)} states the loss of such a run")
        return of[0]
    has = [law for law in able if asked.name in targets.names(LAWS[law])]
    if not has:
        known = [name for law in able for name in targets.names(LAWS[law])]
        several = "; ".join(f"{', '.join(targets.names(LAWS[law]))} of {law}" for law in able)
        nearest = proposal(asked.name, dict.fromkeys(known)).partition("?")
        hint = f"{nearest[0]}? " if nearest[1] else ""
        raise StudyError(f"--target {asked.text}: {hint}there are {several}; or forecast:flops=C, forecast:n_params=N,tokens=D")
    return has[0]


def suggest(
    source: str, based: Based, asked: Asked, found: Candidates, budget: float, most: int, results: Path, seed: int = 0
) -> Suggestion:
    """Choose the runs to add.

    Parameters
    ----------
    source, based
        Where the law comes from, and the fitted law (``law_of``).
    asked
        The target.
    found
        The runs that could be added.
    budget, most
        FLOP that may be spent, and the most runs.
    results
        The folder of results, whose timings correct the predicted minutes.
    seed
        Seed of the interval of a forecast.

    Returns
    -------
    Suggestion
        The runs in order, the target's interval before and after, and an entry for the config.

    Raises
    ------
    StudyError
        The fit does not tell how sure the target is, or no candidate would be a point of the law.
    """
    fit, points = based.fit, based.points
    found = of_law(found, fit.law, points)
    if not len(found):
        raise StudyError(
            f"no candidate within --budget {budget:g} would be a point of law {fit.law.name}: {fit.law.rule}; give more"
        )
    places, at = found.log_variables(fit.law), _place(asked, fit)
    if asked.name == FORECAST:
        prospect = targets.of_forecast(fit.fit, fit.resamples, at, places, seed)
    else:
        prospect = targets.of_parameter(fit.fit, fit.resamples, asked.name, places)
    chosen = choose(prospect.outlook, found.costs, budget, most)
    every = list(range(len(found)))
    spent, everything = found.costs.total(chosen), found.costs.total(every)
    block, refused = _block(found, chosen, asked.name, results)
    return Suggestion(
        source=source, law=fit.law.name, formula=fit.law.formula, n_points=len(points),
        target=_target(asked, fit, prospect), budget=budget, spent=spent,
        before=_interval(prospect, []), after=_interval(prospect, chosen),
        runs=[_suggested(found, prospect, chosen, k, budget) for k in range(len(chosen))],
        everything=Everything(runs=len(every), flops=everything, interval=_interval(prospect, every)),
        minutes=minutes(found, chosen, results), block=block, refused=refused,
        doubts=[*_doubts(prospect, chosen, asked, budget), *_beyond(found, chosen, fit), *based.flags],
    )  # fmt: skip


def _place(asked: Asked, fit: Fitted) -> Array:
    """Return the logs of the law's variables (V,) at the run that is forecast: for a compute, the best run by a law of both."""
    if not asked.at:
        return np.empty(0)
    at = dict(asked.at)
    if "flops" in at and fit.law.name in SURFACES:
        at["n_params"], at["tokens"] = map(float, surface(fit.fit).best(at["flops"]))
    return np.log([at[name] for name in fit.law.variables])


def _target(asked: Asked, fit: Fitted, prospect: Prospect) -> Target:
    if asked.name != FORECAST:
        unit = {parameter.name: parameter.unit for parameter in fit.law.parameters}.get(asked.name, "")
        return Target(name=asked.text, kind="parameter", unit=unit, estimate=prospect.before.estimate, at={})
    at = asked.at | dict(zip(fit.law.variables, np.exp(_place(asked, fit)).tolist(), strict=True))
    return Target(name=asked.text, kind="forecast", unit="nats per token", estimate=prospect.before.estimate, at=at)


def _interval(prospect: Prospect, chosen: Sequence[int]) -> Interval:
    ends = prospect.after(chosen)
    low, high = (float(end) if np.isfinite(end) else None for end in (ends.low, ends.high))
    return Interval(low=low, high=high, share=min(prospect.outlook.ratio(chosen), 1.0))


def _suggested(found: Candidates, prospect: Prospect, chosen: list[int], k: int, budget: float) -> Suggested:
    place, flops = chosen[k], float(found.costs.more(chosen[:k])[chosen[k]])
    model = found.models[place]
    return Suggested(
        run=found.runs[place], model=f"{model[0]}x{model[1]}" if model else None,
        n_params=float(found.columns["n_params"][place]), tokens=float(found.columns["tokens"][place]),
        seed=found.seeds[place], flops=flops, budget_share=flops / budget, interval=_interval(prospect, chosen[: k + 1]),
    )  # fmt: skip


def _block(found: Candidates, chosen: Sequence[int], name: str, results: Path) -> tuple[str | None, str | None]:
    """Return an entry to paste under experiments, and why the study refuses it; None for either that there is not."""
    if not chosen or any(found.models[place] is None for place in chosen):
        return None, None
    of, points = found.pattern, []
    for place in chosen:
        n_layer, d_model = found.models[place] or (0, 0)
        model: Any = of.model(n_layer, d_model) if of else {"n_layer": n_layer, "d_model": d_model}
        point = {"model": f"{n_layer}x{d_model}" if set(model) == {"n_layer", "d_model"} else model}
        tokens = found.specs[place].tokens if found.specs else round(found.columns["tokens"][place])
        usual = of.settings.seed if of else 0
        points.append(point | {"tokens": int(tokens)} | ({"seed": found.seeds[place]} if found.seeds[place] != usual else {}))
    title = NAME.format(name.replace("_", "-"))
    taken = of.config.experiments if of else {}
    title = next(each for k in range(1, len(taken) + 2) if (each := title if k == 1 else f"{title}-{k}") not in taken)
    own: dict[str, Any] = {**(entry.own_settings(of) if of else {}), "points": points}
    text = yaml.safe_dump({title: own}, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    block = "".join(f"  {line}\n" for line in text.splitlines())
    return block, _refused(of.config, {title: own}, results) if of else None


def _refused(config: Config, more: Mapping[str, Any], results: Path) -> str | None:
    """Return why a config does not take more experiments, None where it does."""
    data = config.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    try:
        study_model.build(parse(data | {"experiments": data["experiments"] | dict(more)}), results / "tokens")
    except StudyError as error:
        return str(error)
    return None


def _doubts(prospect: Prospect, chosen: Sequence[int], asked: Asked, budget: float) -> list[str]:
    """Return what speaks against the target being resolved within the budget."""
    after, out = prospect.after(chosen), []
    every = prospect.outlook.ratio(range(len(prospect.outlook.noise)))
    if not chosen:
        return [f"No candidate within {number(budget)} FLOP tells anything of {asked.text}."]
    if (ratio := prospect.outlook.ratio(chosen)) > HARDLY:
        out.append(
            f"The budget hardly helps: the interval keeps {100 * ratio:.3g} % of its width, and {100 * every:.3g} % with all "
            "candidates together."
        )
    if asked.name != FORECAST and _loose(after, prospect.log):
        out.append(
            f"{asked.text} is not resolved within this budget: its interval stays wider than half of its value on one side; a "
            f"larger budget is needed, and the numbers after it are rough, as they rest on slopes at the present fit."
        )
    return out


def _loose(ends: Ends, log: bool) -> bool:
    """Tell whether an interval is wider than RESOLVED on a side."""
    low, middle, high = np.log([ends.low, ends.estimate, ends.high]) if log else (ends.low, ends.estimate, ends.high)
    half = max(high - middle, middle - low)
    return not half <= RESOLVED * (1.0 if log else abs(middle))


def _beyond(found: Candidates, chosen: Sequence[int], fit: Fitted) -> list[str]:
    """Return a sentence where suggested runs lie beyond the fitted ones, where the law itself may be wrong."""
    out = []
    for name, what in (("n_params", "size"), ("tokens", "tokens")):
        if name in fit.largest and chosen:
            factor = float(found.columns[name][list(chosen)].max()) / fit.largest[name]
            if factor > 1.01:
                out.append(f"The largest {what} among the suggested runs is {number(factor)} times that of the fitted runs.")
    if out and len(fit.law.variables) > 1:
        out.append("Beyond the data the law may be wrong: fit again once some of the runs are there, and ask anew.")
    return out
