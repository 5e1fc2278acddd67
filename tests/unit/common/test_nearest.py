"""The nearest name: slips of the kinds that people make, found among the names that the project has."""

from __future__ import annotations

import pytest

from scalinglaws.common.nearest import nearest, proposal
from scalinglaws.figures.registry import FIGURES
from scalinglaws.laws.registry import LAWS


@pytest.mark.parametrize("name", [*LAWS, *FIGURES])
def test_one_slip_of_any_kind_finds_a_law_or_a_figure_again(name: str) -> None:
    """A letter that is left out, doubled, or exchanged with the next, and other ways to write capitals and dashes."""
    names, k = list(LAWS if name in LAWS else FIGURES), len(name) // 2
    slips = [name[:k] + name[k + 1 :], name[:k] + name[k] + name[k:], name[:k] + name[k + 1] + name[k] + name[k + 2 :]]
    for slip in [slip for slip in slips if slip not in names]:
        assert nearest(slip, names) == name, slip
    assert nearest(name.upper(), names) == name and nearest(name.replace("-", "_").replace("_", "-"), names) == name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("chin", "chinchilla"),  # a part of one name alone
        ("fig05", "fig05_shape"),
        ("fig1", ""),  # of several
        ("no", ""),
        ("", ""),
        ("entirely different", ""),
        ("c" * 5000, ""),
    ],
)
def test_a_part_stands_for_a_whole_and_nothing_for_nothing(name: str, found: str) -> None:
    assert nearest(name, [*LAWS, *FIGURES]) == found


def test_a_proposal_lists_all_names_in_their_order() -> None:
    assert proposal("adamv", ["sgd", "adamw"]) == "did you mean adamw? Use one of sgd, adamw"
    assert proposal("lion", ["sgd", "adamw"]) == "use one of sgd, adamw"
    assert proposal("los", ["loss", "tokens"], "the columns are") == "did you mean loss? The columns are loss, tokens"
    assert proposal("kernel", [], "it has") == "it has none"
