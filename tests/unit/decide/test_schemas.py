"""Every command that prints JSON has a schema, and every law's fit meets that of ``fit``."""

from __future__ import annotations

import json

import pytest
from printed import printed, validator

from fixtures.planted_laws import planted
from scalinglaws.cli.app import FILES, group, main
from scalinglaws.decide.schemas import PRINTED
from scalinglaws.laws.result import fit_table


def test_every_command_with_json_has_a_schema() -> None:
    with_json = {
        name for name in FILES if "--json" in {option for each in group().get_command(None, name).params for option in each.opts}
    }
    assert with_json == {name.split()[0] for name in PRINTED}


@pytest.mark.parametrize("name", PRINTED)
def test_a_schema_says_what_is_printed_and_refuses_another_value(name: str) -> None:
    kept = validator(name)
    assert kept.schema["description"].endswith(".") and not kept.is_valid({}) and not kept.is_valid("text")


def test_the_list_of_figures_is_that_of_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure", "--list", "--json"]) == 0
    assert len(printed("figure --list", capsys.readouterr().out)) > 20


@pytest.mark.parametrize("law", ["chinchilla", "critical-batch", "envelope", "isoflop", "learning-rate", "multi-power"])
def test_a_fit_meets_the_schema_of_fit(law: str) -> None:
    """Procedures have keys of their own; the fits of a study are held against the schema where it is run."""
    made = planted(law, 0)
    found = fit_table(made.runs, law, curves=made.curves, n_bootstrap=0)
    assert printed("fit", json.dumps(found))["n_runs"] > 0
