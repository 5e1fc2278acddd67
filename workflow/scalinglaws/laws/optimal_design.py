"""Which runs to add, so that one number is known better for their FLOP: a greedy c-optimal design with exchanges.

Before a run is trained its log loss is a random number, to a linear approximation normal and correlated with the target: a
parameter of a law, or the log loss of a run that is forecast. Measuring it leaves the target the variance

    t − c_Kᵀ (S_KK + N_KK)⁻¹ c_K

with t the variance of the target, S the covariance of the log losses at the candidates, c theirs with the target, N the noise
of a single loss, and K the chosen candidates. Where S = J Σ Jᵀ, c = J Σ g and t = gᵀ Σ g of a law with the jacobian J, the
covariance Σ of its parameters and the slopes g of the target, this is gᵀ (Σ⁻¹ + J_Kᵀ N_KK⁻¹ J_K)⁻¹ g: the informations of
what is there and of the new runs are added up.

Shapes: m candidates, k of them chosen.

References
----------
Pukelsheim 2006, Optimal Design of Experiments, chapter 2: designs for one linear function of the parameters.
Fedorov 1972, Theory of Optimal Experiments, chapter 3: exchanges of points.
Krause and Guestrin 2005, A Note on the Budgeted Maximization of Submodular Functions: why gain by cost is not enough alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalinglaws.laws.forms import Array

OUTRIGHT = (0, 1, 2, 3, 4)  # numbers of first runs that are taken by their whole gain, before the others by gain per FLOP
REFINED = 2  # of the plans that begin so, the best that are improved by exchanges
PASSES = 3  # of exchanges over all chosen runs
WORTHWHILE = 1e-4  # share of the variance by which an exchange must lower it
EQUAL = 1e-9  # share by which candidates that are alike, such as two seeds, may differ by rounding
SPARED, OF_GAIN = 0.01, 0.05  # by which runs left out may widen the interval: in e-folds, and of the e-folds that are gained


@dataclass(frozen=True)
class Outlook:
    """What is known of a target and of the losses at candidates, as variances and covariances of log losses.

    ``target`` is the variance t of the target, ``cross`` (m,) are its covariances c with the log losses at the candidates,
    ``losses`` (m, m) is the covariance S of these, and ``noise`` (m,) the variance of a measured log loss about each. ``floor``
    is a variance of the target that no run can lower, such as the scatter of a run that is forecast; it is no part of ``target``.
    """

    target: float
    cross: Array
    losses: Array
    noise: Array
    floor: float = 0.0

    def given(self, chosen: Sequence[int]) -> tuple[float, Array, Array]:
        """Return the variance of the target, and its covariance with the loss at each candidate and their variances, (m,) each.

        They are those that are left once the losses of the ``chosen`` candidates are measured; noise is in none of them.
        """
        if not len(chosen):
            return self.target, self.cross, np.diag(self.losses)
        k = list(chosen)
        root = np.linalg.cholesky(self.losses[np.ix_(k, k)] + np.diag(self.noise[k]))
        half, own = np.linalg.solve(root, self.losses[k]), np.linalg.solve(root, self.cross[k])
        left = np.maximum(np.diag(self.losses) - (half**2).sum(axis=0), 0.0)
        return max(self.target - float(own @ own), 0.0), self.cross - half.T @ own, left

    def ratio(self, chosen: Sequence[int]) -> float:
        """Return the width of the target's interval with the ``chosen`` candidates measured, over its width without them."""
        return float(np.sqrt((self.given(chosen)[0] + self.floor) / (self.target + self.floor)))

    def gains(self, chosen: Sequence[int]) -> Array:
        """Return by how much each candidate (m,) would shrink the logarithm of the interval's width beside the chosen ones."""
        target, cross, losses = self.given(chosen)
        left = np.maximum(target - cross**2 / (losses + self.noise), 0.0)
        with np.errstate(divide="ignore"):
            found = 0.5 * (np.log(target + self.floor) - np.log(left + self.floor))
        return np.asarray(found, np.float64)


@dataclass(frozen=True)
class Costs:
    """The FLOP of candidates, of which those of one trunk share its stable phase; arrays are (m,).

    ``own`` are the FLOP after the rung that a run starts from, and ``start`` those of its trunk up to there. ``there`` are those
    of the trunk that are trained already, and ``trunk`` is its number. Runs without a shared trunk have a number of their own.
    """

    own: Array
    start: Array
    there: Array
    trunk: np.ndarray

    @classmethod
    def apart(cls, flops: Array) -> Costs:
        """Return the costs of runs that share nothing, of ``flops`` (m,)."""
        none = np.zeros(len(flops))
        return cls(np.asarray(flops, np.float64), none, none, np.arange(len(flops)))

    def more(self, chosen: Sequence[int]) -> Array:
        """Return the FLOP (m,) that each candidate takes beside the chosen ones."""
        reached = self.there.copy()
        if len(chosen):
            of_trunk = np.zeros(self.trunk.max() + 1)
            np.maximum.at(of_trunk, self.trunk[list(chosen)], self.start[list(chosen)])
            reached = np.maximum(reached, of_trunk[self.trunk])
        return self.own + np.maximum(self.start - reached, 0.0)

    def total(self, chosen: Sequence[int]) -> float:
        """Return the FLOP that the chosen candidates take together."""
        k, of_trunk = list(chosen), np.zeros(self.trunk.max() + 1)
        np.maximum.at(of_trunk, self.trunk[k], np.maximum(self.start[k] - self.there[k], 0.0))
        return float(self.own[k].sum() + of_trunk.sum())


def choose(outlook: Outlook, costs: Costs, budget: float, most: int) -> list[int]:
    """Choose candidates within a budget that leave the target the least variance, as far as greedy plans and exchanges find them.

    Gain per FLOP alone takes small runs first, after which a large one that tells more may not fit. So plans begin with none to
    four runs of the largest whole gain; the best plans are improved by exchanges of one run for others.

    Parameters
    ----------
    outlook, costs
        What is known, and what each candidate costs.
    budget
        The most FLOP.
    most
        The most runs.

    Returns
    -------
    list of int
        Places of the chosen candidates, in the order in which each narrows the interval most for its FLOP. Those that together
        hardly narrow it (SPARED, OF_GAIN) are left out. It is empty where no candidate fits or none tells anything.
    """
    plans = {tuple(sorted(plan)): plan for first in OUTRIGHT if (plan := _greedy(outlook, costs, budget, most, first))}
    ranked = sorted(plans.values(), key=lambda plan: (outlook.ratio(plan), plan))[:REFINED]
    refined = [_exchanged(outlook, costs, budget, most, plan) for plan in ranked]
    if not refined:
        return []
    best = min(refined, key=lambda plan: (outlook.ratio(plan), costs.total(plan), plan))
    return _ordered(outlook, costs, _spared(outlook, best))


def _greedy(outlook: Outlook, costs: Costs, budget: float, most: int, outright: int, begun: Sequence[int] = ()) -> list[int]:
    """Return a plan that goes on from ``begun``: its first ``outright`` runs by their whole gain, the others by gain per FLOP."""
    chosen, spent = list(begun), costs.total(begun)
    while len(chosen) < most:
        more, gains = costs.more(chosen), outlook.gains(chosen)
        fits = (spent + more <= budget * (1 + 1e-12)) & (gains > 0)
        fits[chosen] = False
        if not fits.any():
            break
        worth = gains if len(chosen) < outright else gains / np.maximum(more, 1e-300)
        pick = _best(worth, np.flatnonzero(fits))
        spent += float(more[pick])
        chosen.append(pick)
    return chosen


def _best(worth: Array, able: np.ndarray) -> int:
    """Return the first of the places ``able`` that are worth most, where those within EQUAL of it count as equal."""
    values = worth[able]
    return int(able[np.argmax(values >= values.max() * (1 - EQUAL))])


def _exchanged(outlook: Outlook, costs: Costs, budget: float, most: int, plan: list[int]) -> list[int]:
    """Return a plan improved by giving up one run at a time, and spending what it cost in another way, while that helps."""
    best, variance = plan, outlook.given(plan)[0]
    for _ in range(PASSES):
        before = variance
        for run in list(best):
            if run not in best:
                continue
            rest = [other for other in best if other != run]
            for outright in (0, len(rest) + 1):
                trial = _greedy(outlook, costs, budget, most, outright, rest)
                found = outlook.given(trial)[0]
                if found < variance * (1 - WORTHWHILE):
                    best, variance = trial, found
                    break
        if variance >= before * (1 - WORTHWHILE):
            break
    return best


def _ordered(outlook: Outlook, costs: Costs, plan: Sequence[int]) -> list[int]:
    """Return a plan in the order of gain per FLOP, each run beside those before it."""
    left, out = sorted(plan), list[int]()
    while left:
        pick = _best(outlook.gains(out) / np.maximum(costs.more(out), 1e-300), np.array(left))
        left.remove(pick)
        out.append(pick)
    return out


def _spared(outlook: Outlook, plan: list[int]) -> list[int]:
    """Return a plan without runs that the others hardly need, those that tell least given up first."""
    whole = np.log(max(outlook.ratio(plan), 1e-300))
    goal = whole + min(SPARED, -OF_GAIN * whole)
    while len(plan) > 1:
        fewer = [[other for other in plan if other != run] for run in plan]
        widths = np.log(np.maximum([outlook.ratio(each) for each in fewer], 1e-300))
        least = int(np.argmin(widths))
        if widths[least] > goal:
            break
        plan = fewer[least]
    return plan
