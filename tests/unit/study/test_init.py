"""The config key ``init``: it is part of the ids of the runs that have it and of no others, and mistakes name it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import write_text
from scalinglaws.dag import context, inputs, kept
from scalinglaws.decide.verify import verify
from scalinglaws.study import config, study
from scalinglaws.study.init import Weights, read_weights, weights_of
from scalinglaws.study.spec import run_from_dict

COMMIT = "0123456789" * 4
INIT: dict[str, Any] = {"huggingface": "openai-community/gpt2", "revision": COMMIT}
PINNED = INIT | {"sha256": {"model.safetensors": "f" * 64}}


def data_of(*inits: Any, **experiment: Any) -> dict[str, Any]:
    data = changed()
    data["experiments"] = {"size": {"grid": {"model": ["2x16"], "tokens": ["1M", "2M"], "init": list(inits)}, **experiment}}
    return data


def built(*inits: Any, **experiment: Any) -> study.Study:
    return study.build(config.parse(data_of(*inits, **experiment)), Path("nowhere"))


def test_it_is_part_of_the_ids_of_the_runs_that_have_it_alone() -> None:
    nothing, begun, pinned, both = built(None), built(INIT), built(PINNED), built(None, INIT)
    without = changed()
    without["experiments"] = {"size": {"grid": {"model": ["2x16"], "tokens": ["1M", "2M"]}}}
    assert nothing.runs == study.build(config.parse(without), Path("nowhere")).runs and not nothing.weights
    assert set(both.runs) == {*nothing.runs, *begun.runs} and len(both.runs) == 4
    assert len({*nothing.trunks, *begun.trunks, *pinned.trunks}) == 3 and len(begun.trunks) == 1
    (name,) = begun.weights
    assert name.startswith("gpt2-") and set(pinned.weights) != {name}
    run, spec = next(iter(begun.runs.items()))
    assert spec.trunk.init == spec.init == (("huggingface", INIT["huggingface"]), ("revision", COMMIT))
    assert run_from_dict(json.loads(spec.canonical)) == spec and json.loads(spec.canonical)["init"] == INIT and hash(spec)
    other = built(PINNED).runs
    assert all(weights_of(spec) == Weights(INIT["huggingface"], COMMIT, PINNED["sha256"]) for spec in other.values())
    padded = built(INIT | {"vocab_size": "50304"})
    assert dict(next(iter(padded.runs.values())).init)["vocab_size"] == 50304
    assert padded.weights == begun.weights and not padded.runs.keys() & begun.runs.keys()
    assert run.rpartition("-")[0] in {name.rpartition("-")[0] for name in nothing.runs}


@pytest.mark.parametrize(
    ("init", "told"),
    [
        (INIT | {"revision": "main"}, "init.*revision.*a commit is expected, 40 hexadecimal digits"),
        (INIT | {"huggingface": "../x"}, "init.*huggingface.*the name of a model on the hub is expected"),
        (INIT | {"sha256": {"pytorch_model.bin": "f" * 64}}, "the name of a .safetensors file of the repository is expected"),
        (INIT | {"sha256": {"model.safetensors": "f"}}, "sha256"),
        (INIT | {"repository": "x"}, "repository"),
        ({"huggingface": "x"}, "revision"),
    ],
)
def test_mistakes_name_the_key(init: dict[str, Any], told: str) -> None:
    with pytest.raises(StudyError, match=f"(?s){told}"):
        built(init)


def test_what_cannot_begin_from_published_weights_is_refused_before_anything_runs() -> None:
    with pytest.raises(
        StudyError, match=r"init .*/gpt2@0123456789.*init: no published weights fit: architecture lstm: transformers"
    ):
        built(INIT, architecture="lstm")
    with pytest.raises(StudyError, match=r"init: no published weights fit: architecture transformer: .* with d_attn = d_model"):
        study.build(config.parse(data_of(INIT) | {"experiments": {"a": _narrow()}}), Path("nowhere"))
    with pytest.raises(StudyError, match="init: published weights are those of the standard parametrization"):
        built(INIT, parametrization={"name": "mup", "base_width": 16})
    with pytest.raises(StudyError, match="it begins from published weights, whose own tokens no law counts"):
        built(INIT, forecast=True)


def _narrow() -> dict[str, Any]:
    return {"points": [{"model": {"n_layer": 1, "d_model": 16, "d_attn": 8}, "tokens": "1M", "init": INIT}]}


def test_weights_are_inputs_of_what_is_missing_and_their_spec_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    made = context.read(data_of(None, INIT), "config.yaml", in_job=False)
    kept.write(made)
    (name,) = made.study.weights
    file = f"results/weights/{name}/config.json"
    spec = Path(file).with_name("spec.json")
    assert read_weights(spec).canonical == spec.read_text().strip() == json.dumps(INIT, sort_keys=True, separators=(",", ":"))
    begun = [run for run, spec in made.study.runs.items() if spec.init]
    assert len(begun) == 2
    for run in made.study.runs:
        assert inputs.weights_of_run(made, run) == ([file] if run in begun else [])
        (trunk, steps) = made.study.trunk_ids[run], made.study.rungs[made.study.trunk_ids[run]]
        assert inputs.weights_of_trunk(made, trunk, steps[0]) == ([file] if run in begun else [])
        write_text(Path(f"results/trunks/{trunk}/step{steps[0]}.safetensors"), "")
        write_text(Path(f"results/runs/{run}/metrics.json"), "")
        assert inputs.weights_of_run(made, run) == [] and inputs.weights_of_trunk(made, trunk, steps[0]) == []
        for path in (f"results/trunks/{trunk}/step{steps[0]}.safetensors", f"results/runs/{run}/metrics.json"):
            Path(path).unlink()
    assert not verify(Path("results")).damaged
    spec.write_text(spec.read_text().replace("gpt2", "gpt3"))
    (fault,) = verify(Path("results")).damaged
    assert fault.path == spec and "it is not what its folder's name says" in fault.what
    with pytest.raises(StudyError, match=r"spec.json hashes to gpt3-.*, not to its folder"):
        read_weights(spec)
