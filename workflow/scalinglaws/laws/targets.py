"""What more runs can tell of one number: a parameter of a fitted law, or the loss of a run that is forecast.

A **parameter** is taken as its interval is made, from the resamples of trunks: their covariance is what is not known, the law's
jacobian says what a run would tell, and the scatter of the fitted runs is its noise. A **forecast** is taken as its interval is
made beyond the data, from the law with an error of its own (``extrapolation.Field``): a run near the one that is forecast then
tells more than the curvature of the law says, and a run far away tells less. In both cases the interval that the project prints
is the one before, and its half-widths shrink as the standard deviation of the target does.

Shapes: m candidates, B resamples, P parameters, V variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.laws.allocation import exponents
from scalinglaws.laws.fit import Fit
from scalinglaws.laws.forms import Array, Law
from scalinglaws.laws.optimal_design import Outlook
from scalinglaws.laws.prediction import predict
from scalinglaws.laws.uncertainty import FEWEST_TRUNKS, Resamples, interval
from scalinglaws.laws.windows import forecaster, scatter_of

ALLOCATION = "chinchilla"  # the law from whose exponents a and b of the best size and tokens follow
STEP = 1e-5  # of central differences, times the parameter or 1
TRIMMED = (0.025, 0.975)  # quantiles of each parameter at which stray resamples are cut before their covariance is taken
CUT_VARIANCE = 0.913  # of a normal number of variance 1 that is cut there
FEWEST_RESAMPLES = 20  # from which a covariance is taken


@dataclass(frozen=True)
class Ends:
    """An estimate with the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Prospect:
    """A target with its interval, and what candidates would tell of it.

    ``log`` is true where the interval is formed on the logarithm of the target, as that of a scale or of a loss is.
    """

    outlook: Outlook
    before: Ends
    log: bool

    def after(self, chosen: Sequence[int]) -> Ends:
        """Return the interval that is expected once the ``chosen`` candidates are measured, about the same estimate."""
        ratio = self.outlook.ratio(chosen)
        values = np.array([self.before.estimate, self.before.low, self.before.high])
        middle, *ends = np.log(values) if self.log else values
        low, high = (middle + ratio * (end - middle) for end in ends)
        return Ends(self.before.estimate, *(float(np.exp(end) if self.log else end) for end in (low, high)))


def names(law: Law) -> tuple[str, ...]:
    """Return the parameters of a law that can be a target, with the exponents that follow from them."""
    own = tuple(parameter.name for parameter in law.parameters)
    return own + (("a", "b") if law.name == ALLOCATION else ())


def is_scale(law: Law, name: str) -> bool:
    """Return whether the interval of a target is formed on its logarithm."""
    return any(parameter.name == name and parameter.log for parameter in law.parameters)


def values(law: Law, name: str, theta: Array, centre: Array) -> Array:
    """Return a target (B,) at internal parameters theta (B, P), as a logarithm where it is a scale.

    Raises StudyError where the law has no such parameter.
    """
    if name not in names(law):
        raise StudyError(f"law {law.name} has no parameter '{name}': {proposal(name, names(law))}")
    natural = law.natural(theta, centre)
    own = [parameter.name for parameter in law.parameters]
    if name not in own:
        found = exponents(natural[:, own.index("alpha")], natural[:, own.index("beta")])
        return np.asarray(found[("a", "b").index(name)], np.float64)
    value = natural[:, own.index(name)]
    return np.log(value) if is_scale(law, name) else value


def slopes(law: Law, name: str, theta: Array, centre: Array) -> Array:
    """Return the derivatives (P,) of ``values`` by the internal parameters theta (P,), by central differences."""
    steps = STEP * np.maximum(np.abs(theta), 1.0)
    above, below = (values(law, name, theta + sign * np.diag(steps), centre) for sign in (1, -1))
    found = (above - below) / (2 * steps)
    found[list(law.held)] = 0.0
    return np.asarray(found, np.float64)


def of_parameter(fit: Fit, resamples: Resamples | None, name: str, places: Array) -> Prospect:
    """Return what candidates would tell of a parameter.

    Parameters
    ----------
    fit, resamples
        The fit of the law, and its resamples.
    name
        One of ``names(law)``.
    places
        Logs of the law's variables at the candidates (m, V).

    Raises
    ------
    StudyError
        The law has no such parameter, or too few resamples tell how sure it is.
    """
    law = fit.law
    drawn = values(law, name, resamples.theta, fit.centre) if resamples else np.empty(0)
    if resamples is None or resamples.n_trunks < FEWEST_TRUNKS or len(drawn) < max(FEWEST_RESAMPLES, 2 * law.n_parameters):
        trunks = f"{resamples.n_trunks} trunks and {len(drawn)} resamples" if resamples else "no resamples"
        raise StudyError(
            f"law {law.name}: {trunks} do not tell how sure {name} is, so that nothing can be suggested for it: give runs of "
            f"more models, {FEWEST_TRUNKS} at least and better ten, and --bootstrap 200 or more"
        )
    log, estimate = is_scale(law, name), float(values(law, name, fit.theta[None], fit.centre)[0])
    shown = np.exp(drawn) if log else drawn
    ends = interval(float(np.exp(estimate)) if log else estimate, shown, log, resamples.n_trunks)
    low, high = np.quantile(resamples.theta, TRIMMED, axis=0)
    cut = np.clip(resamples.theta, low, high)
    covariance = np.cov(cut.T).reshape(law.n_parameters, law.n_parameters) / CUT_VARIANCE
    slope, jacobian = slopes(law, name, fit.theta, fit.centre), law.jacobian(fit.theta[None], places - fit.centre)[0]
    noise = np.full(len(places), scatter_of(fit) ** 2)
    outlook = Outlook(float(slope @ covariance @ slope), jacobian @ covariance @ slope, jacobian @ covariance @ jacobian.T, noise)
    return Prospect(outlook, Ends(ends["estimate"], ends["ci_low"], ends["ci_high"]), log)


def of_forecast(fit: Fit, resamples: Resamples | None, place: Array, places: Array, seed: int = 0) -> Prospect:
    """Return what candidates would tell of the loss of a new run.

    Parameters
    ----------
    fit, resamples
        The fit of the law, and its resamples or None.
    place, places
        Logs of the law's variables at the new run (V,) and at the candidates (m, V).
    seed
        Seed of the interval's scatter (``prediction.predict``).

    Raises
    ------
    StudyError
        The fit gives no interval there.
    """
    told = {name: float(of[0]) for name, of in predict(fit, resamples, place[None], seed).items()}
    if not np.isfinite([told["run_low"], told["run_high"]]).all():
        raise StudyError(
            f"law {fit.law.name} gives no interval within its data, so that nothing can be suggested for it: give runs of "
            f"{FEWEST_TRUNKS} models at least and --bootstrap 200 or more"
        )
    field = forecaster(fit).field
    jacobian, of_error = field.joint(np.vstack([place[None], places]))
    joint = jacobian @ field.covariance @ jacobian.T + of_error
    scatter = field.scatter**2
    outlook = Outlook(float(joint[0, 0]), joint[0, 1:], joint[1:, 1:], np.full(len(places), scatter), floor=scatter)
    return Prospect(outlook, Ends(told["loss"], told["run_low"], told["run_high"]), True)
