"""Figure 6: loss against parameters with (left) and without (right) embeddings, a line a depth."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, model_comparison, scales, seed_noise, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups
from scalinglaws.study.questions import SHAPE

TITLE = "Parameters with and without embeddings"
CAPTION = """
Figure 6 of the paper. The final test loss against all parameters (**a**) and against parameters without embeddings (**b**),
with a line for each depth, for Transformers of the commonest proportions that were trained alike. Bars show 1.96 standard
errors of the test loss. The notes say how far models of two layers and more scatter about one curve: the better count of
parameters is the one with less scatter. The paper leaves models of one layer out of its fits.
"""
PANELS = (("n_params_total", "Parameters with embeddings"), ("n_params", "N (parameters without embeddings)"))


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw Transformers of the usual proportions in several depths and sizes, and say how far they scatter about one curve."""
    figure, axes = style.panels(2)
    data = depths(tables["runs"])
    scale = scales.Scale([*data["n_layer"]], "n_layer", "warm")
    for axis, (column, label) in zip(axes, PANELS, strict=True):
        for (n_layer,), line in data.group_by("n_layer", maintain_order=True):
            depth = f"{n_layer} layer{'s' * (n_layer > 1)}" if column == "n_params_total" else None
            model_comparison.loss_points(axis, line, column, scale(float(n_layer)), "o", depth)
        style.loss_axis(axis, law_lines.reach(data))
        style.log_axis(axis, data[column].to_numpy(), label)
        if data.is_empty():
            style.sentence(axis, "not resolved: no two depths have two sizes each, trained alike")
        else:
            more = [
                model_comparison.averaged(data),
                seed_noise.smallest(tables["runs"], data),
                *model_comparison.diverged(tables["runs"]),
            ]
            style.legend_below(axis, [scatter_note(data, column), *(more if column == "n_params" else [])])
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


def scatter(data: polars.DataFrame, column: str) -> float | None:
    """Return how many percent models of two layers and more scatter about one parabola in logarithms; None for under 5 models."""
    deep = data.filter(polars.col("n_layer") > 1)
    if len(deep) < 5:
        return None
    x, y = np.log(deep[column].to_numpy()), np.log(deep["loss"].to_numpy())
    x = x - x.mean()
    left = y - np.polyval(np.polyfit(x, y, 2), x)
    return float(100 * np.sqrt((left**2).sum() / (len(left) - 3)))


def scatter_note(data: polars.DataFrame, column: str) -> str:
    """Return a note on how well one curve describes all depths but the first."""
    found = scatter(data, column)
    if found is None:
        return "not resolved: under 5 models of two layers and more"
    return f"models of 2 layers and more scatter by {found:.2g} % about one parabola in logarithms"
