"""Conditions on the columns of a table, as ``--where`` takes them: a small grammar, and nothing that reads or calls anything.

    condition   comparison, NOT condition, condition AND condition, condition OR condition, (condition)
    comparison  value = <> != < <= > >= value, value [NOT] BETWEEN value AND value, value [NOT] IN (value, …),
                value [NOT] LIKE 'text', value IS [NOT] NULL, a column of truth values
    value       a column, a number, 'text', TRUE, FALSE, and + - * / and brackets over numbers

A column whose name is no plain word stands in double quotes, and a quotation mark in a name or a text is written twice.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal

GRAMMAR = (
    "write comparisons of columns with numbers or 'texts', such as \"n_params > 1e6 and loss < 4\"; "
    "and, or, not, in (…), between … and …, like, is null, + - * / and brackets can be used, and functions cannot"
)
TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![A-Za-z_])|(?P<text>'(?:[^']|'')*')"""
    r"""|(?P<quoted>"(?:[^"]|"")*"|`[^`]*`)|(?P<word>[^\W\d]\w*)|(?P<sign><=|>=|<>|!=|==|[=<>()+\-*/,]))"""
)
WORDS = frozenset({"and", "or", "not", "in", "is", "null", "between", "like", "true", "false"})
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "==": operator.eq, "<>": operator.ne, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
LONGEST, DEEPEST = 10_000, 50  # letters of a condition, and brackets in each other


class _WrongError(Exception):
    """The condition is not of the grammar; the text says where."""


@dataclass
class _Parser:
    """Reads a condition token by token: ``at`` is the next one. Each method reads one kind of phrase and returns it."""

    tokens: list[tuple[str, str]]
    columns: list[str]
    at: int = 0
    depth: int = field(default=0)

    def next_is(self, *words: str) -> str:
        """Take the next token if it is one of the words or signs, and return it; else return an empty text."""
        if self.at < len(self.tokens):
            kind, text = self.tokens[self.at]
            if kind in ("word", "sign") and text.lower() in words:
                self.at += 1
                return text.lower()
        return ""

    def must(self, word: str) -> None:
        """Take the word or sign that must come next."""
        if not self.next_is(word):
            found = f"before '{self.tokens[self.at][1]}'" if self.at < len(self.tokens) else "at its end"
            raise _WrongError(f"'{word}' is expected {found}")

    def either(self) -> pl.Expr:
        """Read conditions with OR between them."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise _WrongError(f"it has more than {DEEPEST} brackets in each other")
        found = self.both()
        while self.next_is("or"):
            found = found | self.both()
        self.depth -= 1
        return found

    def both(self) -> pl.Expr:
        """Read conditions with AND between them."""
        found = self.negated()
        while self.next_is("and"):
            found = found & self.negated()
        return found

    def negated(self) -> pl.Expr:
        """Read a comparison with any number of NOT before it."""
        times = 0
        while self.next_is("not"):
            times += 1
        found = self.comparison()
        return ~found if times % 2 else found

    def comparison(self) -> pl.Expr:
        """Read a comparison; a value alone is one where it is a truth value, which the caller checks."""
        left = self.sum()
        if sign := self.next_is(*COMPARED):
            return COMPARED[sign](left, self.sum())
        if self.next_is("is"):
            inverted = bool(self.next_is("not"))
            self.must("null")
            return left.is_not_null() if inverted else left.is_null()
        inverted = bool(self.next_is("not"))
        if self.next_is("between"):
            low = self.sum()
            self.must("and")
            found = (left >= low) & (left <= self.sum())
        elif self.next_is("in"):
            self.must("(")
            found = left == self.sum()
            while self.next_is(","):
                found = found | (left == self.sum())
            self.must(")")
        elif self.next_is("like"):
            kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
            if kind != "text":
                raise _WrongError("like takes a text in single quotes")
            self.at += 1
            parts = {"%": ".*", "_": "."}
            found = left.str.contains(f"(?s)^{''.join(parts.get(letter) or re.escape(letter) for letter in text)}$")
        elif inverted:
            raise _WrongError("after a value, not is followed by in, between or like")
        else:
            return left
        return ~found if inverted else found

    def sum(self) -> pl.Expr:
        """Read products with + or - between them."""
        found = self.product()
        while sign := self.next_is("+", "-"):
            found = found + self.product() if sign == "+" else found - self.product()
        return found

    def product(self) -> pl.Expr:
        """Read values with * or / between them."""
        found = self.value()
        while sign := self.next_is("*", "/"):
            found = found * self.value() if sign == "*" else found / self.value()
        return found

    def value(self) -> pl.Expr:
        """Read a column, a number, a text, a truth value, or a phrase in brackets."""
        negative = False
        while sign := self.next_is("+", "-"):
            negative ^= sign == "-"
        if negative:
            return -self.value()
        if self.next_is("("):
            found = self.either()
            self.must(")")
            return found
        if word := self.next_is("true", "false"):
            return pl.lit(word == "true")
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if not kind or kind == "sign" or (kind == "word" and text.lower() in WORDS):
            raise _WrongError(f"a value is expected {f'in place of {text!r}' if kind else 'at its end'}")
        self.at += 1
        if kind == "number":
            return pl.lit(int(text) if text.isdigit() and len(text) <= 18 else float(text))
        if kind == "text":
            return pl.lit(text)
        if self.next_is("("):
            raise _WrongError(f"'{text}(…)' is a function")
        if text not in self.columns:
            raise _WrongError(f"there is no column '{text}': {proposal(text, self.columns, 'the columns are')}")
        return pl.col(f"^{re.escape(text)}$") if text.startswith("^") else pl.col(text)


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return the (kind, text) of each token; quotes are taken off."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _WrongError(f"it cannot be read from '{text[at : at + 20].strip()}' on")
        token, kind, at = match[match.lastgroup], match.lastgroup, match.end()
        if kind in ("text", "quoted"):
            token = token[1:-1].replace(token[0] * 2, token[0])
        found.append((kind, token))
    return found


def condition(table: pl.DataFrame, where: str) -> pl.Expr:
    """Return a condition on the columns of a table as an expression that is true, false or null for each row.

    Raises
    ------
    StudyError
        It is not of the grammar, names a column that the table lacks, compares things that cannot be, or is no condition.
    """
    columns = [name for name in table.columns if not name.startswith("__")]
    try:
        if len(where) > LONGEST:
            raise _WrongError(f"it has more than {LONGEST:,} letters")
        parser = _Parser(_tokens(where), columns)
        found = parser.either()
        if parser.at < len(parser.tokens):
            raise _WrongError(f"'{parser.tokens[parser.at][1]}' is not expected there")
        kind = table.select(found.alias("keep")).schema["keep"]
    except _WrongError as error:
        raise StudyError(f'--where "{where[:200]}" cannot be used: {error}. {GRAMMAR[0].upper()}{GRAMMAR[1:]}') from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StudyError(f'--where "{where[:200]}" cannot be used: {str(error).splitlines()[0]}; {GRAMMAR}') from None
    if kind != pl.Boolean:
        raise StudyError(f'--where "{where[:200]}" is not a condition: {GRAMMAR}')
    return found
