"""The list of laws: it is light, it agrees with the laws that it names, and one file and one line add a law."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.laws import catalogue, refits, registry
from scalinglaws.laws.result import fit_table
from scalinglaws.study.questions import WORDS

OWN_LAW = '''
"""L = E + D_c/D: a law of our own with two parameters."""

import numpy as np

from scalinglaws.laws.forms import Law, Parameter, Term
from scalinglaws.laws.rules import largest_model


def natural(theta, centre):
    c_e, c_n = theta.T
    return np.column_stack([np.exp(c_e), np.exp(c_n + centre[0])])


LAWS = (
    Law(
        name="own", title="Loss against tokens", formula="L = E + D_c/D", source="this test", rule="the largest model",
        selection=(largest_model,), variables=("tokens",), parameters=(Parameter("E", "", True), Parameter("D_c", "", True)),
        internal=("E", "D_c"), terms=(Term(0), Term(1, 0)), distinct=2, held_out="tokens", published={}, to_natural=natural,
        grid=((0.5,),),
    ),
)
'''


def test_naming_the_laws_imports_no_numerical_library() -> None:
    code = "import sys, scalinglaws.laws.registry; print([m for m in ('numpy', 'scipy', 'polars', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_registry_agrees_with_the_laws() -> None:
    for entry in registry.LAWS.values():
        law = catalogue.find(entry.name)
        assert law.name == entry.name
        assert entry.small_batches == bool({"steps_min", "flops_min"} & set(law.variables)), entry.name
        assert entry.question in WORDS
        # Exponents have names in small letters, scales in capitals.
        assert {name for name in law.published if name[0].islower()} <= set(law.compared), entry.name
        assert all(name[0].islower() for name in law.compared), entry.name


def test_the_first_published_fit_of_a_law_is_the_one_that_it_is_compared_with() -> None:
    for name, fits in refits.OF_LAW.items():
        known = catalogue.find(name).published
        assert {key: value for key, value in fits[0].values.items() if key in known} == {
            key: value for key, value in known.items() if key in fits[0].values
        }
        assert all(set(each.values) <= set(fits[0].values) for each in fits)
    table = pl.DataFrame({"n_params": np.geomspace(1e6, 1e9, 9), "tokens": 1e10, "loss": np.geomspace(4.0, 3.0, 9)})
    assert fit_table(table, "power-n", n_bootstrap=0)["refits"] == []
    found = fit_table(table.with_columns(tokens=np.geomspace(1e9, 1e11, 9)), "chinchilla", n_bootstrap=0)["refits"]
    assert [item["source"] for item in found[:2]] == ["Hoffmann et al. 2022, approach 3", "Besiroglu et al. 2024"]
    assert found[1]["values"]["beta"] == 0.3658


def test_exponents_are_compared_and_scales_are_not() -> None:
    compared = {name: catalogue.find(name).compared for name in registry.LAWS}
    assert compared["power-cmin-offset"] == ("alpha_C",)
    assert compared["envelope"] == ("alpha_C", "a", "b")
    assert compared["kaplan-ns"] == ("alpha_N", "alpha_S")
    assert compared["chinchilla"] == ("alpha", "beta", "a", "b")
    assert compared["repetition"] == ("alpha", "beta")
    assert compared["farseer"] == ("alpha", "beta", "gamma")
    assert compared["critical-batch"] == ("alpha_B",)


def test_a_law_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "law_of_our_own.py").write_text(textwrap.dedent(OWN_LAW))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry.LAWS, "_entries", dict(registry.LAWS._entries))
    registry.LAWS.register(registry.Entry("own", "size", "law_of_our_own"))

    tokens = np.geomspace(1e8, 1e10, 12)
    loss = 2.0 + 3e8 / tokens
    other = pl.DataFrame({"n_params": 1e6, "tokens": tokens, "loss": loss + 1})
    table = pl.concat([other.with_columns(n_params=1e7, loss=pl.Series(loss)), other])
    fit = fit_table(table, "own", n_bootstrap=0)
    assert {name: value["estimate"] for name, value in fit["parameters"].items()} == pytest.approx(
        {"E": 2.0, "D_c": 3e8}, rel=1e-6
    )
    assert {item["reason"] for item in fit["excluded"]} == {"not the largest model"}
    assert registry.asked(["own"]) == ("own",)
    registry.LAWS.register(registry.Entry("other", "size", "law_of_our_own"))
    with pytest.raises(StudyError, match=r"law_of_our_own\.LAWS has 0 laws named other"):
        catalogue.find("other")
    with pytest.raises(StudyError, match="registered already"):
        registry.LAWS.register(registry.Entry("power-n", "size", "law_of_our_own"))


def test_unknown_laws_are_named() -> None:
    with pytest.raises(StudyError, match=r"law 'power' is unknown: did you mean power-n\? Use one of power-n, "):
        fit_table(pl.DataFrame({"n_params": [1.0], "loss": [1.0]}), "power")
    with pytest.raises(StudyError, match="did you mean chinchilla"):
        catalogue.find("chinchila")
