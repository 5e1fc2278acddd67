"""The laws themselves, loaded from the modules that the registry names: equations by name, and procedures by name."""

from __future__ import annotations

import importlib

from scalinglaws.common.errors import StudyError
from scalinglaws.common.numbers import PF_DAY
from scalinglaws.laws import registry
from scalinglaws.laws.forms import Law
from scalinglaws.laws.methods import Method

__all__ = ["LAWS", "METHODS", "PF_DAY", "find"]


def find(name: str) -> Law | Method:
    """Load the law of a name.

    Raises
    ------
    StudyError
        If no law of that name is registered, or its module has none in LAWS.
    """
    module = importlib.import_module(registry.LAWS.find(name).module)
    found = [law for law in module.LAWS if isinstance(law, (Law, Method)) and law.name == name]
    if len(found) != 1:
        raise StudyError(f"{module.__name__}.LAWS has {len(found)} laws named {name}: it must have one")
    return found[0]


_ALL = {name: find(name) for name in registry.LAWS}
LAWS: dict[str, Law] = {name: law for name, law in _ALL.items() if isinstance(law, Law)}
METHODS: dict[str, Method] = {name: law for name, law in _ALL.items() if isinstance(law, Method)}
