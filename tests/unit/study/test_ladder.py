"""Which rungs runs need: the one query against a count by hand, and its properties against a walk through every rung."""

from __future__ import annotations

import itertools
from functools import partial

from fixtures.small_runs import small_spec
from scalinglaws.study import ladder
from scalinglaws.study.config import Ladder
from scalinglaws.study.spec import RunSpec

# Batches of 64 tokens and rungs at 256, 512, 1024 and so on: steps 4, 8, 16, 32.
LADDER = Ladder(base=256, ratio=2.0)


def runs(*budgets: int, **more: object) -> dict[str, RunSpec]:
    found = [small_spec(tokens=budget, warmup_tokens=64, **more) for budget in budgets]
    return {spec.id: spec for spec in found}


def has(there: tuple[int, ...], trunk: str, step: int) -> bool:
    return step in there


def test_runs_need_their_rung_and_those_below() -> None:
    """Stable phases are three quarters of a budget: 640, 1280 and 2560 tokens start at steps 4, 8 and 16."""
    made = runs(640, 1280, 2560)
    (trunk,) = {spec.trunk.id for spec in made.values()}
    assert [ladder.start_of(spec, LADDER) for spec in made.values()] == [4, 8, 16]
    assert ladder.needed_rungs(made, LADDER) == {trunk: [4, 8, 16]}
    assert ladder.needed_rungs(runs(640), LADDER) == {trunk: [4]}
    assert ladder.needed_rungs(runs(2560), LADDER) == {trunk: [4, 8, 16]}


def test_a_rung_that_is_there_ends_the_way_down() -> None:
    made = runs(640, 2560)
    (trunk,) = {spec.trunk.id for spec in made.values()}
    there = {(trunk, 8)}
    # The longer run goes on from step 8; the shorter one needs step 4 all the same.
    assert ladder.needed_rungs(made, LADDER, lambda *rung: rung in there) == {trunk: [4, 16]}
    assert ladder.needed_rungs(runs(2560), LADDER, lambda *rung: rung in there) == {trunk: [16]}
    assert ladder.needed_rungs(made, LADDER, lambda *rung: True) == {}


def test_a_rung_of_one_trunk_is_none_of_another() -> None:
    made = runs(1280) | runs(1280, seed=2)
    first, second = (spec.trunk.id for spec in made.values())
    assert ladder.needed_rungs(made, LADDER, lambda trunk, step: trunk == first) == {second: [4, 8]}


def test_runs_without_a_ladder_need_none() -> None:
    # The last of these is shorter than a rung.
    made = runs(2560, schedule="cosine", decay=0.0) | runs(2560, stop="early", patience=3) | runs(320)
    assert ladder.needed_rungs(made, LADDER) == {}


def test_what_is_needed_is_what_a_walk_from_each_run_finds() -> None:
    """Whatever is there, the rungs that are made and those that are there let every run start; no other rung is made."""
    made = runs(640, 1280, 2560, 5120)
    (trunk,) = {spec.trunk.id for spec in made.values()}
    steps = ladder.needed_rungs(made, LADDER)[trunk]
    assert steps == [4, 8, 16, 32]
    for count in range(len(steps) + 1):
        for there in itertools.combinations(steps, count):
            needed = ladder.needed_rungs(made, LADDER, partial(has, there)).get(trunk, [])
            walked = set()
            for step in {4, 8, 16, 32}:
                while step >= 4 and step not in there:
                    walked.add(step)
                    step //= 2
            assert set(needed) == walked and needed == sorted(needed)


def test_tokens_with_the_ladder_are_trunks_and_decays() -> None:
    made = runs(640, 1280, 2560) | runs(2560, schedule="cosine", decay=0.0)
    assert ladder.tokens_to_train(made, LADDER) == (64 * (16 + (10 - 4) + (20 - 8) + (40 - 16) + 40), 640 + 1280 + 2 * 2560)
