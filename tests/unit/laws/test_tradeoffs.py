"""What follows from a law of size and tokens, beside closed forms and a search over a grid."""

from __future__ import annotations

import numpy as np
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.tradeoffs import Surface, surface_of

LAW = Surface(1.69, 406.4, 410.7, 0.34, 0.28)  # Hoffmann et al. 2022, approach 3


def test_the_least_compute_of_a_loss_is_that_of_the_best_run() -> None:
    flops = np.geomspace(1e15, 1e27, 7)
    n, d = LAW.best(flops)
    assert 6 * n * d == pytest.approx(flops)
    assert LAW.least_flops(LAW.loss(n, d)) == pytest.approx(flops, rel=1e-6)
    assert LAW.least_flops(LAW.e) == np.inf


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 3.0])
def test_a_wrong_size_is_worth_what_the_closed_form_says(factor: float) -> None:
    """At the same compute, (L − E)/(L_opt − E) = (β f^−α + α f^β)/(α + β), and L_opt − E falls as C^−(αβ/(α + β))."""
    a, b, flops = LAW.alpha, LAW.beta, 3e21
    n = factor * float(LAW.best(flops)[0])
    ratio = (b * factor**-a + a * factor**b) / (a + b)
    worth = float(LAW.least_flops(LAW.loss(n, flops / (6 * n)))) / flops
    assert worth == pytest.approx(ratio ** -((a + b) / (a * b)), rel=1e-6)


def test_tokens_lead_to_the_loss_or_never() -> None:
    assert float(LAW.loss(1e9, LAW.tokens_to(1e9, 2.5))) == pytest.approx(2.5)
    smallest = LAW.smallest(2.5)
    assert np.isinf(LAW.tokens_to(0.999 * smallest, 2.5)) and np.isfinite(LAW.tokens_to(1.001 * smallest, 2.5))


@pytest.mark.parametrize("served", [0.0, 1e10, 1e12, 1e15])
@pytest.mark.parametrize("loss", [2.0, 2.6])
def test_the_model_to_serve_is_the_best_of_a_grid(served: float, loss: float) -> None:
    n, d = LAW.cheapest(loss, served)
    sizes = LAW.smallest(loss) * np.geomspace(1 + 1e-5, 1e3, 200_001)
    tokens = LAW.tokens_to(sizes, loss)
    total = 6 * sizes * tokens + 2 * sizes * served
    best = int(np.argmin(total))
    assert float(LAW.loss(n, d)) == pytest.approx(loss)
    assert 6 * n * d + 2 * n * served <= total[best] * (1 + 1e-9)
    assert n == pytest.approx(sizes[best], rel=1e-2)
    if not served:
        assert n == pytest.approx(float(LAW.best(LAW.least_flops(loss))[0]), rel=1e-6)


def test_no_model_of_a_loss_below_the_constant_is_served() -> None:
    with pytest.raises(StudyError, match="not above E"):
        LAW.cheapest(1.6, 1e12)


def test_overtraining_is_the_same_surface_in_other_words() -> None:
    """Its own formula, L = E + (a·M^eta + b·M^−eta)·C^−eta with M = D/N and C = 6ND."""
    e, a, b, eta = 1.5, 141.0, 190.0, 0.12
    found = surface_of("overtraining", [e, a, b, eta])
    n, d = 2e8, 7e9
    assert float(found.loss(n, d)) == pytest.approx(e + (a * (d / n) ** eta + b * (d / n) ** -eta) * (6 * n * d) ** -eta)
    assert set(LAWS["overtraining"].variables) == {"n_params", "tokens"}
    drawn = surface_of("chinchilla", [[1.7, 400.0, 400.0, 0.3, 0.3]] * 2)
    assert np.asarray(drawn.best(1e21)[0]).shape == (2,)
