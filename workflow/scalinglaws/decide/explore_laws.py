"""The curves of the page ``explore.html``: each law of one quantity that a study fits, with its interval, as numbers to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalinglaws.decide.explore_runs import Panel
from scalinglaws.decide.forecast import Basis
from scalinglaws.figures.shared.fit_json import GREEK, POWER_LAWS, Fit, brief, unresolved, with_interval
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.forms import Array
from scalinglaws.laws.prediction import predict
from scalinglaws.laws.together import Fitted, of_file
from scalinglaws.report.tables_of_paper import not_fitted

PLACES = 60  # on a curve


@dataclass(frozen=True)
class Curve:
    """A law along its variable: values (m,) of x and of the loss in nats per token with the ends of its 95 % interval.

    The interval is that of a new run's loss (``prediction.predict``), NaN where there is none. ``last`` is the largest fitted
    value of the variable, beyond which the curve is a forecast.
    """

    law: str
    words: str  # the equation and its exponent
    x: Array
    loss: Array
    low: Array
    high: Array
    last: float


def curves(
    panel: Panel, fits: Mapping[str, Fit], folder: Path, basis: Basis | None, end: float, n_bootstrap: int, seed: int
) -> list[Curve]:
    """Return the laws of a panel that were fitted.

    Parameters
    ----------
    panel
        The panel.
    fits, folder
        The content of the study's fits by law, and their folder.
    basis
        Laws that were fitted again already, or None.
    end
        The value of the variable up to which curves go.
    n_bootstrap, seed
        Number of resamples for the intervals, and their seed, as the study has them.

    Raises
    ------
    StudyError
        A fit was changed, or is none from which the law can be fitted again.
    """
    found = []
    for law in panel.laws:
        if law not in fits:
            continue
        fit = basis.laws[law] if basis and law in basis.laws else of_file(folder / f"{law}.json", n_bootstrap, seed)
        if fit is not None:
            found.append(_curve(fit, fits[law], end))
    return found


def _curve(fitted: Fitted, fit: Fit, end: float) -> Curve:
    seen = np.exp(fitted.fit.z[:, 0] + fitted.fit.centre[0])
    x = np.unique([*np.geomspace(seen.min(), max(end, seen.max()), PLACES), seen.max()])
    # Places within the data are asked one by one, so that all have the same draws of scatter and the band is smooth.
    asked = [*np.split(np.log(x[x <= seen.max()]), (x <= seen.max()).sum()), np.log(x[x > seen.max()])]
    parts = [predict(fitted.fit, fitted.resamples, part[:, None], fitted.seed) for part in asked if len(part)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in ("loss", "run_low", "run_high")}
    exponent = POWER_LAWS[fitted.law.name.removesuffix("-offset")].exponent
    words = f"{fitted.law.formula}, {exponent} = {with_interval(fit, exponent)}".replace(exponent, GREEK[exponent])
    return Curve(fitted.law.name, words, x, found["loss"], found["run_low"], found["run_high"], float(seen.max()))


def doubts(panel: Panel, fits: Mapping[str, Fit]) -> list[str]:
    """Return a sentence for each law of a panel that is missing or not resolved; of a law with an offset only where it is fitted.

    A study that fits none of the panel's laws is told which runs they take.
    """
    there = [law for law in panel.laws if law in fits]
    if not there:
        return [not_fitted(list(panel.laws))]
    found = [(law, brief(unresolved(fits[law], law, _exponents(law)))) for law in there]
    return [f"{law} is {doubt[0].rstrip('.')}." for law, doubt in found if doubt]


def _exponents(law: str) -> list[str]:
    return [name for name in (parameter.name for parameter in LAWS[law].parameters) if name.startswith("alpha")]
