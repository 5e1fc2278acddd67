"""Every command of ``scalinglaws`` in the README and the pages runs as it is written, on studies and tables that are made here.

Only intervals are drawn from fewer resamples, and the words RUN and DIR, and ids of runs, stand for those of the study here.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from fixtures import explored, planted_mixtures
from fixtures.planted_laws import planted
from scalinglaws.cli.app import group, main
from unit.test_documented_commands import PAGES, commands
from workflow.conftest import SMOKE, Workflow

ROOT = Path(__file__).parents[2]
# These train for hours or fill a terminal until they are stopped. Other tests run them on studies of their own.
ELSEWHERE = {"run"}
ID = re.compile(r"gpt-n\S+-[0-9a-f]{10}")


def asked() -> list[tuple[str, str]]:
    """Return (page, command) of each command that is run here, without repetitions."""
    found: dict[str, str] = {}
    for page in PAGES:
        for program, *words in commands(page.read_text()):
            if program == "scalinglaws" and words[0] not in ELSEWHERE:
                words = words[: words.index("|")] if "|" in words else words
                found.setdefault(shlex.join(words), page.stem)
    return [(page, command) for command, page in found.items()]


@pytest.fixture(scope="module")
def place(finished: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the finished smoke study, which is also the study of config.yaml, with the files that the pages name."""
    folder = tmp_path_factory.mktemp("documented") / "w"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copy2, ignore=shutil.ignore_patterns(".snakemake"))
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("gallery"))
    data = yaml.safe_load((folder / SMOKE).read_text())
    for name in ("my_study.yaml", "my.yaml"):
        shutil.copy2(folder / SMOKE, folder / name)
    (folder / "config.yaml").write_text(yaml.safe_dump(data | {"study": "laptop"}, sort_keys=False))
    studies(folder / "results/studies")
    tables(folder)
    return folder


def studies(folder: Path) -> None:
    """Write the tables and fits of the studies that pages name: runs of two architectures, and sweeps of the learning rate."""
    rows = pl.read_csv(ROOT / "docs/compare.csv").with_row_index("run").with_columns(pl.col("run").cast(str))
    experiment = pl.when(pl.col("architecture") == "lstm").then(pl.lit("lstm")).otherwise(pl.lit("size"))
    budgets = pl.col("tokens").round_sig_figs(1).cast(pl.Int64)
    others = [rows.with_columns(pl.lit(name).alias("architecture"), fitted=False) for name in ("llama", "moe")]
    runs = pl.concat([rows.with_columns(fitted=True), *others]).with_columns(
        experiments=pl.concat_list(experiment), tokens=budgets, n_params_active=pl.col("n_params"), n_ctx=128
    )
    named = {"paper": runs, "learning-rate": planted("learning-rate", 0).runs}
    for name, table in named.items():
        (folder / name / "tables").mkdir(parents=True)
        table.write_parquet(folder / name / "tables/runs.parquet")
    # The report and the figures of the smoke study stand in for those of laptop, whose runs and fits can forecast.
    names = ("report.*", "figures", "tables/exponents*", "tables/fits*")
    for path in (path for name in names for path in sorted((folder / "smoke").glob(name))):
        to = folder / "laptop" / path.relative_to(folder / "smoke")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, to) if path.is_dir() else shutil.copy2(path, to)
    explored.write_study(folder / "laptop")


def tables(folder: Path) -> None:
    """Write the tables that stand beside config.yaml in the pages."""
    example = pl.read_csv(ROOT / "docs/example.csv")
    example.with_columns(N=pl.col("n_params"), D=pl.col("tokens"), L=pl.col("loss")).write_csv(folder / "runs.csv")
    sizes = [{"n_params": n, "tokens": 20 * n} for n in (5e7, 1e8, 1e9, 2e9)]
    pl.DataFrame(sizes).write_csv(folder / "grid.csv")
    planted("learning-rate", 0).runs.write_csv(folder / "sweeps.csv")
    planted("mixture", 0).runs.write_csv(folder / "mixtures.csv")
    made, _ = planted_mixtures.study()
    for name in ("runs", "evals"):
        made[name].write_parquet(folder / f"{name}.parquet")
    curves = planted("multi-power", 0).curves
    assert curves is not None
    one = curves["run"].unique(maintain_order=True)[0]
    curves.with_columns(run=pl.col("run").replace(one, "wsd")).write_csv(folder / "curves.csv")
    curves.filter(pl.col("run") == one).select("step", "learning_rate").write_csv(folder / "decay.csv")


@pytest.mark.parametrize(("page", "command"), asked(), ids=[f"{page}-{k}" for k, (page, _) in enumerate(asked())])
def test_a_command_of_a_page_runs(
    page: str, command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    run = min(path.name for path in (place / "results/runs").iterdir())
    words = [{"RUN": run, "DIR": f"published/{page}"}.get(word, ID.sub(run, word)) for word in shlex.split(command)]
    parameters = [] if words[0].startswith("--") else group().get_command(None, words[0]).params
    known = {option for each in parameters for option in each.opts}
    if "--bootstrap" in known and "--list" not in words:
        words += ["--bootstrap", "20"]
    assert main(words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out
