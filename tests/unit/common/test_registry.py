"""A registry finds, refuses and remembers where its entries come from."""

from dataclasses import dataclass

import pytest

from scalinglaws.common.errors import StudyError
from scalinglaws.common.registry import Registry, of_plugin


@dataclass(frozen=True)
class Thing:
    name: str
    size: int = 0


def test_entries_are_found_by_name_in_their_order():
    things = Registry("thing", [Thing("b"), Thing("a")])
    assert list(things) == ["b", "a"] and len(things) == 2 and "a" in things and "c" not in things
    assert things.find("a") == Thing("a") and things.plugin_of("a") == ""


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(StudyError, match=r"thing: 'adm' is unknown: did you mean adam\? Use one of adam, sgd"):
        Registry("thing", [Thing("adam"), Thing("sgd")]).find("adm")
    with pytest.raises(StudyError, match="use one of adam"):
        Registry("thing", [Thing("adam")]).find("zzz")


def test_a_plugin_may_replace_its_own_entries_alone():
    things = Registry("thing", [Thing("a")])
    with of_plugin("12"):
        things.register(Thing("mine", 1))
        things.register(Thing("mine", 2))
        with pytest.raises(StudyError, match="a is registered already"):
            things.register(Thing("a"))
    assert things.find("mine").size == 2 and things.plugin_of("mine") == "12"
    with of_plugin("34"), pytest.raises(StudyError, match="mine is registered already"):
        things.register(Thing("mine"))
    with pytest.raises(StudyError, match="a is registered already"):
        things.register(Thing("a"))


@pytest.mark.parametrize("name", ["..", "a/b", "-x", "", "a b", "x" * 101, "a\n", 3])
def test_names_become_parts_of_names_of_files(name):
    with pytest.raises(StudyError, match=r"thing: .* is no name"):
        Registry("thing", [Thing(name)])
