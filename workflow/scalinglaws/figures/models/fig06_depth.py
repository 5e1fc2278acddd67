"""Figure 6: loss against parameters with (left) and without (right) embeddings, a line a depth."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, model_comparison, scales, seed_noise, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups
from scalinglaws.study.questions import SHAPE

TITLE = "Parameters with and without embeddings"
CAPTION = """
Figure 6 of the paper. The final test loss of Transformers of several depths is shown against all parameters (**a**) and against
those without embeddings (**b**). Lines join models that differ in width alone, and bars are 1.96 standard errors. The paper
found that models of two layers and more fall on one curve in b.
"""
MARKERS = "osD^vP"
FEWEST = 5  # models of two layers and more that tell a scatter about a curve of three numbers
PANELS = (("n_params_total", "Parameters with embeddings"), ("n_params", "N (parameters without embeddings)"))


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw Transformers of the usual proportions in several depths and sizes, and say how far they scatter about one curve.

    The curve is a parabola in logarithms through the models of two layers and more. The better count of parameters is the one
    with less scatter about it.
    """
    figure, axes = style.panels(2)
    data = depths(tables["runs"])
    scale = scales.Scale([*data["n_layer"]], "Layers", "warm")
    for axis, (column, label) in zip(axes, PANELS, strict=True):
        for (n_layer,), line in data.group_by("n_layer", maintain_order=True):
            depth = f"{n_layer} layer{'s' * (n_layer > 1)}"
            marker = MARKERS[[*data["n_layer"].unique().sort()].index(n_layer) % len(MARKERS)]
            model_comparison.loss_by_size(axis, line, column, scale(float(n_layer)), marker, depth)
        _parabola(axis, data, column)
        style.loss_axis(axis, law_lines.reach(data))
        style.log_axis(axis, data[column].to_numpy(), label)
        if data.is_empty():
            style.sentence(axis, "not resolved: no two depths have two sizes each, trained alike")
        else:
            common, least = model_comparison.averaged(data, tables["runs"]), seed_noise.smallest(tables["runs"], data)
            style.legend_below(axis, [least if column == "n_params" else common])
    axes[1].set_ylabel("")
    return figure


def depths(runs: polars.DataFrame) -> polars.DataFrame:
    """Return the largest group of Transformers that differ in depth and width, averaged over seeds.

    Each depth has at least two sizes.
    """
    table = one_rate(runs).filter(all_data() & (polars.col("architecture") == "transformer"))
    found = []
    for group in run_groups(table, "d_model", (*SHAPE, "learning_rate", "seed")):
        models = model_comparison.usual_shares(model_comparison.over_seeds(group))
        models = models.filter(polars.col("n_params").n_unique().over("n_layer") > 1)
        if models["n_layer"].n_unique() > 1:
            found.append(models)
    best = model_comparison.biggest(found)
    return model_comparison.over_seeds(runs.clear()) if best is None else best.sort("n_layer", "n_params")


def parabola(data: polars.DataFrame, column: str) -> tuple[np.ndarray, float] | None:
    """Return the parabola of log loss in log ``column`` through the models of two layers and more, and how they scatter about it.

    The first value holds its coefficients, highest first. The scatter is a standard deviation in percent of the loss. It is None
    below ``FEWEST`` models.
    """
    deep = data.filter(polars.col("n_layer") > 1)
    if len(deep) < FEWEST:
        return None
    x, y = np.log(deep[column].to_numpy()), np.log(deep["loss"].to_numpy())
    found = np.polyfit(x, y, 2)
    left = y - np.polyval(found, x)
    return found, float(100 * np.sqrt((left**2).sum() / (len(left) - 3)))


def _parabola(axis: Axes, data: polars.DataFrame, column: str) -> None:
    """Draw the parabola, with the scatter about it in the legend."""
    found = parabola(data, column)
    if data.is_empty():
        return
    if found is None:
        axis.plot([], [], " ", label=f"not resolved: under {FEWEST} models of two layers and more")
        return
    coefficients, scatter = found
    deep = data.filter(polars.col("n_layer") > 1)[column].to_numpy()
    x = np.geomspace(deep.min(), deep.max(), 80)
    text = f"one parabola in logarithms through 2 layers and more:\nthey scatter about it by {scatter:.2g} %"
    axis.plot(x, np.exp(np.polyval(coefficients, np.log(x))), "--", color=style.GUIDE, linewidth=0.9, zorder=2, label=text)
