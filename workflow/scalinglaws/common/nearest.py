"""The nearest of the names that there are, for a name that is misspelt. It imports the standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FEWEST_LETTERS = 3  # of a part of a name by which the whole is found
LONGEST = 100  # letters of a name that is compared: no name that there is has more, and each comparison takes their product


def nearest(name: str, names: Iterable[str]) -> str:
    """Return which of ``names`` a misspelt ``name`` may stand for; an empty text where none resembles it.

    Small and capital letters, dashes and underscores count as equal. A part of exactly one name stands for that name.
    """
    sought, plain = _plain(name), {_plain(other): other for other in reversed(list(names))}
    if len(sought) > LONGEST:
        return ""
    if close := difflib.get_close_matches(sought, plain, 1):
        return plain[close[0]]
    parts = [other for other in plain if sought in other] if len(sought) >= FEWEST_LETTERS else []
    return plain[parts[0]] if len(parts) == 1 else ""


def proposal(name: str, names: Iterable[str], opening: str = "use one of") -> str:
    """Return how a message about an unknown name ends: the nearest of ``names`` as a question, and all of them.

    Parameters
    ----------
    name
        The name that is not known.
    names
        The names that there are, in the order in which they are listed.
    opening
        The words before the list, such as "the columns are".

    Returns
    -------
    str
        "use one of adamw, sgd", or "did you mean sgd? Use one of adamw, sgd".
    """
    known = list(names)
    close, listed = nearest(name, known), f"{opening} {', '.join(known) or 'none'}"
    return f"did you mean {close}? {listed[:1].upper()}{listed[1:]}" if close else listed


def _plain(name: str) -> str:
    return str(name).casefold().replace("-", "_")
