"""The reference pages: every key and every column has a sentence, and types, defaults and laws are those of the code."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import BaseModel

from scalinglaws.decide.reference.config_page import config_page, default, kind_of, sections
from scalinglaws.decide.reference.laws_page import laws_page
from scalinglaws.decide.reference.markdown import table
from scalinglaws.decide.reference.tables_page import tables_page
from scalinglaws.decide.schema import config_schema
from scalinglaws.laws.registry import LAW_KINDS
from scalinglaws.study import config
from scalinglaws.study.describe import ALSO, KEYS, sentence
from scalinglaws.tables.describe import COLUMNS, TABLES, described
from scalinglaws.tables.schema import SCHEMAS

SENTENCE = re.compile(r"[A-Z`].*[A-Za-z0-9)`]\.", re.DOTALL)


@pytest.mark.parametrize(("title", "model", "keys"), sections(), ids=[title for title, _, _ in sections()])
def test_every_key_of_a_config_has_a_sentence(title: str, model: type[BaseModel], keys: list[str]) -> None:
    wrong = {key: said for key in keys if not SENTENCE.fullmatch(said := sentence(model, key))}
    assert wrong == {}, f"{title}: add whole sentences to study/describe.py"


def test_a_key_without_a_sentence_is_noticed() -> None:
    class Plain(config.Strict):
        seed: int = 0

    assert not SENTENCE.fullmatch(sentence(Plain, "seed"))


def test_every_model_of_the_schema_has_a_section_and_every_key_a_description() -> None:
    schema = config_schema()
    shown = {model.__name__ for _, model, _ in sections()}
    assert schema["$defs"].keys() - shown == {"Overrides", "Grid"}, "these repeat the keys of Settings"
    for model in (schema, *schema["$defs"].values()):
        assert [key for key, value in model.get("properties", {}).items() if not SENTENCE.fullmatch(value["description"])] == []


def test_no_sentence_is_about_a_key_or_a_column_that_is_not_there() -> None:
    keys = {base.__name__: set(model.model_fields) for _, model, _ in sections() for base in model.__mro__}
    keys |= {"AttentionOptions": keys["RecurrentOptions"]}
    assert {(name, key) for name, own in KEYS.items() for key in own if key not in keys.get(name, ())} == set()
    assert set(ALSO) <= {"Overrides", "Grid", "Experiment"}
    columns = {(name, column) for name, schema in SCHEMAS.items() for column in schema.names}
    assert COLUMNS.keys() - columns - {("", column) for _, column in columns} == set()


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_of_a_table_has_a_sentence(name: str) -> None:
    assert name in TABLES
    wrong = [column for column in SCHEMAS[name].names if not SENTENCE.fullmatch(described(name, column)[1])]
    assert wrong == [], "add sentences to tables/describe.py"
    page = tables_page()
    assert all(f"| `{column}` |" in page for column in SCHEMAS[name].names)


@pytest.mark.parametrize(
    ("model", "key", "kind", "value"),
    [
        (config.Settings, "tokens", "count", ""),
        (config.Settings, "n_ctx", "count, at most 1.073742e09", "*needed*"),
        (config.Settings, "warmup_tokens", "count or 0", "`100000`"),
        (config.Settings, "schedule", "`wsd`, `cosine`, `linear`, `constant`", "`wsd`"),
        (config.Settings, "patience", "integer, above 0, at most 1000000", "`4`"),
        (config.Settings, "decay", "number, above 0, below 1", "`0.2`"),
        (config.Settings, "dataset_tokens", "count or `all`", "`all`"),
        (config.FitsConfig, "laws", "`all` or list of: text", "`all`"),
        (config.CorpusConfig, "sources", "list of: [Sources](#sources)", "*needed*"),
        (config.Config, "experiments", "mapping of names to: [Experiments](#experiments)", ""),
    ],
)
def test_values_and_defaults_are_told_in_words(model: type[BaseModel], key: str, kind: str, value: str) -> None:
    field = model.model_fields[key]
    assert kind_of(field) == kind
    assert default(field) == value


def test_a_default_on_the_page_is_read_by_the_config_as_the_default() -> None:
    for _, model, keys in sections():
        for key in keys:
            if (told := default(model.model_fields[key])).startswith("`"):
                assert yaml.safe_load(told.strip("`")) == model.model_fields[key].default, key


def test_links_within_the_page_of_the_config_lead_to_sections() -> None:
    page = config_page()
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= titles


def test_the_page_of_laws_has_every_law_with_its_parameters() -> None:
    page = laws_page()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(LAW_KINDS)
    # Hoffmann et al. 2022, equation 10.
    chinchilla = page.partition("## chinchilla\n")[2].partition("## overtraining")[0]
    assert all(f"| `{name}` | {row} |" in chinchilla for name, row in {"E": "nats per token | 1.69", "alpha": " | 0.34"}.items())


def test_a_bar_or_a_line_break_does_not_end_a_cell() -> None:
    assert table(("a", "b"), [("x|y", "one\ntwo")]) == ["| a | b |", "| --- | --- |", "| x\\|y | one two |", ""]
