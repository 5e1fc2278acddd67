"""What follows from L = E + A/N^alpha + B/D^beta: the best size, the price of another one, and models that are to be served.

N is in parameters, D in tokens, L in nats per token. Training takes C = 6ND FLOP and serving 2N FLOP for each token.

References
----------
Hoffmann et al. 2022 (arXiv:2203.15556), (4): the best size of a compute.
Sardana et al. 2024 (arXiv:2401.00448), (1): the model that is cheapest to train and to serve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.allocation import optimum
from scalinglaws.laws.fit import Fit
from scalinglaws.laws.forms import Array

SURFACES = ("chinchilla", "overtraining")  # the laws that are such an equation, the more general one first
CLOSE = 1e-9  # e-folds to which the size of a served model is found
NEAREST = 1e-6  # share of the smallest size that can reach a loss, by which the search for the best one stays above it


@dataclass(frozen=True)
class Surface:
    """The law L = E + A/N^alpha + B/D^beta. Its functions take numbers or arrays that broadcast against each other."""

    e: float
    scale_n: float
    scale_d: float
    alpha: float
    beta: float

    def loss(self, n_params: ArrayLike, tokens: ArrayLike) -> Array:
        """Return the loss of N parameters after D tokens."""
        n, d = np.asarray(n_params, np.float64), np.asarray(tokens, np.float64)
        return self.e + self.scale_n * n**-self.alpha + self.scale_d * d**-self.beta

    def best(self, flops: ArrayLike) -> tuple[Array, Array]:
        """Return (N_opt, D_opt), the parameters and tokens of least loss at a compute C = 6ND."""
        return optimum(flops, self.scale_n, self.scale_d, self.alpha, self.beta)

    def least_flops(self, loss: ArrayLike) -> Array:
        """Return the least compute in FLOP that reaches a loss; inf for a loss of E or less.

        Along the best sizes L − E falls as C^−gamma with gamma = alpha·beta/(alpha + beta).
        """
        of_one = float(self.loss(*self.best(1.0))) - self.e
        gamma = self.alpha * self.beta / (self.alpha + self.beta)
        with np.errstate(divide="ignore"):
            return of_one ** (1 / gamma) * np.maximum(np.asarray(loss, np.float64) - self.e, 0.0) ** (-1 / gamma)

    def tokens_to(self, n_params: ArrayLike, loss: ArrayLike) -> Array:
        """Return the tokens D after which N parameters reach a loss; inf where they never do."""
        rest = np.asarray(loss, np.float64) - self.e - self.scale_n * np.asarray(n_params, np.float64) ** -self.alpha
        with np.errstate(divide="ignore"):
            return (np.maximum(rest, 0.0) / self.scale_d) ** (-1 / self.beta)

    def smallest(self, loss: float) -> float:
        """Return the size N in parameters above which a model reaches a loss; inf for a loss of E or less."""
        with np.errstate(divide="ignore"):
            return float((np.maximum(loss - self.e, 0.0) / self.scale_n) ** (-1 / self.alpha))

    def cheapest(self, loss: float, served: float) -> tuple[float, float]:
        """Return the size N and the tokens D of least 6ND + 2N·``served`` among the models that reach a loss.

        Parameters
        ----------
        loss
            The loss, in nats per token.
        served
            The tokens that the model reads and writes after its training; with 0 the model is the best one to train alone.

        Raises
        ------
        StudyError
            The loss is E or less, which no model reaches.

        References
        ----------
        Sardana et al. 2024 (arXiv:2401.00448), (1).
        """
        if not loss > self.e:
            raise StudyError(
                f"a loss of {loss:.4g} nats is not above E = {self.e:.4g}, the least of the law: no model reaches it"
            )
        largest = float(self.best(self.least_flops(loss))[0])
        ends = np.log(self.smallest(loss) * (1 + NEAREST)), np.log(largest)

        def total(log_n: float) -> float:
            """Return the log of the FLOP of training and serving at a log size, which has one minimum between the ends."""
            return log_n + float(np.log(6 * self.tokens_to(np.exp(log_n), loss) + 2 * served))

        found = minimize_scalar(total, bounds=ends, method="bounded", options={"xatol": CLOSE})
        n = float(np.exp(min((ends[1], float(found.x)), key=total)))
        return n, float(self.tokens_to(n, loss))


def surface_of(law: str, natural: ArrayLike) -> Surface:
    """Return a law of SURFACES with its natural parameters as a surface; of resamples (B, P), one with parameters (B,)."""
    values = np.asarray(natural, np.float64).T
    if law == "chinchilla":
        return Surface(*values)
    e, a, b, eta = values
    return Surface(e, a * 6**-eta, b * 6**-eta, 2 * eta, 2 * eta)


def surface(fit: Fit) -> Surface:
    """Return the fit of a law of SURFACES as a surface."""
    found = surface_of(fit.law.name, fit.natural)
    return Surface(*map(float, (found.e, found.scale_n, found.scale_d, found.alpha, found.beta)))
