"""Rows of tables made elsewhere: which cannot be used and why, and which are doubtful, in words that name the rows.

Rows are counted from 1, without the header. The bounds are wide: within them lie the models of 768 parameters of Kaplan et al.
2020 and everything larger, and the tables of runs that were published with the later studies. What they catch are counts in other
units: parameters in millions, tokens in billions, compute in PF-days.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import counted
from scalinglaws.tables.mapping import MISSING

ROW, TEXT = "__row", "__text_"  # columns of ours: the number of a row, and what a column had in place of a number
SHOWN = 5  # rows that a sentence names
# ln of a vocabulary of a million: a larger loss is not in nats per token.
HIGHEST_LOSS = 13.8
MANY_HIGH = 0.1  # share of losses above it from which all are taken to be in another unit
MOST_IMPOSSIBLE = 0.5  # share of impossible N or tokens from which all are taken to be in another unit
LOWEST_SHARE = 0.05  # share of the median loss below which a loss is none of the same text
FEWEST_PARAMS, MOST_PARAMS = 1e2, 1e15
FEWEST_TOKENS, MOST_TOKENS = 1e3, 1e18
FEWEST_FLOPS, MOST_FLOPS = 6 * FEWEST_PARAMS * FEWEST_TOKENS, 6 * MOST_PARAMS * MOST_TOKENS
FEWEST_RATIO, MOST_RATIO = 1e-6, 1e9  # tokens per parameter beyond which a row is impossible
LOW_RATIO, HIGH_RATIO = 1e-3, 1e5  # tokens per parameter beyond which a row is doubtful,
FEW_PARAMS = 1e6  # the higher of them below so many parameters
# Embeddings, attention or sparse experts move FLOP from 6ND by less than this factor but in the very smallest models.
FLOP_FACTOR = 10.0
COPIES = 0.01  # share of rows that may repeat the N, tokens and loss of another by chance
FEWEST_TRUNKS = 3  # below this many there are no intervals
# Words for a run that ended well. ``diverged`` is ours too: laws leave such a run out and say so.
FINISHED = ("ok", "finished", "complete", "completed", "done", "success", "succeeded", "successful")
OTHER_UNITS = ("bit", "bpb", "bpc", "ppl", "perplexity", "acc")


@dataclass
class Checked:
    """A table without the rows that cannot be used: ``left_out`` has (row, run, reason), and ``sentences`` say it in words."""

    table: pl.DataFrame
    left_out: list[tuple[int, str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def leave_out(self, bad: pl.Expr, reason: str, shown: str | None = None) -> None:
        """Leave out the rows where ``bad`` is true. The sentence tells their values of the column ``shown``."""
        mask = self.table.select(bad.fill_null(False).alias("bad"))["bad"]
        if not mask.any():
            return
        gone = self.table.filter(mask)
        names = gone["run"].to_list() if "run" in gone.columns else [str(row) for row in gone[ROW]]
        self.left_out += [(row, name, reason) for row, name in zip(gone[ROW].to_list(), names, strict=True)]
        self.sentences.append(f"{counted(len(gone), 'row')} left out: {reason} ({_rows(gone, shown)}).")
        self.table = self.table.filter(~mask)

    def doubt(self, bad: pl.Expr, sentence: str, shown: str | None = None) -> None:
        """Add a sentence about the rows where ``bad`` is true; {rows} in it becomes their number."""
        found = self.table.filter(bad.fill_null(False))
        if len(found):
            self.sentences.append(f"{sentence.replace('{rows}', counted(len(found), 'row'))} ({_rows(found, shown)}).")

    def refuse_if_empty(self, which: str) -> None:
        """Raise StudyError where no row is left but some were, with the reasons."""
        if self.left_out and self.table.is_empty():
            raise StudyError(f"{which} has no usable row: {' '.join(self.sentences)}")


def _rows(table: pl.DataFrame, shown: str | None) -> str:
    """Name the first rows of a table, with their values of a column."""
    first, rest = table.head(SHOWN), len(table) - SHOWN
    more = f" and {rest:,} more" if rest > 0 else ""
    if shown is None:
        return f"row{'s' if len(table) > 1 else ''} {', '.join(map(str, first[ROW].to_list()))}{more}"
    pairs = zip(first[ROW].to_list(), first[shown].to_list(), strict=True)
    texts = [f"row {row}: {value if isinstance(value, str) else f'{value:.6g}'}" for row, value in pairs]
    return f"{', '.join(texts)}{more}"


def numbered(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the number of each row, from 1, in a column of ours."""
    return table.drop(ROW, strict=False).with_row_index(ROW, offset=1)


def numbers(table: pl.DataFrame, names: Iterable[str], which: str, hint: str) -> pl.DataFrame:
    """Return a table whose columns ``names``, as far as it has them, are float64, null where a number is missing.

    Texts are read as numbers where they are some. What else they hold is kept in a column of ours, for ``unreadable``.

    Parameters
    ----------
    which, hint
        What errors call the table, and what they say is to be done about the column {name}.

    Raises
    ------
    StudyError
        A column holds no number at all, but something else.
    """
    for name in [name for name in names if name in table.columns]:
        column = table[name]
        if column.dtype == pl.String:
            texts = column.str.strip_chars()
            texts = texts.set(texts.str.to_lowercase().is_in(MISSING), None)
            found = texts.cast(pl.Float64, strict=False)
            strange = texts.set(found.is_not_null(), None).rename(TEXT + name)
            if strange.null_count() < len(strange) and found.null_count() == len(found):
                first = strange.is_not_null().arg_true()[0]
                raise StudyError(
                    f"{which}: column '{name}' is not numeric (row {first + 1} has '{strange[first]}'): {hint.format(name=name)}"
                )
            table = table.with_columns(found.alias(name), strange)
        elif column.dtype.is_numeric() or column.dtype == pl.Null:
            table = table.with_columns(column.cast(pl.Float64).fill_nan(None).alias(name))
        else:
            raise StudyError(f"{which}: column '{name}' is not numeric but {column.dtype}: {hint.format(name=name)}")
    return table


def truths(table: pl.DataFrame, names: Iterable[str], which: str) -> pl.DataFrame:
    """Return a table whose columns ``names``, as far as it has them, are truth values, null where a row does not say.

    Raises StudyError where a text is neither true or yes nor false or no.
    """
    for name in [name for name in names if name in table.columns and table[name].dtype != pl.Boolean]:
        small = texts(table, [name])[name].str.strip_chars().str.to_lowercase()
        small = small.set(small.is_in(MISSING), None)
        yes, no = (small.is_in(words) for words in (["true", "yes", "1", "1.0"], ["false", "no", "0", "0.0"]))
        if (strange := (~(yes | no)).fill_null(False)).any():
            first = strange.arg_true()[0]
            raise StudyError(f"{which}: column '{name}' has '{table[name][first]}' in row {first + 1}: write true or false")
        table = table.with_columns(yes.alias(name))
    return table


def texts(table: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Return a table whose columns ``names``, as far as it has them, are texts; of lists it is the text in JSON."""
    for name in [name for name in names if name in table.columns]:
        column = table[name]
        if column.dtype.is_nested():
            values = [None if value is None else json.dumps(value, default=str) for value in column.to_list()]
            column = pl.Series(name, values, pl.String)
        table = table.with_columns(column.cast(pl.String))
    return table


def unreadable(checked: Checked, names: Sequence[str]) -> None:
    """Leave out rows that have a text in place of a number in one of the columns."""
    for name in names:
        if TEXT + name in checked.table.columns:
            checked.leave_out(pl.col(TEXT + name).is_not_null(), f"{name} is not a number", TEXT + name)


def unusable(checked: Checked, names: Sequence[str], which: str, unless: pl.Expr | None = None) -> None:
    """Leave out rows whose numbers in the columns are missing, infinite or not positive, or whose loss is too high.

    Rows where ``unless`` is true need not have these numbers.

    Raises
    ------
    StudyError
        So many losses are too high that all are in another unit.
    """
    asked = pl.lit(True) if unless is None else ~unless.fill_null(False)
    for name in names:
        value = pl.col(name)
        checked.leave_out(asked & (value.is_null() | value.is_nan()), f"{name} is missing")
        checked.leave_out(asked & (~value.is_finite() | (value <= 0)), f"{name} is not a positive number", name)
    if "loss" not in names:
        return
    high = pl.col("loss") > HIGHEST_LOSS
    reason = "loss is above the logarithm of any vocabulary: losses are nats per token, not perplexities or sums"
    share = checked.table.select(high.mean()).item()
    if share is not None and share > MANY_HIGH:
        found = checked.table.filter(high)
        raise StudyError(f"{which}: in {counted(len(found), 'row')} the {reason} ({_rows(found, 'loss')})")
    checked.leave_out(high, reason, "loss")


def statuses(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose column ``status``, if it has one, says ok for every run that ended well, in whatever word."""
    if "status" not in table.columns:
        return table
    table = texts(table, ["status"])
    word = pl.col("status").str.strip_chars()
    small = word.str.to_lowercase()
    known = (
        pl.when(small.is_in(FINISHED)).then(pl.lit("ok")).when(small.is_in(["diverged", *MISSING])).then(small).otherwise(word)
    )
    return table.with_columns(known.replace(list(MISSING), None).alias("status"))


def strange_status(checked: Checked) -> None:
    """Leave out rows whose status is neither that of a finished run nor ``diverged``."""
    if "status" in checked.table.columns:
        known = pl.col("status").is_in(["ok", "diverged"])
        reason = f"status is not that of a finished run ({', '.join(FINISHED)})"
        checked.leave_out(pl.col("status").is_not_null() & ~known, reason, "status")


def copies(checked: Checked, given: Sequence[str]) -> None:
    """Leave out rows that repeat an earlier one in all the columns ``given`` but the names of the run and its trunk."""
    nested = [name for name, kind in checked.table.schema.items() if kind.is_nested()]
    values = [name for name in given if name not in ("run", "trunk", "id", ROW, *nested)]
    if values:
        checked.leave_out(~pl.struct(values).is_first_distinct(), "every value but its name is that of an earlier row")


def impossible(checked: Checked, which: str, flops: str = "flops_6nd") -> None:
    """Leave out rows whose parameters, tokens, FLOP without tokens, or loss are of an order that no language model has.

    ``flops`` is our name for the column of FLOP.

    Raises
    ------
    StudyError
        So many rows have impossible parameters, tokens or FLOP that all are in another unit.
    """
    for name, low, high, hint in (
        ("n_params", FEWEST_PARAMS, MOST_PARAMS, "count parameters, not millions or billions"),
        ("tokens", FEWEST_TOKENS, MOST_TOKENS, "count tokens, not millions or billions, and FLOP, not PF-days"),
        (flops, FEWEST_FLOPS, MOST_FLOPS, "count FLOP, not PF-days"),
    ):
        if name in checked.table.columns:
            beyond = ((pl.col(name) < low) | (pl.col(name) > high)) & pl.col(name).is_not_nan()
            if name == flops:  # where there are tokens, FLOP are compared with them (doubtful)
                beyond &= pl.col("tokens").is_null() if "tokens" in checked.table.columns else pl.lit(True)
            reason = f"{name} is not between {low:.0e} and {high:.0e}: {hint}"
            share = checked.table.select(beyond.mean()).item()
            if share is not None and share > MOST_IMPOSSIBLE:
                found = checked.table.filter(beyond)
                raise StudyError(f"{which}: in {counted(len(found), 'row')} {reason} ({_rows(found, name)})")
            checked.leave_out(beyond, reason, name)
    if {"n_params", "tokens"} <= set(checked.table.columns):
        ratio = pl.col("tokens") / pl.col("n_params")
        beyond = (ratio < FEWEST_RATIO) | (ratio > MOST_RATIO)
        reason = f"tokens per parameter are not between {FEWEST_RATIO:.0e} and {MOST_RATIO:.0e}: one is in another unit"
        checked.leave_out(beyond & ratio.is_not_nan(), reason, "n_params")
    small = pl.col("loss") < LOWEST_SHARE * pl.col("loss").median()
    checked.leave_out(small, f"loss is below {LOWEST_SHARE:.0%} of the table's median loss", "loss")


def doubtful(checked: Checked, theirs: str = "loss", flops: str = "flops") -> None:
    """Add sentences about rows that are possible and unlikely.

    ``theirs`` is the table's own name for the loss, and ``flops`` ours for the column of FLOP.
    """
    has, table = set(checked.table.columns), checked.table
    if any(part in theirs.lower() for part in OTHER_UNITS):
        checked.sentences.append(f"The losses come from a column named '{theirs}': laws take them for nats per token.")
    if {"n_params", "tokens"} <= has:
        ratio = pl.col("tokens") / pl.col("n_params")
        high = (ratio > HIGH_RATIO) & (pl.col("n_params") < FEW_PARAMS)
        for bad, what in ((high, f"more than {HIGH_RATIO:.0e}"), (ratio < LOW_RATIO, f"fewer than {LOW_RATIO:.0e}")):
            sentence = f"{{rows}} with {what} tokens per parameter: is n_params or tokens counted in thousands or millions?"
            checked.doubt(bad & ratio.is_not_nan(), sentence, "n_params")
        if flops in has:
            size = pl.max_horizontal("n_params", *({"n_params_total"} & has))
            low, high = 6 * pl.col("n_params") * pl.col("tokens"), 6 * size * pl.col("tokens")
            bad = (pl.col(flops) < low / FLOP_FACTOR) | (pl.col(flops) > high * FLOP_FACTOR)
            sentence = f"{{rows}} with FLOP that differ from 6·n_params·tokens by more than a factor of {FLOP_FACTOR:g}"
            checked.doubt(bad & pl.col(flops).is_not_nan() & low.is_not_nan(), sentence, flops)
    if "n_vocab" in has and table["n_vocab"].dtype.is_numeric():
        sentence = "{rows} with a loss above ln n_vocab, which guessing has: is it in bits, or a sum?"
        checked.doubt(pl.col("loss") > pl.col("n_vocab").log(), sentence, "loss")
    keys = [name for name in ("n_params", "tokens", flops, "loss") if name in has]
    again = ~pl.struct(keys).is_first_distinct()
    if len(table) and table.select(again.mean()).item() > COPIES:
        sentence = "{rows} with the same n_params, tokens and loss as an earlier row: copies of a run make intervals too narrow"
        checked.doubt(again, sentence)


def few_trunks(checked: Checked) -> None:
    """Add a sentence where many rows belong to so few trunks that there can be no intervals."""
    trunk = pl.coalesce("trunk", "run", pl.col(ROW).cast(pl.String))
    number, size = checked.table.select(trunk.n_unique()).item(), len(checked.table)
    if number < FEWEST_TRUNKS <= size:
        checked.sentences.append(
            f"All {size:,} rows belong to {counted(number, 'trunk')}, and below {FEWEST_TRUNKS} trunks there are no intervals: "
            "runs that share no part of their training need different values, or none, in the column trunk."
        )
