"""What the rules are told, without Snakemake: contexts, targets, inputs, what jobs ask for, and the files written at a parse."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import STUDY, changed
from scalinglaws.cluster import gpus, slurm
from scalinglaws.common import asked, finished
from scalinglaws.common.errors import StudyError
from scalinglaws.dag import context, inputs, kept, requests, snapshot, targets
from scalinglaws.study import paths
from scalinglaws.study.spec import read_spec

DEVICE = {"name": "X", "bfloat16": 1e14, "float32": 1e14, "utilisation": 0.5, "memory_gib": 80, "gpus_per_node": 4}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty working directory, and restore the environment after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return tmp_path


def touch(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).touch()


def test_a_context_of_a_config_writes_nothing(folder: Path) -> None:
    made = context.read(STUDY | {"local": ["figure"]}, "config.yaml", in_job=False)
    assert len(made.study.runs) == 15 + 2
    assert made.device is None and made.bundles == {}
    assert made.config == STUDY, "what a profile adds is no part of a study"
    assert list(folder.iterdir()) == []


def test_mistakes_are_named() -> None:
    with pytest.raises(StudyError, match=r"^my\.yaml"):
        context.read(changed(defaults__n_cxt=3), "my.yaml", in_job=False)
    with pytest.raises(StudyError, match="device"):
        context.read(STUDY | {"device": {"name": "X"}}, "my.yaml", in_job=False)


def test_a_place_that_cannot_be_written_is_told(folder: Path) -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    for name, said in (("results", "results is a file where a folder is needed"), ("logs", "logs is a file where")):
        place = folder / "results" if name == "results" else folder / "results/logs"
        place.parent.mkdir(exist_ok=True)
        place.touch()
        with pytest.raises(StudyError, match=said):
            kept.write(made)
        place.unlink()
    shutil.rmtree(folder / "results")
    (folder / "results").symlink_to("nowhere")
    with pytest.raises(StudyError, match="results is a link to nowhere, which does not exist"):
        kept.write(made)


def test_targets_name_every_run_once() -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    assert targets.runs(made) == [f"results/runs/{run}/metrics.json" for run in made.study.runs]
    assert targets.evaluations(made) == []
    assert {f"results/studies/test/fits/{law}.json" for law in made.laws} == set(targets.fits(made))
    assert "results/studies/test/fits/power-n.json" in targets.fits(made)
    assert len(targets.figures(made)) == 2 * len(made.figures) > 0


def test_small_runs_are_named_by_their_bundle_alone() -> None:
    device = DEVICE | {"small_minutes": 1000, "bundle_minutes": 100000}
    made = context.read(STUDY | {"device": device}, "config.yaml", in_job=False)
    (name,) = made.bundles
    assert targets.runs(made) == [f"results/bundles/{name}.done"]
    specs = inputs.specs_of_bundle(made, name)
    assert {f"results/runs/{run}/spec.json" for run in made.study.runs} <= set(specs)
    kept.write(made)
    assert all(Path(spec).exists() for spec in specs)
    job = context.Context(made.study, device=made.device, in_job=True)
    assert job.bundle(name) == made.bundles[name], "a job reads its bundle from the file"
    assert requests.needs_of_bundle(job, name).gpus == 1


def test_a_rung_is_an_input_only_of_what_is_missing() -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    trunk, steps = next(iter(made.study.rungs.items()))
    first, second = steps[:2]
    below = f"results/trunks/{trunk}/step{first}.safetensors"
    assert inputs.rung_below(made, trunk, first) == []
    assert inputs.rung_below(made, trunk, second) == [below]
    run = next(run for run, of in made.study.trunk_ids.items() if of == trunk and made.study.starts[run] == second)
    start = f"results/trunks/{trunk}/step{second}.safetensors"
    assert inputs.start_of_run(made, run) == [start]
    touch(start)
    assert inputs.rung_below(made, trunk, second) == []
    assert inputs.start_of_run(made, run) == [start]
    touch(f"results/runs/{run}/metrics.json")
    assert inputs.start_of_run(made, run) == []


def test_token_files_of_a_mixture_wait_for_those_of_its_corpora() -> None:
    mail = {"sources": [{"kind": "files", "files": ["mail.txt"]}]}
    corpora = STUDY["corpora"] | {"mail": mail, "mix": {"sources": {next(iter(STUDY["corpora"])): 1, "mail": 1}}}
    grid = {"model": ["2x16"], "corpus": ["mix"], "tokens": ["1M"]}
    bpe = {"kind": "bpe", "n_vocab": 300, "corpus": "mix"}
    changed = STUDY | {"corpora": corpora, "experiments": {"size": {"grid": grid}}, "tokenizer": bpe}
    made = context.read(changed, "config.yaml", in_job=False)
    (run,) = made.study.runs.values()
    mixture, tokenizer = run.tokens_id.split("/")
    parts = [corpus.id for corpus in run.corpus.shares]
    reports = [f"results/corpora/{part}/report.json" for part in parts]
    metas = [f"results/tokens/{part}/{tokenizer}/meta.json" for part in parts]
    wanted = [path for pair in zip(reports, metas, strict=True) for path in pair]
    assert inputs.text_of_tokens(made, mixture, tokenizer) == wanted and len(parts) == 2
    assert inputs.corpus_of_tokenizer(made, tokenizer) == reports


def test_token_files_are_inputs_only_of_what_is_missing() -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    run = next(run for run, trunk in made.study.trunk_ids.items() if made.study.starts[run])
    trunk, step, folder = made.study.trunk_ids[run], made.study.starts[run], made.study.runs[run].tokens_id
    corpus, tokenizer = folder.split("/")
    meta, *others = [f"results/tokens/{folder}/{name}" for name in ("meta.json", *inputs.TOKEN_FILES)]
    report, *splits = [f"results/corpora/{corpus}/{name}" for name in ("report.json", *inputs.CORPUS_FILES)]
    made_of = [f"results/tokenizers/{tokenizer}/tokenizer.json"]
    assert inputs.tokens_of_run(made, run) == inputs.tokens_of_trunk(made, trunk, step) == [meta]
    assert inputs.text_of_tokens(made, corpus, tokenizer) == [report, *made_of]
    for path in (meta, *others[1:], report, *splits):
        touch(path)
    assert inputs.tokens_of_run(made, run) == [meta, others[0]], "a file that is missing beside the counts is made again"
    assert inputs.text_of_tokens(made, corpus, tokenizer) == [report, *made_of]
    touch(others[0])
    assert inputs.tokens_of_run(made, run) == [meta] and inputs.text_of_tokens(made, corpus, tokenizer) == []
    touch(f"results/runs/{run}/.finished-metrics.json/{finished.SUMS}")
    assert inputs.tokens_of_run(made, run) == inputs.start_of_run(made, run) == [], "its job puts it in place"
    touch(f"results/trunks/{trunk}/step{step}.safetensors")
    assert inputs.tokens_of_trunk(made, trunk, step) == []


def test_files_are_written_once() -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    kept.write(made)
    for run, spec in made.study.runs.items():
        path = Path(f"results/runs/{run}/spec.json")
        assert read_spec(path) == spec
        assert path.read_text() == spec.canonical + "\n"
    assert {path.parent.name for path in Path("results/trunks").glob("*/spec.json")} == set(made.study.rungs)
    assert Path(targets.manifest(made)).read_text().count("\n") == len(made.study.runs)
    files = [path for path in Path("results").rglob("*") if path.is_file()]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    kept.write(context.read(STUDY, "config.yaml", in_job=False))
    assert {
        path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in Path("results").rglob("*") if path.is_file()
    } == before


def test_an_empty_spec_is_written_again_and_an_edited_one_is_left() -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    kept.write(made)
    empty, edited = (Path(f"results/runs/{run}/spec.json") for run in list(made.study.runs)[:2])
    text = empty.read_text()
    empty.write_text("")
    edited.write_text("edited by hand")
    kept.write(made)
    assert empty.read_text() == text
    assert edited.read_text() == "edited by hand"


def test_a_job_reads_what_it_was_submitted_with_and_writes_nothing() -> None:
    submitted = context.read(STUDY | {"device": DEVICE}, "config.yaml", in_job=False)
    kept.write(submitted)
    before = sorted(Path("results").rglob("*"))
    job = context.read({"device": DEVICE, "study": ["broken"]}, "config.yaml", in_job=True)
    kept.write(job)
    assert job.study == submitted.study
    assert job.laws == submitted.laws
    assert sorted(Path("results").rglob("*")) == before
    run = next(iter(submitted.study.runs))
    assert requests.needs_of_run(job, run) == requests.needs_of_run(submitted, run)
    assert inputs.start_of_run(job, run) == [], "what a job needs was there when it was submitted"


def test_a_job_without_a_snapshot_reads_specs_from_their_files() -> None:
    made = context.read(STUDY, "config.yaml", in_job=False)
    kept.write(made)
    os.environ.pop(snapshot.VARIABLE)
    job = context.read({}, "config.yaml", in_job=True)
    run, spec = next(iter(made.study.runs.items()))
    assert job.study.runs == {}
    assert job.run_spec(run) == spec
    assert inputs.tokens_of_run(job, run) == inputs.tokens_of_run(made, run)


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path) -> None:
    speeds = {(1000, "float32", False): 1.5, (2000, "bfloat16", True): 0.75}
    path = snapshot.keep(STUDY, speeds, tmp_path)
    assert snapshot.keep(STUDY, speeds, tmp_path) == path
    found = snapshot.load(path)
    assert (found.config, found.speeds) == (STUDY, speeds)
    assert snapshot.keep(changed(study="other"), speeds, tmp_path) != path
    assert json.loads(path.read_text())["config"] == STUDY


def test_resources_follow_the_device() -> None:
    laptop = context.read(STUDY, "config.yaml", in_job=False)
    assert requests.on_nodes(laptop, requests.needs_of_run, lambda run: 1) == {
        "mem_mb": 2500,
        "runtime": 60,
        "processes": 0,
        "hosts": 1,
        "device": "auto",  # a person at a prompt takes what there is
    }
    made = context.read(STUDY | {"device": DEVICE | {"runs_per_gpu": 2}}, "config.yaml", in_job=False)
    run = next(iter(made.study.runs))
    found = requests.on_nodes(made, lambda run, attempt=1: requests.needs_of_run(made, run, attempt), lambda run: 3)
    assert found["gres"](run) == "gpu:1"
    assert found["runtime"](run, 2) > found["runtime"](run, 1)
    assert found["nodes"](run) is None and found["hosts"](run) == 1 and found["cpus_per_task"](run) == 3
    # A job with a GPU must not train on CPUs; where the nodes have none, it does.
    assert found["device"] == "cuda" and not {"constraint", "qos"} & found.keys()
    nodes = context.read(STUDY | {"device": DEVICE | {"gpus_per_node": 0, "qos": "gpu"}}, "config.yaml", in_job=False)
    on_cpus = requests.on_one_node(nodes, lambda run, attempt=1: requests.needs_of_run(nodes, run, attempt))
    assert on_cpus["device"] == "cpu" and "qos" not in on_cpus
    kept.write(made)
    assert os.environ[gpus.PLACES] == "4x2"


def resources_of_run(**device: Any) -> tuple[context.Context, dict[str, Any]]:
    """Return the resources of the longest run of the study on a device, each for the first attempt."""
    made = context.read(STUDY | {"device": DEVICE | device}, "config.yaml", in_job=False)
    run = max(made.study.runs, key=lambda run: made.study.runs[run].steps)
    needs = functools.partial(requests.needs_of_run, made)
    found = requests.on_nodes(made, needs, lambda run: requests.threads_of_run(made, run))
    values: dict[str, Any] = {}
    for name, value in found.items():
        more = {"attempt": 1} if name in ("mem_mb", "runtime") else {}
        values[name] = value(run, **more) if callable(value) else value
    return made, {name: value for name, value in values.items() if value is not None}


def test_a_job_of_several_gpus_is_a_task_of_slurm_for_each() -> None:
    """sbatch gets tasks and their CPUs; the plugin refuses both kinds of tasks at once, and a single one of either."""
    fast = {"hours": 1e-9, "constraint": "h100&ib", "qos": "long"}
    _, one = resources_of_run(most_gpus=1, **fast)
    assert "mpi" not in one and one["gres"] == "gpu:1" and (one["constraint"], one["qos"]) == ("h100&ib", "long")
    made, four = resources_of_run(most_gpus=4, **fast)
    shape = ("nodes", "hosts", "tasks", "tasks_per_node", "gres", "processes", "mpi")
    assert [four.get(name) for name in shape] == [1, 1, None, 4, "gpu:4", 4, "srun"]
    threads = next(iter(made.study.runs.values())).threads
    assert four["cpus_per_task"] == threads
    _, eight = resources_of_run(most_gpus=8, **fast)
    assert [eight.get(name) for name in shape] == [2, 2, None, 4, "gpu:4", 8, "srun"]
    _, apart = resources_of_run(most_gpus=2, gpus_per_node=1, **fast)
    assert [apart.get(name) for name in shape] == [2, 2, 2, None, "gpu:1", 2, "srun"]


def test_no_job_asks_for_more_cpus_than_a_node_has() -> None:
    wide = changed(defaults__threads=8)
    made = context.read(wide | {"device": DEVICE | {"most_gpus": 4, "hours": 1e-9, "cpus_per_node": 10}}, "c", in_job=False)
    run = max(made.study.runs, key=lambda run: made.study.runs[run].steps)
    assert requests.needs_of_run(made, run).gpus == 4 and requests.threads_of_run(made, run) == 10
    found = requests.on_nodes(
        made, functools.partial(requests.needs_of_run, made), lambda run: requests.threads_of_run(made, run)
    )
    assert found["cpus_per_task"](run) == 2
    free = context.read(wide | {"device": DEVICE | {"most_gpus": 4, "hours": 1e-9}}, "c", in_job=False)
    assert requests.threads_of_run(free, run) == 32
    cores = DEVICE | {"small_minutes": 999, "gpus_per_node": 0, "cpus_per_node": 6}
    small = context.read(wide | {"device": cores}, "c", in_job=False)
    assert {requests.threads_of_bundle(small, name) for name in small.bundles} == {6}


def test_a_job_of_slurm_notes_when_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(slurm.BEGAN, "")
    kept.write(context.read(STUDY, "config.yaml", in_job=False))
    assert not os.environ[slurm.BEGAN]  # Snakemake itself may run in a job, whose limit is not that of its jobs
    kept.write(context.read(STUDY, "config.yaml", in_job=True))
    assert os.environ[slurm.BEGAN].startswith("7:")


def test_jobs_are_told_what_the_device_says_of_bits_and_of_stops() -> None:
    kept.write(context.read(STUDY, "config.yaml", in_job=False))
    assert not {asked.DETERMINISTIC, asked.GRACE} & os.environ.keys()
    kept.write(context.read(STUDY | {"device": DEVICE}, "config.yaml", in_job=False))
    assert (asked.deterministic(os.environ), asked.grace_seconds(os.environ)) == (False, 30.0)
    # A job on a cluster node reads its profile again, and is told the same.
    changes = {"deterministic": "true", "grace_seconds": "90"}
    kept.write(context.read(STUDY | {"device": DEVICE | changes}, "config.yaml", in_job=True))
    assert (asked.deterministic(os.environ), asked.grace_seconds(os.environ)) == (True, 90.0)


def test_trainings_are_told_what_they_are_watched_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is missing is told before anything is trained, and never by a job."""
    kept.write(context.read(STUDY, "config.yaml", in_job=False))
    assert asked.tensorboard(os.environ) is None
    kept.write(context.read(STUDY | {"track": ["tensorboard"]}, "config.yaml", in_job=False))
    assert asked.tensorboard(os.environ) == paths.events_folder(context.RESULTS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    watched = {"device": DEVICE, "track": ["tensorboard"]}
    kept.write(context.read(STUDY | watched, "config.yaml", in_job=True))
    with pytest.raises(StudyError, match="track: the library tensorboard is not installed: pip install tensorboard"):
        kept.write(context.read(STUDY | watched, "config.yaml", in_job=False))
    for wrong, said in (("tensorboard", "a list such as"), (["tensorbord"], "did you mean tensorboard")):
        with pytest.raises(StudyError, match=f"the profile: track: .*{said}"):
            context.read(STUDY | {"track": wrong}, "config.yaml", in_job=False)


def test_modules_are_files_of_the_package() -> None:
    found = inputs.modules_of_report()
    assert found and all(Path(path).is_file() for path in found)
    assert set(inputs.modules("laws/*.py")) <= set(found)


def test_config_files_are_merged_as_snakemake_does_and_read_strictly(folder: Path) -> None:
    Path("books").mkdir()
    Path("books/a.txt").write_text("Some text.\n")
    sha256 = hashlib.sha256(Path("books/a.txt").read_bytes()).hexdigest()
    study = changed(corpora__books__sources=[{"kind": "files", "files": ["books/*.txt"], "sha256": sha256}])
    Path("a.yaml").write_text(json.dumps(study))
    Path("b.yaml").write_text("study: off\ndefaults: {seed: 5}\n")
    made = context.of_snakemake({}, [Path("a.yaml"), Path("b.yaml")], {"ladder": {"base": "200k"}, "local": ["figure"]}, False)
    assert made.study.name == "off" and made.study.ladder.base == 200_000
    assert {spec.seed for spec in made.study.runs.values()} == {5}
    assert made.config["defaults"] == study["defaults"] | {"seed": 5}
    for text, words in {
        "defaults: {seed: 5}\ndefaults: {seed: 6}\n": r"b\.yaml is not YAML: line 2: the key defaults stands on line 1",
        "defaults: {n_ctx: 0100}\n": "line 1: 0100 is another number",
        "- 1\n": r"b\.yaml: a mapping with the keys of a study is expected",
        "corpora: {books: {sources: [{kind: files, files: [none.txt]}]}}": "'none.txt' matches no file",
    }.items():
        Path("b.yaml").write_text(text)
        with pytest.raises(StudyError, match=words):
            context.of_snakemake({}, [Path("a.yaml"), Path("b.yaml")], {}, False)
    assert context.of_snakemake({}, [Path("b.yaml")], {}, True).study.runs == {}, "a job reads no config file"


def test_rules_that_run_where_snakemake_does_are_names() -> None:
    for wrong in ("figure", [1], {"figure": 1}):
        with pytest.raises(StudyError, match="local: a list of names of rules"):
            context.read(STUDY | {"local": wrong}, "config.yaml", in_job=False)
