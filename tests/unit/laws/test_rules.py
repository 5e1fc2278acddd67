"""Which early-stopped runs enter laws of the data: those that max_tokens ended while their loss still fell are no points."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from scalinglaws.laws.catalogue import LAWS
from scalinglaws.laws.result import fit_table
from scalinglaws.laws.rules import FALLING, early, usable_curves
from scalinglaws.laws.select import Points, select


def chosen(table: pl.DataFrame, law: str, **options: Any) -> Points:
    return select(table, LAWS[law], **options)


# run, dataset_tokens, dataset_limited, tokens, stopped, best_step, whether its validation loss had turned; batches of 1000 tokens
ENDS = (
    ("patience", 1e5, True, 8e5, "patience", 400, True),
    ("patience-whole", 1e7, False, 8e6, "patience", 4000, True),
    ("turned", 1e5, True, 2e6, "max_tokens", 1500, True),
    ("falling", 1e6, True, 2e6, "max_tokens", 2000, False),
    ("no-best-step", 1e6, True, 2e6, "max_tokens", None, False),
    ("nothing-repeated", 1e6, True, 9e5, "max_tokens", 800, False),  # its best step is earlier by noise
    ("whole", 1e7, False, 8e6, "max_tokens", 7000, False),
    ("whole-twice", 1e7, False, 2e7, "max_tokens", 15_000, True),
    ("whole-twice-falling", 1e7, False, 2e7, "max_tokens", 20_000, False),
    ("theirs", 1e6, True, 2e6, None, None, True),  # a table made elsewhere that does not say
)


def ends_table(n_params: float = 1e6) -> pl.DataFrame:
    columns = ["run", "dataset_tokens", "dataset_limited", "tokens", "stopped", "best_step", "turned"]
    table = pl.DataFrame(ENDS, schema=columns, orient="row").with_columns(n_params=pl.lit(n_params), batch_tokens=pl.lit(1000))
    return table.with_columns(stop=pl.lit("early"), loss=pl.Series(np.linspace(3, 2.5, len(ENDS))))


def test_what_max_tokens_ended_while_its_loss_fell_is_in_no_law_of_the_data() -> None:
    """One rule for all of them: kept are the runs that patience ended, and those whose least loss came before their end."""
    table = ends_table()
    kept = set(table.filter("turned")["run"])
    laws = [name for name, law in LAWS.items() if early in law.selection]
    assert {"kaplan-nd", "power-d", "power-d-offset"} <= set(laws)
    for law in laws:
        points = chosen(table, law)
        assert set(points.run) == kept, law
        left_out = {item["run"] for item in points.excluded if item["reason"] == FALLING}
        assert left_out == set(table["run"]) - kept
        (told,) = (note for note in points.notes if "they are left out" in note)
        assert told.startswith("max_tokens ended 5 of 10 early-stopped runs, 2 on all the data, before the validation loss")
    whole = ends_table().filter(pl.col("run").is_in(["patience", "whole"]))
    (told,) = chosen(whole, "kaplan-nd").notes
    assert "raise max_tokens to have them in" in told and "smaller datasets" not in told
    without = chosen(table.drop("stopped"), "kaplan-nd")  # a rule that needs a column which the table lacks is skipped
    assert len(without) == len(table) and without.notes == []


def test_the_largest_model_is_chosen_before_its_runs_are_looked_at() -> None:
    """A largest model whose runs all fell to their end has no L(D); that of the next size is not taken for it."""
    largest = ends_table(1e7).filter(~pl.col("turned")).with_columns(run="large-" + pl.col("run"))
    points = chosen(pl.concat([ends_table(), largest]), "power-d")
    assert len(points) == 0 and "max_tokens ended 5 of 5" in points.notes[0]


def test_losses_that_still_fell_would_bias_the_fit_of_both() -> None:
    """Planted: L(N, D) holds for runs that stopped; those ended on the way lie up to 20 % above it."""
    truth = {"alpha_N": 0.08, "alpha_D": 0.1, "N_c": 1e8, "D_c": 1e9}
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e4, 1e7, 6), np.geomspace(1e5, 1e8, 6)))
    loss = ((truth["N_c"] / n) ** 0.8 + truth["D_c"] / d) ** 0.1
    capped = d > 2e6 * (1e6 / n) ** 0.3
    table = pl.DataFrame({"n_params": n, "dataset_tokens": d, "loss": np.where(capped, 1.1 + 0.1 * (d > 1e7), 1.0) * loss})
    table = table.with_columns(tokens=pl.lit(1e8), steps=pl.lit(1e4), best_step=pl.Series(np.where(capped, 10_000, 5000)))
    table = table.with_columns(stop=pl.lit("early"), stopped=pl.Series(np.where(capped, "max_tokens", "patience")))
    found = fit_table(table, "kaplan-nd", n_bootstrap=0)["parameters"]
    assert {name: found[name]["estimate"] for name in truth} == pytest.approx(truth, rel=1e-6)
    biased = fit_table(table.drop("stopped"), "kaplan-nd", n_bootstrap=0)["parameters"]
    assert abs(biased["alpha_D"]["estimate"] / 0.1 - 1) > 0.1


def test_fits_say_where_many_runs_reached_max_tokens_after_their_least_loss() -> None:
    """Those on all the data do not count."""
    for runs, words in ((["patience", "turned"], "1 of 2 runs"), (["patience", "patience-whole", "whole-twice"], None)):
        told = [note for note in chosen(ends_table().filter(pl.col("run").is_in(runs)), "kaplan-nd").notes if "patience" in note]
        assert [note.startswith(f"{words} on limited data") for note in told] == ([True] if words else [])


def test_runs_from_nothing_and_runs_from_published_weights_are_in_no_fit_together() -> None:
    """Those from nothing stay where there are any, else those that begin from what most begin from; so do their curves."""
    n = np.geomspace(1e4, 1e6, 5)
    table = pl.DataFrame({"n_params": n, "tokens": 20 * n, "loss": 3 * n**-0.05, "run": [f"r{i}" for i in range(5)]})
    table = table.with_columns(trunk="run")
    one, other = '{"huggingface": "a/one"}', '{"huggingface": "a/two"}'
    mixed = table.with_columns(init=pl.Series([None, None, None, one, other]))
    points = chosen(mixed, "chinchilla")
    assert points.run == ["r0", "r1", "r2"]
    reason = "it begins from published weights, and others from nothing"
    assert [item for item in points.excluded if item["reason"] == reason] == [{"run": r, "reason": reason} for r in ("r3", "r4")]
    begun = table.with_columns(init=pl.Series([one, one, other, one, one]))
    assert chosen(begun, "chinchilla").run == ["r0", "r1", "r3", "r4"]
    assert chosen(begun.with_columns(init=pl.lit(one)), "chinchilla").run == [f"r{i}" for i in range(5)]
    unfitted = mixed.with_columns(fitted=pl.col("init").is_not_null())  # what no law is fitted to says nothing about the others
    assert chosen(unfitted, "chinchilla").run == ["r4"]
    flops = {"flops": 120 * n**2, "loss_test": table["loss"], "run": table["run"], "trunk": table["run"], "n_params": n}
    curves = pl.DataFrame(flops | {"batch_tokens": [1000] * 5, "tokens": 20 * n, "phase": ["stable"] * 5})
    excluded: list[dict[str, str]] = []
    assert set(usable_curves(mixed, curves, excluded)["run"]) == {"r0", "r1", "r2"}
    assert {item["run"] for item in excluded} == {"r3", "r4"}
