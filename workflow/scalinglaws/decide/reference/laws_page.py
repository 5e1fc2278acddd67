"""The page of the laws: equations, sources, what each is fitted to, its parameters and the values of its source."""

from __future__ import annotations

from scalinglaws.decide.reference.markdown import page, table
from scalinglaws.laws.catalogue import find
from scalinglaws.laws.forms import Law
from scalinglaws.laws.methods import Method
from scalinglaws.laws.registry import LAWS, Entry
from scalinglaws.study.questions import WORDS

INTRODUCTION = """
Each law can be fitted to any table of runs by `scalinglaws fit --law NAME`, and to a study's own runs by `fits: {laws: [NAME]}`.
[The laws](../laws.md) says how they are fitted and when not to believe them. Published values of scales have the units of the
source's vocabulary and text, so only exponents are to be compared. Numbers alone in brackets are equations of Kaplan et al. 2020.
"""


def laws_page() -> str:
    """Return the page."""
    laws = [(entry, find(entry.name)) for entry in LAWS.values()]
    lines = [*INTRODUCTION.strip().splitlines(), ""]
    lines += table(("law", "title", "equation"), [(f"[`{e.name}`](#{e.name})", law.title, f"`{law.formula}`") for e, law in laws])
    for entry, law in laws:
        lines += [f"## {entry.name}", "", f"`{law.formula}`", "", *facts(entry, law), "", *parameters(law)]
    return page("Laws", lines)


def facts(entry: Entry, law: Law | Method) -> list[str]:
    """Return the lines of a list of what is known of a law."""
    options = ["`--curves`"] * entry.curves + ["`--critical-batch`"] * entry.small_batches
    found = {
        "What it is": law.title,
        "Source": law.source,
        "Fitted to": law.rule,
        "Columns that it needs": ", ".join(f"`{name}`" for name in law.variables),
        "What a study must have": WORDS[entry.question],
        "Options of `fit` that it needs": ", ".join(options),
        "States the loss of a run beforehand from": ", ".join(f"`{name}`" for name in entry.states),
    }
    return [f"- {name}: {text}" for name, text in found.items() if text]


def parameters(law: Law | Method) -> list[str]:
    """Return a table of a law's parameters and derived exponents, with their units and the values of the source."""
    units = {each.name: each.unit or "" for each in law.parameters} if isinstance(law, Law) else {}
    names = list(dict.fromkeys([*units, *law.derived, *law.published]))
    rows = [(f"`{name}`", units.get(name, ""), f"{law.published[name]:g}" if name in law.published else "") for name in names]
    return table(("parameter", "unit", "published"), rows) if rows else []
