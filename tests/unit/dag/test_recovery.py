"""What Snakemake's start and end clear away, whose tables lie there, who trains, and inputs with a time in the future."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.exceptions import WorkflowError

from fixtures.small_study import STUDY, changed
from scalinglaws.common import processes
from scalinglaws.common.errors import StudyError
from scalinglaws.dag import clock, context, kept, locks, targets, tidy
from scalinglaws.decide.status import heartbeats


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty working directory, and restore the environment after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_leftovers_of_what_is_there_are_removed() -> None:
    run, trunk = "results/runs/a", "results/trunks/b"
    stays = [f"{run}/metrics.json", f"{trunk}/step20.safetensors", f"{trunk}/partial-40-30.safetensors", f"{trunk}/progress.json"]
    stays += ["results/runs/c/checkpoint-3.safetensors", "results/runs/c/.finished-metrics.json/metrics.json"]
    stays += ["results/logs/train/.a.1.tmp"]
    goes = [f"{run}/checkpoint-10.safetensors", f"{run}/progress.json", f"{run}/.finished-metrics.json/metrics.json"]
    goes += [f"{trunk}/partial-20-15.safetensors", f"{trunk}/.finished-step20.safetensors/.sums"]
    goes += [f"results/tokens/c/t/.train.bin.{socket.gethostname()}-99999999.tmp"]
    goes += [f"results/downloads/.pip-a1b2.{socket.gethostname()}-99999999.tmp/a.whl", "results/corpora/c/.buckets/000.1"]
    stays += ["results/corpora/c/report.json", "results/corpora/d/.buckets/000.1"]
    touch(*stays, *goes)
    tidy.sweep(Path("results"))
    assert sorted(str(path) for path in Path().rglob("*") if path.is_file()) == sorted(stays)


def test_the_study_of_the_tables_is_told(capsys: Any) -> None:
    one = context.read(STUDY, "config.yaml", in_job=False)
    kept.write(one)
    own = [*targets.tables(), *targets.fits(one), *targets.figures(one)]
    strange = ["results/fits/envelope-of-another.json", "results/figures/other.svg", "results/figures/other.png"]
    touch(*own, *strange)
    tidy.end(one)
    assert all(map(os.path.exists, own)) and not any(map(os.path.exists, strange))
    tidy.begin(one)
    assert capsys.readouterr().err == ""
    other = context.read(changed(study="other"), "config.yaml", in_job=False)
    tidy.begin(other)
    assert f"are those of study {one.study.name}; they are replaced by those of other" in capsys.readouterr().err
    touch("results/tables/manifest-0123456789.jsonl", *strange)
    tidy.end(one)
    assert all(map(os.path.exists, strange)), "where there are two lists of runs, the tables may be those of either"
    tidy.STUDY.write_text("")
    assert tidy.of_another("other") is None


def test_a_report_of_snakemake_is_not_made_of_the_tables_of_another_study() -> None:
    made: list[str] = []
    workflow = SimpleNamespace(create_report=made.append)
    one = context.read(STUDY, "config.yaml", in_job=False)
    kept.write(one)
    tidy.refuse_reports_of_others(workflow, one)
    with pytest.raises(WorkflowError, match="are not those of the runs of study"):
        workflow.create_report("none are there")
    touch(*targets.tables())
    workflow.create_report("own")
    later = time.time() + 1
    os.utime(kept.manifest_path(one.study), (later, later))  # it was deleted with the tables, and is written again
    with pytest.raises(WorkflowError, match="are not those of the runs of study"):
        workflow.create_report("of another")
    assert made == ["own"]


def test_a_study_without_laws_keeps_no_report_of_another() -> None:
    none = context.read(changed(fits={"laws": []}), "config.yaml", in_job=False)
    kept.write(none)
    touch(*targets.tables(), "results/tables/exponents.md", "results/report.md")
    tidy.end(none)
    assert not Path("results/report.md").exists() and not Path("results/tables/exponents.md").exists()


@pytest.mark.parametrize("text", ["", "[]", "3", '{"step": "a"}', '{"time": null}', '{"pid": -1.5}', "[" * 100_000, "\xff"])
def test_a_damaged_heartbeat_is_left_out(text: str) -> None:
    touch("results/runs/a/progress.json")
    Path("results/runs/a/progress.json").write_bytes(text.encode("latin-1"))
    assert heartbeats(Path("results")) == {}


def test_only_the_process_that_wrote_a_heartbeat_trains() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()", "scalinglaws"], stdin=subprocess.PIPE)
    try:
        beat = {"pid": child.pid, "host": socket.gethostname(), "started": processes.started(child.pid)}
        assert locks.trains(beat) and locks.trains({**beat, "started": None})
        assert not locks.trains({**beat, "started": "another boot 1"}) and not locks.trains({**beat, "pid": os.getpid()})
    finally:
        child.communicate()
    assert not locks.trains(beat)
    far = {"pid": 1, "host": "elsewhere", "time": time.time()}
    assert locks.trains(far) and not locks.trains({**far, "time": time.time() - 100}) and not locks.trains({"step": 3})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": 3}', "\xff"])
def test_a_damaged_owner_is_told(text: str) -> None:
    assert locks.last_owner()["host"] == socket.gethostname()
    touch(str(locks.OWNER))
    locks.OWNER.write_bytes(text.encode("latin-1"))
    with pytest.raises(StudyError, match=r"owner\.json.* is damaged: .*snakemake --unlock"):
        locks.last_owner()


def test_inputs_newer_than_the_clock_are_given_the_time_of_the_outputs(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import snakemake.api  # noqa: F401, snakemake.dag cannot be imported before it
    from snakemake.dag import DAG

    touch("old", "new", "one", "two")
    now = time.time_ns()
    times = {"old": now - 10**9, "new": now + 10**12, "one": now, "two": now + 10**6}
    for name, ns in times.items():
        os.utime(name, ns=(ns, ns))
    assert list(inspect.signature(DAG.check_output_mtime).parameters) == ["self", "job", "expanded_output"]
    monkeypatch.setattr(DAG, "check_output_mtime", DAG.check_output_mtime)
    clock.forgive()
    job: Any = SimpleNamespace(input=["old", "new", "gone"])
    asyncio.run(DAG.check_output_mtime(None, job, ["one", "two", "never made"]))
    assert {name: os.stat(name).st_mtime_ns for name in times} == times | {"new": now}
    assert "warning: new had a time after that of what was made of it" in capsys.readouterr().err
    os.utime("new", ns=(now + 10**12,) * 2)
    whole = os.utime

    def not_ours(path: str, ns: tuple[int, int]) -> None:
        if path == "new":
            raise PermissionError
        whole(path, ns=ns)

    monkeypatch.setattr(clock.os, "utime", not_ours)
    clock.settle(["new"], ["one", "two"])
    assert {os.stat(name).st_mtime_ns for name in ("new", "one", "two")} == {now + 10**12}


def test_results_from_the_future_are_older_than_what_is_made_now() -> None:
    now = time.time_ns()
    times = {"tables/runs.parquet": 10**12, "tables/old.parquet": -(10**12), "fits/a.json": 2 * 10**12, "report.md": 2 * 10**12}
    for name, after in times.items():
        touch(f"results/{name}")
        os.utime(f"results/{name}", ns=(now, now + after))
    clock.settle_results(Path("results"))
    found = {name: os.stat(f"results/{name}").st_mtime_ns for name in times}
    assert found["tables/old.parquet"] == now - 10**12
    assert found["tables/runs.parquet"] < found["fits/a.json"] == found["report.md"] < time.time_ns()
