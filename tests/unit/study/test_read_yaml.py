"""Files of YAML: what is read, what is refused with its line, and that nothing takes long or ends in a traceback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from scalinglaws.common.errors import StudyError
from scalinglaws.study import config, read_yaml

ROOT = Path(__file__).parents[3]
ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
ALIASES += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}], k: 1}}\n" for i in range(1, 30))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 80))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e6", "1e6"),  # the types of keys read it as a number
        ("1.5e3", "1.5e3"),
        ("1.0e+6", 1e6),
        ("1_000", "1_000"),
        ("-3", -3),
        (".5", 0.5),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("2020-01-01", "2020-01-01"),
        ("2.13.0", "2.13.0"),
        ("~", None),
        ("", None),
        ("'0100'", "0100"),
        ("'270:00'", "270:00"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
    ],
)
def test_words_and_numbers(text: str, value: Any) -> None:
    found = read_yaml.parse(f"key: {text}\n", "my.yaml").data["key"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nsize: 2\nb: 3\nsize: 4\n", "line 4: the key size stands on line 2 already"),
        ("e:\n  size: {x: 1}\n  size: {x: 2}\n", "line 3: the key size stands on line 2"),
        ("a: {b: 1, 'b': 2}", "the key b stands on line 1"),
        ("a: 1\nb: 0100000", "line 2: 0100000 is another number"),
        ("a: 270:00", "line 1: 270:00"),
        ("a: [0x10]", "0x10"),
        ("a: 0b11", "0b11"),
        ("a: 0o17", "0o17"),
        ("a: 089", "089"),
        (f"a: {'9' * 60}", "has more than 30 digits"),
        (f"a: {'9' * 6000}", "has more than 30 digits"),
        ("a: !!int 0x10", "0x10 is no number"),
        ("1: a", "1 is no name of a key"),
        ("~: a", "~ is no name of a key"),
        ("? [a, b]\n: c", "a list or a mapping is no name of a key"),
        ("a: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system"),
        ("a: !!binary aGk=", "the tag !!binary"),
        ("a: !!bool 5", "the tag !!bool"),
        ("a: !!map [1]", "the tag !!map"),
        ("x: 1\n__use_yte__: true", "line 2: the key __use_yte__ makes Snakemake run code"),
        ("a: &a [*a]", "an alias stands within what it names"),
        ("a: *b", "undefined alias"),
        (ALIASES, "more than 25,000 values"),
        (MERGES, "more than 25,000 values"),
        (CHAIN, "nested more than 50 deep"),
        ("[" * 100_000, "nested more than 50 deep"),
        ("{a: " * 100_000, "nested more than 50 deep"),
        ("- " * 100_000, "nested more than 50 deep"),
        ("a:\n\tb: 1", "line 2: a tab stands where"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins"),
        ("a: [1, 2", "line 1"),
        ('"\\0": 1\n"\\0": 2', "line 2: the key '\\x00' stands on line 1"),
        ("a: \x00", "line 1 has the character U+0000"),
        ('a: "\\U00110000"', "a value cannot be read"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, words: str) -> None:
    began = time.process_time()
    with pytest.raises(StudyError) as refused:
        read_yaml.parse(text, "my.yaml")
    assert str(refused.value).startswith("my.yaml is not YAML: ") and words in str(refused.value)
    assert len(str(refused.value)) < 200 and time.process_time() - began < 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a mapping with keys such as study"),
        (b"# nothing\n", "a mapping with keys such as study"),
        (b"study: a\nx: \xff\n", "line 2 is not UTF-8"),
        ("study: a\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("study: a\n".encode("utf-16-be"), "is UTF-16 text"),
        (b"x" * (1 << 21), "more than 1,048,576 bytes"),
        (None, "is a folder, not a file"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "my.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(StudyError, match=words):
        config.load(path)


def test_devices_and_names_that_cannot_be_opened_are_told() -> None:
    for path in ("/dev/zero", "a\0b", "x" * 5000):
        with pytest.raises(StudyError, match="--configfile"):
            config.load(path)


def test_a_mark_of_utf8_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes("\ufeffstudy: a\n".encode())
    assert read_yaml.read(tmp_path / "my.yaml").data == {"study": "a"}


def test_studies_are_read_as_snakemake_reads_them() -> None:
    for path in [ROOT / "config.yaml", *sorted((ROOT / "workflow/studies").glob("*.yaml"))]:
        assert read_yaml.read(path).data == yaml.safe_load(path.read_text())


def test_lines_of_keys() -> None:
    found = read_yaml.parse("a: &a\n  b: [1,\n   2]\n  d: 0\nc:\n  <<: *a\n  d: 1\n", "my.yaml")
    places = {(): None, ("a",): 1, ("a", "b"): 2, ("a", "b", 1): 3, ("c", "d"): 7, ("c", "b"): 2, ("x",): None}
    assert {place: found.line(place) for place in places} == places
    assert found.where(("c", "d")) == " (line 7)" and found.where(("x",)) == ""


def test_a_wrong_key_is_told_with_its_line(tmp_path: Path) -> None:
    text = (ROOT / "workflow/studies/smoke.yaml").read_text().replace("n_ctx: 32", "n_ctx: yes")
    (tmp_path / "my.yaml").write_text(text)
    line = text[: text.index("n_ctx")].count("\n") + 1
    with pytest.raises(StudyError, match=rf"defaults\.n_ctx: a whole number is expected.*, found 'yes' \(line {line}\)$"):
        config.load(tmp_path / "my.yaml")
