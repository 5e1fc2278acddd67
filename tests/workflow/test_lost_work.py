"""What is finished stays: after a kill in a job's last moment, with a wrong clock, and where data is deleted or made again."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow.conftest import SMOKE, Workflow, environment
from workflow.test_caching import REDRAWN, set_tokens
from workflow.test_study_runs import wait_for

# A device of CPUs whose small runs share jobs.
SHARED = "device={name: X, bfloat16: 1e12, float32: 1e12, utilisation: 0.5, memory_gib: 8, gpus_per_node: 0, small_minutes: 999, "
SHARED += "bundle_minutes: 100000}"


def a_run(study: Workflow, name: str = "gpt-n1.5k-t64.0k*") -> Path:
    return sorted((study.folder / "results/runs").glob(name))[0]


def forget(folder: Path) -> None:
    """Delete the outputs of a run."""
    for path in folder.iterdir():
        if path.name != "spec.json":
            path.unlink()


@contextlib.contextmanager
def killed_in_its_last_moment(study: Workflow, function: str):
    """Have a function of train/run.py kill its process when it has done everything."""
    path = study.folder / "workflow/scalinglaws/train/run.py"
    text = path.read_text()
    end = f"def {function}(*given, whole={function}, **options):\n    whole(*given, **options)\n    os.kill(os.getpid(), 9)\n"
    path.write_text(f"{text}\n\nimport os\n\n{end}")
    yield
    path.write_text(text)


def test_deleted_data_is_made_again_only_for_what_is_missing(study):
    results = study.folder / "results"
    shutil.rmtree(results / "tokens")
    shutil.rmtree(results / "corpora")
    assert study.jobs() == {}
    study.edit(set_tokens("32k", "64k", "128k"))
    assert study.jobs() == {"corpus": 2, "tokenize": 2, "rung": 2, "train": 2, "evaluate": 2, **REDRAWN}


def test_a_missing_token_file_is_made_again(study):
    for path in (study.folder / "results/tokens").glob("*/*/t*[ns].[bn]*"):  # train.bin, test.starts.npy
        path.unlink()
    assert study.jobs() == {}
    folder = a_run(study)
    forget(folder)
    assert study.jobs() == {"tokenize": 1, "train": 1, **REDRAWN}
    assert study.jobs("--config", SHARED) == {"tokenize": 1, "bundle": 1, **REDRAWN}
    study.run("--cores", "2", f"results/runs/{folder.name}/metrics.json")
    assert study.jobs() == {}


def test_a_training_that_is_killed_in_its_last_moment_is_not_repeated(study):
    folder = a_run(study)
    (rung,) = (study.folder / "results/trunks").glob("gpt-n1.5k*/step100.safetensors")
    before = study.bytes_of(f"runs/{folder.name}/*", "trunks/*/step*")
    forget(folder)
    rung.unlink()
    target = f"results/runs/{folder.name}/metrics.json"
    with killed_in_its_last_moment(study, "train_rung"):
        assert study.run("--cores", "1", target, check=False).returncode != 0
    assert not rung.exists()
    with killed_in_its_last_moment(study, "train"):
        assert study.run("--cores", "1", target, check=False).returncode != 0
    assert rung.exists()
    assert sorted(path.name for path in folder.iterdir()) == [
        *(".finished-metrics.json", "SHA256SUMS", "spec.json", "timing.sha256")
    ]
    timing = (folder / ".finished-metrics.json/timing.json").read_bytes()
    shutil.rmtree(study.folder / "results/tokens")
    assert study.jobs("--cores", "1", target) == {"train": 1}
    study.run("--cores", "1", target)
    after = study.bytes_of(f"runs/{folder.name}/*", "trunks/*/step*")
    assert after.pop(f"runs/{folder.name}/timing.json") == timing
    for each, names in ((after, ["timing.sha256"]), (before, ["timing.json", "timing.sha256"])):
        for name in names:
            del each[f"runs/{folder.name}/{name}"]
    assert after == before


def test_inputs_from_the_future_cost_nothing(study):
    folder = a_run(study)
    before = study.bytes_of(f"runs/{folder.name}/*[!g].json*", "studies/smoke/fits/*")
    forget(folder)
    (study.folder / "results/studies/smoke/fits/power-n.json").unlink()
    later = time.time() + 5000
    for path in [*study.folder.glob("results/[!l]*/**/*"), *study.folder.glob("workflow/scalinglaws/laws/*.py")]:
        os.utime(path, (later, later))
    targets = [f"results/runs/{folder.name}/metrics.json", "results/studies/smoke/fits/power-n.json"]
    done = study.run("--cores", "2", *targets)
    assert "had a time after that of what was made of it: a clock is wrong somewhere" in done.stderr
    assert study.bytes_of(f"runs/{folder.name}/*[!g].json*", "studies/smoke/fits/*") == before
    assert study.jobs("--cores", "1", *targets) == {}


@pytest.mark.parametrize(("command", "status"), [(["scalinglaws", "run"], 130), (["snakemake"], 1)])
def test_an_interrupt_at_the_terminal_saves_trainings(study, command, status):
    study.edit(lambda data: data["experiments"].pop("data"))
    study.edit(lambda data: data["experiments"]["size"]["grid"].update(model=["2x16"], tokens=["40M"]))
    study.edit(lambda data: data.update(ladder={"base": "80M"}))
    results = study.folder / "results"
    whole = [sys.executable, "-m", *command, "--configfile", SMOKE, "--cores", "1"]
    with (study.folder / "terminal.log").open("w") as log:
        process = subprocess.Popen(whole, cwd=study.folder, env=environment(), stdout=log, stderr=log, start_new_session=True)
    wait_for(lambda: list(results.glob("runs/*/progress.json")), 120)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=120) == status
    assert len(list(results.glob("runs/*t40.0M*/checkpoint-*.safetensors"))) == 1
    assert not list(results.glob("runs/*/progress.json")) and not list((study.folder / ".snakemake").glob("locks/*"))
    told = (study.folder / "terminal.log").read_text() + (results / "logs/snakemake.log").read_text()
    assert "Traceback" not in told
    (log_of_training,) = results.glob("logs/train/*t40.0M*.log")
    assert "which is saved" in log_of_training.read_text()
