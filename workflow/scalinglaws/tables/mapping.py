"""Names of columns: which column of a table stands for which of ours. It imports no library of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal

# The modules by which a table is read, for rules that are run again when one of them changes.
READERS = tuple(f"tables/{name}.py" for name in ("formats", "mapping", "read", "rows"))
# Texts, in small letters, that stand for a number that is missing.
MISSING = ("", "-", "na", "n/a", "nan", "null", "none", "nil", "missing")
# Our name of a column -> another that tables have for it.
ALIASES = {"run": "id", "flops": "flops_6nd", "flops_6nd": "flops", "steps": "step"}
# No two of these are one quantity, so they never come from one column.
APART = ("n_params", "tokens", "loss")


def sources(own: Sequence[str], names: Sequence[str], columns: Mapping[str, str], which: str, key: str) -> dict[str, str]:
    """Return our name -> the table's own name, for each of ``names`` that the table has.

    A name that ``columns`` maps is taken from there, whatever else the table has. Any other is the table's column of this name,
    or of the name in ALIASES.

    Parameters
    ----------
    own
        The table's columns.
    names
        Names of ours.
    columns
        Our name -> the name that the table has. All are applied at once, so two columns can be exchanged.
    which, key
        What errors call the table, and the option that maps its columns.

    Raises
    ------
    StudyError
        ``columns`` has a name that is not ours, or one that the table lacks, or two of n_params, tokens and loss come from one
        column.
    """
    if unknown := sorted(set(columns) - set(names)):
        raise StudyError(f"{key} names {', '.join(unknown)}: {proposal(unknown[0], names, 'it can map')}")
    found = {}
    for name in names:
        theirs = columns[name] if name in columns else name if name in own else ALIASES.get(name, name)
        if theirs in own:
            found[name] = theirs
        elif name in columns:
            raise StudyError(f"{which} has no column '{theirs}' (for {name}): {proposal(theirs, own, 'it has')}")
    for theirs in (found[name] for name in APART if name in found):
        if len(twice := [name for name in APART if found.get(name) == theirs]) > 1:
            raise StudyError(f"{key} takes both {' and '.join(twice)} from the column '{theirs}': give each its own column")
    return found
