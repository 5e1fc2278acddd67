"""Tables of runs made from known laws: 40 trunks whose budgets share noise. What a fit should give back is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scalinglaws.laws.allocation import CriticalBatch, LossNS, exponents
from scalinglaws.laws.catalogue import LAWS, PF_DAY
from scalinglaws.laws.fit import Objective, best_fit
from scalinglaws.laws.methods import METHODS
from scalinglaws.laws.result import frontier_exponents
from scalinglaws.laws.select import select
from scalinglaws.laws.uncertainty import bootstrap, covariance_interval, interval

TRUNKS, BUDGETS = 40, 3
SHARED, OWN = 0.004, 0.003  # relative noise of a trunk, and of each of its runs
Rng = np.random.Generator
Array = np.ndarray

OFFSET = {
    "power-n-offset": {"E": 1.7, "alpha_N": 0.3, "N_c": 1e6},
    "power-d-offset": {"E": 1.7, "alpha_D": 0.3, "D_c": 1e9},
    "power-c-offset": {"E": 1.7, "alpha_C": 0.2, "C_c": 1e15},
    "power-cmin-offset": {"E": 1.7, "alpha_C": 0.2, "C_c": 1e15},
    "envelope-offset": {"E": 1.7, "alpha_C": 0.2, "C_c": 1e15},
}
OVERTRAINING = {"E": 1.5, "a": 141.0, "b": 190.0, "eta": 0.12}


@dataclass(frozen=True)
class Planted:
    """Arguments of fit_table, and the parameters and exponents that were planted."""

    runs: pl.DataFrame
    truth: dict[str, float]
    curves: pl.DataFrame | None = None


def planted(law: str, seed: int) -> Planted:
    """A table for ``law`` from its published parameters, or those named here, with the noise of trunks and of runs."""
    return MAKERS[law](law, np.random.default_rng(seed))


def _noise(rng: Rng, trunks: int, each: int) -> Array:
    shared = np.repeat(rng.standard_normal(trunks), each)
    return np.exp(SHARED * shared + OWN * rng.standard_normal(trunks * each))


def _names(trunks: int, each: int) -> dict[str, list[str]]:
    return {
        "trunk": [f"t{i:02d}" for i in range(trunks) for _ in range(each)],
        "run": [f"t{i:02d}-{k}" for i in range(trunks) for k in range(each)],
    }


def _spread(rng: Rng, low: float, high: float, count: int = TRUNKS) -> Array:
    """Values even in the logarithm, each moved by up to half a step."""
    step = np.log(high / low) / count
    return np.asarray(low * np.exp(step * (np.arange(count) + rng.uniform(0, 1, count))))


def _one_variable(law: str, rng: Rng) -> Planted:
    truth = OFFSET.get(law) or dict(LAWS[law].published)
    (exponent,), (scale,) = ([key for key in truth if mark in key] for mark in ("alpha", "_c"))
    reach = {"power-n": (1e5, 1e9), "power-d": (2e7, 2e10)}.get(law, (1e-2 * truth[scale], 1e4 * truth[scale]))
    x = np.repeat(_spread(rng, *reach), BUDGETS)
    loss = truth.get("E", 0.0) + (truth[scale] / x) ** truth[exponent]
    column = {"N": "n_params", "D": "dataset_tokens"}[exponent[-1]]
    runs = pl.DataFrame(_names(TRUNKS, BUDGETS) | {column: x, "loss": loss * _noise(rng, TRUNKS, BUDGETS)})
    return Planted(runs, truth)


def _compute(law: str, rng: Rng) -> Planted:
    """One size and one budget of it for each compute, all on the frontier but for noise."""
    truth = OFFSET.get(law) or {"alpha_C": LAWS[law].published["alpha_C"], "C_c": LAWS[law].published["C_c"]}
    low, high = (1e-2 * truth["C_c"], 1e4 * truth["C_c"]) if "E" in truth else (1e-8 * PF_DAY, PF_DAY)
    c = _spread(rng, low, high)
    loss = truth.get("E", 0.0) + (truth["C_c"] / c) ** truth["alpha_C"]
    columns = {"n_params": np.sqrt(c / 6), "tokens": np.sqrt(c / 6), "flops": c, "flops_min": c}
    return Planted(pl.DataFrame(_names(TRUNKS, 1) | columns | {"loss": loss * _noise(rng, TRUNKS, 1)}), truth)


def _envelope(law: str, rng: Rng) -> Planted:
    """Learning curves that touch the frontier at one compute each and lie above it by a parabola in log C."""
    truth = OFFSET.get(law) or dict(LAWS[law].published)
    low, high = (1e-2 * truth["C_c"], 1e4 * truth["C_c"]) if "E" in truth else (1e-8 * PF_DAY, PF_DAY)
    best = _spread(rng, low, high)
    steps = np.linspace(-3.0, 3.0, 25)
    c = (best[:, None] * np.exp(steps)).ravel()
    frontier = truth.get("E", 0.0) + (truth["C_c"] / c) ** truth["alpha_C"]
    noise = np.repeat(np.exp(SHARED * rng.standard_normal(TRUNKS)), len(steps))
    loss = frontier * np.exp(0.02 * np.tile(steps, TRUNKS) ** 2) * noise * np.exp(OWN * rng.standard_normal(len(c)))
    n = np.repeat(1e3 * (best / best[0]) ** 0.7, len(steps))
    trunk = np.repeat([f"t{i:02d}" for i in range(TRUNKS)], len(steps))
    curves = pl.DataFrame({"run": trunk, "trunk": trunk, "n_params": n, "flops": c, "loss": loss})
    return Planted(_no_runs(), truth if "E" in truth else truth | {"a": 0.7, "b": 0.3}, curves)


def _no_runs() -> pl.DataFrame:
    return pl.DataFrame({"run": ["none"], "n_params": [1.0], "loss": [1.0]})


def _kaplan_nd(law: str, rng: Rng) -> Planted:
    """Eight sizes on five datasets."""
    truth = dict(LAWS[law].published)
    n, d = (grid.ravel() for grid in np.meshgrid(_spread(rng, 1e6, 1e10, 8), _spread(rng, 2e7, 2e10, 5)))
    n, d = np.repeat(n, BUDGETS), np.repeat(d, BUDGETS)
    loss = ((truth["N_c"] / n) ** (truth["alpha_N"] / truth["alpha_D"]) + truth["D_c"] / d) ** truth["alpha_D"]
    loss *= _noise(rng, TRUNKS, BUDGETS)
    return Planted(pl.DataFrame(_names(TRUNKS, BUDGETS) | {"n_params": n, "dataset_tokens": d, "loss": loss}), truth)


def _kaplan_ns(law: str, rng: Rng) -> Planted:
    truth, points = dict(LAWS[law].published), 12
    n = np.repeat(_spread(rng, 1e5, 1e9), points)
    s_min = np.tile(np.geomspace(3e3, 2e5, points), TRUNKS)
    loss = (truth["N_c"] / n) ** truth["alpha_N"] + (truth["S_c"] / s_min) ** truth["alpha_S"]
    curves = pl.DataFrame(
        _names(TRUNKS, points)
        | {"n_params": n, "steps_min": s_min, "flops": 6 * n * s_min * 1e5, "loss": loss * _noise(rng, TRUNKS, points)}
    )
    return Planted(_no_runs(), truth, curves.with_columns(run=pl.col("trunk")))


def _sizes_and_budgets(law: str, rng: Rng) -> Planted:
    """Forty sizes with three budgets of 5 to 500 tokens per parameter each, on a dataset of one budget for ``repetition``."""
    n = np.repeat(_spread(rng, 1e7, 1e10), BUDGETS)
    d = n * np.exp(rng.uniform(np.log(5), np.log(500), len(n)))
    data = d
    if law == "chinchilla":
        truth = dict(LAWS[law].published)
        loss = truth["E"] + truth["A"] * n ** -truth["alpha"] + truth["B"] * d ** -truth["beta"]
        del truth["a"], truth["b"]
        truth |= {"a": truth["beta"] / (truth["alpha"] + truth["beta"]), "b": truth["alpha"] / (truth["alpha"] + truth["beta"])}
    elif law == "overtraining":
        truth, compute, ratio = dict(OVERTRAINING), 6 * n * d, d / n
        loss = truth["E"] + (truth["a"] * ratio ** truth["eta"] + truth["b"] * ratio ** -truth["eta"]) * compute ** -truth["eta"]
    else:
        truth = dict(LAWS[law].published)
        data = d / np.exp(rng.uniform(0, np.log(60), len(n))) * np.tile([1.0, 1.0, 60.0], TRUNKS)
        loss = repeated_loss(truth, n, d, data)
    table = {"n_params": n, "tokens": d, "dataset_tokens": data, "loss": loss * _noise(rng, TRUNKS, BUDGETS)}
    return Planted(pl.DataFrame(_names(TRUNKS, BUDGETS) | table), truth)


def repeated_loss(p: dict[str, float], n: Array, tokens: Array, dataset: Array) -> Array:
    """Muennighoff et al. 2023, (5) and (6), written down a second time: with U_D and U_N, not their logarithms."""
    u_d = np.minimum(tokens, dataset)
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    u_n = np.minimum(n, (u_d * g) ** (p["beta"] / p["alpha"]) * g)
    d_eff = u_d + u_d * p["R_D*"] * (1 - np.exp(-(tokens / u_d - 1) / p["R_D*"]))
    n_eff = u_n + u_n * p["R_N*"] * (1 - np.exp(-(n / u_n - 1) / p["R_N*"]))
    return np.asarray(p["E"] + p["A"] / n_eff ** p["alpha"] + p["B"] / d_eff ** p["beta"])


def _isoflop(law: str, rng: Rng) -> Planted:
    """Nine computes, each with eleven sizes about the best by Chinchilla's law; a run is its own trunk."""
    p = LAWS["chinchilla"].published
    a = p["beta"] / (p["alpha"] + p["beta"])
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    c = np.repeat(np.geomspace(1e17, 1e21, 9), 11)
    n = g * (c / 6) ** a * np.tile(np.geomspace(1 / 8, 8, 11), 9)
    loss = p["E"] + p["A"] * n ** -p["alpha"] + p["B"] * (c / (6 * n)) ** -p["beta"]
    loss *= np.exp(OWN * rng.standard_normal(len(n)))
    return Planted(pl.DataFrame({"n_params": n, "tokens": c / (6 * n), "flops": c, "loss": loss}), {"a": a, "b": 1 - a})


def _critical(law: str, rng: Rng) -> Planted:
    """Learning curves of two sizes at seven batch sizes about B_crit; the noise of a curve and of its points."""
    loss_of, critical = LossNS(0.077, 0.76, 6.5e13, 2.1e3), CriticalBatch(2e8, 0.21)
    frames = []
    for n in (1e6, 1e7):
        for b in critical.tokens(np.array([5.0]))[0] * np.geomspace(1 / 8, 8, 7):
            s_min = np.geomspace(500, 20_000, 100)
            loss = loss_of.loss(n, s_min)
            steps = s_min * (1 + critical.tokens(loss) / b)
            loss = loss * np.exp(0.001 * rng.standard_normal() + 0.001 * rng.standard_normal(100))
            name = [f"N{n:.0e}-B{b:.4g}"] * 100
            frames.append(pl.DataFrame({"run": name, "n_params": n, "batch_tokens": b, "steps": steps, "loss": loss}))
    curves = pl.concat(frames).with_columns(tokens=pl.col("steps") * pl.col("batch_tokens"))
    return Planted(
        _no_runs(), {"B_star": 2e8, "alpha_B": 0.21}, curves.with_columns(flops=6 * pl.col("n_params") * pl.col("tokens"))
    )


MAKERS: dict[str, Callable[[str, Rng], Planted]] = {
    **dict.fromkeys(("power-n", "power-n-offset", "power-d", "power-d-offset"), _one_variable),
    **dict.fromkeys(("power-c", "power-c-offset", "power-cmin", "power-cmin-offset"), _compute),
    **dict.fromkeys(("envelope", "envelope-offset"), _envelope),
    "kaplan-nd": _kaplan_nd,
    "kaplan-ns": _kaplan_ns,
    **dict.fromkeys(("chinchilla", "overtraining", "repetition"), _sizes_and_budgets),
    "isoflop": _isoflop,
    "critical-batch": _critical,
}


def intervals(law: str, made: Planted, seed: int, resamples: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bootstrap and sandwich intervals of parameters and exponents, as fit_table finds them; without its held-out fits."""
    if law in METHODS:
        points = select(made.runs, law, METHODS[law].variables, curves=made.curves)
        fitted = METHODS[law].result(points, resamples, seed, False)
        return fitted["parameters"] | fitted.get("exponents", {}), {}
    form = LAWS[law]
    points = select(made.runs, law, form.variables, curves=made.curves)
    fit = best_fit(form, points.log_variables(form.variables), np.log(points.loss), Objective())
    drawn = bootstrap(fit, points.trunk, resamples, seed)
    names = [parameter.name for parameter in form.parameters]
    found = {
        parameter.name: interval(float(fit.natural[k]), drawn.natural[:, k], parameter.log, drawn.n_trunks)
        for k, parameter in enumerate(form.parameters)
    }
    if law == "chinchilla":
        best, each = exponents(*fit.natural[-2:]), exponents(*drawn.natural[:, -2:].T)
        found |= {name: interval(float(best[k]), each[k], False, drawn.n_trunks) for k, name in enumerate("ab")}
    if law == "envelope":
        found |= frontier_exponents(points, resamples, seed)
    return found, dict(zip(names, covariance_interval(fit, points.trunk), strict=True))
