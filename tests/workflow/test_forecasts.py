"""A forecast is written before its run is trained, also where the workflow is killed between them, and is scored as it was."""

import os
import signal
import subprocess
import sys

import polars
import pytest
import yaml

from fixtures import real_study
from scalinglaws.data.pinned import sha256
from scalinglaws.laws.registered import read
from workflow.conftest import Workflow, copy_workflow, environment
from workflow.test_study_runs import wait_for

CONFIG = "ahead.yaml"
AGAIN = {"aggregate": 1, "aggregate_basis": 1, "fit": 1, "exponents": 1, "score": 1, "figure": 1, "report_md": 1}
TEXT = {"corpus": 1, "tokenizer": 1, "tokenize": 1}


@pytest.fixture
def ahead(tmp_path) -> Workflow:
    """Write a study of one fitted run, a table of other runs from a law, and a larger run that is forecast."""
    made = copy_workflow(tmp_path / "w")
    real_study.write_text(made.folder)
    rows = [(n, d, 1.5 + 3 / n**0.2 + 20 / d**0.3) for n in (1e3, 4e3, 16e3) for d in (2e4, 4e4, 8e4, 16e4)]
    polars.DataFrame(rows, schema=["n_params", "tokens", "loss"], orient="row").write_csv(made.folder / "more.csv")
    text = {"kind": "files", "files": [str(made.folder / "manual.txt")], "sha256": sha256([made.folder / "manual.txt"])}
    defaults = {"corpus": "manual", "n_ctx": 32, "batch_tokens": 512, "learning_rate": 1e-2, "warmup_tokens": "4k"}
    experiments = {
        "size": {"points": [{"model": "1x8", "tokens": "16k"}]},
        "ahead": {"forecast": True, "points": [{"model": "2x8", "tokens": "32k"}]},
    }
    data = {"study": "small", "defaults": defaults | {"eval_tokens": "2k", "curve_tokens": 512}, "experiments": experiments}
    data |= {"corpora": {"manual": {"sources": [text], "passage_chars": 400, "validation": 0.1, "test": 0.1}}}
    data |= {"ladder": {"base": "20k"}, "fits": {"bootstrap": 20, "laws": ["chinchilla"]}, "figures": ["forecasts"]}
    (made.folder / CONFIG).write_text(yaml.safe_dump(data | {"external_runs": [{"path": "more.csv"}]}))
    return made


def test_a_forecast_comes_before_its_run_and_stays(ahead):
    results, own = ahead.folder / "results", ahead.folder / "results/studies/small"
    # The only rung, at 20k tokens, is on the way of the forecast run alone.
    assert ahead.jobs(study=CONFIG) == {**TEXT, "rung": 1, "train": 2, "forecast": 1, **AGAIN}
    command = [sys.executable, "-m", "snakemake", "--configfile", CONFIG, "--cores", "2", "--quiet"]
    run = subprocess.Popen(command, cwd=ahead.folder, env=environment(), start_new_session=True)
    wait_for(lambda: list((own / "forecasts").glob("gpt*.json")), 600)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (path,) = (own / "forecasts").glob("gpt*.json")
    name, data = path.stem, path.read_bytes()
    metrics = results / "runs" / name / "metrics.json"
    assert not metrics.exists() and not list(results.glob("trunks/*/step*"))

    done = ahead.call(sys.executable, "-m", "scalinglaws", "run", "--configfile", CONFIG, "--cores", "2")
    (row,) = polars.read_parquet(own / "tables/forecasts.parquet").to_dicts()
    runs = {each["run"]: each for each in polars.read_parquet(own / "tables/runs.parquet").to_dicts()}
    assert row["loss"] == runs[name]["loss"] and not runs[name]["fitted"] and not row["late"]
    assert set(polars.read_parquet(own / "basis/runs.parquet")["run"]) == runs.keys() - {name}
    assert f"forecast {name} by chinchilla: {row['loss_forecast']:.4g} [" in done.stdout.splitlines()[-1]
    assert path.read_bytes() == data and name in (own / "report.md").read_text()
    times = [file.stat().st_mtime_ns for file in (path, *results.glob("trunks/*/step*"), metrics)]
    assert len(times) == 3 and times == sorted(times)

    with (ahead.folder / "more.csv").open("a") as file:  # a run is added to the fits
        file.write("64000,320000,1.9\n")
    assert ahead.jobs(study=CONFIG) == AGAIN
    ahead.run("--cores", "2", study=CONFIG)
    (later,) = [other for other in (own / "forecasts").glob("gpt*.json") if other != path]
    assert path.read_bytes() == data and read(later)["late"]
    assert polars.read_parquet(own / "tables/forecasts.parquet")["late"].to_list() == [False, True]
    assert ahead.jobs(study=CONFIG) == {}

    path.write_bytes(data.replace(b'"late": false', b'"late":  false'))
    refused = ahead.run("--cores", "1", check=False, study=CONFIG)
    assert refused.returncode and f"{path.name} is damaged" in refused.stdout + refused.stderr
    told = ahead.call(sys.executable, "-m", "scalinglaws", "verify", check=False)
    assert told.returncode and path.name in told.stdout
