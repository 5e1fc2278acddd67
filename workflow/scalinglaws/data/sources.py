"""The documents of a source of text, whatever its kind: the registry of kinds is ``study/text_sources.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.data.formats import File, read
from scalinglaws.study.source_rules import check_source
from scalinglaws.study.spec import Source
from scalinglaws.study.text_sources import TEXT_SOURCES


def documents(source: Source, downloads: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each document of a source, with files sorted by name and rows of tables in their order.

    ``downloads`` is the folder that keeps what is fetched. Raises StudyError as ``resolve`` and ``formats.read`` do.
    """
    for file in resolve(source, downloads):
        yield from documents_of(file, source)


def documents_of(file: File, source: Source) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each document in one file of the source."""
    return read(file, source.encoding, source.text or "text")


def resolve(source: Source, downloads: Path) -> list[File]:
    """Return the files of a source, sorted by name, after fetching those that are missing and checking their hashes.

    Raises StudyError where a value of the source is refused (``check_source``), nothing matches ``files``, a hash is missing or
    differs, something cannot be fetched, or a file's name is not UTF-8.
    """
    kind = TEXT_SOURCES.find(source.kind)
    check_source(source)
    found = sorted(kind.reader()(source, downloads), key=lambda file: file.name)
    if not found:
        excluded = f" but not `exclude: {list(source.exclude)}`" if source.exclude else ""
        raise StudyError(f"no file of {_label(source)} matches `files: {list(source.files)}`{excluded}")
    for file in found:
        try:
            file.name.encode()
        except UnicodeEncodeError:
            raise StudyError(f"the name of the file {file.name!a} is not UTF-8: rename it") from None
    return found


def _label(source: Source) -> str:
    """Name a source for a message: the package, the data set, or the folder that patterns of files start from."""
    if source.package:
        return f"{source.package}=={source.version}"
    return source.repository or ("the working directory" if source.kind == "files" else f"the source of kind {source.kind}")
