"""``verify`` on small results made by hand: what counts as damaged or missing, and what a repair removes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from printed import printed

from fixtures.small_runs import small_spec, write_tokens
from scalinglaws.cli.app import main
from scalinglaws.cluster.bundle import Bundle
from scalinglaws.common import sums
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.verify import repair, verify

RUN_FILES = ["metrics.json", "curve.jsonl", "model.safetensors"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Write a run, its tokens, a fit of an earlier version, a plug-in and a bundle."""
    spec, results = small_spec(), tmp_path / "results"
    run = results / "runs" / spec.id
    run.mkdir(parents=True)
    (run / "spec.json").write_text(spec.canonical + "\n")
    for name in (*RUN_FILES, "timing.json"):
        (run / name).write_text("{}")
    sums.record(run / sums.LIST, [run / name for name in RUN_FILES])
    sums.record(run / "timing.sha256", [run / "timing.json"])
    tokens = write_tokens(results / "tokens" / spec.tokens_id)
    sums.record(tokens / sums.LIST, sorted(tokens.iterdir()))
    (results / "studies/one/fits").mkdir(parents=True)
    (results / "studies/one/fits" / "power-n.json").write_text("{}")
    for folder, suffix, digits, text in (
        ("plugins", ".py", 64, "x = 1\n"),
        ("bundles", ".json", 10, Bundle((), 1, 1, 1).canonical),
    ):
        (results / folder).mkdir()
        (results / folder / f"{hashlib.sha256(text.encode()).hexdigest()[:digits]}{suffix}").write_text(text)
    return results


def faults(results: Path) -> dict[str, set[str]]:
    """Return path -> the names that a repair would remove, of what is damaged or missing."""
    found = verify(results)
    return {str(f.path.relative_to(results)): {path.name for path in f.remove} for f in [*found.damaged, *found.missing]}


def test_whole_results_and_those_without_sums_are_accepted(results: Path) -> None:
    assert faults(results) == {}
    assert verify(results).without_sums == [results / "studies/one/fits" / "power-n.json"]


def test_a_run_is_made_again_as_a_whole_and_weights_may_go(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    (run / "model.safetensors").unlink()
    assert faults(results) == {}
    (run / "timing.json").write_text("[]")
    assert faults(results) == {f"runs/{run.name}/timing.json": {"timing.json"}}, "a run is not trained again for its speed"
    repair(verify(results))
    assert faults(results) == {} and (run / "metrics.json").exists()
    (run / "curve.jsonl").write_text("[]")
    every = {*RUN_FILES, "timing.json", "timing.sha256", sums.LIST}
    assert faults(results) == {f"runs/{run.name}/curve.jsonl": every}
    removed = repair(verify(results))
    assert removed[0].name == "metrics.json" and [path.name for path in run.iterdir()] == ["spec.json"]
    assert faults(results) == {}
    sums.record(run / sums.LIST, [], dict.fromkeys(RUN_FILES, b""))  # of a training that was stopped before its end
    assert faults(results) == {}


def test_a_folder_in_place_of_a_file_is_left_and_all_else_is_repaired(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    (run / "curve.jsonl").unlink()
    (run / "curve.jsonl").mkdir()
    (results / "studies/one/fits" / "power-n.json").write_text("{")
    with pytest.raises(StudyError, match=r"curve\.jsonl is a folder in place of a file: move it away"):
        repair(verify(results))
    assert (run / "curve.jsonl").is_dir()
    assert not (run / "metrics.json").exists() and not (results / "studies/one/fits" / "power-n.json").exists()


def test_a_list_that_is_damaged_alone_costs_nothing(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    path = run / sums.LIST
    whole = path.read_text()
    path.write_text(whole.replace("a", "b", 1))
    assert faults(results) == {f"runs/{run.name}/{sums.LIST}": set()}
    assert repair(verify(results)) == [] and path.read_text() == whole
    path.write_text("")
    assert len(faults(results)[f"runs/{run.name}/{sums.LIST}"]) == 6


@pytest.mark.parametrize("name", ["train.bin", "test.starts.npy"])
def test_token_files_are_made_again_together(results: Path, name: str) -> None:
    (folder,) = results.glob("tokens/*/*")
    for change in (lambda path: path.write_bytes(path.read_bytes() + b"0"), Path.unlink):
        change(folder / name)
        ((path, removed),) = faults(results).items()
        assert path.endswith(name) and removed >= {"meta.json", "train.bin", sums.LIST, ".checked"}
    (folder / sums.LIST).unlink()
    assert name == "test.starts.npy" or [path.endswith(name) for path in faults(results)] == [True]


def test_files_that_are_named_by_their_content(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    spec = run / "spec.json"
    values = json.loads(spec.read_text())
    spec.write_text(json.dumps(values, indent=1))  # the same spec, written otherwise
    assert faults(results) == {}
    spec.write_text(json.dumps({**values, "seed": 7}))
    (plugin,), (bundle,) = (results / "plugins").iterdir(), (results / "bundles").iterdir()
    plugin.write_text("x = 2\n")
    bundle.write_text(bundle.read_text().replace("1", "2", 1))
    assert faults(results) == {str(path.relative_to(results)): {path.name} for path in (spec, plugin, bundle)}


def test_what_processes_write_while_they_train_is_left_alone(results: Path) -> None:
    (run,) = (results / "runs").iterdir()
    for name in (".finished-checkpoint-3.safetensors", ".checkpoint-4.safetensors.1.tmp"):
        (run / name).mkdir()
    (run / "progress.json").write_text("")
    assert faults(results) == {}
    (run / "checkpoint-3.safetensors").write_bytes(b"x" * 300)
    assert faults(results) == {f"runs/{run.name}/checkpoint-3.safetensors": {"checkpoint-3.safetensors"}}


def test_the_command(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(results.parent)
    assert main(["verify"]) == 0
    assert "0 files damaged, 0 missing, 1 without sums" in capsys.readouterr().out
    (results / "studies/one/fits" / "power-n.json").write_text("{")
    assert main(["verify", "--json"]) == 1
    told = printed("verify", capsys.readouterr().out)
    assert told["damaged"] == [{"path": "results/studies/one/fits/power-n.json", "what": "is damaged"}] and told["removed"] == []
    assert main(["verify", "--repair"]) == 0
    assert "1 files removed" in capsys.readouterr().out and not (results / "studies/one/fits" / "power-n.json").exists()
    assert main(["verify", "--results", "nowhere"]) == 1
    assert "nowhere is no folder" in capsys.readouterr().err


def test_a_file_that_may_not_be_read_is_not_taken_for_a_damaged_one(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sums, "sha256_of", refused)
    with pytest.raises(StudyError, match="Permission denied: call this as the user who owns the results"):
        verify(results)
