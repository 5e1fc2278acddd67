"""Numbers with 95 % intervals: scatters and their ratios, means, slopes, shares, and quantities of resampled fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit
from scipy.stats import beta

from scalinglaws.figures.shared.fit_json import Fit, paired, parameter
from scalinglaws.figures.shared.seed_noise import sd_interval
from scalinglaws.laws.uncertainty import interval
from scalinglaws.report.claims.rules import Estimate

Array = NDArray[np.float64]
Z95 = 1.96
NOTHING = Estimate(math.nan)


def of_fit(fit: Fit, name: str) -> Estimate:
    """Return a parameter of a fit with its interval; NaN for what the fit lacks."""
    found = parameter(fit, name)
    value, low, high = (math.nan if found[key] is None else float(found[key] or 0.0) for key in ("estimate", "ci_low", "ci_high"))
    return Estimate(value, low, high)


def of_resamples(
    fits: dict[str, Fit], laws: Sequence[str], value: float, quantity: Callable[[dict[str, float]], float]
) -> Estimate:
    """Return ``value`` with the interval of a positive ``quantity`` of the parameters of ``laws`` over their resamples together.

    Resamples in which the quantity is not finite count as beyond every number: where they are more than 2.5 %, an end is missing.
    """
    drawn = np.array([quantity(row) for row in paired(fits, laws)], np.float64)
    if not len(drawn) or not math.isfinite(value):
        return Estimate(value)
    if (~np.isfinite(drawn)).mean() > 0.025:
        return Estimate(value)
    trunks = min(int(fits[law].get("n_trunks") or 0) for law in laws)
    found = interval(value, drawn[np.isfinite(drawn)], True, trunks)
    return Estimate(value, found["ci_low"], found["ci_high"])


def scatter(residuals: ArrayLike, parameters: int, independent: int | None = None, unit: float = 100.0) -> Estimate:
    """Return the root mean square of residuals in log loss, in percent, with the interval of a standard deviation.

    Parameters
    ----------
    residuals
        log(loss/law) of each point (n,).
    parameters
        The number of parameters that were fitted.
    independent
        How many independent values the residuals count as, such as their trunks; n without it.
    unit
        What the result is multiplied by: 100 for percent.
    """
    values = np.asarray(residuals, np.float64)
    count = len(values) if independent is None else independent
    freedom = count - parameters
    if freedom < 1 or not np.isfinite(values).all():
        return NOTHING
    rms = unit * math.sqrt(float(np.mean(values**2)) * count / freedom)
    return Estimate(rms, *sd_interval(rms, freedom))


def ratio_of_scatters(first: ArrayLike, second: ArrayLike, parameters: int) -> Estimate:
    """Return the scatter of ``first`` over that of ``second``, residuals (n,) of the same points about two curves.

    The interval is that of Pitman (1939) and Morgan (1939) for paired normal values: the ratios w at which first + w·second and
    first − w·second are not told to be correlated. Each curve has ``parameters`` coefficients.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    freedom = len(a) - parameters - 1
    squares = float(a @ a), float(b @ b)
    if freedom < 1 or min(squares) <= 0:
        return NOTHING
    square = squares[0] / squares[1]
    correlation = float(a @ b) / math.sqrt(squares[0] * squares[1])
    k = 1 + 2 * (1 - correlation**2) * float(stdtrit(freedom, 0.975)) ** 2 / freedom
    reach = k + math.sqrt(k**2 - 1)
    return Estimate(math.sqrt(square), math.sqrt(square / reach), math.sqrt(square * reach))


def mean(values: ArrayLike, floor: float = 0.0) -> Estimate:
    """Return the mean of values (n,) with Student's interval, at least 1.96·floor/√n wide to either side.

    ``floor`` is the standard deviation that each value is known to have. One value has an interval only where that is positive.
    """
    found = np.asarray(values, np.float64)
    if not len(found) or (len(found) == 1 and not floor):
        return Estimate(float(found[0])) if len(found) else NOTHING
    half = Z95 * floor / math.sqrt(len(found))
    if len(found) > 1:
        half = max(half, float(stdtrit(len(found) - 1, 0.975) * found.std(ddof=1)) / math.sqrt(len(found)))
    centre = float(found.mean())
    return Estimate(centre, centre - half, centre + half)


def slope(x: ArrayLike, y: ArrayLike, unit: Callable[[float], float] = float) -> Estimate:
    """Return the slope of y in x by least squares with Student's interval; ``unit`` is applied to the slope and to both ends."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 3 or np.ptp(x) == 0:
        return NOTHING
    away = x - x.mean()
    found = float(away @ y / (away @ away))
    left = y - y.mean() - found * away
    half = float(stdtrit(len(x) - 2, 0.975)) * math.sqrt(float(left @ left) / (len(x) - 2) / float(away @ away))
    return Estimate(unit(found), unit(found - half), unit(found + half))


def jackknife(value: float, without: Iterable[float]) -> Estimate:
    """Return a value with the interval that leaving out each of n parts in turn gives, by Student's t of n − 1 (Tukey 1958)."""
    found = np.array(list(without), np.float64)
    if len(found) < 3 or not np.isfinite([*found, value]).all():
        return Estimate(value)
    error = math.sqrt((len(found) - 1) / len(found) * float(np.square(found - found.mean()).sum()))
    half = float(stdtrit(len(found) - 1, 0.975)) * error
    return Estimate(value, value - half, value + half)


def share(count: int, n: int) -> Estimate:
    """Return the share count/n with Jeffreys' interval, whose end is 0 or 1 where none or all are counted."""
    if not n:
        return NOTHING
    low = float(beta.ppf(0.025, count + 0.5, n - count + 0.5)) if count else 0.0
    high = float(beta.ppf(0.975, count + 0.5, n - count + 0.5)) if count < n else 1.0
    return Estimate(count / n, low, high)


def factor(values: ArrayLike) -> float:
    """Return the largest value over the least; NaN where there is none."""
    found = np.asarray(values, np.float64)
    return float(found.max() / found.min()) if len(found) and found.min() > 0 else math.nan
