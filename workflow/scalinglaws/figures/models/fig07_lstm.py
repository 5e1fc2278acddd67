"""Figure 7: LSTMs beside Transformers, by N at equal budget and by position in the context."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, loss_by_position, model_comparison, scales, seed_noise, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups

TITLE = "LSTM and Transformer"
CAPTION = """
Figure 7 of the paper. The final test loss of LSTMs and Transformers that were trained alike is shown against size (**a**) and,
for pairs of like size, by position in the context (**b**). Bars and bands are 1.96 standard errors. The paper found that LSTMs
equal Transformers early in the context and fall behind late in it.
"""
MATCHED = 1.5  # largest factor between the sizes of a pair
PAIRS = 2  # most pairs that are drawn


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw final losses by size, and losses by position of the smallest and the largest pair of an LSTM and a Transformer.

    All models were trained alike on one budget, though their learning rates may differ. The excess of the LSTMs is that over the
    Transformers, interpolated in logarithms to the same N. Losses by position are means over bins that grow by √2, and the
    standard error of a bin is the mean of those of its positions.
    """
    figure, (left, right) = style.panels(2)
    data = compared(tables["runs"])
    standard, lstm = (data.filter(polars.col("architecture") == name) for name in ("transformer", "lstm"))
    if len(standard):
        model_comparison.loss_by_size(left, standard, "n_params", "0.15", "o", "Transformer")
    for index, ((n_layer,), line) in enumerate(lstm.group_by("n_layer", maintain_order=True)):
        colour, marker = model_comparison.CATEGORIES[(index + 1) % len(model_comparison.CATEGORIES)]
        name = f"LSTM of {n_layer} layer{'s' * (n_layer > 1)}"
        model_comparison.loss_by_size(left, line, "n_params", colour, marker, name, linestyle="--")
    style.loss_axis(left, law_lines.reach(data))
    style.log_axis(left, data["n_params"].to_numpy(), "N (non-embedding parameters)")
    if data.is_empty():
        style.sentence(left, "not resolved: no LSTM ended at a budget")
    else:
        common = model_comparison.averaged(data, tables["runs"])
        style.legend_below(left, [at_equal_size(standard, lstm), seed_noise.smallest(tables["runs"], lstm), common])
    _positions(right, pairs(standard, lstm), tables)
    return figure


def compared(runs: polars.DataFrame) -> polars.DataFrame:
    """Return LSTMs and usual Transformers that were trained alike, averaged over seeds.

    Of several groups the one with most LSTMs is taken.
    """
    table = one_rate(runs).filter(all_data() & polars.col("architecture").is_in(["transformer", "lstm"]))
    groups = [model_comparison.over_seeds(group) for group in run_groups(table, "architecture", model_comparison.SIZES, 1)]
    groups = [group for group in groups if "lstm" in group["architecture"]]
    if not groups:
        return model_comparison.over_seeds(runs.clear())
    both = [group for group in groups if "transformer" in group["architecture"]] or groups
    group = max(both, key=lambda one: ((one["architecture"] == "lstm").sum(), one["tokens"][0], one["run"].min()))
    standard = model_comparison.usual(group.filter(polars.col("architecture") == "transformer"))
    lstm = group.filter(polars.col("architecture") == "lstm")
    return polars.concat([standard.select(lstm.columns), lstm]).sort("architecture", "n_layer", "n_params")


def at_equal_size(standard: polars.DataFrame, lstm: polars.DataFrame) -> str:
    """Return a note on how far LSTMs lie above the Transformers, interpolated to their N."""
    above = model_comparison.excess(standard, "n_params", lstm)
    above = above[np.isfinite(above)]
    if not len(above):
        return "not resolved: no LSTM lies in the Transformers' range of N"
    return model_comparison.minus(f"LSTMs against Transformers of equal N: {above.min():+.1f} to {above.max():+.1f} %")


def pairs(standard: polars.DataFrame, lstm: polars.DataFrame) -> list[tuple[dict, dict]]:
    """Return pairs of a Transformer and an LSTM of nearest size: the smallest and the largest pair within a factor of 1.5."""
    found = []
    for row in lstm.sort("n_params", "n_layer").iter_rows(named=True):
        away = (standard["n_params"] / row["n_params"]).log().abs()
        if len(away) and float(away.min()) <= np.log(MATCHED):
            found.append((standard.row(int(away.arg_min()), named=True), row))
    return found if len(found) <= PAIRS else [found[0], found[-1]]


def by_place(evals: polars.DataFrame, run: dict) -> polars.DataFrame:
    """Return the loss of a run in the bins of ``loss_by_position.binned``.

    The columns are position (geometric mean), loss and stderr.
    """
    rows = loss_by_position.final(evals, polars.DataFrame([run]))
    return polars.DataFrame(dict(zip(("position", "loss", "stderr"), loss_by_position.binned(rows), strict=True)))


def gap(first: polars.DataFrame, second: polars.DataFrame) -> str | None:
    """Return words on the LSTM's loss less the Transformer's, at the first position and in the last octave; None without both."""
    both = first.join(second, on="position", suffix="_lstm", how="inner", maintain_order="left")
    if len(both) < 2:
        return None
    away = both["loss_lstm"] - both["loss"]
    last = float(away.filter(both["position"] > both["position"].max() / 2).mean())  # type: ignore[arg-type, operator]
    return model_comparison.minus(f"{away[0]:+.2f} nats at position 1, {last:+.2f} in the last octave")


def _positions(axis: Axes, found: list[tuple[dict, dict]], tables: dict[str, polars.DataFrame]) -> None:
    scale = scales.Scale([row["n_params"] for pair in found for row in pair], "N")
    seen = []
    for pair in found:
        lines = [by_place(tables["evals"], row) for row in pair]
        for row, line, dashes in zip(pair, lines, ("-", "--"), strict=True):
            if line.is_empty():
                continue
            name = "LSTM" if row["architecture"] == "lstm" else "Transformer"
            colour, half = scale(row["n_params"]), style.Z95 * line["stderr"].fill_nan(0.0)
            axis.fill_between(line["position"], line["loss"] - half, line["loss"] + half, color=colour, alpha=0.12, linewidth=0)
            label = f"{name}, N {model_comparison.count(row['n_params'])}"
            if name == "LSTM" and (words := gap(*lines)):
                label += f": against the Transformer\n{words}"
            axis.plot(line["position"], line["loss"], dashes, color=colour, label=label)
            seen.append(line.with_columns(low=line["loss"] - half, high=line["loss"] + half))
    every = polars.concat(seen) if seen else None
    style.loss_axis(axis, [*every["low"], *every["high"]] if every is not None else [])
    style.log_axis(axis, every["position"].to_numpy() if every is not None else [], "Position in the context (from 1)")
    if every is None:
        return style.sentence(axis, "not resolved: no LSTM and Transformer of like size have losses by position")
    return style.legend_below(axis)
