"""Named entries that can be added to: architectures, optimizers, learning-rate rules, laws, figures, sources of text.

An entry comes with the package, or from a user's plug-in file while ``of_plugin`` is active; the registry remembers which, since
the hash of a plug-in is part of the identity of the runs that use its entries.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal


class Named(Protocol):
    """Anything with a name by which a config can ask for it."""

    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=Named)

_plugin: ContextVar[str] = ContextVar("plugin", default="")
_registries: weakref.WeakSet[Registry[Any]] = weakref.WeakSet()


@contextlib.contextmanager
def of_plugin(sha256: str) -> Iterator[None]:
    """Register entries, while this is active, as those of the plug-in file with this hash."""
    token = _plugin.set(sha256)
    try:
        yield
    finally:
        _plugin.reset(token)


def forget(sha256: str) -> list[tuple[Registry[Any], Any]]:
    """Remove the entries of a plug-in file from every registry; return each of them with the registry that it was in."""
    return [(registry, registry.remove(name)) for registry in list(_registries) for name in registry.names_of(sha256)]


class Registry(Generic[Entry]):
    """Entries by name, in the order in which they were registered. ``key`` is the config key that names one, for errors."""

    def __init__(self, key: str, entries: Iterable[Entry] = ()):
        self.key = key
        self._entries: dict[str, Entry] = {}
        self._plugins: dict[str, str] = {}
        _registries.add(self)
        for entry in entries:
            self.register(entry)

    def register(self, entry: Entry) -> Entry:
        """Add an entry and return it.

        Raises StudyError where another of that name is there, or where the name cannot be a part of a file's name; a plug-in that
        is loaded again may replace its own entries.
        """
        here = _plugin.get()
        if not (isinstance(entry.name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", entry.name)):
            raise StudyError(f"{self.key}: {entry.name!r:.120} is no name: take letters, digits, dots, dashes and underscores")
        if entry.name in self._entries and not (here and self._plugins.get(entry.name) == here):
            raise StudyError(f"{self.key}: {entry.name} is registered already: give the plug-in's entry another name")
        self._entries[entry.name] = entry
        self._plugins[entry.name] = here
        return entry

    def find(self, name: str) -> Entry:
        """Return the entry of a name. Raises StudyError that proposes the nearest, and lists those that there are."""
        if name in self._entries:
            return self._entries[name]
        raise StudyError(f"{self.key}: {name!r} is unknown: {proposal(name, self._entries)}")

    def plugin_of(self, name: str) -> str:
        """Return the sha256 of the plug-in file that registered an entry; empty for one of the package."""
        return self._plugins.get(name, "")

    def names_of(self, sha256: str) -> list[str]:
        """Return the names of the entries that a plug-in file registered, in their order."""
        return [name for name, plugin in self._plugins.items() if plugin == sha256]

    def remove(self, name: str) -> Entry:
        """Take an entry out, and return it."""
        del self._plugins[name]
        return self._entries.pop(name)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> list[Entry]:
        """Return the entries in the order in which they were registered."""
        return list(self._entries.values())
