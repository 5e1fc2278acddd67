"""The runs that could be added, with what each costs: those that a config can ask for, or places beside a table of runs.

Of a config they are the models of the experiment that most fitted runs are from, and others with the proportions of its largest
model, up to LARGER times its size; its budgets, and larger ones on the ladder as long as they are within one epoch of the text;
and of each three seeds at most. Runs that the study has are none of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from scalinglaws.cluster.cost import CORE, CORE_START_SECONDS, measured_speeds, step_seconds
from scalinglaws.common.errors import StudyError
from scalinglaws.decide import entry
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.optimal_design import Costs
from scalinglaws.laws.select import Points
from scalinglaws.study import study as study_model
from scalinglaws.study.config import Config, parse
from scalinglaws.study.forecasts import quantities
from scalinglaws.study.grid import points as points_of
from scalinglaws.study.ladder import flops_per_step, has_ladder, rungs_of_run, start_of
from scalinglaws.study.paths import has_rung
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study
from scalinglaws.tables.read import named, read_any, with_budgets

LARGER = 8.0  # times the largest size and the largest budget of the runs that there are
APART = math.sqrt(2)  # from one new size to the next
SEEDS = 3  # runs of one size and budget
OF_TABLE = 12  # sizes, and tokens, of the grid beside a table at most
NAME = "suggest-{}"
T = TypeVar("T")


def _at(values: list[T], index: np.ndarray) -> list[T]:
    """Return the values at places; an empty list stays empty."""
    return [values[k] for k in index] if values else []


@dataclass(frozen=True)
class Candidates:
    """Runs that could be added, one an entry of each list and array.

    ``columns`` have n_params, tokens and flops = 6ND. ``models`` are (n_layer, d_model), or None where no shape is known, and
    ``specs`` their specs where a config gives them. ``pattern`` is the model whose proportions they have.
    """

    columns: dict[str, Array]
    costs: Costs
    models: list[tuple[int, int] | None]
    seeds: list[int]
    runs: list[str | None]
    specs: list[RunSpec]
    pattern: entry.Pattern | None
    study: Study | None

    def __len__(self) -> int:
        return len(self.seeds)

    def take(self, keep: np.ndarray) -> Candidates:
        """Return the candidates where ``keep`` (m,) is true."""
        index = np.flatnonzero(keep)
        columns = {name: of[index] for name, of in self.columns.items()}
        c = self.costs
        costs = Costs(c.own[index], c.start[index], c.there[index], c.trunk[index])
        return Candidates(
            columns, costs, _at(self.models, index), _at(self.seeds, index), _at(self.runs, index), _at(self.specs, index),
            self.pattern, self.study,
        )  # fmt: skip

    def log_variables(self, law: Law) -> Array:
        """Return the logs of the law's variables (m, V)."""
        return np.log(np.column_stack([self.columns[name] for name in law.variables]))


def of_law(found: Candidates, law: Law, points: Points) -> Candidates:
    """Return the candidates that the rules of a law would take: of a law of one variable, those made as its points are.

    A law of size takes the largest budget of each size, so that only candidates at the largest budget of the points are left. A
    law of compute takes the best runs, so that only those are left whose tokens per parameter lie among those of the points.
    """
    n, d = points.columns["n_params"], points.columns["tokens"]
    own_n, own_d = found.columns["n_params"], found.columns["tokens"]
    if law.variables == ("n_params",) and np.isfinite(d).all():
        near = np.abs(np.log(own_d / d.max()))
        return found.take(near <= near.min() + 0.02)
    if law.variables == ("flops",) and np.isfinite(n * d).all():
        ratio = d / n
        return found.take((own_d / own_n >= 0.99 * ratio.min()) & (own_d / own_n <= 1.01 * ratio.max()))
    return found


def of_config(config: Config, results: Path, budget: float) -> Candidates:
    """Return the runs that a study could add, each of which fits a budget in FLOP.

    Parameters
    ----------
    config
        The config of the study.
    results
        The folder of results: rungs of trunks that are there cost nothing.
    budget
        The most FLOP of a candidate.

    Raises
    ------
    StudyError
        The study has no runs of decayed budgets on all the data, or no candidate fits the budget.
    """
    of = entry.pattern(config)
    study = study_model.build(config, results / "tokens")
    listed = _points(of, budget)
    built = _built(of, listed, results)
    known = {*study.runs, *built.epochs, *built.swept}
    specs = {run: spec for run, spec in built.runs.items() if run not in known}
    costs = _costs(specs, study, results)
    fits = costs.more([]) <= budget if specs else np.zeros(0, bool)
    if not fits.any():
        least = f"; the cheapest run takes {costs.more([]).min():.3g}" if specs else ""
        raise StudyError(f"--budget {budget:g}: no new run of study {config.study} fits so many FLOP{least}: give more")
    values = [quantities(spec) for spec in specs.values()]
    columns = {name: np.array([value[name] for value in values]) for name in ("n_params", "tokens", "flops")}
    models: list[tuple[int, int] | None] = [(spec.n_layer, spec.d_model) for spec in specs.values()]
    seeds = [spec.seed for spec in specs.values()]
    return Candidates(columns, costs, models, seeds, list(specs), list(specs.values()), of, study).take(fits)


def _points(of: entry.Pattern, budget: float) -> list[dict[str, Any]]:
    """Return the points of sizes, budgets and seeds of which candidates are made, without those far above the budget."""
    own = [settings for name, _, settings in points_of(of.config) if name == of.experiment]
    sizes: dict[tuple[int, int], int] = {}
    for settings in own:
        shape = settings.model.n_layer, settings.model.d_model
        sizes[shape] = of.size(*shape)
    low, high = min(sizes.values()), max(sizes.values())
    for k in range(int(math.log(LARGER * high / low) / math.log(APART)) + 1):
        n_layer, d_model, size = entry.shape(of, low * APART**k)
        if all(abs(math.log(size / other)) > math.log(APART) / 4 for other in sizes.values()):
            sizes[n_layer, d_model] = size
    budgets = sorted({settings.tokens for settings in own if settings.tokens})
    times = range(1, int(math.log(LARGER) / math.log(of.config.ladder.ratio) + 1e-9) + 1)
    budgets += [int(budgets[-1] * of.config.ladder.ratio**k) for k in times]
    seed = of.settings.seed
    return [
        {"model": of.model(*shape), "tokens": tokens, "seed": seed + k}
        for shape, size in sorted(sizes.items())
        for tokens in budgets
        for k in range(SEEDS)
        if size * tokens < budget  # 6ND and more is what it costs, less what rungs save
    ]


def _built(of: entry.Pattern, listed: list[dict[str, Any]], results: Path) -> Study:
    """Return a study of the points alone, resolved by the rules of the config."""
    if not listed:
        return study_model.empty()
    data = of.config.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    alone = {"experiments": {"candidates": {**entry.own_settings(of), "points": listed}}, "external_runs": []}
    return study_model.build(parse(data | alone), results / "tokens")


def _costs(specs: Mapping[str, RunSpec], study: Study, results: Path) -> Costs:
    """Return the costs of runs in the FLOP of a plan, which count attention and the last layer."""
    numbers: dict[str, int] = {}
    rows = []
    for run, spec in specs.items():
        each, start, name = flops_per_step(spec), start_of(spec, study.ladder), spec.trunk.id if has_ladder(spec) else run
        there = max((step for step in rungs_of_run(spec, study.ladder) if has_rung(results, name, step)), default=0)
        rows.append(((spec.steps - start) * each, start * each, there * each, numbers.setdefault(name, len(numbers))))
    own, start_flops, there_flops, trunk = np.array(rows, np.float64).reshape(-1, 4).T
    return Costs(own, start_flops, there_flops, trunk.astype(int))


def minutes(found: Candidates, chosen: Sequence[int], results: Path) -> float | None:
    """Return the minutes that one core of this machine is expected to take for the chosen runs; None without a config."""
    if found.study is None:
        return None
    speeds, seconds = measured_speeds(found.study, results, CORE), 0.0
    for k, place in enumerate(chosen):
        spec, flops = found.specs[place], float(found.costs.more(chosen[:k])[place])
        seconds += CORE_START_SECONDS + flops / flops_per_step(spec) * step_seconds(spec, CORE, speeds=speeds)
    return seconds / 60


def of_table(points: Points, budget: float) -> Candidates:
    """Return a grid of sizes and tokens about those of a table of runs, twice each, of which each fits a budget in FLOP.

    Sizes and tokens go from the least to LARGER times the largest of the table, and the tokens per parameter from half the least
    to twice the largest. Raises StudyError where none fits.
    """
    n, d = points.columns["n_params"], points.columns["tokens"]
    if not np.isfinite(n * d).all():
        raise StudyError("the table does not tell n_params and tokens of each run: name the candidates with --candidates FILE")
    sizes, tokens = (_grid(values) for values in (n, d))
    ratio = d / n
    grid = np.array([(size, token) for size in sizes for token in tokens])
    inside = (grid[:, 1] / grid[:, 0] >= ratio.min() / 2) & (grid[:, 1] / grid[:, 0] <= 2 * ratio.max())
    return _of_places(np.repeat(grid[inside], 2, axis=0), np.tile([0, 1], int(inside.sum())), budget)


def _grid(values: Array) -> Array:
    """Return numbers from the least of ``values`` to LARGER times their largest, evenly spaced in logarithms."""
    low, high = values.min(), LARGER * values.max()
    number = min(OF_TABLE, int(math.log(high / low) / math.log(APART)) + 1)
    return np.array([float(f"{value:.3g}") for value in np.geomspace(low, high, number)])


def of_file(path: Path, columns: Mapping[str, str], budget: float) -> Candidates:
    """Return the candidates that a file lists, a row each, with n_params and tokens, or one of them and flops.

    Raises StudyError where it cannot be read, a row has no positive size or tokens, or none fits the budget.
    """
    names_of = ("n_params", "tokens", "flops")
    table = named(read_any(path), names_of, {name: of for name, of in columns.items() if name in names_of})
    missing = [name for name in names_of if name not in table.columns]
    table = with_budgets(table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing))
    try:
        places = table.select(pl.col("n_params", "tokens").cast(pl.Float64)).to_numpy()
    except pl.exceptions.PolarsError:
        raise StudyError(f"{path} has n_params or tokens that are no numbers: give numbers") from None
    if not len(places) or not (np.isfinite(places) & (places > 0)).all():
        raise StudyError(f"{path} does not give a positive n_params and tokens in each row: give both, or one of them with flops")
    seen: dict[tuple[float, ...], int] = {}
    copies = []
    for place in map(tuple, places.tolist()):
        copies.append(seen.get(place, 0))
        seen[place] = copies[-1] + 1
    return _of_places(places, np.array(copies), budget)


def _of_places(places: Array, seeds: Array, budget: float) -> Candidates:
    """Return candidates at sizes and tokens (m, 2), which cost C = 6ND, as far as they fit a budget."""
    n, d = places.T
    flops = 6 * n * d
    if not (flops <= budget).any():
        raise StudyError(f"--budget {budget:g}: the cheapest candidate takes {flops.min():.3g} FLOP: give more")
    models: list[tuple[int, int] | None] = []
    for size in n:
        n_layer, d_model, found = entry.shape(None, size)
        models.append((n_layer, d_model) if abs(math.log(found / size)) < math.log(APART) / 2 else None)
    columns = {"n_params": n, "tokens": d, "flops": flops}
    nothing: list[str | None] = [None] * len(n)
    every = Candidates(columns, Costs.apart(flops), models, [int(seed) for seed in seeds], nothing, [], None, None)
    return every.take(flops <= budget)
