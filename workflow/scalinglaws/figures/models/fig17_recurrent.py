"""Figure 17: Transformers that use each layer several times beside standard ones, by N and by compute."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, model_comparison, seed_noise, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups

TITLE = "Parameter sharing"
CAPTION = """
Figure 17 of the paper. The final test loss of Transformers that use each layer several times, and of standard ones, is shown
against parameters, each counted once (**a**), and against compute (**b**). Bars are 1.96 standard errors. The paper found that
sharing layers is slightly better at equal parameters and slightly worse at equal compute.
"""
PANELS = (("n_params", "N (parameters, each counted once)", True), ("flops_6nd", "C = 6NBS (FLOP), N counted at each use", False))
ORDERS = {"cycle": "ABAB", "sequence": "AABB"}
FORM = ["sharing", "n_repeats"]


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw final losses at one budget with a marker for each form of sharing, and say how far each lies above the standard.

    Layers A and B that are used twice stand as ABAB or AABB. The excess is the mean over the models of a form, each against the
    standard models, interpolated in logarithms to the same N or C.
    """
    figure, axes = style.panels(2)
    standard, shared = compared(tables["runs"])
    data = polars.concat([standard, shared])
    forms = shared.partition_by(FORM, maintain_order=True)
    for axis, (column, label, counts) in zip(axes, PANELS, strict=True):
        if len(standard):
            model_comparison.loss_by_size(axis, standard, column, "0.15", "o", "standard Transformer")
        for index, form in enumerate(forms):
            colour, marker = model_comparison.CATEGORIES[(index + 1) % len(model_comparison.CATEGORIES)]
            text = f"{name(form)}: {beside(standard, column, form)}"
            model_comparison.loss_by_size(axis, form, column, colour, marker, text, linestyle="--")
        style.loss_axis(axis, law_lines.reach(data))
        style.log_axis(axis, data[column].to_numpy(), label, counts)
        if data.is_empty():
            style.sentence(axis, "not resolved: no recurrent Transformer ended at a budget")
        else:
            common, least = model_comparison.averaged(data, tables["runs"]), seed_noise.smallest(tables["runs"], data)
            style.legend_below(axis, [common if column == "n_params" else least])
    axes[1].set_ylabel("")
    return figure


def compared(runs: polars.DataFrame) -> tuple[polars.DataFrame, polars.DataFrame]:
    """Return standard and recurrent Transformers that were trained alike, averaged over seeds.

    Of several groups the one with most recurrent ones is taken.
    """
    table = one_rate(runs).filter(all_data() & polars.col("architecture").is_in(["transformer", "recurrent"]))
    follow = (*model_comparison.SIZES, "n_repeats", "sharing")
    groups = [model_comparison.over_seeds(group) for group in run_groups(table, "architecture", follow, 1)]
    groups = [group for group in groups if "recurrent" in group["architecture"]]
    nothing = model_comparison.over_seeds(runs.clear())
    if not groups:
        return nothing, nothing
    both = [group for group in groups if "transformer" in group["architecture"]] or groups
    group = max(both, key=lambda one: ((one["architecture"] == "recurrent").sum(), one["tokens"][0], one["run"].min()))
    standard = model_comparison.usual(group.filter(polars.col("architecture") == "transformer")).select(group.columns)
    shared = group.filter(polars.col("architecture") == "recurrent").sort(*FORM, "n_params", "run")
    return standard.sort("n_params", "run"), shared


def name(form: polars.DataFrame) -> str:
    """Return the name of a form of sharing, "layers used 2 times, ABAB"; with one layer the order means nothing."""
    order = f", {ORDERS[form['sharing'][0]]}" if int(form["n_layer"].max()) > 1 else ""  # type: ignore[arg-type]
    return f"layers used {form['n_repeats'][0]} times{order}"


def beside(standard: polars.DataFrame, column: str, form: polars.DataFrame) -> str:
    """Return words on how far the models of a form lie above standard models of equal N or C on average, and on their number."""
    above = model_comparison.excess(standard, column, form)
    above = above[np.isfinite(above)]
    if not len(above):
        return "not resolved (outside the standard range)"
    return model_comparison.minus(f"{above.mean():+.1f} % ({len(above)} model{'s' * (len(above) > 1)})")
