"""The command fit for a reader: the page, JSON, the file, and the lists of laws and figures on a terminal of 100 columns."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import polars as pl
import pytest
from printed import printed

from fixtures.planted_laws import planted
from scalinglaws.cli.app import main
from scalinglaws.figures.registry import FIGURES
from scalinglaws.laws.catalogue import LAWS, METHODS

COLUMNS = 100


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what is printed from here on look as on a terminal of 100 columns without colours."""
    for name, value in (("COLUMNS", str(COLUMNS)), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def command(law: str, folder: Path) -> list[str]:
    """Return the command that fits a law to a table of runs made by it, of which one more has no loss."""
    runs = planted(law, 0).runs
    pl.concat([runs, runs.head(1).with_columns(loss=pl.lit(None, pl.Float64))]).write_csv(folder / "runs.csv")
    return ["fit", "--law", law, "--table", str(folder / "runs.csv"), "--bootstrap", "20"]


def test_a_fit_is_a_page_or_json_and_the_file_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out writes the JSON beside either; - stands for --json. A row that was left out is told once."""
    words, out, lost = command("isoflop", tmp_path), tmp_path / "fit.json", "1 row left out: loss is missing"
    assert main([*words, "--json"]) == 0
    first = capsys.readouterr()
    assert lost in first.err and list(printed("fit", first.out)["exponents"]) == ["a", "b"]
    assert main([*words, "--out", "-"]) == 0
    assert capsys.readouterr().out == first.out
    assert main([*words, "--json", "--out", str(out)]) == 0
    assert capsys.readouterr().out == first.out and out.read_text() == first.out
    out.unlink()
    assert main([*words, "--out", str(out)]) == 0
    page = capsys.readouterr()
    assert out.read_text() == first.out and not page.err and page.out.count(lost) == 1
    lines = page.out.splitlines()
    (head,) = (k for k, line in enumerate(lines) if line.startswith("parameter "))
    assert [line.split()[0] for line in lines[head + 1 : head + 5]] == ["k_N", "k_D", "a", "b"] and not lines[head + 5]
    assert "Reasons to doubt it:\n- " in page.out


def test_a_page_fits_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    on_terminal(monkeypatch)
    assert main([*command("chinchilla", tmp_path), "--at", "n_params=200G,tokens=20T", "--at", "flops=1e24"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= COLUMNS
    assert all(name in shown for name in ("alpha", "95 % interval", "published", "Reasons to doubt it:", "checked"))


@pytest.mark.parametrize(("words", "names"), [(["fit"], [*LAWS, *METHODS]), (["figure"], list(FIGURES))], ids=["laws", "figures"])
def test_a_list_fits_a_terminal_and_is_one_line_each_elsewhere(
    words: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal names are whole and all text is there, in columns; elsewhere a row is one line."""
    on_terminal(monkeypatch)
    assert main([*words, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert [line.split()[0] for line in lines[3:] if re.match(r"  \S", line)] == names
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert main([*words, "--list"]) == 0
    plain = capsys.readouterr().out
    assert [line.split()[0] for line in plain.splitlines()[1:]] == names
    letters = [sorted(re.sub(r"\x1b\[\d*m|[\s─]", "", text)) for text in (plain, "\n".join(lines))]
    assert letters[0] == letters[1], "nothing is cut off"
    assert main([*words, "--list", "--json"]) == 0
    assert [item["name"] for item in printed(f"{words[0]} --list", capsys.readouterr().out)] == names


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
        (
            ["--at", "n_param=1G,tokens=1G"],
            1,
            "no variable 'n_param': did you mean n_params? It is predicted at n_params, tokens, ",
        ),
        (["--where", "token > 1"], 1, "there is no column 'token': did you mean tokens? The columns are "),
        (["--bootstap", "3"], 2, "--bootstrap"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(
    words: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command("chinchilla", tmp_path), *words]) == status
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
