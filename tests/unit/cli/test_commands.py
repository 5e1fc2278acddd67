"""The command line: its help, its exit statuses, and that it prints what the functions below it return."""

from __future__ import annotations

import builtins
import errno
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from printed import printed

from scalinglaws import __main__ as module
from scalinglaws.cli import app, options
from scalinglaws.cli.output import print_table
from scalinglaws.common.errors import StudyError
from scalinglaws.decide import plan_words
from scalinglaws.decide.design import law_plans, warnings
from scalinglaws.decide.load import load
from scalinglaws.decide.plan import plan_rows, plan_totals, sentences
from scalinglaws.laws.catalogue import LAWS, METHODS
from scalinglaws.laws.fit import OBJECTIVES

ROOT = Path(__file__).parents[3]
SMOKE = str(ROOT / "workflow/studies/smoke.yaml")
HEAVY = {"torch", "polars", "matplotlib", "scipy", "snakemake", "rich", "tokenizers"}


def commands() -> dict[str, Any]:
    group = app.group()
    return {name: group.get_command(None, name) for name in group.list_commands(None)}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a working directory of its own, which has no results."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*arguments: str, **more: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")} | more
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", app.FILES)
def test_a_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its help has a sentence, an example that the command itself can parse, and a text for each parameter."""
    command = commands()[name]
    first = command.help.splitlines()[0]
    assert first[0].isupper() and first.endswith(".")
    examples = command.help.partition("Example")[2].replace("\\\n", " ")
    lines = [line.split() for line in examples.splitlines() if line.strip().startswith("scalinglaws ")]
    assert lines and all(words[1] == name for words in lines)
    known = {option for parameter in command.params for option in parameter.opts}
    for words in lines:
        used = {word for word in words[: words.index("--") if "--" in words else None] if word.startswith("--")}
        required = {option.opts[0] for option in command.params if option.required and option.param_type_name == "option"}
        assert required <= used <= known, words
    for parameter in command.params:
        assert parameter.help and parameter.help[0].isupper() and parameter.help.endswith("."), parameter.name
    assert app.main([name, "--help"]) == 0
    assert f"Usage: scalinglaws {name} [OPTIONS]" in capsys.readouterr().out


def test_the_help_lists_every_command_in_its_panel(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--help"]) == 0
    told = capsys.readouterr().out
    ours, stages = told.split("Stages, which the rules of the workflow call:")
    assert "Commands:\n  run " in ours and "\x1b" not in told
    for panel, part in zip(app.PANELS, (ours, stages), strict=True):
        for name in app.PANELS[panel]:
            assert f"\n  {name} " in part
            assert commands()[name].rich_help_panel == panel


def test_a_wrong_command_line_exits_with_2_and_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [["plan", "--no-such"], ["figure"], ["fit", "--law", "power-n", "--table", "a", "--objective", "cubic"], ["fit"]]
    wrong += [
        ["aggregate", "--manifest", "a", "--external", "{"],
        ["fiugre"],
        ["--no-such"],
    ]
    for words in [*wrong, ["fiugre"], ["--no-such"]]:
        assert app.main(words) == 2, words
        told = capsys.readouterr()
        assert told.err.startswith("Usage: scalinglaws ") and "\nError: " in told.err and not told.out, words
    assert app.main([]) == 2
    assert app.main(["fiugre"]) == 2
    assert "Did you mean 'figure'?" in capsys.readouterr().err


def test_a_wrong_config_exits_with_1_and_one_message(elsewhere: Path) -> None:
    (elsewhere / "config.yaml").write_text("experiments: 3\n")
    for words in (["plan"], ["prune"], ["run"], ["plan", "--configfile", "none.yaml"]):
        done = python("-m", "scalinglaws", *words)
        assert done.returncode == 1, done
        assert done.stderr.startswith(f"scalinglaws {words[0]}: ") and "Traceback" not in done.stderr and not done.stdout


DRAW = ["figure", "--name", "fig02_learning_curves", "--tables", "t", "--fits", "f"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "--law", "power-n", "--table", "a.csv", "--out", "./a.csv"], "--out and --table are the same file"),
        (["fit", "--law", "power-n", "--table", "a.csv", "--out", "link.csv"], "--out and --table are the same file"),
        ([*DRAW, "--out-svg", "new", "--out-png", "x/../new"], "--out-svg and --out-png are the same file"),
    ],
)
def test_an_output_is_no_input_and_no_other_output(
    words: list[str], said: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "a.csv").write_text("n_params,tokens,loss\n")
    (elsewhere / "link.csv").symlink_to("a.csv")
    assert app.main(words) == 1
    assert said in capsys.readouterr().err and (elsewhere / "a.csv").read_text() == "n_params,tokens,loss\n"


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (StudyError("it is wrong"), 1, "scalinglaws plan: it is wrong\n"),
        (
            OSError(errno.ENOSPC, "full", "a/file"),
            1,
            "scalinglaws plan: no space left to write a/file: free some and run again\n",
        ),
        (PermissionError(errno.EACCES, "no", "a"), 1, "scalinglaws plan: there is no permission for a: change its owner or its "),
        (MemoryError(), 1, "scalinglaws plan: memory ran out: "),
        (BrokenPipeError(errno.EPIPE, "closed"), 1, ""),
        (KeyboardInterrupt(), 130, "scalinglaws plan: stopped\n"),
    ],
)
def test_what_a_user_can_mend_has_no_traceback(
    raised: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise raised

    monkeypatch.setattr("scalinglaws.decide.load.load", broken)
    try:
        found = app.main(["plan"])
    except SystemExit as exit:  # from typer, where what reads the output has ended
        found = int(exit.code or 0)
    err = capsys.readouterr().err
    assert found == status and err.startswith(said) and err.count("\n") == (said != "")


def test_other_errors_and_statuses_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    for raised in (ZeroDivisionError(), OSError(errno.EBADF, "no"), SystemExit(143), EOFError("no data left")):

        def broken(*_: Any, raised: BaseException = raised) -> None:
            raise raised

        monkeypatch.setattr("scalinglaws.decide.load.load", broken)
        with pytest.raises(type(raised)) as found:
            app.main(["plan"])
        assert found.value is raised


def test_plan_prints_what_the_functions_return(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = load(Path(SMOKE), Path("results"))
    done = next(iter(study.runs))
    (elsewhere / "results/runs" / done).mkdir(parents=True)
    for name in ("metrics.json", "curve.jsonl", "model.safetensors", "timing.json"):
        (elsewhere / "results/runs" / done / name).write_text("{}")
    rows, totals = plan_rows(study, Path("results")), plan_totals(study, Path("results"))
    assert app.main(["plan", "--configfile", SMOKE, "--json", "--untimed"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [{name: row[name] for name in rows[0]} for row in printed["runs"]] == rows
    assert (printed["totals"], printed["laws"], printed["warnings"]) == (totals, law_plans(study), warnings(study))
    assert app.main(["plan", "--configfile", SMOKE, "--untimed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [*sentences(totals), *plan_words.of_laws(law_plans(study))]
    said += [*plan_words.of_cost(printed["device"], printed["cost"]), plan_words.of_disk(printed["disk"])]
    said += [f"warning: {sentence}" for sentence in warnings(study)]
    assert len(said) > 12
    assert [line.partition("; ")[0] for line in lines[-len(said) :]] == [line.partition("; ")[0] for line in said]
    rows_printed = lines[2 : -len(said)]
    assert [line.split()[0] for line in rows_printed] == list(study.runs)
    assert rows_printed[0].endswith("  done") and all(line.endswith("  to train") for line in rows_printed[1:])
    # Against numbers that the spec alone gives.
    assert [row["tokens"] for row in rows] == [spec.tokens for spec in study.runs.values()]
    assert totals["runs"] == len(study.runs) and totals["runs_left"] == len(study.runs) - 1
    assert sum(row["gflop"] for row in rows if row["state"] == "to train") * 1e9 <= totals["flops_left"]


def test_prune_as_json_lists_and_deletes_what_no_run_needs(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = load(Path(SMOKE), Path("results"))
    trunk = next(iter(study.trunks))
    spare = elsewhere / f"results/trunks/{trunk}/step999999.safetensors"
    spare.parent.mkdir(parents=True)
    spare.write_bytes(b"12345")
    listed = {"path": str(spare.relative_to(elsewhere)), "bytes": 5}
    assert app.main(["prune", "--configfile", SMOKE, "--json"]) == 0
    assert printed("prune", capsys.readouterr().out) == {"rungs": [listed], "deleted": False} and spare.exists()
    assert app.main(["prune", "--configfile", SMOKE, "--json", "--yes"]) == 0
    assert printed("prune", capsys.readouterr().out) == {"rungs": [listed], "deleted": True} and not spare.exists()


def test_fit_lists_the_laws_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["fit", "--list", "--json"]) == 0
    listed = {law["name"]: law for law in printed("fit --list", capsys.readouterr().out)}
    assert list(listed) == [*LAWS, *METHODS] == sorted(options.known_laws(), key=[*LAWS, *METHODS].index)
    assert listed["power-n"]["formula"] == LAWS["power-n"].formula and listed["isoflop"]["rule"] == METHODS["isoflop"].rule
    objective = next(parameter for parameter in commands()["fit"].params if parameter.name == "objective")
    assert tuple(objective.type_descriptor.choices) == tuple(OBJECTIVES)


def test_lists_with_commas() -> None:
    assert [options.names(text) for text in (None, "", "a", "a, b,")] == [None, [], ["a"], ["a", "b"]]


def test_arguments_after_two_dashes_go_to_snakemake(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr("scalinglaws.dag.launch.run", lambda *arguments: given.append(arguments))
    assert app.main(["run", "--configfile", "a.yaml", "--cores", "3", "--", "--profile", "p", "all"]) == 0
    assert given == [(Path("a.yaml"), 3, ["--profile", "p", "all"], Path("results"))]


def test_a_table_is_whole_and_without_colours_where_nobody_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [["x" * 300, "1"], ["y", "1,000"]], right=("n",))
    assert capsys.readouterr().out == f"{'name':<300}      n\n{'x' * 300}      1\n{'y':<300}  1,000\n"
    print_table(("name", "n"), [])
    assert capsys.readouterr().out == "name  n\n"


HELP = """
import sys
from scalinglaws.cli import app
for name in ("", *app.FILES):
    assert app.main([*filter(None, [name]), "--help"]) == 0
print(*sys.modules, file=sys.stderr)
"""


def test_help_and_completion_import_nothing_heavy() -> None:
    done = python("-c", HELP)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded and not HEAVY & loaded
    done = python("-m", "scalinglaws", _SCALINGLAWS_COMPLETE="complete_bash", COMP_WORDS="scalinglaws fi", COMP_CWORD="1")
    assert done.stdout.split() == ["fit", "figure"]
    words = {"COMP_WORDS": "scalinglaws figure --name fig0", "COMP_CWORD": "3"}
    done = python("-m", "scalinglaws", _SCALINGLAWS_COMPLETE="complete_bash", **words)
    assert done.stdout.split() == [name for name in options.known_figures() if name.startswith("fig0")] != []


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("ulimit -v 300000; $CALL fit --law power-n --table a.csv", 1, "scalinglaws fit: the address space of this process is"),
        ("ulimit -v 300000; $CALL fit --help", 0, ""),
        ("$CALL fit --help >&-", 0, ""),
        ("$CALL fit --help >/dev/full", 1, "scalinglaws fit: no space left to write a file or what the command prints"),
        ("PYTHONIOENCODING=ascii $CALL fit --help", 0, ""),
        ("set +o pipefail; $CALL fit --help | true", 0, ""),
    ],
)
def test_odd_limits_and_outputs(script: str, status: int, said: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "CALL": f"{sys.executable} -m scalinglaws"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == status, done
    assert done.stderr.startswith(said) and done.stderr.count("\n") == (said != "")


def test_a_missing_library_is_told() -> None:
    code = "import sys; sys.modules['typer'] = None; from scalinglaws.__main__ import main; sys.exit(main())"
    done = python("-c", code)
    assert done.returncode == 1 and "has no library typer: run `make install`" in done.stderr


def test_an_interrupt_while_libraries_are_loaded_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def interrupted(name: str, *arguments: Any) -> Any:
        if name == "scalinglaws.cli.app":
            raise KeyboardInterrupt
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    assert module.main() == 130


def test_the_entry_point_and_the_module_are_the_same_command() -> None:
    value = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["scalinglaws"]
    assert EntryPoint("scalinglaws", value, "console_scripts").load() is module.main
    script = f"import sys; sys.argv[0] = 'scalinglaws'; from {value.replace(':', ' import ')} as run; sys.exit(run())"
    for words in (["--help"], ["plan", "--no-such"], ["plan", "--configfile", "none.yaml"]):
        first, second = python("-c", script, *words), python("-m", "scalinglaws", *words)
        assert (first.returncode, first.stdout, first.stderr) == (second.returncode, second.stdout, second.stderr)


def test_a_room_below_knows_nothing_of_the_command_line() -> None:
    package = ROOT / "workflow/scalinglaws"
    below = [path for path in package.rglob("*.py") if path.parent.name != "cli"]
    assert len(below) > 100
    assert [path.name for path in below if "argparse" in path.read_text() or "import typer" in path.read_text()] == []
