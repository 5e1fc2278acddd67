"""Conditions of ``--where``: what the grammar means, and that nothing beyond it is taken."""

from __future__ import annotations

import polars as pl
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws.where import condition

TABLE = pl.DataFrame(
    {"n": [1, 2, 3, None], "loss": [4.0, 3.0, 2.0, 1.0], "kind": ["ab", "a_b", None, "it's"], "my col": [1, 2, 3, 4]}
    | {"good": [True, False, True, None], 'q"': [1, 1, 2, 2]}
)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("n > 1", [1, 2]),
        ("n >= 2 and loss < 3 or n = 1", [0, 2]),
        ("N_ = 1 or (n = 1)".replace("N_", "n"), [0]),
        ("NOT n <> 1", [0]),
        ("not not n == 1", [0]),
        ("n in (1, 3.0, 7)", [0, 2]),
        ("n not in (1, 3)", [1]),
        ("loss between 2 and 3", [1, 2]),
        ("loss not between 2 and 3 and n is not null", [0]),
        ("n is null", [3]),
        ("kind = 'it''s'", [3]),
        ("kind like 'a%'", [0, 1]),
        ("kind like 'a_b'", [1]),
        ("kind not like 'a%'", [3]),
        ('"my col" >= 3 and `my col` < 4', [2]),
        ('"q""" = 2', [2, 3]),
        ("good", [0, 2]),
        ("good = false", [1]),
        ("loss * n - 1 > 4.5e0 / (1 + 0)", [1, 2]),
        ("-loss < -.3e1", [0]),
        ("1 < n", [1, 2]),
    ],
)
def test_what_a_condition_keeps(where: str, kept: list[int]) -> None:
    table = TABLE.with_row_index("at")
    assert table.filter(condition(table, where).fill_null(False))["at"].to_list() == kept


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("loss > (select max(x) from read_csv('/etc/passwd'))", "no column 'select'"),
        ("n in (select n from read_parquet('x'))", "no column 'select'"),
        ("read_csv('x')", "'read_csv.….' is a function"),
        ("abs(loss) > 1", "'abs.….' is a function"),
        ("n > 1; drop table x", "cannot be read from '; drop table x' on"),
        ("n > 1 -- x", "no column 'x'"),
        ("n > 1 n", "'n' is not expected there"),
        ("los > 1", "no column 'los': did you mean loss"),
        ("", "a value is expected at its end"),
        ("n >", "a value is expected at its end"),
        ("n in 1", "'.' is expected before '1'"),
        ("n between 1", "'and' is expected at its end"),
        ("n not 1", "not is followed by in, between or like"),
        ("kind like kind", "like takes a text"),
        ("loss + 1", "is not a condition"),
        ("kind > 1", "cannot be used"),
        ("loss and n", "cannot be used|not a condition"),
        ("(" * 100 + "n = 1" + ")" * 100, "more than 50 brackets"),
        ("n = 1 or " * 2000 + "n = 1", "more than 10,000 letters"),
        ("n = 'a", "cannot be read"),
        ("n = 1x", "cannot be read"),
        ("n = \0", "cannot be read"),
    ],
)
def test_what_is_beyond_the_grammar_is_refused_with_the_grammar(where: str, said: str) -> None:
    with pytest.raises(StudyError, match=said) as refused:
        condition(TABLE, where)
    assert "rite comparisons of columns with numbers" in str(refused.value) and "\n" not in str(refused.value)
