"""The command fit for a reader: the page, JSON, the file, and the lists of laws and figures on a terminal of 100 columns."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from fixtures.planted_laws import planted
from scalinglaws.cli.app import main
from scalinglaws.figures.registry import FIGURES
from scalinglaws.laws.catalogue import LAWS, METHODS

COLUMNS = 100


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """Make what is printed look as on a terminal of 100 columns without colours."""
    for name, value in (("COLUMNS", str(COLUMNS)), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    return capsys


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The command for a table of runs by Chinchilla's law, one of which has no loss."""
    runs = planted("chinchilla", 0).runs
    lost = runs.head(1).with_columns(run=pl.lit("lost"), loss=pl.lit(None, pl.Float64))
    pl.concat([runs, lost]).write_csv(tmp_path / "runs.csv")
    return ["fit", "--law", "chinchilla", "--table", str(tmp_path / "runs.csv"), "--bootstrap", "20"]


def test_a_fit_is_a_page_or_json_and_the_file_is_the_same(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--out writes the JSON beside either; - stands for --json. A row that was left out is told once."""
    out, at, lost = tmp_path / "fit.json", ["--at", "n_params=200G,tokens=20T"], "1 row left out: loss is missing"
    assert main([*command, *at, "--json"]) == 0
    printed = capsys.readouterr()
    fit = json.loads(printed.out)
    assert lost in printed.err and [item["at"] for item in fit["predictions"]] == [{"n_params": 2e11, "tokens": 2e13}]
    assert main([*command, *at, "--out", "-"]) == 0
    assert capsys.readouterr().out == printed.out
    assert main([*command, *at, "--json", "--out", str(out)]) == 0
    assert capsys.readouterr().out == printed.out and out.read_text() == printed.out
    out.unlink()
    assert main([*command, *at, "--out", str(out)]) == 0
    page = capsys.readouterr()
    assert out.read_text() == printed.out and not page.err and page.out.count(lost) == 1
    lines = page.out.splitlines()
    (head,) = (k for k, line in enumerate(lines) if line.startswith("parameter "))
    assert [line.split()[0] for line in lines[head + 1 : head + 8]] == ["E", "A", "B", "alpha", "beta", "a", "b"]
    assert lines[head + 8] == "" and lines[-1].startswith("n_params = 2e11, tokens = 2e13 ")
    assert "Reasons to doubt it:\n- " in page.out


def test_a_page_fits_a_terminal(command: list[str], terminal: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--at", "n_params=200G,tokens=20T", "--at", "flops=1e24"]) == 0
    printed = terminal.readouterr().out
    assert max(map(len, printed.splitlines())) <= COLUMNS
    assert all(name in printed for name in ("alpha", "95 % interval", "published", "Reasons to doubt it:", "checked"))


@pytest.mark.parametrize(
    ("words", "names"), [(["fit"], [*LAWS, *METHODS]), (["figure"], list(FIGURES))], ids=["laws", "figures"]
)
def test_a_list_fits_a_terminal_and_is_one_line_each_elsewhere(
    words: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch, terminal: pytest.CaptureFixture[str]
) -> None:
    """On a terminal names are whole and all text is there, in columns; elsewhere a row is one line."""
    assert main([*words, "--list"]) == 0
    lines = terminal.readouterr().out.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    found = [line.split()[0] for line in lines if line[:1].isspace() and line.strip() and not line.startswith("  ")]
    assert [name for name in found if name in names] == names
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert main([*words, "--list"]) == 0
    plain = terminal.readouterr().out
    assert [line.split()[0] for line in plain.splitlines()[1:]] == names
    assert set(plain.split()) == set(" ".join(lines).replace("─", " ").split())
    assert main([*words, "--list", "--json"]) == 0
    assert [item["name"] for item in json.loads(terminal.readouterr().out)] == names


def test_laws_say_which_options_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["kaplan-ns"].endswith("(--curves, --critical-batch)") and lines["envelope"].endswith("(--curves)")
    assert "--" not in lines["chinchilla"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--law", "chinchila"], 1, "law 'chinchila' is unknown: did you mean chinchilla? Use one of power-n, "),
        (["--objective", "hubber"], 2, "is not one of 'huber', 'squared', 'absolute'. Did you mean 'huber'?"),
        (["--columns", "n_param=N"], 1, "--columns names n_param: did you mean n_params? It can map "),
        (["--columns", "n_params=n_parms"], 1, "no column 'n_parms' (for n_params): did you mean n_params? It has "),
        (["--at", "n_param=1G,tokens=1G"], 1, "no variable 'n_param': did you mean n_params? It is predicted at n_params, tokens, "),
        (["--where", "token > 1"], 1, "there is no column 'token': did you mean tokens? The columns are "),
        (["--bootstap", "3"], 2, "--bootstrap"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(
    words: list[str], status: int, said: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *words]) == status
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_misspelt_figure_or_law_of_a_stage_is_answered_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ["figure", "--tables", str(tmp_path), "--fits", str(tmp_path)]
    drawn += [f"--out-{kind}={tmp_path}/a.{kind}" for kind in ("svg", "png")]
    assert main([*drawn, "--name", "fig05_shap"]) == 1
    assert "there is no figure 'fig05_shap': did you mean fig05_shape? Use one of fig01_" in capsys.readouterr().err
    assert main([*drawn, "--name", "fig05_shape", "--laws", "power-n,chinchila"]) == 1
    assert "--laws: 'chinchila' is unknown: did you mean chinchilla?" in capsys.readouterr().err
    assert main(["figure", "--name", "fig05_shape"]) == 2
    assert "--list names the figures" in capsys.readouterr().err
