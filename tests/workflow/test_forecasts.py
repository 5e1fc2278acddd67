"""A forecast is written before its run is trained, also where the workflow is killed between them, and is scored as it was."""

import os
import signal
import subprocess
import sys

import polars

from scalinglaws.laws.registered import read
from workflow.conftest import SMOKE, Workflow, environment
from workflow.test_study_runs import wait_for

AGAIN = {"aggregate": 1, "aggregate_fitted": 1, "fit": 1, "exponents": 1, "score": 1, "figure": 1, "report_md": 1}


def ahead(study: Workflow) -> None:
    """Add a larger run that is forecast, and a table of runs from a law, which the law is fitted to beside the study's own."""
    rows = [(n, d, 1.5 + 3 / n**0.2 + 20 / d**0.3) for n in (1e3, 4e3, 16e3) for d in (2e4, 4e4, 8e4, 16e4)]
    polars.DataFrame(rows, schema=["n_params", "tokens", "loss"], orient="row").write_csv(study.folder / "more.csv")

    def change(data):
        data["experiments"]["ahead"] = {"forecast": True, "points": [{"model": "2x24", "tokens": "64k"}]}
        data |= {
            "external_runs": [{"path": "more.csv"}],
            "figures": ["forecasts"],
            "fits": {"bootstrap": 20, "laws": ["chinchilla"]},
        }

    study.edit(change)


def test_a_forecast_comes_before_its_run_and_stays(study):
    ahead(study)
    # Rungs at 25.6k and 51.2k tokens are on the way of the forecast run alone.
    assert study.jobs() == {"rung": 2, "train": 1, "forecast": 1, **AGAIN}
    results, own = study.folder / "results", study.folder / "results/studies/smoke"
    command = [sys.executable, "-m", "snakemake", "--configfile", SMOKE, "--cores", "2", "--quiet"]
    run = subprocess.Popen(command, cwd=study.folder, env=environment(), start_new_session=True)
    wait_for(lambda: list((own / "forecasts").glob("gpt*.json")), 300)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (path,) = (own / "forecasts").glob("gpt*.json")
    name, data = path.stem, path.read_bytes()
    trunk = results / "trunks" / f"{name.partition('-t')[0]}"
    assert not (results / "runs" / name / "metrics.json").exists() and not list(results.glob(f"trunks/{trunk.name}-*/step*"))

    done = study.call(sys.executable, "-m", "scalinglaws", "run", "--configfile", SMOKE, "--cores", "2")
    (row,) = polars.read_parquet(own / "tables/forecasts.parquet").to_dicts()
    metrics = polars.read_parquet(own / "tables/runs.parquet").filter(polars.col("run") == name).to_dicts()[0]
    assert row["loss"] == metrics["loss"] and not metrics["fitted"] and not row["late"]
    assert name not in polars.read_parquet(own / "fitted/runs.parquet")["run"].to_list()
    assert f"forecast {name} by chinchilla: {row['loss_forecast']:.4g} [" in done.stdout.splitlines()[-1]
    assert path.read_bytes() == data
    made = [path, *sorted(results.glob(f"trunks/{trunk.name}-*/step*")), results / "runs" / name / "metrics.json"]
    times = [file.stat().st_mtime_ns for file in made]
    assert len(times) == 4 and times[0] < min(times[1:3]) and max(times[1:3]) < times[3]
    assert name in (own / "report.md").read_text()
    assert study.jobs() == {}

    with (study.folder / "more.csv").open("a") as file:  # a run is added to the fits
        file.write("64000,320000,1.9\n")
    assert study.jobs() == AGAIN
    study.run("--cores", "2")
    (later,) = [other for other in (own / "forecasts").glob("gpt*.json") if other != path]
    assert path.read_bytes() == data and read(later)["late"]
    assert polars.read_parquet(own / "tables/forecasts.parquet")["late"].to_list() == [False, True]
    assert study.jobs() == {}

    path.write_bytes(data.replace(b'"late": false', b'"late":  false'))
    assert study.jobs() == {"score": 1, "figure": 1, "report_md": 1}
    refused = study.run("--cores", "1", check=False)
    assert refused.returncode and f"{path.name} is damaged" in refused.stdout + refused.stderr
    told = study.call(sys.executable, "-m", "scalinglaws", "verify", check=False)
    assert told.returncode and path.name in told.stdout
