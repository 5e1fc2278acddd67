"""Quality of the text: the same models trained on different corpora, tested on their own text and on one text for all."""

from __future__ import annotations

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, model_comparison, seed_noise, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups
from scalinglaws.figures.shared.loss_by_text import measured, own_name, texts_over_seeds
from scalinglaws.study.questions import SHAPE

TITLE = "Quality of the text"
CAPTION = """
The same models were trained on different corpora. **a** The final loss on the test split of the corpus trained on. **b** The
loss of all models on one text: the one on which models of most corpora were measured, and the least corrupted of these.
Brackets hold the share of characters that were replaced. Dashed lines are straight lines in logarithms; the legend gives their
exponents with 95 % intervals (Student's t). Losses on different texts say nothing of each other, so b alone tells which text
teaches more. Bars show 1.96 standard errors of the test loss.
"""


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw final losses on the test split of the corpus trained on, and on the corpus that most models were tested on."""
    figure, (left, right) = style.panels(2)
    data = compared(tables["runs"])
    order = corpora(data)
    averaged = model_comparison.over_seeds(data)
    _panel(left, averaged, order, "Own test loss (nats per token)")
    if data.is_empty():
        for axis in (left, right):
            style.sentence(axis, "not resolved: no model was trained on two corpora alike")
        return figure
    style.legend_below(left, [model_comparison.averaged(averaged), *model_comparison.diverged(tables["runs"])])
    text, common = on_common(data, tables["evals"])
    _panel(right, common, order, f"Loss on {text} (nats per token)" if text else "Loss on one text (nats per token)")
    if text is None:
        style.sentence(right, "not resolved: no text was measured by models of two corpora")
    else:
        notes = [*above_best(common), seed_noise.smallest(tables["runs"], common)]
        style.legend_below(right, notes)
    right.set_title("b", loc="left", fontweight="bold")
    return figure


def compared(runs: polars.DataFrame) -> polars.DataFrame:
    """Return runs of models that were trained on several corpora in the same way.

    Of several budgets the one with most runs is taken.
    """
    table = one_rate(runs).filter(all_data() & (polars.col("architecture") == "transformer"))
    groups = []
    for group in run_groups(table, "corpus", model_comparison.SIZES):
        several = group.filter(polars.col("corpus").n_unique().over(*SHAPE, "seed") > 1)
        groups.append(model_comparison.usual(several).select(group.columns))
    best = model_comparison.biggest([group for group in groups if len(group)])
    best = runs.clear() if best is None else best
    return best.with_columns(own=own_name(), corruption=polars.col("corruption").fill_null(0.0))


def corpora(data: polars.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Return a label, a colour and a marker for each corpus by name, the least corrupted first."""
    rows = data.select("own", "corruption").unique().sort("corruption", "own").iter_rows()
    styles = [("0.15", "o"), *model_comparison.CATEGORIES]
    return {name: (label(name, share), *styles[i % len(styles)]) for i, (name, share) in enumerate(rows)}


def label(name: str, share: float) -> str:
    """Return the name of a corpus with the share of its characters that were replaced, "books (20 % replaced)"."""
    return f"{name} ({100 * share:.3g} % replaced)" if share else name


def on_common(data: polars.DataFrame, evals: polars.DataFrame) -> tuple[str | None, polars.DataFrame]:
    """Return the text that models of most corpora were tested on, and their losses on it.

    Of several such texts the least corrupted one is taken.
    """
    table = measured(data, evals).filter(polars.col("final"))
    clean = {name: place for place, name in enumerate(corpora(data))}
    counts = table.group_by("tested").agg(trained=polars.col("own").n_unique(), runs=polars.col("run").n_unique())
    rows = [row for row in counts.iter_rows(named=True) if row["trained"] > 1]
    if not rows:
        return None, model_comparison.over_seeds(data.clear())
    best = min(rows, key=lambda row: (-row["trained"], clean.get(row["tested"], len(clean)), -row["runs"], row["tested"]))
    return best["tested"], texts_over_seeds(table.filter(polars.col("tested") == best["tested"]))


def _panel(axis: Axes, data: polars.DataFrame, order: dict[str, tuple[str, str, str]], name: str) -> None:
    for corpus, (text, colour, marker) in order.items():
        mine = data.filter(polars.col("own") == corpus)
        if mine.is_empty():
            continue
        found = model_comparison.draw_power(axis, mine, "n_params", colour)
        law_lines.error_bars(
            axis, mine, "n_params", colour, style.plain(f"{text}: {model_comparison.exponent(found)}", 60), fmt=marker
        )
    style.loss_axis(axis, law_lines.reach(data), name)
    style.log_axis(axis, data["n_params"].to_numpy(), "N (non-embedding parameters)")


def above_best(common: polars.DataFrame) -> list[str]:
    """Return notes on how far the losses of each corpus' models lie above those of the best corpus, at the same N."""
    means = common.group_by("own").agg(polars.col("loss").log().mean()).sort("loss", "own")
    best = means["own"][0]
    out = []
    for corpus in means["own"][1:]:
        above = model_comparison.excess(
            common.filter(polars.col("own") == best), "n_params", common.filter(polars.col("own") == corpus)
        )
        above = above[np.isfinite(above)]
        if len(above):
            ends = dict.fromkeys(f"{value:+.1f}" for value in (above.min(), above.max()))
            out.append(model_comparison.minus(f"{corpus} lies {' to '.join(ends)} % from {best} at equal N"))
    return out
