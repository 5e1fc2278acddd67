"""Sweeps of the learning rate that give other runs their rates: the id of a sweep, the rule that is fitted to it, and its rates.

The runs of a sweep are ordinary runs with fixed rates. Its id is a hash of their ids and of the method by which a rule is fitted
to them, and it is part of the specs of the runs that use the rule. So all ids are known before anything is trained, and the rates
are not: they follow from the rule, results/rates/ID.json, which ``laws/rate_rule.py`` makes when the runs of the sweep are there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import round_float
from scalinglaws.common.read import parse_json, read_object
from scalinglaws.optim.rates import LARGEST_RATE, SMALLEST_RATE
from scalinglaws.study.paths import has_run, rate_rule_path, run_folder
from scalinglaws.study.spec import RunSpec

METHOD = 1  # raised when laws/rate_rule.py makes another rule of the same losses


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, by their sorted ids, and the version of the method by which a rule is fitted to their losses."""

    runs: tuple[str, ...]
    method: int = METHOD

    @cached_property
    def canonical(self) -> str:
        """Return the sweep as one line of JSON: the content of its file."""
        return json.dumps({"method": self.method, "runs": self.runs}, separators=(",", ":"), sort_keys=True)

    @cached_property
    def id(self) -> str:
        """Return ten hex digits of the sha256 of its JSON, which name its file and its rule."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:10]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep from its file. Raises StudyError where the file is missing, damaged or of another version's method."""
    values = parse_json(sums.read_named(path), path, sums.REWRITTEN)
    try:
        found = Sweep(tuple(values["runs"]), values["method"])
    except (KeyError, TypeError):
        raise StudyError(f"{path} is no list of the runs of a sweep: {sums.REWRITTEN}") from None
    if found.method != METHOD:
        raise StudyError(
            f"{path} has method {found.method}, and this scalinglaws fits rules by method {METHOD}: use the one that wrote it"
        )
    return found


@dataclass(frozen=True)
class FittedRule:
    """The rule coefficient · N^exponent that was fitted to a sweep, and the least and the largest N of the sweep's runs.

    ``notes`` are sentences on what is not to be believed of it.
    """

    sweep: str
    coefficient: float
    exponent: float
    n_params: tuple[int, int]
    notes: tuple[str, ...] = ()

    def at(self, n_params: int) -> float:
        """Return the learning rate at N, rounded to the digits that are hashed.

        Raises StudyError where it is no rate that anything trains with.
        """
        rate = round_float(self.coefficient * n_params**self.exponent)
        if not SMALLEST_RATE <= rate <= LARGEST_RATE:
            raise StudyError(
                f"the rule {self.coefficient:.3g} · N^{self.exponent:.3f} of sweep {self.sweep} gives the rate {rate:.2g} at "
                f"N = {n_params:,}: give larger sizes under learning_rate.sweep.sizes, from which it reaches less far"
            )
        return rate

    def beyond(self, n_params: int) -> float:
        """Return the factor by which N lies beyond the sizes of the sweep; 1 within them."""
        return max(1.0, n_params / self.n_params[1], self.n_params[0] / n_params)


def read_rule(results: Path, sweep: str) -> FittedRule:
    """Read the rule that was fitted to a sweep. Raises StudyError where its file is missing, damaged or that of another sweep."""
    path = rate_rule_path(results, sweep)
    sums.require_own(path)
    values = read_object(path)
    try:
        low, high = values["n_params"]
        constants = float(values["coefficient"]), float(values["exponent"])
        found = FittedRule(values["sweep"], *constants, (int(low), int(high)), tuple(map(str, values["notes"])))
    except (KeyError, TypeError, ValueError):
        raise StudyError(f"{path} is no rule of learning rates: {sums.REPAIR}") from None
    if found.sweep != sweep:
        raise StudyError(f"{path} is the rule of sweep {found.sweep}: {sums.REPAIR}")
    return found


def rate_of(spec: RunSpec, results: Path) -> float:
    """Return the learning rate of a run or trunk: the number in its spec, or what the rule of its sweep gives at its N.

    Raises StudyError where the rule is not there or gives no possible rate.
    """
    return read_rule(results, spec.rate_sweep).at(spec.n_params) if spec.rate_sweep else spec.learning_rate


def known_rate(run: str, spec: RunSpec, results: Path) -> float | None:
    """Return the learning rate of a run as far as it is known: None where its sweep has no rule yet.

    A run that is trained keeps the rate that it was trained with, whatever has become of the rule. Raises StudyError where a file
    is damaged.
    """
    if not spec.rate_sweep:
        return spec.learning_rate
    if has_run(results, run):
        recorded = read_object(run_folder(results, run) / "metrics.json").get("learning_rate")
        return recorded if isinstance(recorded, float) else None
    return rate_of(spec, results) if rate_rule_path(results, spec.rate_sweep).exists() else None
