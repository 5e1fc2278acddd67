"""Whether a power law of one variable X (N, D or C) is better than its alternatives.

In every form L or log L is linear in its coefficients once its shape, an exponent or a break, is given. On a grid of shapes the
coefficients are found by linear least squares, and from the best of these all of theta is fitted to log loss.

Forms are compared by AICc = n·log(RSS/n) + 2k + 2k(k + 1)/(n − k − 1) of Gaussian residuals in log loss, where RSS = Σ w r² with
weights w of mean 1, n is the number of points and k that of the parameters and the variance.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), Figure 23; Caballero et al. 2023 (arXiv:2210.14891) for the broken power law.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.fit import Objective
from scalinglaws.laws.forms import EXPONENT_RANGE, Array

NOT_TOLD_APART = 2.0  # forms whose AICc differ by at most this are not told apart
# No loss is measured finer: of forms that all fit better than this, in log loss, the one of fewest parameters is best.
FINEST = 1e-7
LEAST_TERM = 1e-6  # the least coefficient of a sum, as a share of the least loss: 0 would leave nothing if the rest underflows
# Each tuple has a lower bound, start values and an upper bound. SLOPES are those of a logarithm that is 1 at the centre, in units
# of the slope that leads to 0 at an end. WIDTHS are f of a break: 10 to 90 % of the change of slope lie in a factor exp(4.4·f)
# of X. X_0 goes beyond the data to where one point differs from the rest, and to where an exponential is a straight line in X.
EXPONENTS = (EXPONENT_RANGE[0], 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0, EXPONENT_RANGE[1])
SLOPES = (-0.999, -0.5, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.999)
WIDTHS = (0.1, 0.15, 0.4, 0.8, 1.5, 2.0)
N_PLACES = 15  # places of X_0, and of a break, over the range of log X
X_0_MARGIN = np.array([np.log(0.1), *np.zeros(N_PLACES), np.log(100)])


@dataclass(frozen=True)
class Form:
    """One form of L(X), or of log L (``of_log``). theta (P,) has ``linear`` coefficients of ``columns``, then the shape.

    Coefficients of L are positive. ``columns`` takes z = log X − centre (n,) and the shape, and returns the columns (n,).
    ``shape`` takes z and returns the grid of each shape parameter, with its bounds at the ends. ``natural`` takes centre and
    theta and returns the ``parameters``, each in the place of its theta.
    """

    name: str
    formula: str
    parameters: tuple[str, ...]
    of_log: bool
    linear: int
    columns: Callable[..., tuple[Array, ...]]
    shape: Callable[[Array], list[Array]]
    natural: Callable[..., tuple[float, ...]]

    def log_loss(self, theta: Array, z: Array) -> Array:
        """Return log L (n,), NaN where L is not positive."""
        columns = np.column_stack(self.columns(z, *theta[self.linear :]))
        total = columns @ theta[: self.linear]
        return total if self.of_log else np.log(np.where(total > 0, total, np.nan))

    def jacobian(self, theta: Array, z: Array) -> Array:
        """Return d log L / d theta (n, P), exact in the coefficients and by central differences in the shape."""
        columns = np.column_stack(self.columns(z, *theta[self.linear :]))
        slopes = columns if self.of_log else columns / (columns @ theta[: self.linear])[:, None]
        for h in 1e-6 * np.eye(len(theta))[self.linear :]:
            slopes = np.column_stack([slopes, (self.log_loss(theta + h, z) - self.log_loss(theta - h, z)) / 2e-6])
        return slopes


def _bend(z: Array, t: float, log_f: float) -> Array:
    """Return f·log(2cosh((z − t)/2f)), which bends at t and has no slope on average.

    It is f·log(1 + exp((z − t)/f)) less (z − t)/2.
    """
    half = (z - t) / (2 * np.exp(log_f))
    return np.exp(log_f) * np.logaddexp(half, -half)


def _break_parameters(centre: float, level: float, slope: float, c_1: float, t: float, log_f: float) -> tuple[float, ...]:
    """Return (b, c_0, c_1, d, f) of the broken power law from the centre of log X and theta."""
    c_0 = slope - c_1 / 2
    return np.exp(level + c_0 * centre - c_1 * t / 2), c_0, c_1, np.exp(centre + t), np.exp(log_f)


FORMS = (
    Form(
        "power", "L = (X_c/X)^alpha", ("X_c", "alpha"), True, 2,
        lambda z: (np.ones_like(z), -z), lambda z: [],
        lambda centre, c, alpha: (np.exp(centre + c / alpha), alpha),
    ),
    Form(
        "power with offset", "L = E + (X_c/X)^alpha", ("E", "X_c", "alpha"), False, 2,
        lambda z, alpha: (np.ones_like(z), np.exp(-alpha * z)), lambda z: [np.array(EXPONENTS)],
        lambda centre, e, a, alpha: (e, np.exp(centre + np.log(a) / alpha), alpha),
    ),
    Form(
        "logarithm", "L = a - b·log X", ("a", "b"), False, 1,
        lambda z, slope: (1 - slope * z,), lambda z: [np.where(np.array(SLOPES) < 0, -1 / z.min(), 1 / z.max()) * SLOPES],
        lambda centre, level, slope: (level * (1 + slope * centre), level * slope),
    ),
    Form(
        "exponential", "L = E + A·exp(-X/X_0)", ("E", "A", "X_0"), False, 2,
        lambda z, t: (np.ones_like(z), np.exp(-np.exp(z - t))),
        lambda z: [np.hstack([z.min(), np.linspace(z.min(), z.max(), N_PLACES), z.max()]) + X_0_MARGIN],
        lambda centre, e, a, t: (e, a, np.exp(centre + t)),
    ),
    Form(  # Caballero et al. 2023 (arXiv:2210.14891), one break and no offset; d within the sampled range
        "broken power", "L = b·X^(-c_0)·(1 + (X/d)^(1/f))^(-c_1·f)", ("b", "c_0", "c_1", "d", "f"), True, 3,
        lambda z, t, log_f: (np.ones_like(z), -z, -_bend(z, t, log_f)),
        lambda z: [np.linspace(z.min(), z.max(), N_PLACES), np.log(WIDTHS)],
        _break_parameters,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Alternative:
    """A form and how well it does.

    ``value`` is that of the objective, ``rms`` the residual in log loss, ``delta_aicc`` the excess of AICc over the least, and
    ``held_out_error`` the mean relative error at the largest X of a fit without it. Numbers are NaN where a flag says why.
    """

    name: str
    formula: str
    n_parameters: int
    parameters: dict[str, float] = field(default_factory=dict)
    value: float = np.nan
    rms: float = np.nan
    aicc: float = np.nan
    delta_aicc: float = np.nan
    held_out_error: float = np.nan
    converged: bool = False
    flags: list[str] = field(default_factory=list)
    theta: tuple[float, ...] = ()
    centre: float = np.nan


def compare(
    x: ArrayLike,
    loss: ArrayLike,
    objective: Objective,
    weights: ArrayLike | None = None,
    names: Collection[str] | None = None,
) -> list[Alternative]:
    """Fit every form, or those of ``names``, and return them with the least AICc first.

    Parameters
    ----------
    x, loss
        The variable and the losses (n,), in any order.
    objective
        Function of the residuals, huber or squared.
    weights
        Inverse variances (n,), to a factor; without them each point counts once.

    Raises
    ------
    StudyError
        If the objective is absolute, a value is not a positive finite number, or the lengths differ.
    """
    if objective.name == "absolute":
        raise StudyError("the objective 'absolute' is not offered for alternatives to a power law: use huber or squared")
    x, loss = _checked("x", x), _checked("loss", loss)
    weights = np.ones(len(x)) if weights is None else _checked("weights", weights)
    if not len(x) == len(loss) == len(weights):
        raise StudyError(f"x, loss and weights have {len(x)}, {len(loss)} and {len(weights)} values: give as many of each")
    order = np.lexsort((weights, loss, x))
    wanted = [form for form in FORMS if names is None or form.name in names]
    found = [_alternative(form, np.log(x[order]), np.log(loss[order]), weights[order], objective) for form in wanted]
    least = min((each.aicc for each in found if np.isfinite(each.aicc)), default=np.nan)
    found = [replace(each, delta_aicc=each.aicc - least) for each in found]
    return sorted(found, key=lambda each: (np.isnan(each.aicc), np.nan_to_num(each.aicc), np.isnan(each.value)))


def _checked(name: str, values: ArrayLike) -> Array:
    """Return values as an array. Raises StudyError where one is not a positive finite number."""
    array = np.asarray(values, np.float64)
    if not (np.isfinite(array) & (array > 0)).all():
        raise StudyError(f"{name} has a value that is not a positive finite number")
    return array


def _alternative(form: Form, log_x: Array, y: Array, weights: Array, objective: Objective) -> Alternative:
    """Fit one form to log X and log losses (n,), with its AICc but for delta_aicc, and its held-out error."""
    n, p = len(y), len(form.parameters)
    if lacking := _lacking(p, log_x):
        return Alternative(form.name, form.formula, p, flags=[f"Not fitted: {lacking}."])
    theta, centre, converged, flags = _fit(form, log_x, y, weights, objective)
    predicted = form.log_loss(theta, log_x - centre)
    residuals, rms = objective.differences(predicted, y), float(weights @ (predicted - y) ** 2 / weights.sum()) ** 0.5
    variance, aicc, k = float(weights @ residuals**2 / weights.sum()), np.nan, p + 1
    if n > k + 1:
        aicc = n * np.log(max(variance, FINEST**2)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    else:
        flags.append(f"No AICc: with {k} parameters, the variance among them, it takes {k + 2} points, and there are {n}.")
    rest, error = log_x < log_x.max(), np.nan
    if lacking := _lacking(p, log_x[rest]):
        flags.append(f"No held-out error: without the largest X, {lacking}.")
    else:
        fitted, middle, _, _ = _fit(form, log_x[rest], y[rest], weights[rest], objective)
        error = float(np.abs(np.expm1(form.log_loss(fitted, log_x[~rest] - middle) - y[~rest])).mean())
        if np.isnan(error):
            flags.append("No held-out error: fitted without the largest X, it has no positive loss there.")
    with np.errstate(all="ignore"):
        natural = [float(value) for value in form.natural(centre, *theta)]
    return Alternative(
        form.name, form.formula, p, dict(zip(form.parameters, natural, strict=True)),
        float(objective.value(residuals, weights)), rms, float(aicc), np.nan, error, converged, flags,
        tuple(theta.tolist()), centre,
    )  # fmt: skip


def _lacking(p: int, log_x: Array) -> str:
    """Return what is lacking to fit ``p`` parameters, or nothing."""
    n, distinct = len(log_x), len(np.unique(log_x))
    needs = f"{p} parameters take {p + 2} points and {p} values of X, and there are {n} and {distinct}"
    return "" if n >= p + 2 and distinct >= p else needs


def _fit(form: Form, log_x: Array, y: Array, weights: Array, objective: Objective) -> tuple[Array, float, bool, list[str]]:
    """Return theta (P,), the centre of log X, whether it converged, and flags; squares come first, then the Huber function."""
    centre = float(log_x.mean())
    z = log_x - centre
    shape = form.shape(z)
    least = -np.inf if form.of_log else LEAST_TERM * np.exp(y.min())
    lower = np.array([least] * form.linear + [values[0] for values in shape])
    upper = np.array([np.inf] * form.linear + [values[-1] for values in shape])
    scale = np.ones(len(y)) if form.of_log else np.exp(-y)

    def residuals(theta: Array) -> Array:
        return objective.differences(form.log_loss(theta, z), y)

    def jacobian(theta: Array) -> Array:
        return objective.slope(form.log_loss(theta, z))[:, None] * form.jacobian(theta, z)

    starts = []
    for place in product(*(values[1:-1] for values in shape)):
        design = scale[:, None] * np.column_stack(form.columns(z, *place))
        linear = np.linalg.lstsq(design, y if form.of_log else np.ones(len(y)), rcond=None)[0]
        starts.append(np.array([*np.maximum(linear, least), *place]))
    theta = min(starts, key=lambda start: float(objective.value(residuals(start), weights)))
    for huber in [False] if objective.name == "squared" else [False, True]:
        found = least_squares(
            residuals, theta, jacobian, (lower, upper), x_scale="jac",
            loss=lambda square, huber=huber: _rho(square, weights, huber), f_scale=objective.delta if huber else 1.0,
            ftol=1e-12, xtol=1e-9, gtol=1e-13,
        )  # fmt: skip
        theta = found.x
    flags = [] if found.success else ["The fit did not converge."]
    stuck = np.minimum(theta - lower, upper - theta) <= 1e-3 * np.minimum(upper - lower, 1.0)
    for name in (name for name, at in zip(form.parameters, stuck, strict=True) if at):
        flags.append(f"{name} is at a bound of its range: the points do not determine it.")
    return theta, centre, bool(found.success), flags


def _rho(square: Array, weights: Array, huber: bool) -> Array:
    """Return weighted squares or the Huber function of (r/delta)² and its derivatives (3, n), as ``least_squares`` takes them.

    The second derivative is left at 0, which makes it iteratively reweighted least squares. With the true one, steps are lost
    where most residuals exceed delta, and the fit stops short of the minimum.
    """
    root = np.sqrt(np.maximum(square, 1.0)) if huber else np.ones(len(square))
    return weights * np.stack([np.where(root > 1, 2 * root - 1, square), 1 / root, np.zeros(len(square))])


def predict(alternative: Alternative, x: ArrayLike) -> Array:
    """Return the losses that a fitted form predicts.

    Parameters
    ----------
    alternative
        A form that ``compare`` has fitted.
    x
        Values (m,) of the variable.

    Returns
    -------
    numpy.ndarray
        (m,) nats per token, NaN where the form was not fitted or its logarithm is not positive.

    Raises
    ------
    StudyError
        If a value of x is not a positive finite number.
    """
    log_x = np.log(_checked("x", x))
    (form,) = [each for each in FORMS if each.name == alternative.name]
    if not alternative.theta:
        return np.full(log_x.shape, np.nan)
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(form.log_loss(np.array(alternative.theta), log_x - alternative.centre))


def verdict(alternatives: list[Alternative]) -> str:
    """Return a sentence on what ``compare`` found: the least AICc, what is not told apart from it, and the held-out error.

    Held-out error agrees where a form that is not told apart is within the rms residual of the least held-out error.
    """
    ranked = [each for each in alternatives if np.isfinite(each.aicc)]
    if not ranked:
        return "No verdict: there are too few points for an AICc of any form."
    near = [each for each in ranked if each.delta_aicc <= NOT_TOLD_APART]
    out = f"The least AICc is that of {near[0].name}"
    if len(near) > 1:
        out += f", not told apart from {', '.join(each.name for each in near[1:])} (within {NOT_TOLD_APART:g})"
    elif len(ranked) > 1:
        out += f", {ranked[1].delta_aicc:.3g} below the next, {ranked[1].name}"
    held = sorted((each for each in alternatives if each.held_out_error >= 0), key=lambda each: each.held_out_error)
    own = next((each for each in held if each in near), None)
    if own is None:
        return f"{out}; no held-out error tests it."
    found = f"{100 * own.held_out_error:.2g} % for {own.name}"
    if own.held_out_error <= held[0].held_out_error + near[0].rms:
        return f"{out}; held-out error agrees ({found})."
    return f"{out}; held-out error does not agree ({found}, {100 * held[0].held_out_error:.2g} % for {held[0].name})."


def summary(alternative: Alternative) -> dict[str, Any]:
    """Return what fit.json tells of a form."""
    hidden = ("theta", "centre")
    return {name: value for name, value in asdict(alternative).items() if name not in hidden}
