"""What Snakemake's start and end clear away, who trains, and inputs with a time in the future."""

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

from fixtures.small_study import STUDY, changed
from scalinglaws.common import processes
from scalinglaws.common.errors import StudyError
from scalinglaws.dag import clock, context, locks, targets, tidy
from scalinglaws.decide.status import heartbeats
from scalinglaws.train.progress import trains


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
    stays += ["results/runs/c/checkpoint-4.part1of2.safetensors", f"{trunk}/partial-40-30.part2of2.safetensors"]
    stays += ["results/runs/c/checkpoint-3.safetensors", "results/runs/c/.finished-metrics.json/metrics.json"]
    stays += ["results/logs/train/.a.1.tmp"]
    goes = [f"{run}/checkpoint-10.safetensors", f"{run}/progress.json", f"{run}/.finished-metrics.json/metrics.json"]
    goes += [f"{run}/checkpoint-10.part1of2.safetensors", f"{trunk}/partial-20-15.part2of16.safetensors"]
    goes += [f"{trunk}/partial-20-15.safetensors", f"{trunk}/.finished-step20.safetensors/.sums"]
    goes += [f"results/tokens/c/t/.train.bin.{socket.gethostname()}-99999999.tmp"]
    goes += [f"results/downloads/.pip-a1b2.{socket.gethostname()}-99999999.tmp/a.whl", "results/corpora/c/.buckets/000.1"]
    stays += ["results/corpora/c/report.json", "results/corpora/d/.buckets/000.1"]
    touch(*stays, *goes)
    tidy.sweep(Path("results"))
    assert sorted(str(path) for path in Path().rglob("*") if path.is_file()) == sorted(stays)


def test_results_that_are_no_longer_asked_for_are_removed_within_the_study() -> None:
    one = context.read(STUDY, "config.yaml", in_job=False)
    others = ["results/studies/other/fits/power-n.json", "results/studies/other/figures/a.svg", "results/tables/runs.parquet"]
    own = [
        *targets.tables(one),
        *targets.fits(one),
        *targets.figures(one),
        *targets.exponents(one),
        *targets.report(one),
        *others,
    ]
    spent = [f"{one.folder}/{name}" for name in ("fits/old.json", "fits/old.sha256", "figures/old.svg", "figures/old.png")]
    touch(*own, *others, *spent)
    tidy.end(one)
    assert all(map(os.path.exists, [*own, *others])) and not any(map(os.path.exists, spent))
    tidy.end(context.read(changed(fits={"laws": []}), "config.yaml", in_job=False))
    assert not any(map(os.path.exists, [*targets.fits(one), *targets.exponents(one), *targets.report(one)]))
    assert all(map(os.path.exists, [*others, *targets.tables(one)]))


@pytest.mark.parametrize("text", ["", "[]", "3", '{"step": "a"}', '{"time": null}', '{"pid": -1.5}', "[" * 100_000, "\xff"])
def test_a_damaged_heartbeat_is_left_out(text: str) -> None:
    touch("results/runs/a/progress.json")
    Path("results/runs/a/progress.json").write_bytes(text.encode("latin-1"))
    assert heartbeats(Path("results")) == {}


def test_only_the_process_that_wrote_a_heartbeat_trains() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()", "scalinglaws"], stdin=subprocess.PIPE)
    try:
        beat = {"pid": child.pid, "host": socket.gethostname(), "started": processes.started(child.pid)}
        assert trains(beat) and trains({**beat, "started": None})
        assert not trains({**beat, "started": "another boot 1"}) and not trains({**beat, "pid": os.getpid()})
    finally:
        child.communicate()
    assert not trains(beat)
    far = {"pid": 1, "host": "elsewhere", "time": time.time()}
    assert trains(far) and not trains({**far, "time": time.time() - 100}) and not trains({"step": 3})


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
        touch(f"results/studies/one/{name}")
        os.utime(f"results/studies/one/{name}", ns=(now, now + after))
    clock.settle_results(Path("results/studies/one"))
    found = {name: os.stat(f"results/studies/one/{name}").st_mtime_ns for name in times}
    assert found["tables/old.parquet"] == now - 10**12
    assert found["tables/runs.parquet"] < found["fits/a.json"] == found["report.md"] < time.time_ns()
