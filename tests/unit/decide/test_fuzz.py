"""Thousands of studies in which something is wrong: each is refused in words or can be run, and takes no time to judge.

``SCALINGLAWS_FUZZ=10`` tries ten times as many.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalinglaws.common.errors import StudyError
from scalinglaws.decide.load import of_config
from scalinglaws.decide.plan import plan_rows, plan_totals, sentences
from scalinglaws.laws.registry import laws_of
from scalinglaws.study import config, read_yaml
from scalinglaws.study.spec import RunSpec, Spec, run_from_dict
from scalinglaws.study.study import Study

ROOT = Path(__file__).parents[3]
TIMES = int(os.environ.get("SCALINGLAWS_FUZZ", "1"))
SECONDS = 5.0  # of the processor for one study, on a slow machine; the aim is 2
SMALL = [ROOT / "workflow/studies/smoke.yaml", ROOT / "config.yaml"]
LARGE = [ROOT / "tests/fixtures/every.yaml", *sorted({*(ROOT / "workflow/studies").glob("*.yaml")} - {*SMALL})]

# What is put in the place of a word or of a value of a study, as it is written in YAML.
HOSTILE = (
    *(".nan", "-.inf", ".inf", "nan", "inf", "1e308", "1e-320", "1.0e+308", "1e999", "-1", "0", "1", "2", "1.5",),
    *("1.00001", "-0.0", "0.9999999", "1e-9", "1T", "2^63", "9^99", "1e18", "1e19", "1e99", "1_000", "0100000",),
    *("270:00", "0x10", "0b1", "0o7", "+1", "9" * 19, "9" * 60, "9" * 400, "9" * 5000, f"'{'9' * 400}'",),
    *("99999999999x9999999999", "0x0", "2x8", "1000x65536", "2x1000000", "yes", "no", "true", "~", "", "all", "early",),
    *("wsd", "cosine", "kaplan", "lstm", "recurrent", "files", "bpe", "huggingface", "''", "[]", "{}", "[1]", "[[]]",),
    *("{a: 1}", "[true, 1.5]", "..", ".", "-x", "../x", "a/b", "/", "x" * 300, "ü", "a b", "2020-01-01", "\"\\0\"",),
    *("\"\\ud800\"", "\"\\U00110000\"", "!!binary aGk=", "!!python/name:os.system", "!a b", "&a [*a]", "*b", "<<", "@",),
    *("%", "|", ">", "- a", "'", '"', "#", ": ", "\t", "? ", "---", "{", "]", "[" * 200, "[" * 60 + "]" * 60,),
    *("{n_layer: 2, d_model: 8, n_heads: 7}", "{n_layer: 1, d_model: 8, n_repeats: 2}",),
    *("{coefficient: 1, exponent: 9}", "{coefficient: 1e30, exponent: -10, max: 1}",),
)  # fmt: skip
VALUES: Any = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 2**63, 10**18, 10**40, 0.5, 1e-9, 1e308, math.inf, math.nan, "", "x", "..", [], {}]
    ),
    st.integers(),
    st.floats(allow_subnormal=False),  # torch may have set them to zero in this process
    st.text(max_size=8),
    st.lists(st.integers(0, 4096), max_size=3),
)
WORD = re.compile(r"[^\s\[\]{},:#]+")


def _words(draw: Any, text: str) -> str:
    """Replace one to three words of a text."""
    for _ in range(draw(st.integers(1, 3))):
        places = [match.span() for match in WORD.finditer(text)]
        if places:
            first, last = draw(st.sampled_from(places))
            text = text[:first] + draw(st.sampled_from(HOSTILE)) + text[last:]
    return text


def _lines(draw: Any, text: str) -> str:
    """Delete, repeat, move, indent or cut off lines of a text."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 2))):
        at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["delete", "repeat", "move", "indent", "dedent", "tab", "cut"]))
        changed = {
            "delete": [],
            "repeat": [lines[at], lines[at]],
            "move": [lines[other]],
            "indent": [f"  {lines[at]}"],
            "dedent": [lines[at].removeprefix("  ")],
            "tab": [f"\t{lines[at]}"],
            "cut": [lines[at][: len(lines[at]) // 2]],
        }
        lines[at : at + 1] = changed[kind] or [""]
    return "".join(lines)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value within a value, the outer ones first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in _places(each, (*path, key)))]


def _values(draw: Any, text: str) -> str:
    """Replace, delete, rename, nest or copy values of a study, and write it out again."""
    data = copy.deepcopy(_data(text))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(_places(data)[1:] or [("study",)]))
        at = data
        for key in parents:
            at = at[key]
        kind = draw(st.sampled_from(["replace", "replace", "delete", "rename", "list", "mapping", "copy"]))
        if kind == "delete" and isinstance(at, dict):
            at.pop(last, None)
        elif kind == "rename" and isinstance(at, dict) and last in at:
            at[f"{last}{draw(st.sampled_from(['s', '_', '.x', ' ']))}"] = at.pop(last)
        elif kind == "list":
            at[last] = [at[last]]
        elif kind == "mapping":
            at[last] = {draw(st.sampled_from(["n_layer", "corpus", "x"])): at[last]}
        elif kind == "copy":
            value = data
            for key in draw(st.sampled_from(_places(data)[1:])):
                value = value[key]
            at[last] = copy.deepcopy(value)
        else:
            at[last] = draw(VALUES)
        if not isinstance(data, dict):
            break
    return yaml.dump(data, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=draw(st.booleans()))


@st.composite
def studies(draw: Any, paths: list[Path]) -> str:
    """Draw the text of a study in which something is changed."""
    text = _text(draw(st.sampled_from(paths)))
    return draw(st.sampled_from([_words, _words, _lines, _values]))(draw, text)


@cache
def _text(path: Path) -> str:
    """Return the text of a study without its comments, in which a change would mean nothing."""
    return re.sub(r"(^|\s)#.*", "", path.read_text(), flags=re.MULTILINE)


@cache
def _data(text: str) -> Any:
    return yaml.safe_load(text)


def _check_numbers(spec: Spec) -> None:
    for field in dataclasses.fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Spec):
                _check_numbers(each)
            if isinstance(each, int | float):
                assert math.isfinite(each) and abs(each) < 2**63, (field.name, each)


def _check_run(run: str, spec: RunSpec) -> None:
    assert spec.steps >= 1 and spec.learning_rate > 0 and spec.n_params > 0 and len(run) < 200 and "/" not in run
    assert spec.beta1 < 1 and spec.beta2 < 1 and spec.dropout < 1 and spec.micro_contexts >= 1
    _check_numbers(spec)
    assert run_from_dict(json.loads(spec.canonical)).id == run == spec.id


def _judged(text: str) -> Study | None:
    """Return the study of a text; None where it is refused in words."""
    began = time.process_time()
    try:
        document = read_yaml.parse(text, "my.yaml")
        study = of_config(config.parse(document.data, document.name, document.where), Path("nowhere"))
        laws_of(study)
        assert all(math.isfinite(row["gflop"]) for row in plan_rows(study, Path("nowhere")))
        assert sentences(plan_totals(study, Path("nowhere")))
    except StudyError as error:
        assert 8 < len(str(error)) < 20_000 and str(error).replace("\n", "").isprintable()
        return None
    finally:
        assert time.process_time() - began < SECONDS
    return study


def fuzz(count: int) -> Any:
    """Return the settings of a test of so many studies, the same ones each time."""
    return settings(
        max_examples=count * TIMES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )


def _runs(text: str, every: int = 1) -> None:
    study = _judged(text)
    for run in list(study.runs)[::every] if study else ():
        _check_run(run, study.runs[run])  # type: ignore[union-attr]


@fuzz(3000)
@given(studies(SMALL))
def test_a_small_study_with_a_mistake_is_refused_in_words_or_can_be_run(text: str) -> None:
    _runs(text)


@fuzz(100)
@given(studies(LARGE))
def test_a_large_study_with_a_mistake_is_refused_in_words_or_can_be_run(text: str) -> None:
    _runs(text, every=20)
