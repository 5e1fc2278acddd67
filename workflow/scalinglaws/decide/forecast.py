"""What the next model's loss will be and what to train, from the fits of a study or from any table of runs.

A question is a compute, a loss, a size with its tokens, or a price. ``Basis`` holds the fitted laws, and ``answer`` asks all of
them. decide/entry.py then says how the study itself would train the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.cluster.cost import gpu_hours
from scalinglaws.cluster.device import Device
from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import number
from scalinglaws.common.read import read_object
from scalinglaws.decide.answer import Alternative, Answer, Beyond, Cost, Loss, Served, Size, WrongSize
from scalinglaws.laws.fit import Objective
from scalinglaws.laws.forms import Array
from scalinglaws.laws.registry import LAWS
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.together import Fitted, Interval, combined, compute_for, of_file, of_table
from scalinglaws.laws.tradeoffs import SURFACES, Surface, surface, surface_of
from scalinglaws.laws.uncertainty import interval

# The laws that state the loss of a run, those of size and tokens first.
STATING = tuple(sorted((law.name for law in LAWS.values() if law.states), key=lambda name: -len(LAWS.find(name).states)))
PROFILES = "isoflop"  # the law that tells the best size of a compute alone
WRONG = (0.25, 0.5, 2.0, 4.0)  # sizes over the best one
SMALLER = (0.5, 0.25, 0.125)  # sizes of over-trained models over that of the run
TOGETHER = "together"


@dataclass(frozen=True)
class Basis:
    """The fitted laws by name, the lines (k_N, a) of ISOFLOP profiles where there are some, and sentences of doubt."""

    laws: dict[str, Fitted]
    profiles: tuple[float, float] | None
    doubts: list[str]

    @property
    def surface(self) -> Surface:
        """Return the law of size and tokens by which sizes are chosen."""
        return surface(self.laws[next(law for law in SURFACES if law in self.laws)].fit)

    def largest(self, name: str) -> float | None:
        """Return the largest n_params, tokens or flops among the fitted runs."""
        return max((law.largest[name] for law in self.laws.values() if name in law.largest), default=None)

    def losses(self, n_params: Array, tokens: Array) -> dict[str, dict[str, Array]]:
        """Return what each law forecasts for runs of N parameters and D tokens (m,), see ``Fitted.losses``."""
        return {name: law.losses(n_params, tokens, self.surface) for name, law in self.laws.items()}

    def together(self, n_params: Array, tokens: Array) -> Interval:
        """Return the forecast of all laws together for runs of N parameters and D tokens (m,)."""
        return joined(self.losses(n_params, tokens))


def joined(found: Mapping[str, Mapping[str, Array]]) -> Interval:
    """Return the forecasts of laws as one."""
    return combined([(of["loss"], of["run_low"], of["run_high"]) for of in found.values()])


def _checked(basis: Basis, where: str) -> Basis:
    """Return a basis that has a law of size and tokens. Raises StudyError where there is none."""
    if not set(SURFACES) & set(basis.laws):
        raise StudyError(
            f"{where} has no fit of a law of size and tokens, by which a size is chosen: name {' or '.join(SURFACES)} under "
            "fits.laws or --laws, and give runs of three sizes and three budgets at least"
        )
    return basis


def of_study(fits: Path, n_bootstrap: int, seed: int, laws: Sequence[str] | None = None) -> Basis:
    """Return the laws that a study was fitted with.

    Parameters
    ----------
    fits
        The folder of its fits, LAW.json.
    n_bootstrap, seed
        Number of resamples for the intervals, and their seed.
    laws
        The laws to ask; None for those of the folder that state the loss of a run.

    Raises
    ------
    StudyError
        The folder is not there, a fit was changed, or there is none of a law of size and tokens.
    """
    chosen = [law for law in STATING if law in laws] if laws else [law for law in STATING if (fits / f"{law}.json").is_file()]
    if not fits.is_dir():
        raise StudyError(f"{fits} is not there: run the study first (snakemake), or name a table of runs with --table")
    found = {law: of_file(fits / f"{law}.json", n_bootstrap, seed) for law in chosen}
    doubts = [f"The law {law} was not fitted, as it had too few points." for law, fit in found.items() if fit is None]
    profiles, path = None, fits / f"{PROFILES}.json"
    if path.is_file() and (not laws or PROFILES in laws):
        sums.require_own(path)
        profiles = _profiles(read_object(path))
    return _checked(Basis({law: fit for law, fit in found.items() if fit is not None}, profiles, doubts), str(fits))


def of_runs(
    table: pl.DataFrame, n_bootstrap: int, seed: int, laws: Sequence[str] | None = None, **options: Any
) -> Basis:  # fmt: skip
    """Fit the laws to a table of runs; the parameters are those of ``of_study``, and ``options`` those of ``select.select``."""
    found: dict[str, Fitted] = {}
    doubts: list[str] = []
    for law in [law for law in STATING if not laws or law in laws]:
        try:
            found[law], told = of_table(table, law, Objective(), n_bootstrap, seed, **options)
        except StudyError as error:
            if laws or not found:
                raise
            told = [f"The law {law} is left out: {error}."]
        doubts += [sentence for sentence in told if sentence not in doubts]
    profiles = None
    if not laws or PROFILES in laws:
        profiles = _profiles(fit_table(table, PROFILES, n_bootstrap=0, allow_empty=True, **options))
    return _checked(Basis(found, profiles, doubts), "the table")


def _profiles(fit: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return (k_N, a) of N_opt = k_N·C^a from the fit.json of IsoFLOP profiles, None where they have no line."""
    if not fit.get("parameters") or not fit.get("exponents"):
        return None
    return float(fit["parameters"]["k_N"]["estimate"]), float(fit["exponents"]["a"]["estimate"])


def best_sizes(basis: Basis, flops: float) -> list[Size]:
    """Return the best size of a compute by each law that tells it, and last by all together: their geometric mean.

    The variance of the logarithm of the mean is the mean of theirs and of their squared distances from it.
    """
    found: list[tuple[str, float, float, float]] = []
    for law in SURFACES:
        if law in basis.laws:
            of = basis.laws[law]
            n = float(surface(of.fit).best(flops)[0])
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                drawn = surface_of(law, of.resamples.natural).best(flops)[0] if of.resamples else np.empty(0)
            ends = interval(n, drawn, True, of.resamples.n_trunks if of.resamples else 0)
            found.append((law, n, ends["ci_low"], ends["ci_high"]))
    if basis.profiles:
        scale, exponent = basis.profiles
        found.append((PROFILES, scale * flops**exponent, np.nan, np.nan))
    middle, low, high = np.log([each[1:] for each in found]).T
    mean = middle.mean()
    with np.errstate(invalid="ignore"):
        spread = [np.square(np.nan_to_num(end - middle)).mean() + np.square(1.96 * (middle - mean)).mean() for end in (low, high)]
    known = bool(np.isfinite(low).any())
    below, above = (float(np.sqrt(value)) if known else np.nan for value in spread)
    found.append((TOGETHER, float(np.exp(mean)), float(np.exp(mean - below)), float(np.exp(mean + above))))
    return [
        Size(method=name, n_params=n, n_low=_known(low), n_high=_known(high), tokens=flops / (6 * n))
        for name, n, low, high in found
    ]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def place_of(basis: Basis, asked: Mapping[str, float]) -> tuple[float, float, float, float, float]:
    """Return N, D, the compute C = 6ND and its 95 % interval (NaN where a compute is asked for) of the run of a question.

    Raises
    ------
    StudyError
        No best run of any compute near that of the table is forecast to have the loss that is asked for.
    """
    if "n_params" in asked:
        n, d = asked["n_params"], asked["tokens"]
        return n, d, 6 * n * d, np.nan, np.nan
    flops, low, high = asked.get("flops", np.nan), np.nan, np.nan
    if "loss" in asked:
        near = basis.largest("flops") or 6 * (basis.largest("n_params") or 1) * (basis.largest("tokens") or 1)

        def along(computes: Array) -> Interval:
            n = np.array([best_sizes(basis, c)[-1].n_params for c in computes])
            return basis.together(n, computes / (6 * n))

        flops, low, high = compute_for(asked["loss"], along, near)
        if not np.isfinite(flops):
            raise StudyError(
                f"--loss {asked['loss']:g}: no compute within a factor of 1e13 of the table's is forecast to reach it by the "
                f"best size; the constant E of the law is {basis.surface.e:.4g} nats"
            )
    n = best_sizes(basis, flops)[-1].n_params
    return n, flops / (6 * n), flops, low, high


def answer(
    basis: Basis, asked: Mapping[str, float], device: Device, precision: str, served: float | None, hourly: float | None
) -> Answer:
    """Answer one question.

    Parameters
    ----------
    basis
        The fitted laws.
    asked
        One of flops in FLOP, loss in nats per token, and n_params with tokens.
    device, precision
        The device in whose hours the cost is told, and the precision of the training.
    served
        Tokens that the model is to read and write after its training, or None.
    hourly
        The price of an hour of the device, or None.

    Returns
    -------
    Answer
        The answer, without ``trained``.

    Raises
    ------
    StudyError
        See ``place_of``.
    """
    n, d, flops, low, high = place_of(basis, asked)
    law = basis.surface
    loss = float(law.loss(n, d))
    places = [(factor * n, float(law.tokens_to(factor * n, loss))) for factor in SMALLER]
    places = [place for place in places if np.isfinite(place[1])]
    cheapest = law.cheapest(loss, served) if served is not None else None
    every = np.array([(n, d), *places, *([cheapest] if cheapest else [])]).T
    found = basis.losses(*every)
    together = joined(found)
    alternatives = [
        _alternative(n, *place, served, _known(together[1][k + 1]), _known(together[2][k + 1]))
        for k, place in enumerate([*places, *([cheapest] if cheapest else [])])
    ]
    hours = gpu_hours(flops, device, precision)
    return Answer(
        asked=dict(asked),
        flops=flops,
        flops_low=_known(low),
        flops_high=_known(high),
        n_params=n,
        tokens=d,
        worth=float(law.least_flops(loss)) / flops,
        sizes=best_sizes(basis, flops),
        losses=_losses(found, together),
        beyond=_beyond(basis, n, d, flops),
        wrong_sizes=wrong_sizes(law, flops),
        alternatives=alternatives[: len(places)],
        served=_served(alternatives[-1], n, d, served) if served is not None else None,
        cost=Cost(device=device.name, hours=hours, price=None if hourly is None else hours * hourly),
        trained=None,
        doubts=_doubts(found),
    )


def _losses(found: Mapping[str, Mapping[str, Array]], together: Interval) -> list[Loss]:
    """Return the forecast of each law for the first place, and last that of all together."""
    rows = [
        Loss(
            method=name, loss=float(of["loss"][0]), low=_known(of["run_low"][0]), high=_known(of["run_high"][0]),
            factor=float(of["factor"][0]), reach=float(of["reach"][0]),
        )
        for name, of in found.items()
        if np.isfinite(of["loss"][0])
    ]  # fmt: skip
    loss, low, high = (float(end[0]) for end in together)
    return [*rows, Loss(method=TOGETHER, loss=loss, low=_known(low), high=_known(high), factor=None, reach=None)]


def _doubts(found: Mapping[str, Mapping[str, Array]]) -> list[str]:
    """Return a sentence for each law that is asked further beyond the data than windows of the table could check."""
    out = []
    for name, of in found.items():
        factor, reach = float(of["factor"][0]), float(of["reach"][0])
        if factor > reach * (1 + 1e-6):
            checked = f"could check up to {number(reach)} times" if reach > 1 else "could check no forecast"
            out.append(f"The forecast by {name} is for {number(factor)} times its largest fitted run, and windows {checked}.")
    return out


def _beyond(basis: Basis, n_params: float, tokens: float, flops: float) -> Beyond:
    known = {name: basis.largest(name) for name in ("flops", "n_params", "tokens")}
    factors = [value / of if (of := known[name]) else None for name, value in zip(known, (flops, n_params, tokens), strict=True)]
    return Beyond(compute=factors[0], n_params=factors[1], tokens=factors[2])


def wrong_sizes(law: Surface, flops: float) -> list[WrongSize]:
    """Return what sizes other than the best one cost at a compute in FLOP, by the law of size and tokens."""
    best, _ = map(float, law.best(flops))
    out = []
    for factor in WRONG:
        n = factor * best
        loss = float(law.loss(n, flops / (6 * n)))
        least, worth = float(law.loss(best, flops / (6 * best))), float(law.least_flops(loss)) / flops
        out.append(WrongSize(factor=factor, n_params=n, tokens=flops / (6 * n), excess=loss - least, worth=worth))
    return out


def _alternative(
    of: float, n_params: float, tokens: float, served: float | None, low: float | None, high: float | None
) -> Alternative:
    """Return a model beside a run of size ``of``."""
    flops = 6 * n_params * tokens
    lifetime = None if served is None else flops + 2 * n_params * served
    return Alternative(factor=n_params / of, n_params=n_params, tokens=tokens, flops=flops, lifetime=lifetime, low=low, high=high)


def _served(model: Alternative, n_params: float, tokens: float, served: float) -> Served:
    own = 6 * n_params * tokens + 2 * n_params * served
    assert model.lifetime is not None
    return Served(tokens_served=served, model=model, saving=1 - model.lifetime / own)
