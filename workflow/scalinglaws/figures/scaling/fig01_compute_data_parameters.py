"""Figure 1: test loss against training compute, against the size of the dataset and against the number of parameters."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, scales, style
from scalinglaws.figures.shared.groups import main_family
from scalinglaws.figures.shared.learning_curves import Segment, segments

LAWS = {"power-c": "L(C) of decayed runs", "envelope": "L(C) of the envelope", "power-d": "L(D)", "power-n": "L(N)"}
TITLE = "Loss against compute, data and parameters"
CAPTION = """
Figure 1 of the paper. The test loss against compute (**a**), dataset (**b**) and model size (**c**). Lines are power laws
fitted to the points, with bands for the 95 % intervals of the exponents; thin lines are learning curves, black their envelope.
Grey lines have the slopes that the paper found: 0.057 (C), 0.095 (D), 0.076 (N).
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw learning curves with both fits of L(C), then the points and fits of L(D) and of L(N).

    Only the points that entered a fit are drawn as points.
    """
    figure, (compute, data, size) = style.panels(3)
    runs = tables["runs"]
    pieces = segments(tables["curves"], main_family(runs))
    chosen = {law: fit_json.points(fits.get(law), runs) for law in LAWS}
    sizes = [piece.n_params for piece in pieces]
    for frame in chosen.values():
        sizes += [int(value) for value in frame["n_params"].drop_nulls()]
    scale = scales.Scale(sizes, "N (non-embedding parameters)")
    missed = {law: law_lines.missed(fits.get(law), runs, name) for law, name in LAWS.items()}
    _compute(compute, fits, chosen, pieces, scale)
    _against(data, fits, "power-d", chosen["power-d"], scale, "D (tokens in the training set)")
    _against(size, fits, "power-n", chosen["power-n"], scale, "N (non-embedding parameters)")
    of_compute = ("power-c", "envelope") if "envelope" in fits else ("power-c",)  # a study need not fit the envelope
    for axis, laws in ((compute, of_compute), (data, ("power-d",)), (size, ("power-n",))):
        empty = all(chosen[law].is_empty() for law in laws) and not (axis is compute and pieces)
        _words(axis, fits, laws, empty, [note for law in laws for note in missed[law]])
    for axis in (data, size):
        axis.set_ylabel("")
    scale.bar(figure, [compute, data, size])
    return figure


def _compute(
    axis: Axes, fits: dict[str, fit_json.Fit], chosen: dict[str, polars.DataFrame], pieces: list[Segment], scale: scales.Scale
) -> None:
    for piece in pieces:
        colour = scale(piece.n_params)
        axis.plot(piece.rows["flops_6nd"], piece.rows["loss_test"], color=colour, linewidth=0.4 if piece.branch else 0.7)
    finals, envelope = chosen["power-c"].drop_nulls("flops"), chosen["envelope"].drop_nulls("flops").sort("flops")
    if not envelope.is_empty():
        axis.plot(envelope["flops"], envelope["loss"], color="black", linewidth=0.9, label="envelope of the curves", zorder=3)
    for n_params, group in finals.group_by("n_params", maintain_order=True):
        law_lines.error_bars(axis, group, "flops", scale(float(n_params[0])), zorder=6)
    law_lines.draw_power_law(axis, fits.get("power-c"), "power-c", style.FIT, "decayed runs")
    if "envelope" in fits:
        law_lines.draw_power_law(axis, fits["envelope"], "envelope", style.SECOND, "envelope", linestyle=":", guide=None)
    shown = _settled(pieces, finals)
    style.loss_axis(axis, shown[:, 1])
    style.log_axis(axis, shown[:, 0], "C = 6NBS (FLOP)", counts=False)


def _settled(pieces: list[Segment], finals: polars.DataFrame) -> np.ndarray:
    """Return the rows (flops, loss) that the axes of the left panel must show.

    They are those below 1.3 times the worst loss at which a curve ends: the steep fall from ln n_vocab would press the laws into
    a strip.
    """
    rows = [row for piece in pieces for row in piece.rows.select("flops_6nd", "loss_test").iter_rows()]
    ends = [piece.rows["loss_test"][-1] for piece in pieces] + finals["loss"].to_list()
    top = 1.3 * max(ends, default=0.0)
    return np.array([row for row in [*rows, *finals.select("flops", "loss").iter_rows()] if row[1] <= top]).reshape(-1, 2)


def _against(
    axis: Axes, fits: dict[str, fit_json.Fit], law: str, data: polars.DataFrame, scale: scales.Scale, label: str
) -> None:
    form = fit_json.POWER_LAWS[law]
    data = data.drop_nulls(form.x)
    for n_params, group in data.group_by("n_params", maintain_order=True):
        law_lines.error_bars(axis, group, form.x, scale(float(n_params[0] or 1)))
    law_lines.draw_power_law(axis, fits.get(law), law, style.FIT, f"L({form.symbol})")
    style.loss_axis(axis, law_lines.reach(data))
    style.log_axis(axis, data[form.x].to_numpy(), label)


def _words(axis: Axes, fits: dict[str, fit_json.Fit], laws: tuple[str, ...], empty: bool, missed: list[str]) -> None:
    """Say what is not resolved, in the middle of a panel without data; under one with data, also which laws miss it."""
    doubts = [fit_json.unresolved(fits.get(law), law) for law in laws]
    notes = [f"{law}: {doubt}" if len(laws) > 1 else doubt for law, doubt in zip(laws, doubts, strict=False) if doubt]
    if empty:
        style.sentence(axis, notes[0] if notes else "not resolved: there are no runs to draw")
    style.legend_below(axis, [] if empty else [*missed, *notes])
