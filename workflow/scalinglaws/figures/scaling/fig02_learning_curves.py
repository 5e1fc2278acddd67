"""Figure 2: learning curves of all sizes, against the tokens processed and against compute."""

from __future__ import annotations

import polars
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, scales, style
from scalinglaws.figures.shared.groups import main_family
from scalinglaws.figures.shared.learning_curves import segments

TITLE = "Learning curves"
CAPTION = """
Figure 2 of the paper. The test loss during training against the tokens processed (**a**) and against compute (**b**) for one
family of models. The budgets of a size share one line, from which each decays to its final loss (points). The paper found that
larger models need fewer tokens to reach the same loss.
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw the test loss during training of the models that most laws are about.

    Under the schedule wsd a line is the phase that all budgets of a size share. The decay of each budget leaves it and ends in a
    point, the run's final test loss, which was measured on more text than the curve.
    """
    figure, axes = style.panels(2)
    runs = main_family(tables["runs"])
    pieces = segments(tables["curves"], runs)
    scale = scales.Scale([*runs["n_params"]], "N (non-embedding parameters)")
    columns = (("tokens", "Tokens processed", True), ("flops_6nd", "C = 6NBS (FLOP)", False))
    for axis, (column, label, counts) in zip(axes, columns, strict=False):
        for piece in pieces:
            axis.plot(
                piece.rows[column], piece.rows["loss_test"], color=scale(piece.n_params), linewidth=0.6 if piece.branch else 1.0
            )
        for row in runs.iter_rows(named=True):
            axis.plot(row[column], row["loss"], "o", color=scale(row["n_params"]), markersize=3, markeredgewidth=0)
        style.loss_axis(axis, [*(loss for piece in pieces for loss in piece.rows["loss_test"]), *runs["loss"]])
        style.log_axis(axis, [*(x for piece in pieces for x in piece.rows[column]), *runs[column]], label, counts)
        if not pieces:
            style.sentence(axis, "not resolved: no run of this study has a learning curve")
    axes[1].set_ylabel("")
    for axis in axes if pieces else []:
        axis.plot([], [], color="0.3", linewidth=1.0, label="during training")
        axis.plot([], [], "o", color="0.3", markersize=3, label="end of a run (whole test sample)")
        style.legend_below(axis)
    scale.bar(figure, axes)
    return figure
