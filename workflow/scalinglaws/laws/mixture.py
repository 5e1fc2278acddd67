"""The law ``mixture``: the loss on each text as a function of the mixture of corpora that a model was trained on.

``laws/mixing.py`` has the equation of one text, which is fitted to the runs of one size and budget. All texts of such a group are
resampled together, so that a forecast of several texts and the best mixture for them have intervals as well. Those of a fit
of few runs use Student's t with as many degrees of freedom as runs are left over by the parameters.

A run that saw nothing of a corpus is left out of the fit of its text: the law is smooth in the shares, and the step from none to
some of a kind of text is not (docs/laws.md).

The parameters are those of the group of the largest size, and of its largest budget; ``groups`` has those of all.

References
----------
Ye et al. 2024, Data Mixing Laws (arXiv:2403.16952).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.common.numbers import counted
from scalinglaws.laws import mixing
from scalinglaws.laws.fit import Fit
from scalinglaws.laws.forms import Array
from scalinglaws.laws.methods import Method, fields
from scalinglaws.laws.mixture_points import GROUP, LOSS, SHARE, points_of, shares_of, texts
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import (
    CONDITION_LIMIT,
    FEWEST_TRUNKS,
    SMALLEST_SHARE,
    Resamples,
    bootstrap,
    condition,
    interval,
    kept,
)

TARGET = "for_"  # what stands before the name of a text in a place of --at that asks for the best mixture
LARGE_MISFIT = 0.01  # root mean square of the residuals of log loss above which the law is not the form of the losses
FAR = 1e-9  # a share that lies further outside of those of the runs is an extrapolation


@dataclass(frozen=True)
class _Text:
    """The fit of one text to runs of one size and budget: the runs' places among the points, and the resamples."""

    name: str
    index: np.ndarray
    fit: Fit
    draws: Resamples | None

    @property
    def freedom(self) -> int:
        """Return the trunks less the parameters, the degrees of freedom of Student's t."""
        return (self.draws.n_trunks if self.draws else 0) - self.fit.law.n_parameters

    @property
    def theta(self) -> Array:
        """Return the internal parameters of the resamples (B, P); none where no trunks are left over."""
        return self.draws.theta if self.draws and self.freedom >= FEWEST_TRUNKS - 1 else np.empty((0, self.fit.law.n_parameters))

    def about(self, estimate: float, values: Array, log: bool) -> dict[str, float]:
        """Return an estimate with its interval, as ``uncertainty.interval`` does."""
        return interval(estimate, values, log, self.freedom + 1)


def _fit_text(name: str, corpora: list[str], shares: Array, points: Points, index: np.ndarray, n: int, seed: int) -> _Text | str:
    """Return the fit of a text to the points at ``index`` that were measured on it and saw some of it, or why there is none."""
    loss = points.columns[f"{LOSS}{name}"]
    index = index[np.isfinite(loss[index]) & saw(points, name)[index]]
    distinct = np.unique(shares[index], axis=0)
    law = mixing.law_of(corpora, corpora.index(name) if name in corpora else 0)
    if len(distinct) < law.n_parameters:
        return (
            f"the law of {len(corpora)} corpora has {law.n_parameters} parameters for each text, and runs that saw some of "
            f"{name} have a loss on it on {counted(len(distinct), 'mixture')}: it takes {law.n_parameters} at least, and one "
            "more to test it"
        )
    if np.linalg.matrix_rank(shares[index]) < len(corpora):
        return f"the shares of {', '.join(corpora)} do not vary apart from each other: add mixtures"
    fit = mixing.fit(law, shares[index], loss[index])
    draws = bootstrap(fit, [points.trunk[k] for k in index], n, seed) if n else None
    return _Text(name, index, fit, draws)


def saw(points: Points, text: str) -> np.ndarray:
    """Return whether each run was trained on some of a text (n,); true for a text that is none of the corpora."""
    return points.columns.get(f"{SHARE}{text}", np.ones(len(points))) > 0


def _doubts(text: _Text, distinct: int) -> list[str]:
    """Return sentences on what is not to be believed in the fit of a text."""
    fit, out = text.fit, []
    if distinct == fit.law.n_parameters:
        out.append(f"Not resolved: the law of {text.name} has as many parameters as mixtures, so nothing tests it.")
    if (number := condition(fit)) > CONDITION_LIMIT:
        out.append(f"Not identified: the condition number of the fit on {text.name} is {number:.2g}: c, k and t trade off.")
    if min(fit.law.shares(fit.theta[None], fit.z)) < SMALLEST_SHARE:
        out.append(f"Not identified: c or k of {text.name} vanishes, so the losses are no such curve of the shares.")
    if not fit.converged:
        out.append(f"The optimiser did not reach its tolerance on {text.name}.")
    if (misfit := _misfit(fit)) > LARGE_MISFIT:
        out.append(f"The law misses the losses on {text.name} by {100 * misfit:.2g} % (root mean square): it is not their form.")
    unresolved = [
        name for name, found in _parameters(text).items() if name[0] == "t" and found["ci_low"] <= 0 <= found["ci_high"]
    ]
    if unresolved:
        out.append(f"Not resolved: the interval of {', '.join(unresolved)} includes 0.")
    if not len(text.theta):
        out.append(f"No intervals on {text.name}: {counted(max(text.freedom, 0), 'trunk')} left over by its parameters.")
    return out


def _misfit(fit: Fit) -> float:
    """Return the root mean square of the residuals of log losses."""
    return float(np.sqrt(np.mean(fit.residuals**2)))


def _parameters(text: _Text) -> dict[str, Any]:
    """Return the natural parameters of a text with their intervals: c[text], k[text], t[text, corpus]."""
    natural = text.fit.law.natural(text.theta, text.fit.centre)
    return {
        _named(text.name, parameter.name): text.about(float(text.fit.natural[k]), natural[:, k], parameter.log)
        | {"unit": parameter.unit}
        for k, parameter in enumerate(text.fit.law.parameters)
    }


def _named(text: str, parameter: str) -> str:
    """Write c of a text as c[text], and t[corpus] as t[text, corpus]."""
    return f"{parameter[0]}[{text}{', ' + parameter[2:-1] if parameter[1:] else ''}]"


def _group(points: Points, index: np.ndarray, corpora: list[str], n: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Return what is told of the runs of one size and budget, and sentences of doubt; ``texts`` is empty where none is fitted."""
    shares, found, flags, told = shares_of(points), {}, [], {}
    for name in texts(points, LOSS):
        text = _fit_text(name, corpora, shares, points, index, n, seed)
        if isinstance(text, str):
            flags.append(f"Not fitted: {text}.")
            continue
        found[name] = text
        flags += _doubts(text, len(np.unique(shares[text.index], axis=0)))
        loss = points.columns[f"{LOSS}{name}"]
        told[name] = {
            "parameters": _parameters(text),
            "theta": text.fit.theta.tolist(),
            "resamples": kept(text.fit.law.internal, text.theta),
            "freedom": text.freedom,
            "misfit": _misfit(text.fit),
            "corpora": _ends(shares[text.index], corpora),
            "points": [
                {"run": points.run[i], "shares": dict(zip(corpora, map(float, shares[i]), strict=True)), "loss": float(loss[i])}
                | {"predicted": float(np.exp(text.fit.log_prediction[k]))}
                for k, i in enumerate(text.index)
            ],
        }
    size = {name: float(points.columns[name][index[0]]) for name in ("n_params", "tokens")}
    return size | {"corpora": corpora, "texts": told, "held_out": _held_out(list(found.values()), shares, points)}, flags


def _ends(shares: Array, corpora: Sequence[str]) -> dict[str, list[float]]:
    """Return the least and the largest share of each corpus."""
    return {name: [float(shares[:, k].min()), float(shares[:, k].max())] for k, name in enumerate(corpora)}


def _held_out(found: Sequence[_Text], shares: Array, points: Points) -> dict[str, Any]:
    """Return the mean relative error of losses on mixtures that are left out of the fit in turn."""
    errors = []
    for text in found:
        loss = points.columns[f"{LOSS}{text.name}"][text.index]
        own, of = np.unique(shares[text.index], axis=0, return_inverse=True)
        for k in range(len(own)):
            left = of.ravel() != k
            if len(own) - 1 >= text.fit.law.n_parameters and np.linalg.matrix_rank(shares[text.index][left]) == shares.shape[1]:
                fit = mixing.fit(text.fit.law, shares[text.index][left], loss[left], text.fit.theta)
                errors += list(np.abs(mixing.predict(fit.theta[None], shares[text.index][~left])[0] / loss[~left] - 1))
    rule = "each mixture is left out in turn, and its losses are predicted"
    return {"rule": rule, "error": float(np.mean(errors)) if errors else float("nan"), "n": len(errors), "windows": []}


def _result(points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> dict[str, Any]:
    """Return fit.json, with a fit for each size and budget under ``groups``."""
    corpora, group = texts(points, SHARE), points.columns[GROUP]
    groups, flags = [], []
    for number in np.unique(group):
        index = np.flatnonzero(group == number)
        own = [name for name in corpora if points.columns[f"{SHARE}{name}"][index].any()]
        told, doubts = _group(_of_corpora(points, own), index, own, n_bootstrap, seed)
        of = f" (N = {told['n_params']:.4g}, D = {told['tokens']:.4g})" if len(np.unique(group)) > 1 else ""
        flags += [f"{doubt.removesuffix('.')}{of}." for doubt in doubts]
        groups.append(told)
    fitted = [each for each in groups if each["texts"]]
    if not fitted and not allow_empty:
        raise StudyError(f"law mixture: {' '.join(dict.fromkeys(flags))}")
    main = max(fitted, key=lambda each: (each["n_params"], each["tokens"])) if fitted else None
    parameters = {name: value for text in main["texts"].values() for name, value in text["parameters"].items()} if main else {}
    counts = {"points": sum(len(text["points"]) for each in groups for text in each["texts"].values())}
    counts |= {"runs": len(set(points.run)), "trunks": len(set(points.trunk))}
    own_fields: dict[str, Any] = {"groups": groups, "held_out": main["held_out"] if main else {"rule": "", "error": None}}
    out = fields(MIXTURE, points, counts, parameters, own_fields | {"resamples": {}}, flags)
    unseen = [
        {"run": points.run[k], "reason": f"trained on none of {name}, so left out of the fit of that text"}
        for name in texts(points, LOSS)
        for k in np.flatnonzero(~saw(points, name))
    ]
    return out | {"excluded": [*points.excluded, *unseen]}


def _of_corpora(points: Points, corpora: list[str]) -> Points:
    """Return the points without the shares of other corpora."""
    keep = {
        name: values for name, values in points.columns.items() if not name.startswith(SHARE) or name[len(SHARE) :] in corpora
    }
    return Points(points.run, points.trunk, points.loss, keep, points.excluded, points.notes, points.told)


def losses_at(group: Mapping[str, Any], text: str, shares: Array) -> tuple[Array, Array]:
    """Return the losses on a text (n,) and those of its resamples (B, n) that a group of fit.json gives at shares (n, M)."""
    theta, draws = _thetas(group["texts"][text])
    return mixing.predict(theta[None], shares)[0], mixing.predict(draws, shares)


def _thetas(text: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return the internal parameters (P,) of a text in fit.json, and those of its resamples (B, P)."""
    theta = np.array(text["theta"], np.float64)
    return theta, np.array(list(text["resamples"].values()), np.float64).T.reshape(-1, len(theta))


def best_mixture(group: Mapping[str, Any], target: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the mixture of least loss on texts, weighted by ``target``, with the 95 % interval of each share.

    Parameters
    ----------
    group
        One of the ``groups`` of fit.json.
    target
        The weight of each text, all above 0.
    """
    from scipy.optimize import minimize

    found, m = {text: _thetas(group["texts"][text]) for text in target}, len(group["corpora"])
    count = min(len(draws) for _, draws in found.values())

    def best(theta: Mapping[str, Array]) -> Array:
        """Return the shares (M,) of least loss for internal parameters (P,); the loss is convex in them."""

        def loss(r: Array) -> tuple[float, Array]:
            parts = [(weight * np.exp(theta[text][1:] @ r), theta[text][1:]) for text, weight in target.items()]
            return float(sum(part for part, _ in parts)), np.sum([part * tau for part, tau in parts], axis=0)

        whole = {"type": "eq", "fun": lambda r: r.sum() - 1, "jac": lambda r: np.ones(m)}
        least = minimize(
            loss, np.full(m, 1 / m), jac=True, method="SLSQP", bounds=[(0, 1)] * m, constraints=[whole], options={"ftol": 1e-12}
        )
        return np.asarray(np.clip(least.x, 0.0, 1.0), np.float64)

    estimate = best({text: theta for text, (theta, _) in found.items()})
    resampled = np.array([best({text: draws[k] for text, (_, draws) in found.items()}) for k in range(count)]).reshape(-1, m)
    freedom = min(group["texts"][text]["freedom"] for text in target)
    return {
        name: _inside(interval(float(estimate[k]), resampled[:, k], False, freedom + 1))
        for k, name in enumerate(group["corpora"])
    }


def _inside(found: dict[str, float]) -> dict[str, float]:
    """Return an interval of a share without what lies outside of 0 and 1."""
    return {key: float(np.clip(value, 0.0, 1.0)) if key != "stderr" else value for key, value in found.items()}


def _recommend(fit: dict[str, Any], at: Sequence[Mapping[str, float]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the law of the largest size says at places: losses at a mixture, or the best mixture for texts.

    A place names corpora with their weights, or texts, each after ``TARGET``, with theirs.

    Raises StudyError where it names something else, or has a weight that cannot be.
    """
    fitted = [each for each in fit.get("groups", []) if each["texts"]]
    if not fitted:
        return [], []
    group = max(fitted, key=lambda each: (each["n_params"], each["tokens"]))
    out: list[dict[str, Any]] = []
    said: list[str] = []
    for place in at:
        wanted = {name.removeprefix(TARGET): weight for name, weight in place.items() if name.startswith(TARGET)}
        known = group["texts"] if wanted else group["corpora"]
        named = wanted or place
        if wanted and len(wanted) < len(place):
            raise StudyError(f"--at: law mixture takes corpora, or texts with {TARGET} before each, and not both at one place")
        if unknown := sorted(set(named) - set(known)):
            what = "text" if wanted else "corpus"
            raise StudyError(f"--at: law mixture knows no {what} '{unknown[0]}': {proposal(unknown[0], known, 'it has')}")
        if min(named.values()) < 0 or not sum(named.values()) > 0 or (wanted and min(named.values()) == 0):
            raise StudyError("--at: law mixture takes weights above 0, of corpora or of texts")
        if wanted:
            out.append({"at": dict(place), **best_mixture(group, wanted), "flag": None})
            continue
        total = sum(place.values())
        shares = {name: place.get(name, 0.0) / total for name in known}
        flag = _far(group, shares)
        out.append({"at": dict(place), **_losses(group, np.array([list(shares.values())])), "flag": flag})
        said += [flag] if flag else []
    return out, said


def _losses(group: Mapping[str, Any], shares: Array) -> dict[str, dict[str, float]]:
    """Return the loss on each text at shares (1, M), with the 95 % interval of the law."""
    out = {}
    for text, found in group["texts"].items():
        best, draws = losses_at(group, text, shares)
        out[f"{LOSS}{text}"] = interval(float(best[0]), draws[:, 0], True, found["freedom"] + 1)
    return out


def _far(group: Mapping[str, Any], shares: Mapping[str, float]) -> str | None:
    """Return a sentence where a share lies outside of those of the runs that a text was fitted to."""
    for text, found in group["texts"].items():
        for name, share in shares.items():
            low, high = found["corpora"][name]
            if not low - FAR <= share <= high + FAR:
                beyond = f"outside of the {low:.3g} to {high:.3g} of the runs that {text} is fitted to"
                return f"A share of {share:.3g} of {name} lies {beyond}: nothing tests the law there."
    return None


MIXTURE = Method(
    name="mixture",
    title="Loss on each text against the mixture trained on",
    formula="L_i = c_i + k_i·exp(Σ_j t_ij·r_j), with t_ii = 0 (only differences of t are told, as the shares r_j sum to 1)",
    source="Ye et al. 2024, Data Mixing Laws",
    rule="final losses on each text of decayed runs of one size and budget, a single epoch, on mixtures of the same corpora",
    variables=(),
    published={},
    own_points=points_of,
    recommend=_recommend,
    result=_result,
)
LAWS = (MIXTURE,)
