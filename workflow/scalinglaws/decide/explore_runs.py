"""The runs of a study as the page ``explore.html`` shows them: a row each, with what the fits of each panel made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from scalinglaws.common.numbers import number, short
from scalinglaws.figures.shared.fit_json import Fit
from scalinglaws.figures.shared.style import Z95

NO_EXPERIMENT = "no experiment"
UNKNOWN = "not known"


@dataclass(frozen=True)
class Panel:
    """A panel of the page: the loss against one quantity, with the laws of that quantity."""

    letter: str
    column: str  # of the frame of ``shown``, the quantity
    title: str
    label: str  # of its axis, with the unit
    laws: tuple[str, ...]  # those that are drawn where the study fits them
    points: tuple[str, ...]  # those of them that are fitted to final losses, of which the points are


PANELS = (
    Panel(
        "N", "n_params", "Loss against model size N", "N (parameters without embeddings)", ("power-n", "power-n-offset"),
        ("power-n", "power-n-offset"),
    ),
    Panel(
        "D", "data", "Loss against data D", "D (tokens in the dataset, or processed)", ("power-d", "power-d-offset"),
        ("power-d", "power-d-offset"),
    ),
    Panel(
        "C", "flops", "Loss against compute C", "C = 6ND (FLOP)", ("power-c", "power-c-offset", "envelope", "envelope-offset"),
        ("power-c", "power-c-offset"),
    ),
)  # fmt: skip


def shown(runs: pl.DataFrame, fits: Mapping[str, Fit]) -> pl.DataFrame:
    """Return a row for each run, sorted by N, tokens and id.

    Parameters
    ----------
    runs
        The table of runs of a study.
    fits
        The content of the fit.json of each law that the study fits.

    Returns
    -------
    polars.DataFrame
        The columns run, experiments (a list), names (the same in one text), n_params, tokens, dataset_tokens, data, flops, loss,
        low, high, loss_stderr and status; fits, the laws that the run enters; ok, whether it has a loss to draw; for each panel
        in_N, whether it enters a fit there, and note_N, a sentence on that; and texts for a reader, n_text and so on. ``data`` is
        the D of the panel: the dataset of a run that was stopped early, and else the tokens that the run processed. ``low`` to
        ``high`` are 1.96 standard errors of the test loss about it, and the loss itself where the error is not known.
    """
    early = pl.col("stop").fill_null("budget") == "early"
    chosen = runs.select(
        "run",
        pl.col("experiments").fill_null([]).alias("experiments"),
        *(pl.col(name).cast(pl.Float64) for name in ("n_params", "tokens", "dataset_tokens")),
        pl.when(early).then("dataset_tokens").otherwise("tokens").cast(pl.Float64).alias("data"),
        pl.col("flops_6nd").cast(pl.Float64).alias("flops"),
        *(pl.col(name).cast(pl.Float64) for name in ("loss", "loss_stderr")),
        pl.col("status").fill_null("ok"),
    ).sort("n_params", "tokens", "run")  # fmt: skip
    chosen = chosen.with_columns(
        experiments=pl.when(pl.col("experiments").list.len() == 0).then(pl.lit([NO_EXPERIMENT])).otherwise("experiments"),
        data=pl.coalesce("data", "tokens"),
    )
    half = (Z95 * pl.col("loss_stderr")).fill_null(0.0).fill_nan(0.0)
    chosen = chosen.with_columns(
        names=pl.col("experiments").list.join(", "),
        ok=(pl.col("status") == "ok") & pl.col("loss").is_finite().fill_null(False) & (pl.col("loss") > 0).fill_null(False),
        low=pl.max_horizontal(pl.col("loss") - half, pl.col("loss") / 100),
        high=pl.col("loss") + half,
    )
    members, reasons = _of_fits(fits)
    chosen = chosen.with_columns(fits=_text(chosen, lambda run: ", ".join(law for law in fits if run in members[law])))
    for panel in PANELS:
        laws = [law for law in panel.points if law in fits]
        inside = [any(run in members[law] for law in laws) for run in chosen["run"]]
        chosen = chosen.with_columns(
            pl.Series(f"in_{panel.letter}", inside, pl.Boolean),
            _text(chosen, lambda run, laws=laws: _note(run, laws, members, reasons)).alias(f"note_{panel.letter}"),
        )
    return chosen.with_columns(_texts(chosen))


def _of_fits(fits: Mapping[str, Fit]) -> tuple[dict[str, set[str]], dict[str, dict[str, str]]]:
    """Return the runs that each fit takes, and of those that it leaves out the reason."""
    members = {law: {str(point.get("run")) for point in fit.get("points") or []} for law, fit in fits.items()}
    reasons = {law: {str(item["run"]): str(item["reason"]) for item in fit.get("excluded") or []} for law, fit in fits.items()}
    return members, reasons


def _note(run: str, laws: list[str], members: Mapping[str, set[str]], reasons: Mapping[str, Mapping[str, str]]) -> str:
    """Say whether a run enters the fits of a panel, and why not where they say so."""
    inside = [law for law in laws if run in members[law]]
    if inside:
        return f"in the fit of {', '.join(inside)}"
    if not laws:
        return "in no fit here, since there is none"
    why = next((reasons[law][run] for law in laws if run in reasons[law]), "")
    return f"in no fit here{f': {why}' if why else ''}"


def _text(table: pl.DataFrame, of: Any) -> pl.Series:
    return pl.Series([of(run) for run in table["run"]], dtype=pl.String)


def _texts(table: pl.DataFrame) -> list[pl.Series]:
    """Return columns of texts for a reader, as the figures write such numbers."""
    texts = [
        pl.Series(f"{name}_text", [UNKNOWN if value is None else short(round(value)) for value in table[column]], pl.String)
        for name, column in (("n", "n_params"), ("tokens", "tokens"), ("dataset", "dataset_tokens"))
    ]
    flops = [UNKNOWN if value is None else number(value) for value in table["flops"]]
    losses = []
    for loss, stderr in zip(table["loss"], table["loss_stderr"], strict=True):
        error = "" if stderr is None else f" ± {stderr:.4f}"
        losses.append(UNKNOWN if loss is None else f"{loss:.4f}{error}")
    return [*texts, pl.Series("flops_text", flops, pl.String), pl.Series("loss_text", losses, pl.String)]


def experiments(table: pl.DataFrame) -> dict[str, int]:
    """Return the number of runs of each experiment of a frame of ``shown``, by name in alphabetical order."""
    each = table.explode("experiments").group_by("experiments").len().sort("experiments")
    return {str(name): int(count) for name, count in each.iter_rows()}
