"""Figure 5: loss change at fixed N against d_ff/d_model, d_model/n_layer and d_attn/n_heads."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures import comparing, fitted, style
from scalinglaws.figures.groups import same_size
from scalinglaws.figures.registry import FIGURES

REQUIRES = FIGURES["fig05_shape"].requires

# Of each panel: the ratio, its axis, and what its models must agree in.
RATIOS = (
    ("feed_forward", "Feed-forward ratio d_ff / d_model", ("n_layer", "attention")),
    ("aspect", "Aspect ratio d_model / n_layer", ("feed_forward", "attention")),
    ("head_width", "Head width d_attn / n_heads", ("n_layer", "d_model", "d_ff", "d_attn")),
)


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fitted.Fit]) -> Figure:
    """Each panel: for each size the series of models in which that ratio varies and most others do not, in percent
    against its best model; the band is what two runs of a model differ by.
    """
    figure, axes = style.panels(style.PAGE, 3.3, 3)
    runs = tables["runs"]
    every = [series(runs, ratio, fixed) for ratio, _, fixed in RATIOS]
    scale = style.Scale([int(one["n_params"][0]) for panel in every for one in panel], "N (non-embedding parameters)")
    for axis, panel, (ratio, label, _) in zip(axes, every, RATIOS, strict=True):
        notes = []
        for one in panel:
            colour, (half, source) = scale(int(one["n_params"][0])), band(runs, one)
            change = one["change"].to_numpy()
            axis.axhspan(-half, half, color=colour, alpha=0.12, linewidth=0)
            axis.plot(one[ratio], change, "o-", color=colour, linewidth=0.8, label=comparing.described(one))
            notes += [f"N {comparing.span(one, 'n_params')}: {verdict(one[ratio].to_numpy(), change, half)}", source]
        _axis(axis, panel, ratio, label)
        if panel:
            style.legend_below(axis, [*dict.fromkeys(notes)], width=44)
    axes[0].set_ylabel("Loss above the best of the size (%)")
    scale.bar(figure, axes)
    return figure


def series(runs: polars.DataFrame, ratio: str, fixed: tuple[str, ...]) -> list[polars.DataFrame]:
    """For each size the longest series of models that differ in ``ratio``, averaged over seeds, with ``change`` in percent.

    Where N fixed lets the head width differ it is kept as near as possible to the usual one.
    """
    best: dict[float, polars.DataFrame] = {}
    for group in same_size(runs.filter(~polars.col("dataset_limited").fill_null(False)), 2, ("seed",)):
        table = comparing.proportions(comparing.over_seeds(group))
        for part in table.partition_by(fixed, maintain_order=True):
            one = part if ratio == "head_width" else comparing.usual_heads(part, [ratio])
            one = one.unique(ratio, keep="first", maintain_order=True).sort(ratio)
            size = float(group["n_params"].min())  # type: ignore[arg-type]
            known = best.get(size)
            if len(one) > 1 and (known is None or _rank(one) > _rank(known)):
                best[size] = one
    change = 100 * (polars.col("loss") / polars.col("loss").min() - 1)
    return [best[size].with_columns(change=change) for size in sorted(best)]


def _rank(one: polars.DataFrame) -> tuple[int, int, int]:
    return len(one), int(one["tokens"][0]), int(one["seeds"].sum())


def band(runs: polars.DataFrame, one: polars.DataFrame) -> tuple[float, str]:
    """(half-width in percent of the difference that two models of a series show by chance, where it is from)."""
    known = comparing.noise(runs, float(one["n_params"].median()))  # type: ignore[arg-type]
    if known is None:
        stderr = float((one["loss_stderr"] / one["loss"]).mean() or 0.0)  # type: ignore[arg-type, operator]
        return 100 * style.Z95 * stderr, "band: ±1.96 standard errors of the test loss (no run has a second seed)"
    half = 100 * style.Z95 * known[0] * float(np.sqrt(2 / float(one["seeds"].mean())))  # type: ignore[arg-type]
    return half, "band: 95 % of differences between seeds"


def verdict(ratio: np.ndarray, change: np.ndarray, half: float) -> str:
    """What a series says: where its best model lies and what the worst loses, or that it tells nothing."""
    where = f"from {ratio.min():.3g} to {ratio.max():.3g}"
    if change.max() <= half:
        return f"not resolved: {where} the loss changes by {change.max():.1f} %, within the band"
    return f"best at {ratio[change.argmin()]:.3g}, at most {change.max():.1f} % lost {where}"


def _axis(axis: Axes, panel: list[polars.DataFrame], ratio: str, label: str) -> None:
    comparing.log2_axis(axis, np.concatenate([one[ratio].to_numpy() for one in panel]) if panel else np.array([]), label)
    if not panel:
        style.sentence(axis, "not resolved: no size (N within 2 %) has two models that differ in this ratio alone")
