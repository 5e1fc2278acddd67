"""The report, a study on one page: what was run, Tables 1 to 6 of Kaplan et al. 2020 with its numbers, flags and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars

from scalinglaws.common.numbers import count, counted, listed, short
from scalinglaws.figures.registry import FIGURES, Figure
from scalinglaws.figures.shared.fit_json import Fit
from scalinglaws.figures.shared.loss_by_text import own_name
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.laws.rules import still_falling
from scalinglaws.report import tables_of_paper
from scalinglaws.report.markdown import table
from scalinglaws.report.operations import operations
from scalinglaws.study.questions import WORDS

NOTE = (
    "Losses are in nats per token, N counts parameters without embeddings, C is 6ND in FLOP unless PF-days are named (1 PF-day = "
    "8.64e19 FLOP). Intervals are 95 %, from a bootstrap over trunks (the budgets of one model share most of their training and "
    "count once). A sentence in the last column compares the published value with the interval. Only exponents are compared: "
    "scales such as N_c carry the units of a vocabulary and of a text, and those of this study are not the paper's."
)
SHOWN = 4  # largest number of values that are listed; more are told by their range
FIGURES_OF_PAPER = 24


def report(
    runs: polars.DataFrame,
    fits: dict[str, Fit],
    kinds: Iterable[str],
    drawn: Iterable[str],
    folder: str,
    warnings: Sequence[str] = (),
    study: str = "",
    claims: Sequence[str] = (),
    forecasts: Sequence[str] = (),
) -> str:
    """Write the page as Markdown; the same input gives the same text.

    ``runs`` is the table of runs, ``fits`` holds the fit.json of each law that the study fits, and ``kinds`` are the questions
    that its runs can answer (study/questions.py). ``drawn`` names its figures, which lie in ``folder`` as seen from the page.
    ``warnings`` are sentences of aggregation about the runs, and ``study`` is the name of the study, if it is known. ``claims``
    and ``forecasts`` are the lines of the sections on the paper's claims (report/claims/page.py) and on registered forecasts
    (report/forecasts.py), which are left out where there are none.
    """
    fits = {law: fits[law] for law in LAW_KINDS if law in fits}
    sections = {
        "What was run": what_was_run(runs),
        "Table 1: parameters and forward FLOP": operations(runs),
        "Table 2: fit of L(N, D)": tables_of_paper.one_law(fits, "kaplan-nd"),
        "Table 3: fit of L(N, S_min)": tables_of_paper.one_law(fits, "kaplan-ns"),
        "Table 4: the laws": tables_of_paper.equations(fits),
        "Table 5: exponents and scales": tables_of_paper.basic(fits),
        "Table 6: compute-efficient training": tables_of_paper.compute_efficient_trends(fits),
        "Claims of the paper": claims,
        "Where the laws contradict each other (section 6.3)": tables_of_paper.contradiction(fits),
        "After 2020": tables_of_paper.later(fits),
        "Forecasts registered before their runs": forecasts,
        "Flags raised by the fits": [*flags(fits), *warned(warnings)],
        "Figures": figures(set(kinds), set(fits), [name for name in FIGURES if name in set(drawn)], folder),
    }
    lines = [f"# Report of the study {study}".rstrip(), "", NOTE]
    for title, body in sections.items():
        if not body:
            continue
        lines += ["", f"## {title}", "", *body]
    return "\n".join([*lines, ""])


def what_was_run(runs: polars.DataFrame) -> list[str]:
    """Tell the number of runs and those that diverged, then a row for each experiment: sizes, tokens, seeds and corpora."""
    if runs.is_empty():
        return ["No run is there yet."]
    each = runs.with_columns(own=own_name()).explode("experiments")
    rows = []
    for name in each["experiments"].drop_nulls().unique().sort():
        group = each.filter(polars.col("experiments") == name)
        limited = group.filter(polars.col("dataset_limited").fill_null(False))
        columns = [_sizes(group["n_params"]), _sizes(group["tokens"]), _sizes(limited["dataset_tokens"], "all")]
        diverged = count(int((group["status"] != "ok").sum()))
        rows.append([name, count(len(group)), *columns, _words(group["seed"]), diverged, _words(group["own"])])
    head = ("experiment", "runs", "N", "tokens processed", "dataset", "seeds", "diverged", "corpora")
    lost = runs.filter(polars.col("status") != "ok")["run"].sort().to_list()
    ended = f"{len(lost)} diverged and are in no fit: {', '.join(lost)}." if lost else "None diverged."
    total = f"{len(runs)} runs of {runs['trunk'].n_unique()} trunks; a run that several experiments ask for is trained once."
    return [" ".join([total, ended, *early_stopping(runs)]), "", *table(head, rows)]


def early_stopping(runs: polars.DataFrame) -> list[str]:
    """Return a sentence on what ended the early-stopped runs on limited data; none where the study has no such run."""
    limited = runs.filter(polars.col("dataset_limited").fill_null(False) & polars.col("stopped").is_not_null())
    if limited.is_empty():
        return []
    reached = int((limited["stopped"] == "max_tokens").sum())
    falling = int(limited.select(falling=still_falling(limited).fill_null(False))["falling"].sum())
    left = f" {count(falling)} of these had their validation loss still falling and are in no fit." if falling else ""
    of = f"Of {counted(len(limited), 'early-stopped run')} on limited data,"
    return [f"{of} {count(reached) if reached else 'none'} reached max_tokens before patience ran out.{left}"]


def _sizes(values: polars.Series, none: str = "not said") -> str:
    """Write different values in words, "1.5k, 3.1k", or their range and number where there are many, "1.5k to 55.3k (5)"."""
    found = [int(value) for value in values.drop_nulls().unique().sort()]
    if len(found) > SHOWN:
        return f"{short(found[0])} to {short(found[-1])} ({len(found)})"
    return ", ".join(short(value) for value in found) or none


def _words(values: polars.Series) -> str:
    return ", ".join(map(str, values.drop_nulls().unique().sort())) or "not said"


def flags(fits: dict[str, Fit]) -> list[str]:
    """Return the reasons that the fits give to doubt them, by law, and the laws that give none."""
    if not fits:
        return ["This study fits no law."]
    lines = [f"- **{law}**: {' '.join(map(_stopped, fit['flags']))}" for law, fit in fits.items() if fit.get("flags")]
    calm = [law for law, fit in fits.items() if not fit.get("flags")]
    if not calm:
        return lines
    return [*lines, *([""] if lines else []), f"None of {listed(calm, 'or')}."]


def warned(warnings: Sequence[str]) -> list[str]:
    """Return a list of the warnings of aggregation; no line where there are none."""
    return ["", "Warnings about the runs:", "", *(f"- {sentence}" for sentence in warnings)] if warnings else []


def _stopped(flag: str) -> str:
    return flag if flag.endswith(".") else f"{flag}."


def figures(kinds: set[str], laws: set[str], drawn: Sequence[str], folder: str) -> list[str]:
    """Return links to the figures that are drawn, then the others with what they need that the study lacks."""
    lines = [f"- [{FIGURES[name].label}]({folder}/{name}.svg)" for name in drawn]
    others = [figure for name, figure in FIGURES.items() if name not in drawn]
    if others:
        lines += [
            *([""] if lines else []),
            "Not drawn:",
            "",
            *(f"- {figure.label}: {_lack(figure, kinds, laws)}" for figure in others),
        ]
    absent = sorted(set(range(1, FIGURES_OF_PAPER + 1)) - {figure.number for figure in FIGURES.values()})
    if absent:
        lines += ["", f"This version cannot draw the paper's figures {listed([count(number) for number in absent])}."]
    return lines


def _lack(figure: Figure, kinds: set[str], laws: set[str]) -> str:
    missing = [WORDS[kind] for kind in figure.needs if kind not in kinds]
    if figure.laws and not laws & set(figure.laws):
        missing.append(f"a fit of {listed(figure.laws, 'or')}")
    return f"it takes {listed(missing)}." if missing else "left out by the study's list of figures."
