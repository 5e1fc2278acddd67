"""What an edit costs: each row of the caching design's table, as the jobs that a dry run of the finished smoke study counts."""

import os
import random
import shlex
import shutil
import sys
from pathlib import Path

from scalinglaws.study import config
from scalinglaws.study.study import build
from workflow.conftest import SMOKE, Workflow, status_of

ALL_LAWS, ALL_FIGURES = 6, 9
REDRAWN = {"aggregate": 1, "fit": ALL_LAWS, "exponents": 1, "figure": ALL_FIGURES, "report_md": 1}


def set_tokens(*tokens):
    def change(data):
        data["experiments"]["size"]["grid"]["tokens"] = list(tokens)

    return change


def trained(jobs):
    return {name: n for name, n in jobs.items() if name in ("corpus", "tokenizer", "tokenize", "rung", "train", "evaluate")}


def test_nothing_to_do(study):
    assert study.jobs() == {}

    def reorder(data):
        data["experiments"] = dict(reversed(data["experiments"].items()))
        data["experiments"]["size"]["grid"]["model"].reverse()
        data["defaults"] = dict(reversed(data["defaults"].items()))

    study.edit(reorder)
    assert study.jobs() == {}
    rule = study.folder / "workflow/rules/train.smk"
    rule.write_text(rule.read_text().replace('" --trunks results/trunks"', '"   --trunks   results/trunks"'))
    assert "   --trunks   " in rule.read_text()
    study.edit(lambda data: data.update(ladder={"base": 6000, "ratio": 3}))
    assert study.jobs() == {}
    shutil.rmtree(study.folder / ".snakemake")
    assert study.jobs() == {}


def test_scrambled_mtimes_without_metadata_train_nothing(study):
    shutil.rmtree(study.folder / ".snakemake")
    shuffle = random.Random(0)
    for path in sorted(study.folder.rglob("*")):
        os.utime(path, (1.7e9 + shuffle.random() * 1e7,) * 2)
    assert trained(study.jobs()) == {}


def test_budgets_added(study):
    study.edit(set_tokens("32k", "48k", "64k", "128k"))
    assert study.jobs() == {"train": 4, "rung": 2, "evaluate": 4, **REDRAWN}


def test_size_and_dataset_size_added(study):
    def change(data):
        data["experiments"]["size"]["grid"]["model"].append("2x24")
        data["experiments"]["data"]["grid"]["dataset_tokens"].append("8k")

    study.edit(change)
    # One size: two budgets on two rungs, and their evaluations. One dataset size: a run for each of two sizes.
    assert study.jobs() == {"train": 4, "rung": 2, "evaluate": 2, **REDRAWN}


def test_another_ladder_then_a_budget_above(study):
    study.edit(lambda data: data.update(ladder={"base": 6000, "ratio": 3}))
    study.edit(set_tokens("32k", "64k", "128k"))
    # Rungs of the new ladder at 6k, 18k, 54k tokens, for each of two sizes.
    assert study.jobs() == {"train": 2, "rung": 6, "evaluate": 2, **REDRAWN}


def test_pruned_rungs_are_made_again_only_for_what_is_new(study):
    for path in (study.folder / "results/trunks").glob("*/step*.safetensors"):
        path.unlink()
    assert study.jobs() == {}
    study.edit(set_tokens("32k", "64k", "128k"))
    assert study.jobs() == {"train": 2, "rung": 6, "evaluate": 2, **REDRAWN}


def test_point_removed(study):
    study.edit(set_tokens("64k"))
    assert study.jobs() == REDRAWN
    shutil.rmtree(study.folder / ".snakemake")
    assert study.jobs() == REDRAWN


def test_back_and_forth_between_two_lists_of_runs(study):
    """Tables are those of the list that was asked for last, although neither list changes any more."""
    own = study.folder / "results/studies/smoke"
    (manifest,) = (own / "tables").glob("manifest-*")
    whole, before = study.bytes_of("studies/smoke/tables/runs.parquet"), (study.folder / SMOKE).read_text()
    study.edit(set_tokens("64k"))
    study.edit(lambda data: data.update(figures=["fig02_learning_curves"]))
    assert study.jobs() == {**REDRAWN, "figure": 1}
    study.run("--cores", "1", "--until", "aggregate")
    assert {path.stem for path in (own / "figures").iterdir()} == {"fig02_learning_curves"}
    assert study.bytes_of("studies/smoke/tables/runs.parquet") != whole
    assert not manifest.exists()
    (study.folder / SMOKE).write_text(before)
    assert study.jobs() == REDRAWN
    study.run("--cores", "1", "--until", "aggregate")
    assert study.bytes_of("studies/smoke/tables/runs.parquet") == whole
    assert [path.name for path in (own / "tables").glob("manifest-*")] == [manifest.name]


def test_two_studies_side_by_side_are_each_as_if_alone(study, tmp_path):
    """Studies share runs. Neither changes the other's tables, fits and figures, nor has them made again."""
    alone, other = Workflow(tmp_path / "alone"), "other.yaml"
    shutil.copy(study.folder / SMOKE, study.folder / other)
    study.edit(set_tokens("64k"), study=other)
    few = {"study": "other", "figures": ["fig02_learning_curves"], "fits": {"bootstrap": 20, "laws": ["power-n"]}}
    study.edit(lambda data: data.update(few), study=other)
    shutil.copytree(study.folder, alone.folder, copy_function=shutil.copy2)
    shutil.rmtree(alone.folder / "results/studies")
    before = study.bytes_of("studies/smoke/**/*")
    for place in (study, alone):
        assert place.jobs(study=other) == {**REDRAWN, "fit": 1, "figure": 1}
        place.run("--cores", "2", study=other)
    made = [f"studies/other/{name}" for name in ("tables/[!t]*", "fits/*", "figures/*", "report.*")]
    assert study.bytes_of(*made) == alone.bytes_of(*made) != {}
    assert study.bytes_of("studies/smoke/**/*") == before
    assert study.jobs(study=other) == study.jobs() == {}


def test_deleted_specs_are_written_again_and_train_nothing(study):
    specs = study.bytes_of("*/*/spec.json", "evals/sets/*")
    assert {name.split("/")[0] for name in specs} == {"corpora", "tokenizers", "trunks", "runs", "evals"}
    for name in specs:
        (study.folder / "results" / name).unlink()
    assert study.jobs() == {}
    assert study.bytes_of("*/*/spec.json", "evals/sets/*") == specs


def test_a_failed_training_leaves_its_spec(study):
    folder = sorted((study.folder / "results/runs").iterdir())[0]
    (folder / "metrics.json").unlink()
    before = (folder / "spec.json").stat()
    module = study.folder / "workflow/scalinglaws/train/run.py"
    whole = module.read_text()
    module.write_text("raise RuntimeError('broken on purpose')\n")
    assert study.run("--cores", "1", f"results/runs/{folder.name}/metrics.json", check=False).returncode != 0
    assert {path.name for path in folder.iterdir()} - {"SHA256SUMS", "timing.sha256"} == {"spec.json"}
    after = (folder / "spec.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    told = status_of(study)
    (failure,) = told["failures"]
    assert (failure["stage"], failure["name"], told["total"]["failed"]) == ("train", folder.name, 1)
    assert failure["lines"][-1] == "RuntimeError: broken on purpose" and (study.folder / failure["log"]).is_file()
    # The command that it tells repeats the job, which now succeeds.
    module.write_text(whole)
    study.call("bash", "-c", f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; {failure['command']}")
    told = status_of(study)
    assert told["failures"] == [] and told["total"]["done"] == told["total"]["wanted"]


def test_experiment_renamed_only_redraws(study):
    study.edit(lambda data: data["experiments"].update(sizes=data["experiments"].pop("size")))
    assert study.jobs() == REDRAWN


def test_corpus_added_to_an_evaluation(study):
    def change(data):
        data["corpora"]["more"] = {**data["corpora"]["poems"], "passage_chars": 400}
        data["experiments"]["size"]["evaluate"].append("more")

    study.edit(change)
    assert study.jobs() == {"corpus": 1, "tokenize": 1, "evaluate": 4, **REDRAWN}


def test_editing_a_figure_redraws_it_and_nothing_else(study):
    package = study.folder / "workflow/scalinglaws"
    (path,) = package.glob("figures/*/fig02_learning_curves.py")
    path.write_text(path.read_text() + "\n# edited\n")
    assert study.jobs() == {"figure": 1}
    path = package / "train/run.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert study.jobs() == {"figure": 1}


def test_configfile_replaces_the_config(study):
    other = "other.yaml"
    shutil.copy(study.folder / "workflow/studies/smoke.yaml", study.folder / other)
    study.edit(lambda data: data["experiments"].pop("data"), study=other)
    study.edit(set_tokens("64k"), study=other)
    jobs = study.jobs(study=other)
    assert trained(jobs) == {}
    assert jobs["fit"] == 4  # the laws of the size experiment
    planned = study.run("-n", "--forceall", study=other)
    text = planned.stdout + planned.stderr
    assert all(run in text for run in build(config.load(study.folder / other)).runs)
    assert not any(run in text for run in build(config.load(study.folder / "config.yaml")).runs)


def test_cluster_job_trains_the_run_in_its_id_whatever_the_config_says(study):
    folder = sorted((study.folder / "results/runs").glob("gpt-n1.5k-t64.0k*"))[0]
    before = (folder / "model.safetensors").read_bytes()
    for path in folder.iterdir():
        if path.name != "spec.json":
            path.unlink()
    (study.folder / "config.yaml").write_text("study: [broken")
    target = f"results/runs/{folder.name}/metrics.json"
    study.run(target, "--mode", "remote", "--nolock", "--cores", "1", "--allowed-rules", "train", study=None)
    assert (folder / "model.safetensors").read_bytes() == before
