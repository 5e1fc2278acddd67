"""The smoke study for real: what it makes, that it makes it again byte for byte, and that a kill loses nothing."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import psutil
import pyarrow.parquet as pq
from printed import printed

from scalinglaws.figures.shared import learning_curves
from scalinglaws.tables import schema as tables
from workflow.conftest import SMOKE, copy_workflow, environment, status_of

DETERMINISTIC = (
    "runs/*/metrics.json",
    "runs/*/curve.jsonl",
    "runs/*/model.safetensors",
    *(f"studies/smoke/{name}" for name in ("tables/[!t]*", "fits/*", "figures/*", "report.md")),
)


def test_every_output_is_there_and_fits_its_schema(finished):
    results = finished.folder / "results"
    for name in tables.SCHEMAS.keys() - {"forecasts"}:  # this study forecasts nothing
        assert pq.read_schema(results / "studies/smoke/tables" / f"{name}.parquet").equals(tables.SCHEMAS[name]), name
    runs = pl.read_parquet(results / "studies/smoke/tables/runs.parquet")
    assert len(runs) == 10
    assert runs["status"].to_list() == ["ok"] * 10
    assert runs["loss"].is_between(1.5, 5.5).all()
    curves = pl.read_parquet(results / "studies/smoke/tables/curves.parquet")
    assert set(curves["phase"]) == {"warmup", "stable", "decay"}
    pieces = learning_curves.segments(curves, runs)
    assert [piece.branch for piece in pieces] == [False, True, True] * 2  # each size: trunk, two decays
    assert all(piece.rows["tokens"][0] < 8 * 512 * 2 for piece in pieces if not piece.branch)
    evals = pl.read_parquet(results / "studies/smoke/tables/evals.parquet")
    means = evals.filter(pl.col("position").is_null()).join(runs.select("run", own="corpus"), on="run")
    assert means.filter(pl.col("corpus") == pl.col("own"))["run"].to_list() == runs["run"].to_list()
    assert means.filter(pl.col("corpus") != pl.col("own"))["run"].n_unique() == 4
    assert (
        len(list((results / "studies/smoke/figures").glob("*.svg")))
        == len(list((results / "studies/smoke/figures").glob("*.png")))
        == 9
    )
    for fit in (results / "studies/smoke/fits").glob("*.json"):
        assert printed("fit", fit.read_text())["flags"], f"{fit}: two sizes can't be enough for a law without a word"


def test_report_is_one_html_file_with_captions(study):
    study.call(sys.executable, "-m", "scalinglaws", "html", "--configfile", SMOKE)
    html = (study.folder / "results/studies/smoke/report.html").read_text()
    assert "<h1>Report of the study smoke</h1>" in html
    assert html.count('<img src="data:image/svg+xml;base64,') == html.count("<figcaption>") == 9
    assert 'alt="Figure 1: Loss against compute, data and parameters"' in html
    assert "Exponents beside the published ones" in html


def test_removed_point_leaves_tables_and_keeps_its_files(study):
    study.edit(lambda data: data["experiments"]["size"]["grid"].update(tokens=["64k"]))
    folders = sorted((study.folder / "results/runs").iterdir())
    study.run("--cores", "2")
    runs = pl.read_parquet(study.folder / "results/studies/smoke/tables/runs.parquet")
    assert len(runs) == 8
    assert sorted((study.folder / "results/runs").iterdir()) == folders
    assert len(list((study.folder / "results/studies/smoke/tables").glob("manifest-*"))) == 1


def test_a_list_of_runs_may_be_longer_than_a_command_line(study):
    study.edit(lambda data: data["experiments"]["size"]["grid"].update(seed=list(range(400))))
    study.run("-n", "--quiet", "all")
    lists = {path.stat().st_size: path for path in (study.folder / "results/studies/smoke/tables").glob("manifest-*")}
    longest = lists[max(lists)].read_text()
    assert len(longest) > 131072  # the most bytes that Linux takes in one argument
    assert len(longest.splitlines()) == 1600 + 6


def test_edited_spec_is_refused(study):
    path = sorted((study.folder / "results/runs").glob("*/spec.json"))[0]
    path.write_text(path.read_text().replace('"n_ctx":32', '"n_ctx":16'))
    (study.folder / "results/studies/smoke/tables/runs.parquet").unlink()
    done = study.run("--cores", "1", check=False)
    assert done.returncode != 0
    assert f"{path.parent.name}/spec.json hashes to" in done.stdout + done.stderr
    assert "not to its folder: it was edited by hand" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_wrong_config_stops_before_any_job(study):
    study.edit(lambda data: data["defaults"].update(n_cxt=3))
    for command in (["snakemake"], ["scalinglaws", "run"]):
        done = study.call(sys.executable, "-m", *command, "--configfile", SMOKE, "--cores", "1", check=False)
        assert done.returncode == 1
        assert "defaults.n_cxt: unknown key: did you mean n_ctx?" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_no_code_in_a_config_is_run(tmp_path):
    """Snakemake's own reader would evaluate it: config.yaml is looked at first, and so is what `scalinglaws run` is given."""
    made = copy_workflow(tmp_path / "w")
    text = (made.folder / "config.yaml").read_text()
    (made.folder / "config.yaml").write_text(text + '__use_yte__: true\ncode: ?open("ran", "w")\n')
    for command in (["snakemake", "-n"], ["scalinglaws", "run"]):
        done = made.call(sys.executable, "-m", *command, "--cores", "1", check=False)
        assert done.returncode == 1 and "the key __use_yte__ makes Snakemake run code" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr and not (made.folder / "ran").exists()


def test_killed_workflow_and_training_end_with_the_same_bytes(finished, tmp_path):
    """Snakemake and a training that it left behind are killed by -9, and a rung is truncated; then the study is run again."""
    fresh = copy_workflow(tmp_path / "w")
    results = fresh.folder / "results"
    for name in ("corpora", "tokenizers", "tokens"):
        shutil.copytree(finished.folder / "results" / name, results / name, copy_function=shutil.copy2)
    command = [sys.executable, "-m", "snakemake", "--configfile", SMOKE, "--cores", "2"]
    process = subprocess.Popen(command, cwd=fresh.folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(results.glob("trunks/*/step*.safetensors"))) >= 2, 600)
    process.kill()
    process.wait()
    assert list((fresh.folder / ".snakemake/locks").iterdir()), "a killed Snakemake leaves its lock"
    left = [p for p in psutil.process_iter() if cwd_of(p) == str(fresh.folder) and "scalinglaws" in p.cmdline()]
    for orphan in left[:1]:
        name = name_of(orphan)
        orphan.send_signal(signal.SIGKILL)
        orphan.wait(timeout=60)
        with held(left[1:]):
            told, others = status_of(fresh), {name_of(each) for each in left[1:]}
        trainings = {each.get("run") or each.get("trunk"): each for each in (*told["runs"], *told["trunks"])}
        assert told["workflow"]["state"] == "gone" and told["workflow"]["pid"] == process.pid
        assert {each for each, training in trainings.items() if training["state"] == "running"} <= others
        if list(results.glob(f"*/{name}/progress.json")):
            found = trainings[name]
            assert (found["state"], found["because"]) == ("stopped", f"its process {orphan.pid} was killed")
            own = [int(path.stem.removeprefix("step")) for path in results.glob(f"trunks/{name}/step*.safetensors")]
            rungs = {int(path.stem.removeprefix("step")) for path in results.glob("trunks/*/step*.safetensors")} | {0}
            assert found["step"] == max(own, default=0) if "rungs" in found else found["step"] in rungs
    rung = sorted(results.glob("trunks/*/step*.safetensors"))[0]
    os.truncate(rung, rung.stat().st_size // 2)
    done = fresh.call(sys.executable, "-m", "scalinglaws", "run", "--configfile", SMOKE, "--cores", "2")
    assert "removing the lock" in done.stdout
    assert fresh.bytes_of(*DETERMINISTIC) == finished.bytes_of(*DETERMINISTIC)
    assert not list(results.glob("*/*/checkpoint-*"))


def name_of(process):
    """Return the run or trunk that a process trains; None for one that trains none, or is gone."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return None
    return Path(words[words.index("--spec") + 1]).parent.name if "--spec" in words else None


@contextlib.contextmanager
def held(processes):
    """Suspend processes, so that they neither end nor go on."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.suspend()
    yield
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.resume()


def cwd_of(process):
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


def test_live_workflow_is_not_unlocked(study):
    """A second `run` beside a live Snakemake is refused and leaves the lock alone."""
    (study.folder / ".snakemake/locks").mkdir(exist_ok=True)
    lock = study.folder / ".snakemake/locks/0.input.lock"
    lock.write_text("results/runs\n")
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)", "snakemake"]
    live = subprocess.Popen(sleeper, cwd=study.folder)
    try:
        done = study.call(sys.executable, "-m", "scalinglaws", "run", "--configfile", SMOKE, "--cores", "1", check=False)
        assert done.returncode == 1
        assert f"process {live.pid} runs snakemake" in done.stderr
        assert lock.exists()
    finally:
        live.kill()
        live.wait()
