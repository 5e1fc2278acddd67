"""The law ``critical-batch``: the critical batch size against the loss, B_crit = B_star/L^(1/alpha_B).

``laws/critical.py`` finds it from learning curves; here is what fit.json says of it.

References
----------
Kaplan et al. 2020 (arXiv:2001.08361), (1.4), (5.1) and (5.2), with the published values of section 1.2.
McCandlish et al. 2018 (arXiv:1812.06162) derive the hyperbola (5.1).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.critical import fit_critical
from scalinglaws.laws.methods import Method, fields
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import kept


def _result(points: Points, n_bootstrap: int, seed: int, allow_empty: bool) -> dict[str, Any]:
    """Return fit.json, with S_min, E_min and B_crit at each loss of each size under ``levels``."""
    n, batch, steps = (points.columns[name] for name in ("n_params", "batch_tokens", "steps"))
    fit = fit_critical(points.run, n, batch, steps, points.loss, n_bootstrap=n_bootstrap, seed=seed)
    found = bool(np.isfinite(fit.b_star["estimate"]))
    if not found and not allow_empty:
        raise StudyError(f"law critical-batch: {' '.join(fit.flags)}")
    parameters = {"B_star": fit.b_star | {"unit": "tokens"}, "alpha_B": fit.alpha_b | {"unit": ""}}
    held: dict[str, Any] = {"rule": "", "error": None, "n": 0, "windows": []}
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        drawn = np.column_stack([np.exp(fit.resamples[:, 0]), 1 / fit.resamples[:, 1]])
    own = {"levels": [dataclasses.asdict(level) for level in fit.levels], "held_out": held}
    own["resamples"] = kept(parameters, drawn) if found else {}
    return fields(CRITICAL_BATCH, points, fit.counts, parameters if found else {}, own, fit.flags)


CRITICAL_BATCH = Method(
    name="critical-batch",
    title="Critical batch size against loss",
    formula="B_crit = B_star/L^(1/alpha_B), (S/S_min - 1)(E/E_min - 1) = 1",
    source="Kaplan et al. 2020 (1.4, 5.1)",
    rule="learning curves after warm-up and before the decay, of at least three batch sizes",
    variables=("n_params", "batch_tokens", "steps"),
    published={"B_star": 2e8, "alpha_B": 0.21},
    derived=("alpha_B",),
    result=_result,
)
LAWS = (CRITICAL_BATCH,)
