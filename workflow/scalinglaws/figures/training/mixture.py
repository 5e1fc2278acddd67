"""Mixtures of text: the loss on each of the mixed corpora against its share, with the law of data mixing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import short
from scalinglaws.figures.shared import fit_json, style
from scalinglaws.figures.shared.scales import Scale
from scalinglaws.laws.mixture import best_mixture, losses_at
from scalinglaws.laws.mixture_points import GROUP, LOSS, SHARE, points_of, shares_of, texts
from scalinglaws.laws.select import Points
from scalinglaws.laws.uncertainty import interval

TITLE = "Mixtures of text"
CAPTION = """
Models were trained on mixtures of corpora. The final loss on the text of a corpus is shown against its share of the training
tokens (**a**, **b**), and the mean over all texts with the mixture of least loss as a star (**c**). Lines are the law of data
mixing with 95 % bands, and bars are 1.96 standard errors.
"""
SHOWN = 2  # corpora that have a panel of their own
GRID = 101  # points of a line
MEAN = "Mean loss (nats per token)"


@dataclass(frozen=True)
class Series:
    """The runs of one size: shares (n, M), and on the text of each corpus losses and standard errors (n, M), with their fit."""

    n_params: int
    corpora: list[str]
    shares: np.ndarray
    losses: np.ndarray
    errors: np.ndarray
    group: dict[str, Any] | None

    def column(self, corpora: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean losses on the texts of some corpora, and their standard errors."""
        k = [self.corpora.index(name) for name in corpora]
        return self.losses[:, k].mean(axis=1), np.sqrt((np.nan_to_num(self.errors[:, k]) ** 2).sum(axis=1)) / len(k)

    def saw(self, corpora: Sequence[str]) -> np.ndarray:
        """Return whether each run was trained on some of each of these corpora (n,)."""
        return np.asarray((self.shares[:, [self.corpora.index(name) for name in corpora]] > 0).all(axis=1))

    def law(self, corpora: Sequence[str], shares: np.ndarray) -> np.ndarray | None:
        """Return what the fit says of that mean at shares (n, M): its value and the ends of its interval, (3, n)."""
        if self.group is None or not set(corpora) <= set(self.group["texts"]):
            return None
        found = [losses_at(self.group, name, shares) for name in corpora]
        value, draws = np.mean([best for best, _ in found], axis=0), np.mean([each for _, each in found], axis=0)
        freedom = min(self.group["texts"][name]["freedom"] for name in corpora)
        ends = [interval(float(value[k]), draws[:, k], True, freedom + 1) for k in range(len(value))]
        return np.array([value, [end["ci_low"] for end in ends], [end["ci_high"] for end in ends]])


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the losses on two of the mixed corpora against their shares, and the mean over the texts of all of them.

    Of several budgets of a size the largest is taken. Between three corpora or more a share does not tell the mixture, so there
    are no lines: what the law says of each run is drawn beside it.
    """
    figure, axes = style.panels(SHOWN + 1)
    fit = fits.get("mixture")
    try:
        every = tables["runs"].with_columns(fitted=polars.lit(True))  # those with fit: false are drawn as well
        found = series(points_of(every, tables["evals"], {}, None, None), tables["evals"], fit)
    except StudyError as error:
        for axis in axes:
            style.sentence(axis, f"not resolved: {error}" + ("" if fit else "; this study has no fit of mixture"))
        return figure
    corpora = found[0].corpora
    scale = Scale([one.n_params for one in found], "N (non-embedding parameters)")
    for axis, name in zip(axes, corpora, strict=False):
        _panel(axis, found, [name], name, scale, f"Loss on {name} (nats per token)")
    _panel(axes[-1], found, corpora, corpora[0], scale, MEAN if len(corpora) == SHOWN else f"{MEAN[:-1]}, {len(corpora)} texts)")
    _legend(axes[0], found, fit)
    style.legend_below(axes[1], _unseen(found, corpora[:SHOWN]))
    style.legend_below(axes[-1], _best(axes[-1], found, scale))
    scale.bar(figure, axes)
    return figure


def series(points: Points, evals: polars.DataFrame, fit: fit_json.Fit | None) -> list[Series]:
    """Return the runs of each size at its largest budget, from the smallest size up.

    Those that lack a loss on one of the texts are left out, and so are sizes whose corpora are not those of the largest size.
    """
    corpora = texts(points, SHARE)
    errors = {
        (run, name): error
        for run, name, error in evals.filter(polars.col("position").is_null()).select("run", "corpus_name", "stderr").iter_rows()
    }
    columns, all_shares, out = points.columns, shares_of(points), {}
    for number in sorted(np.unique(columns[GROUP]), key=lambda k: columns["tokens"][columns[GROUP] == k][0]):
        of = np.flatnonzero(columns[GROUP] == number)
        own = [k for k, name in enumerate(corpora) if all_shares[of, k].any() and f"{LOSS}{name}" in columns]
        losses = np.column_stack([columns[f"{LOSS}{corpora[k]}"][of] for k in own])
        of, losses = of[np.isfinite(losses).all(axis=1)], losses[np.isfinite(losses).all(axis=1)]
        names, size = [corpora[k] for k in own], {name: float(columns[name][of[0]]) for name in ("n_params", "tokens")}
        stderr = np.array([[errors.get((points.run[i], name)) or np.nan for name in names] for i in of])
        groups = [each for each in (fit or {}).get("groups", []) if all(each[name] == value for name, value in size.items())]
        fitted = groups[0] if groups and groups[0]["corpora"] == names else None
        out[int(size["n_params"])] = Series(int(size["n_params"]), names, all_shares[of][:, own], losses, stderr, fitted)
    largest = out[max(out)]
    return [one for _, one in sorted(out.items()) if one.corpora == largest.corpora]


def _panel(axis: Axes, found: Sequence[Series], over: Sequence[str], against: str, scale: Scale, label: str) -> None:
    """Draw the mean losses on the texts ``over`` against the share of the corpus ``against``, and what the law says."""
    reach = []
    for one in found:
        place, colour = one.corpora.index(against), scale(one.n_params)
        seen, (losses, errors) = one.saw(over), one.column(over)
        x, half = one.shares[:, place], style.Z95 * errors
        for mine, fill in ((seen, colour), (~seen, "white")):
            axis.errorbar(
                100 * x[mine], losses[mine], yerr=half[mine], fmt="o", color=colour, markerfacecolor=fill, markersize=3.6,
                elinewidth=0.7, zorder=5,
            )  # fmt: skip
        reach += [*(losses - half)[seen], *(losses + half)[seen]]
        if len(one.corpora) == 2:
            grid = np.linspace(x[seen].min(), x[seen].max(), GRID)
            law = one.law(over, np.column_stack([grid, 1 - grid] if place == 0 else [1 - grid, grid]))
        else:
            grid, law = x[seen], one.law(over, one.shares[seen])
        if law is None:
            continue
        if len(one.corpora) == 2:
            axis.plot(100 * grid, law[0], "--", color=colour, zorder=4)
            axis.fill_between(100 * grid, law[1], law[2], color=colour, alpha=0.15, linewidth=0, zorder=1.5)
        else:
            axis.plot(
                100 * grid, law[0], "o", color=colour, markerfacecolor="white", markersize=5.5, markeredgewidth=0.7, zorder=4
            )
        reach += [*law[0]]
    style.loss_axis(axis, reach, label)
    axis.set_xlim(-4, 104)
    axis.set_xticks([0, 25, 50, 75, 100])
    axis.set_xlabel(f"Training tokens of {against} (%)")


def _legend(axis: Axes, found: Sequence[Series], fit: fit_json.Fit | None) -> None:
    """Say what points and lines are, how far the law misses the losses, and why it is doubted."""
    law = [one for one in found if one.group is not None]
    axis.plot([], [], "o", color="0.3", markersize=3.6, label="trained on one mixture")
    notes = []
    if law:
        two = len(found[0].corpora) == 2
        style_of: dict[str, Any] = {} if two else {"markerfacecolor": "white", "markersize": 5.5}
        axis.plot([], [], "--" if two else "o", color="0.3", label=r"fit: $L_i = c_i + k_i\,\exp(\sum_j t_{ij} r_j)$", **style_of)
        most = max(text["misfit"] for one in law for text in (one.group or {})["texts"].values())
        notes.append(f"misfit of {100 * most:.2g} % at most (rms)")
    doubt = fit_json.unresolved(fit, "mixture", ())
    style.legend_below(axis, [*notes, *fit_json.brief(doubt, 1)])


def _unseen(found: Sequence[Series], corpora: Sequence[str]) -> list[str]:
    """Say what losses models have on corpora that they saw nothing of, which mostly lie above the panels; empty without any."""
    out = []
    for name in corpora:
        losses = [float(loss) for one in found for loss in one.losses[~one.saw([name]), one.corpora.index(name)]]
        ends = " to ".join(dict.fromkeys(f"{value:.3g}" for value in (min(losses), max(losses)))) if losses else ""
        out += [f"{name} unseen: {ends}"] if losses else []
    return ["hollow: unseen text, not fitted", *out] if out else []


def _best(axis: Axes, found: Sequence[Series], scale: Scale) -> list[str]:
    """Draw the mixtures of two corpora that have the least mean loss by the fits, and say which those of all sizes are."""
    notes = []
    for one in found:
        if one.group is None or len(one.corpora) != 2 or not set(one.corpora) <= set(one.group["texts"]):
            continue
        best = best_mixture(one.group, dict.fromkeys(one.corpora, 1.0))[one.corpora[0]]
        at = best["estimate"]
        law = one.law(one.corpora, np.array([[at, 1 - at]]))
        assert law is not None
        low, high = best["ci_low"], best["ci_high"]
        sides = style.sides(100 * at, 100 * low, 100 * high)
        axis.errorbar(
            [100 * at], [law[0, 0]], xerr=sides, fmt="*", color=scale(one.n_params), markersize=7, elinewidth=0.9, zorder=6
        )
        ends = f" [{100 * low:.0f}, {100 * high:.0f}]" if np.isfinite([low, high]).all() else " (no interval)"
        notes.append(f"{short(one.n_params)}: {100 * at:.0f} %{ends}")
    if len(notes) > 3:
        notes = [notes[0], notes[-1]]
    return [f"least mean loss at, of {found[0].corpora[0]},", *notes] if notes else []
