"""Quality of the text: the same models trained on different corpora, tested on their own text and on one text for all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalinglaws.figures.shared import fit_json, law_lines, least_squares, model_comparison, seed_noise, style
from scalinglaws.figures.shared.groups import all_data, one_rate, run_groups
from scalinglaws.figures.shared.loss_by_text import measured, own_name, texts_over_seeds
from scalinglaws.study.questions import SHAPE

TITLE = "Quality of the text"
CAPTION = """
The same models were trained on different corpora, in some of which characters were replaced at random. The final loss is shown
on the test split of the corpus trained on (**a**) and on one text for all (**b**), which alone tells which text teaches more.
Bars are 1.96 standard errors of the test loss.
"""

Words = Callable[[str, least_squares.Line | None], str]  # words on a corpus, by its name and the line through its losses


def draw(tables: dict[str, polars.DataFrame], fits: dict[str, fit_json.Fit]) -> Figure:
    """Draw final losses on the test split of the corpus trained on, and on the corpus that most models were tested on.

    The latter is the text on which models of most corpora were measured, and the least corrupted of these. Losses on different
    texts say nothing of each other, so it alone tells which text teaches more. Dashed lines are straight lines in logarithms; the
    legend gives their exponents with 95 % intervals (Student's t).
    """
    figure, (left, right) = style.panels(2)
    data = compared(tables["runs"])
    order = corpora(data)
    averaged = model_comparison.over_seeds(data)
    _panel(left, averaged, order, "Own test loss (nats per token)", _exponent)
    if data.is_empty():
        for axis in (left, right):
            style.sentence(axis, "not resolved: no model was trained on two corpora alike")
        return figure
    notes = model_comparison.misfits(averaged, "n_params", "own", tables["runs"])
    style.legend_below(left, [*notes, model_comparison.averaged(averaged, tables["runs"])])
    text, common = on_common(data, tables["evals"])
    label = f"Loss on {text} (nats per token)" if text else "Loss on one text (nats per token)"
    _panel(right, common, order, label, above_best(common))
    if text is None:
        style.sentence(right, "not resolved: no text was measured by models of two corpora")
    else:
        notes = model_comparison.misfits(common, "n_params", "own", tables["runs"])
        style.legend_below(right, [*notes, seed_noise.smallest(tables["runs"], common)])
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


def _exponent(_corpus: str, line: least_squares.Line | None) -> str:
    return model_comparison.exponent(line)


def _panel(axis: Axes, data: polars.DataFrame, order: dict[str, tuple[str, str, str]], name: str, words: Words) -> None:
    """Draw the losses by size in a colour for each corpus, whose legend entry ends in ``words`` on it."""
    for corpus, (text, colour, marker) in order.items():
        mine = data.filter(polars.col("own") == corpus)
        if mine.is_empty():
            continue
        found = model_comparison.draw_power(axis, mine, "n_params", colour)
        told = words(corpus, found)
        shown = style.plain(f"{text}: {told}" if told else text, style.CHARACTERS[2])
        law_lines.error_bars(axis, mine, "n_params", colour, shown, fmt=marker)
    style.loss_axis(axis, law_lines.reach(data), name)
    style.log_axis(axis, data["n_params"].to_numpy(), "N (non-embedding parameters)")


def above_best(common: polars.DataFrame) -> Words:
    """Return words on how far the losses of the models of a corpus lie from those of the best corpus, at the same N."""
    means = common.group_by("own").agg(polars.col("loss").log().mean()).sort("loss", "own")
    best = means["own"][0] if len(means) else None

    def words(corpus: str, _line: least_squares.Line | None) -> str:
        if corpus == best:
            return ""
        reference, mine = (common.filter(polars.col("own") == name) for name in (best, corpus))
        above = model_comparison.excess(reference, "n_params", mine)
        above = above[np.isfinite(above)]
        if not len(above):
            return "outside the range of the best corpus"
        ends = dict.fromkeys(f"{value:+.1f}" for value in (above.min(), above.max()))
        return model_comparison.minus(f"{' to '.join(ends)} % from {best} at equal N")

    return words
