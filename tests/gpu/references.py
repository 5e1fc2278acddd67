"""Optimizers as the papers write them, in NumPy with float64. Nothing here is taken from the package.

Each is a function of (weights, gradient, state, step) for one parameter, where ``state`` is a dictionary of its own and ``step``
counts from 1, and returns the new weights. Weight decay acts beside the gradient, on matrices alone (Loshchilov and Hutter 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
State = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The settings of an optimizer; ``beta1`` is the momentum of those that have one."""

    rate: float
    beta1: float
    beta2: float
    weight_decay: float
    clip: float


def adamw(settings: Settings, name: str, w: Array, g: Array, state: State, t: int) -> Array:
    """Take a step of AdamW: Loshchilov and Hutter 2019, algorithm 2, with the epsilon 1e-8 of Kingma and Ba 2015."""
    state["m"] = settings.beta1 * state.get("m", 0.0) + (1 - settings.beta1) * g
    state["v"] = settings.beta2 * state.get("v", 0.0) + (1 - settings.beta2) * g**2
    m, v = state["m"] / (1 - settings.beta1**t), state["v"] / (1 - settings.beta2**t)
    return decayed(settings, w) - settings.rate * m / (np.sqrt(v) + 1e-8)


def sgd(settings: Settings, name: str, w: Array, g: Array, state: State, t: int) -> Array:
    """Take a step of gradient descent with momentum: Sutskever et al. 2013, equations 1 and 2, with the rate outside of v."""
    state["v"] = settings.beta1 * state.get("v", 0.0) + g
    moved: Array = decayed(settings, w) - settings.rate * state["v"]
    return moved


def adafactor(settings: Settings, name: str, w: Array, g: Array, state: State, t: int) -> Array:
    """Take a step of Adafactor: Shazeer and Stern 2018, algorithms 4 and 5, with the rate as the largest relative step."""
    keep = 1 - t**-0.8
    square = g**2 + 1e-30
    if w.ndim > 1:
        state["r"] = keep * state.get("r", 0.0) + (1 - keep) * square.mean(-1, keepdims=True)
        state["c"] = keep * state.get("c", 0.0) + (1 - keep) * square.mean(-2, keepdims=True)
        second = state["r"] * state["c"] / state["r"].mean(-2, keepdims=True)
    else:
        second = state["v"] = keep * state.get("v", 0.0) + (1 - keep) * square
    update = g / np.sqrt(second)
    update /= max(1.0, rms(update))
    w = decayed(settings, w)
    return w - max(1e-3, rms(w)) * min(settings.rate, 1 / math.sqrt(t)) * update


def muon(settings: Settings, name: str, w: Array, g: Array, state: State, t: int) -> Array:
    """Take a step of Muon (Jordan et al. 2024) for a matrix of a layer, scaled by Liu et al. 2025, equation 4; else of AdamW."""
    if w.ndim != 2 or "embedding" in name:
        return adamw(settings, name, w, g, state, t)
    state["m"] = settings.beta1 * state.get("m", 0.0) + (1 - settings.beta1) * g
    update = orthogonal(settings.beta1 * state["m"] + (1 - settings.beta1) * g)
    return decayed(settings, w) - settings.rate * 0.2 * math.sqrt(max(w.shape)) * update


def orthogonal(x: Array) -> Array:
    """Return a matrix with the singular vectors of another and singular values of about 1, by five Newton-Schulz iterations."""
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / np.linalg.norm(wide)
    for _ in range(5):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide.T if x.shape[0] > x.shape[1] else wide


def decayed(settings: Settings, w: Array) -> Array:
    """Return weights after their decay, which spares biases and norms."""
    return w * (1 - settings.rate * settings.weight_decay) if w.ndim > 1 else w


def rms(x: Array) -> float:
    """Return the root of the mean of the squares."""
    return math.sqrt(float(np.mean(x**2)))


REFERENCES: Mapping[str, Callable[[Settings, str, Array, Array, State, int], Array]] = {
    "adamw": adamw,
    "sgd": sgd,
    "adafactor": adafactor,
    "muon": muon,
}


def steps(kind: str, settings: Settings, weights: dict[str, Array], gradients: list[dict[str, Array]]) -> dict[str, Array]:
    """Return the weights by name after a step for each set of gradients, of which each is first clipped as a whole."""
    states: dict[str, State] = {name: {} for name in weights}
    for t, named in enumerate(gradients, start=1):
        norm = math.sqrt(sum(float(np.sum(g**2)) for g in named.values()))
        scale = max(1.0, norm / settings.clip)
        weights = {name: REFERENCES[kind](settings, name, w, named[name] / scale, states[name], t) for name, w in weights.items()}
    return weights
