"""The width of attention heads: what a study gives to all of its models, in the spec as a number of heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.small_study import changed
from scalinglaws.common.errors import StudyError
from scalinglaws.decide.plan import plan_rows
from scalinglaws.study import config, study
from scalinglaws.study.spec import RunSpec
from scalinglaws.study.study import Study

ROOT = Path(__file__).parents[3]


def build(**changes: Any) -> Study:
    return study.build(config.parse(changed(**changes)), Path("nowhere"))


def one(model: Any, **changes: Any) -> RunSpec:
    """Return the only run of a study of one model, with these changes."""
    (spec,) = build(experiments={"size": {"grid": {"model": [model], "tokens": ["1M"]}}}, **changes).runs.values()
    return spec


@pytest.mark.parametrize(
    ("model", "n_heads"),
    [
        ("12x768", 12),
        ("48x1600", 25),
        ("3x96", 1),  # 64 does not divide it, so the head is wider
        ("1x8", 1),  # the model is narrower than a head
        ({"n_layer": 2, "d_model": 256, "d_attn": 128}, 2),
        ({"n_layer": 2, "d_model": 256, "n_heads": 16}, 16),  # what the model says counts
        ({"n_layer": 2, "d_model": 256, "head_width": 32}, 8),
    ],
)
def test_the_width_of_heads_gives_their_number(model: Any, n_heads: int) -> None:
    spec = one(model, defaults__head_width=64)
    assert spec.n_heads == n_heads
    # What enters the identity is the number of heads, however it came about.
    size = {"n_layer": spec.n_layer, "d_model": spec.d_model, "d_attn": spec.d_attn, "n_heads": n_heads}
    assert one(size).id == spec.id and "head_width" not in spec.canonical


@pytest.mark.parametrize("architecture", ["llama", "moe", "lstm"])
def test_other_architectures(architecture: str) -> None:
    found = [one(model, defaults__head_width=32, defaults__architecture=architecture).n_heads for model in ("2x96", "2x128")]
    assert found == ([0, 0] if architecture == "lstm" else [3, 4])


def test_by_default_nothing_changes() -> None:
    assert build().runs.keys() == build(defaults__head_width=16).runs.keys()


def test_heads_and_their_width_are_refused_together() -> None:
    model = {"n_layer": 2, "d_model": 64, "n_heads": 4, "head_width": 16}
    for architecture in ("transformer", "llama"):
        with pytest.raises(StudyError, match=r"model\.head_width: n_heads is given too"):
            one(model, defaults__architecture=architecture)
    with pytest.raises(StudyError, match=r"head_width"):
        build(defaults__head_width=0)


@pytest.mark.parametrize("name", ["h100", "kaplan2020"])
def test_the_studies_for_gpus_have_wide_heads(name: str, tmp_path: Path) -> None:
    """The plan shows heads at least 64 wide, or one head in a model that is narrower than two of them."""
    made = study.build(config.load(ROOT / "workflow" / "studies" / f"{name}.yaml"), tmp_path)
    for row in plan_rows(made, tmp_path):
        width = made.runs[row["run"]].d_attn
        assert row["n_heads"] == 1 if width < 128 else width // row["n_heads"] >= 64
