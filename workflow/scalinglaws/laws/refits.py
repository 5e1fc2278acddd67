"""Published fits of the laws, by law: what other studies found with the same equation or method, to stand beside a fit.

Exponents can be compared. Scales and offsets have the units of a vocabulary and of a text, which differ between these studies.

References
----------
Hoffmann et al. 2022 (arXiv:2203.15556), section 3 and appendix D.3.
Besiroglu et al. 2024 (arXiv:2404.10102), table 1.
Muennighoff et al. 2023 (arXiv:2305.16264), appendix A.
Gadre et al. 2024 (arXiv:2403.08540); a fit of their five small runs of each text by raw residuals gives the same numbers.
Porian et al. 2024 (arXiv:2406.19146), figure 1.
McLeish et al. 2025 (arXiv:2502.06857), github.com/mcleish7/gemstone-scaling-laws.
Li et al. 2025 (arXiv:2506.10972), Farseer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Refit:
    """A published fit: who made it, what it was fitted ``of``, and the values of parameters and exponents by name."""

    source: str
    of: str
    values: Mapping[str, float]


def _chinchilla(e: float, a: float, b: float, alpha: float, beta: float) -> dict[str, float]:
    return {"E": e, "A": a, "B": b, "alpha": alpha, "beta": beta}


def _overtraining(e: float, a: float, b: float, eta: float) -> dict[str, float]:
    return {"E": e, "a": a, "b": b, "eta": eta}


_PORIAN = "Porian et al. 2024"
OF_LAW: dict[str, tuple[Refit, ...]] = {
    "chinchilla": (
        Refit(
            "Hoffmann et al. 2022, approach 3",
            "MassiveText",
            _chinchilla(1.69, 406.4, 410.7, 0.34, 0.28) | {"a": 0.46, "b": 0.54},
        ),
        Refit("Besiroglu et al. 2024", "the runs of Hoffmann et al.", _chinchilla(1.8172, 482.01, 2085.43, 0.3478, 0.3658)),
        Refit("Muennighoff et al. 2023", "C4", _chinchilla(1.87, 521.0, 1488.0, 0.3526596, 0.3526596)),
        Refit("McLeish et al. 2025", "Gemstones, decayed", _chinchilla(2.0746, 225.8, 272_100.0, 0.3003, 0.5802)),
        Refit("McLeish et al. 2025", "Gemstones, before the decay", _chinchilla(2.1431, 213.0, 4_955_000.0, 0.2929, 0.7129)),
    ),
    "overtraining": (
        Refit("Gadre et al. 2024", "C4", _overtraining(1.51, 141.0, 190.0, 0.121)),
        Refit("Gadre et al. 2024", "RedPajama", _overtraining(1.84, 212.0, 367.0, 0.136)),
        Refit("Gadre et al. 2024", "RefinedWeb", _overtraining(1.73, 157.0, 246.0, 0.127)),
    ),
    "repetition": (
        Refit(
            "Muennighoff et al. 2023",
            "C4",
            _chinchilla(1.87, 521.0, 1488.0, 0.3526596, 0.3526596) | {"R_D*": 15.387756, "R_N*": 5.309743},
        ),
    ),
    "farseer": (
        Refit(
            "Li et al. 2025",
            "bits per character of English text",
            {
                "a1": -0.124,
                "b1": 0.424,
                "alpha": 0.123,
                "a2": 88.01,
                "b2": -6.287,
                "beta": -0.1,
                "a3": -0.021,
                "b3": -0.091,
                "gamma": 0.169,
            },
        ),
    ),
    "envelope": (Refit("Hoffmann et al. 2022, approach 1", "MassiveText", {"a": 0.50, "b": 0.50}),),
    "isoflop": (
        Refit("Hoffmann et al. 2022, approach 2", "MassiveText", {"a": 0.49, "b": 0.51}),
        Refit(_PORIAN, "RefinedWeb, as Kaplan et al. 2020 count and train", {"a": 0.835, "b": 0.165}),
        Refit(_PORIAN, "with the FLOP of the last layer", {"a": 0.706, "b": 0.294}),
        Refit(_PORIAN, "with a warm-up that suits each size", {"a": 0.602, "b": 0.398}),
        Refit(_PORIAN, "with a decay that suits each budget", {"a": 0.571, "b": 0.429}),
        Refit(_PORIAN, "with an optimizer that is tuned to each size", {"a": 0.497, "b": 0.503}),
    ),
}


def published(law: str) -> dict[str, float]:
    """Return the values of the study that a law is from, which are the first of its published fits."""
    return dict(OF_LAW[law][0].values)


def of_law(law: str) -> list[dict[str, object]]:
    """Return the published fits of a law as plain values: ``source``, ``of`` and ``values`` of each."""
    return [{"source": each.source, "of": each.of, "values": dict(each.values)} for each in OF_LAW.get(law, ())]
