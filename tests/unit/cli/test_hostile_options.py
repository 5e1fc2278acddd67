"""Every option of every command with hostile values: a message and the status 1 or 2, or work that is done, never a traceback."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_runs import CORPUS, small_spec, write_tokens
from scalinglaws.cli import app
from scalinglaws.study.spec import TokenizerSpec

ROOT = Path(__file__).parents[3]
LONG = "9" * 400
NUMBERS = ["-1", "0", "nan", "inf", "-inf", LONG, "9" * 5000, "1e308", "1e400", "", "x", "0x10", "½", "True"]
TEXTS = [
    "",
    "{",
    "[" * 100_000,
    "\udcff",
    "a\nb",
    "-x",
    LONG,
    "null",
    "[1]",
    '{"a": 1}',
    '[{"path": 1}]',
    "a=b=c,=",
    "1,2,3",
    "x.json",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a working directory with good files and with everything that may lie at a path by mistake."""
    folder = tmp_path_factory.mktemp("hostile")
    before = Path.cwd()
    os.chdir(folder)
    (folder / "run.json").write_text(small_spec().canonical)
    shutil.copyfile(ROOT / "workflow/studies/smoke.yaml", folder / "config.yaml")
    (folder / "corpus.json").write_text(CORPUS.canonical)
    (folder / "tokenizer.json").write_text(TokenizerSpec("bytes").canonical)
    write_tokens(folder / "tokens" / small_spec().tokens_id)
    (folder / "table.csv").write_text(
        "n_params,tokens,loss\n" + "".join(f"{10**n},{10 ** (n + 2)},{7 - n / 2}\n" for n in range(3, 9))
    )
    (folder / "table \udcff.csv").write_text((folder / "table.csv").read_text())
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "binary").write_bytes(bytes(range(256)) * 4)
    (folder / "null").write_text("null")
    (folder / "list.json").write_text("[1, 2]")
    (folder / "object.json").write_text('{"kind": 3, "sources": 1, "members": {}, "corpus": {}}')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "dangling").symlink_to("nowhere/at/all")
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    yield folder
    os.chdir(before)


READ = ["", ".", "missing", "empty", "binary", "null", "list.json", "object.json", "deep.json", "run.json", "corpus.json"]
READ += ["tokenizer.json", "table.csv", "table \udcff.csv", "dangling", "circle", "circle/x", "null/x", "a" * 300, "\udcff"]
READ += ["/dev/null", "tokens"]
WRITTEN = [
    "",
    ".",
    "folder",
    "dangling/x",
    "circle",
    "null/x",
    "a" * 300,
    "pipe",
    "/dev/null",
    "/dev/full",
    "/dev/stdout",
    "/proc/x",
]
WRITTEN += ["-", "out \udcff'\n$x"]
VALUES = {"number": NUMBERS, "text": TEXTS, "read": READ, "written": WRITTEN}
NEVER = {"number": ("-1", "nan", LONG, "9" * 5000, "", "x"), "written": ("pipe", "/dev/null", "/dev/full", "circle")}
GOOD = {"law": "power-n", "table": "table.csv", "name": "fig02_learning_curves", "bootstrap": "0", "manifest": "empty"}
FIGURE = {"tables", "fits", "out_svg", "out_png"}  # what the command figure needs unless it lists the figures
SPECS = {"corpus": "corpus.json", "tokenizer": "tokenizer.json"}


def kind(parameter: Any) -> str:
    """Return what an option takes: a number, a text, a path that is read, a path that is written, or something else."""
    annotation = parameter.type_descriptor.annotation
    if annotation is Path:
        return "written" if parameter.name.startswith("out") or parameter.name in ("log", "downloads") else "read"
    return "number" if annotation in (int, float) else "text" if annotation in (str, list[str]) else "other"


def value(command: str, parameter: Any) -> str:
    """Return a value with which the command starts and soon ends."""
    if parameter.name == "spec":
        return SPECS.get(command, "run.json")
    names = {"number": "1", "written": f"made-{command}"}
    return GOOD.get(parameter.name, names.get(kind(parameter), "absent"))


def fault(words: list[str], refused: bool, capsys: pytest.CaptureFixture[str]) -> str | None:
    """Run a command and return what is wrong with how it ended; ``refused`` says that it must not end well."""
    try:
        status = app.main(words)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    told = capsys.readouterr().err
    if status not in (0, 1, 2) or (status and not told.strip()) or "Traceback" in told:
        return f"status {status}: {told}"
    return "it is accepted" if refused and not status else None


@pytest.mark.parametrize("name", app.FILES)
def test_hostile_values_end_in_words(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scalinglaws.dag.launch.run", lambda *_: 0)
    command = app.group().get_command(None, name)
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help" and not p.is_flag]
    needed = FIGURE if name == "figure" else set()
    given = {p.opts[-1]: value(name, p) for p in options if p.required or p.name in GOOD or p.name in needed}
    arguments = ["table.csv" for p in command.params if p.param_type_name == "argument" and p.required]
    faults = {}
    for parameter in options:
        for hostile in VALUES.get(kind(parameter), ["", "x"]):
            words = [name, *arguments, *(f"{option}={text}" for option, text in (given | {parameter.opts[-1]: hostile}).items())]
            refused = hostile in NEVER.get(kind(parameter), ()) and parameter.name != "log"
            if found := fault(words, refused, capsys):
                faults[f"{parameter.opts[-1]}={hostile[:50]}"] = found
    assert faults == {}
    assert stat.S_ISFIFO((folder / "pipe").lstat().st_mode) and stat.S_ISCHR(Path("/dev/null").stat().st_mode)
