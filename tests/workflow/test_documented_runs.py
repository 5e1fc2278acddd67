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

from fixtures import planted_mixtures
from fixtures.planted_laws import planted
from scalinglaws.cli.app import group, main
from scalinglaws.common import sums
from scalinglaws.common.files import json_bytes
from scalinglaws.laws.result import fit_table
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
                found.setdefault(shlex.join(words), page.stem)
    return [(page, command) for command, page in found.items()]


@pytest.fixture(scope="module")
def place(finished: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the finished smoke study, which is also the study of config.yaml, with the files that the pages name."""
    folder = tmp_path_factory.mktemp("documented") / "w"
    shutil.copytree(finished.folder, folder, copy_function=shutil.copy2, ignore=shutil.ignore_patterns(".snakemake"))
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("gallery"))
    data = yaml.safe_load((folder / SMOKE).read_text())
    (folder / "my_study.yaml").write_text((folder / SMOKE).read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(data | {"study": "laptop"}, sort_keys=False))
    studies(folder / "results/studies")
    tables(folder)
    return folder


def studies(folder: Path) -> None:
    """Write the tables and fits of the studies that pages name: runs of two architectures, and sweeps of the learning rate."""
    example = pl.read_csv(ROOT / "docs/example.csv")
    rows = pl.read_csv(ROOT / "docs/compare.csv").with_row_index("run").with_columns(pl.col("run").cast(str))
    experiment = pl.when(pl.col("architecture") == "lstm").then(pl.lit("lstm")).otherwise(pl.lit("size"))
    budgets = pl.col("tokens").round_sig_figs(1).cast(pl.Int64)
    others = [rows.with_columns(pl.lit(name).alias("architecture"), fitted=False) for name in ("llama", "moe")]
    runs = pl.concat([rows.with_columns(fitted=True), *others]).with_columns(
        experiments=pl.concat_list(experiment), tokens=budgets, n_params_active=pl.col("n_params"), n_ctx=128
    )
    named = {"laptop": example.with_columns(fitted=True), "paper": runs, "learning-rate": planted("learning-rate", 0).runs}
    for name, table in named.items():
        (folder / name / "tables").mkdir(parents=True)
        table.write_parquet(folder / name / "tables/runs.parquet")
    for law in ("chinchilla", "power-c"):
        path = folder / "laptop/fits" / f"{law}.json"
        path.parent.mkdir(exist_ok=True)
        sums.finish(sums.beside(path), [], path, json_bytes(fit_table(example, law, n_bootstrap=20)))


def tables(folder: Path) -> None:
    """Write the tables that stand beside config.yaml in the pages."""
    pl.read_csv(ROOT / "docs/example.csv").rename({"n_params": "N", "tokens": "D", "loss": "L"}).write_csv(folder / "runs.csv")
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
