"""Figure 24: loss on other text against depth at fixed N."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, model_comparison, style
from scalinglaws.figures.shared.groups import all_data, one_rate, same_size
from scalinglaws.figures.shared.loss_by_text import measured, texts_over_seeds

TITLE = "Loss on other text by depth at fixed size"
CAPTION = """
Figure 24 of the paper. The final loss on the text trained on and on other text is shown against depth, for models of one size
(N within 2 %). Bars are 1.96 standard errors. The paper found that the loss on other text depends on depth no more than that on
the own text does.
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw a line for each text, and say what each doubling of the depth changes.

    The models have one d_attn/d_model, and d_ff/d_model nearest to one power of two. The change with each doubling of the depth
    is from a straight line in logarithms, with a 95 % interval (Student's t).
    """
    figure, (axis,) = style.panels()
    data = depths(tables["runs"], tables["evals"])
    own = data["own"][0] if len(data) else None
    for corpus, (colour, marker) in model_comparison.corpus_styles([*data["tested"]], own).items():
        line = data.filter(polars.col("tested") == corpus)
        name = f"{corpus} (trained on)" if corpus == own else corpus
        text = style.plain(f"{name}: {per_doubling(line)}", style.CHARACTERS[1])
        model_comparison.loss_points(axis, line, "n_layer", colour, marker, text)
    style.loss_axis(axis, law_lines.reach(data))
    model_comparison.log2_axis(axis, data["n_layer"].to_numpy(), "Layers")
    if data.is_empty():
        style.sentence(axis, "not resolved: no size (N within 2 %) has two depths measured on other text")
    else:
        what = "in percent: the change of the loss with each doubling of the depth [95 % interval]"
        style.legend_below(axis, [what, model_comparison.averaged(data, tables["runs"])])
    return figure


def depths(runs: polars.DataFrame, evals: polars.DataFrame) -> polars.DataFrame:
    """Return losses by text of models of one size that agree in proportions, averaged over seeds.

    The size with most depths is taken.
    """
    found = []
    known = measured(runs, evals)["run"].unique().to_list()
    seen = one_rate(runs).filter(all_data() & polars.col("run").is_in(known))
    for group in same_size(seen, 2, ("seed",)):
        for models in model_comparison.aspects(group):
            if models["n_layer"].n_unique() > 1:
                found.append(group.join(models.select("run"), on="run", how="semi", maintain_order="left"))
    best = max(found, key=lambda one: (one["n_layer"].n_unique(), one["tokens"][0], one["n_params"].min()), default=runs.clear())
    return texts_over_seeds(measured(best, evals))


def per_doubling(line: polars.DataFrame) -> str:
    """Say by how many percent a doubling of the depth changes the loss, from a straight line in logarithms."""
    found = model_comparison.power(line, "n_layer")
    if found is None:
        return "not resolved (under 3 depths)"
    change, low, high = (float(100 * np.expm1(slope * np.log(2))) for slope in (found.slope, found.low, found.high))
    text = model_comparison.minus(f"{change:+.2f} % [{low:+.2f}, {high:+.2f}]")
    return text if low * high > 0 else f"{text}, not resolved"
