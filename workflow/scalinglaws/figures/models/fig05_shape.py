"""Figure 5: loss change at fixed N against d_ff/d_model, d_model/n_layer and d_attn/n_heads."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, model_comparison, scales, seed_noise, style
from scalinglaws.figures.shared.groups import all_data, one_rate, same_size

TITLE = "Shape at fixed size"
CAPTION = """
Figure 5 of the paper. The final test loss of Transformers of one size (N within 2 %), in percent above the best of their
series, is shown against the feed-forward ratio (**a**), the aspect ratio (**b**) and the head width (**c**). Differences inside
the grey band may be chance. The paper found changes of a few percent.
"""

SERIES = 3  # most sizes in a panel
WIDTH = style.CHARACTERS[3]
# For each panel: the ratio, the label of its axis, and the columns in which its models must agree.
RATIOS = (
    ("feed_forward", r"Feed-forward ratio $d_\mathrm{ff}/d_\mathrm{model}$", ("n_layer", "attention")),
    ("aspect", r"Aspect ratio $d_\mathrm{model}/n_\mathrm{layer}$", ("attention",)),
    ("head_width", r"Head width $d_\mathrm{attn}/n_\mathrm{heads}$", ("n_layer", "d_model", "d_ff", "d_attn")),
)


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw, for each ratio, the models in which it varies and most others do not, in percent above the best of their series.

    The sizes with the longest series are drawn, at most three, and every model is averaged over its seeds. Where d_ff/d_model
    varies, depth and d_attn/d_model are fixed, and d_model follows from N. Where d_model/n_layer varies, d_attn/d_model is fixed
    and d_ff/d_model is nearest to one power of two. In both, the head width is the one that most models have. Where the head
    width varies, all else is fixed. The function ``band`` says what the grey band is. At the paper's exponent of 0.076, the 2 %
    by which N may differ are 0.15 % of the loss.
    """
    figure, axes = style.panels(3)
    every = [series(tables["runs"], ratio, fixed) for ratio, _, fixed in RATIOS]
    scale = scales.Scale([int(one["n_params"][0]) for panel in every for one in panel], "N (non-embedding parameters)")
    for axis, panel, (ratio, label, _) in zip(axes, every, RATIOS, strict=True):
        model_comparison.log2_axis(
            axis, np.concatenate([one[ratio].to_numpy() for one in panel]) if panel else np.array([]), label
        )
        if not panel:
            style.sentence(axis, "not resolved: no size (N within 2 %) has three models that differ in this ratio alone")
            continue
        bands = [band(tables["runs"], one) for one in panel]
        half, source = max(bands)
        axis.axhspan(0, half, color="0.5", alpha=0.15, linewidth=0, label=style.plain(source, WIDTH))
        for one, (own, _) in zip(panel, bands, strict=True):
            told = verdict(one[ratio].to_numpy(), one["change"].to_numpy(), own)
            axis.plot(one[ratio], one["change"], "o-", color=scale(int(one["n_params"][0])), linewidth=0.8)
            text = f"{_name(one)}\n{style.plain(told, WIDTH)}"
            axis.plot([], [], "o-", color=scale(int(one["n_params"][0])), label=text)
        style.legend_below(axis)
    axes[0].set_ylabel("Loss above the best of the series (%)")
    highest = max((axis.get_ylim()[1] for axis, panel in zip(axes, every, strict=True) if panel), default=1.0)
    for axis in axes:
        axis.set_ylim(-0.05 * highest, highest)
    return figure


def _name(one: polars.DataFrame) -> str:
    return f"N {model_comparison.span(one, 'n_params')}, {model_comparison.span(one, 'tokens')} tokens"


def series(runs: polars.DataFrame, ratio: str, fixed: tuple[str, ...]) -> list[polars.DataFrame]:
    """Return, for each size, the longest series of models that differ in ``ratio``, over seeds; ``change`` is in percent.

    Where a fixed N lets the head width differ, it is kept as near as possible to the usual one.
    """
    best: dict[float, polars.DataFrame] = {}
    for group in same_size(one_rate(runs).filter(all_data()), 3, ("seed",)):
        table = model_comparison.proportions(model_comparison.over_seeds(group))
        parts = model_comparison.aspects(table) if ratio == "aspect" else table.partition_by(fixed, maintain_order=True)
        for part in parts:
            one = model_comparison.usual_heads(part, [ratio]) if ratio == "feed_forward" else part
            one = one.unique(ratio, keep="first", maintain_order=True).sort(ratio)
            size = float(group["n_params"].min())  # type: ignore[arg-type]
            known = best.get(size)
            if len(one) > 2 and (known is None or _rank(one) > _rank(known)):
                best[size] = one
    change = 100 * (polars.col("loss") / polars.col("loss").min() - 1)
    longest = sorted(best, key=lambda size: _rank(best[size]), reverse=True)[:SERIES]
    return [best[size].with_columns(change=change) for size in sorted(longest)]


def _rank(one: polars.DataFrame) -> tuple[int, int, int]:
    return len(one), int(one["tokens"][0]), int(one["seeds"].sum())


def band(runs: polars.DataFrame, one: polars.DataFrame) -> tuple[float, str]:
    """Return the height, in percent, of the band in which a model differs from the best by chance, and where that is from.

    It holds 95 % of the differences between two models that differ through the seed alone, by the runs that have several seeds.
    Where there are none, it is 1.96 standard errors of the test loss. All models share the test text, so that this overstates
    the noise of a difference.
    """
    known = seed_noise.noise(runs, float(one["n_params"].median()))  # type: ignore[arg-type]
    if known is None:
        stderr = float((one["loss_stderr"] / one["loss"]).mean() or 0.0)  # type: ignore[arg-type]
        return 100 * style.Z95 * stderr, "1.96 standard errors of the test loss (no second seeds)"
    half = 100 * style.Z95 * known[0] * float(np.sqrt(2 / float(one["seeds"].mean())))  # type: ignore[arg-type]
    return half, "95 % of differences between seeds"


def verdict(ratio: np.ndarray, change: np.ndarray, half: float) -> str:
    """Return words on what a series says: where its best model lies and what the worst one loses, or that it tells nothing."""
    where = f"from {ratio.min():.3g} to {ratio.max():.3g}"
    if change.max() <= half:
        return f"not resolved: {change.max():.1f} % {where}, within the band"
    return f"best at {ratio[change.argmin()]:.3g}; {change.max():.1f} % lost at most {where}"
