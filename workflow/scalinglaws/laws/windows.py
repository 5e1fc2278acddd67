"""Windows of growing size: how well runs beyond the smaller ones of a table are forecast from these, which scales intervals.

A law's size of a run is the product of its variables: of N and D this is the compute to a factor of 6. A window holds the runs up
to some size, and what it forecasts is all runs beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from scalinglaws.laws.extrapolation import NOISE, Field, estimate
from scalinglaws.laws.fit import Fit
from scalinglaws.laws.forms import Array, Law

FACTORS = (2, 4, 8, 16, 32, 64, 128, 256)  # of the largest run's size over that of the largest run in a window
FEWEST_POINTS = 8  # in a window
MOST_POINTS = 800  # of more points an even sample in the order of size is taken
# The prior counts as much as so many windows: these overlap, and the errors within one go together.
PRIOR_WINDOWS = 5.0


@dataclass(frozen=True)
class Window:
    """How the ``n`` runs beyond a window of ``n_fitted`` runs were forecast, up to ``factor`` times its size.

    ``error`` is the root mean square of their errors in log loss, and ``ratio`` that of errors over the standard deviations that
    were stated for them.
    """

    factor: float
    n_fitted: int
    n: int
    error: float
    ratio: float


@dataclass(frozen=True)
class Forecaster:
    """A field (``extrapolation.Field``) with the windows that check it."""

    field: Field
    windows: list[Window]

    @property
    def scale(self) -> float:
        """Return the factor of standard deviations: the root mean square ratio of windows, shrunk to 1."""
        squares = sum(window.ratio**2 for window in self.windows)
        return float(np.sqrt((PRIOR_WINDOWS + squares) / (PRIOR_WINDOWS + len(self.windows))))

    @property
    def reach(self) -> float:
        """Return the largest factor of size that a window could check; 1 where there is none."""
        return max((window.factor for window in self.windows), default=1.0)

    def interval(self, log_variables: Array) -> tuple[Array, Array, Array]:
        """Return the forecast log loss of new runs at log variables (m, V), and the ends of their 95 % intervals, each (m,)."""
        mean, deviation = self.field.forecast(log_variables)
        half = stdtrit(PRIOR_WINDOWS + len(self.windows), 0.975) * self.scale * deviation
        return mean, mean - half, mean + half


def forecaster(fit: Fit) -> Forecaster:
    """Estimate the error of a fitted law, and check it in windows.

    Parameters
    ----------
    fit
        The fit, whose points are taken, and near which the law's parameters are sought. Of more than MOST_POINTS points an even
        sample in the order of size is taken.
    """
    order = np.argsort(fit.z.sum(axis=1), kind="stable")
    some = np.sort(order[np.unique(np.linspace(0, len(order) - 1, MOST_POINTS).astype(int))])
    x, log_loss = fit.z[some] + fit.centre, fit.log_loss[some]
    # Weights of raw residuals are inverse variances of losses; the noise here is that of log losses.
    weights = fit.weights * fit.objective.slope(fit.log_loss) ** 2
    weights = weights[some] / weights.mean()
    scatter = scatter_of(fit)
    field = estimate(fit.law, x, log_loss, weights, fit.theta[None], scatter)
    size, windows = x.sum(axis=1), []
    for factor in FACTORS:
        inside = size <= size.max() - np.log(factor) + 1e-9
        if inside.all():
            continue
        if not _enough(fit.law, x[inside]):
            break
        part = estimate(fit.law, x[inside], log_loss[inside], weights[inside], field.theta[None], scatter)
        mean, deviation = part.forecast(x[~inside])
        error = log_loss[~inside] - mean
        largest = float(np.exp(size.max() - size[inside].max()))
        rms = (float(np.sqrt((values**2).mean())) for values in (error, error / deviation))
        windows.append(Window(largest, int(inside.sum()), int((~inside).sum()), *rms))
    return Forecaster(field, windows)


def scatter_of(fit: Fit) -> float:
    """Return the standard deviation of a new run's log loss: that of usual residuals by their median, and NOISE at least."""
    n, usual = len(fit.log_loss), float(np.median(np.abs(fit.log_loss - fit.log_prediction)))
    return max(NOISE, usual / ndtri(0.75) * np.sqrt(n / max(n - len(fit.law.free), 1)))


def _enough(law: Law, log_variables: Array) -> bool:
    """Tell whether a law can be fitted to points at log variables (n, V): enough of them, and of each variable's values."""
    return len(log_variables) >= max(FEWEST_POINTS, len(law.free) + 2) and all(
        len(np.unique(log_variables[:, law.variables.index(name)].round(6))) >= law.needed(name) for name in law.varied
    )
