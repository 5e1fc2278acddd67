"""Plug-ins: a user's Python files that add architectures, optimizers and sources of text to a study without touching the package.

A config lists them under ``plugins``, relative to the working directory. Each file is executed once, when the config is read, and
registers its entries by calling ``OPTIMIZERS.register(...)`` and the like. The sha256 of a file is part of the identity of the
runs that use its entries. A copy of each file is kept as results/plugins/SHA256.py, so that a queued job trains by the file that
it was submitted with, whatever the user has edited since.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalinglaws.common import files
from scalinglaws.common.errors import StudyError
from scalinglaws.common.registry import Registry, forget, of_plugin
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, RunSpec, read_spec

MOST_BYTES = 1 << 24  # of a plug-in file


@dataclass(frozen=True)
class Plugin:
    """A plug-in file that was executed in this process: its content, and what it registered where."""

    sha256: str
    source: bytes
    entries: tuple[tuple[Registry[Any], Any], ...]

    def names(self) -> set[tuple[int, str]]:
        """Return what may clash with another plug-in: registries, told apart by their identity, and names in them."""
        return {(id(registry), entry.name) for registry, entry in self.entries}


# What this process knows: files by hash, the hashes whose entries are registered now, and the hash of each path when last read.
_executed: dict[str, Plugin] = {}
_active: list[str] = []
_hashes: dict[str, str] = {}


def load(paths: Iterable[str | Path]) -> None:
    """Make the entries of these plug-in files, and of no others, known to the registries.

    Parameters
    ----------
    paths
        Python files, relative to the working directory.

    Raises
    ------
    StudyError
        A file is missing, cannot be executed, registers nothing, or registers a name that is there already; the message names
        the file, and the line where there is one.
    """
    for sha256 in list(_active):
        _deactivate(sha256)
    for path in paths:
        source = _read(path)
        plugin = _execute(Path(path), source)
        _hashes[str(path)] = plugin.sha256
        try:
            _activate(plugin)
        except StudyError as error:
            raise StudyError(f"plugins: {path}: {error}") from None


def _read(path: str | Path) -> bytes:
    """Return the content of a plug-in file. A device or a pipe is refused before it is opened, since it may have no end."""
    why = ""
    try:
        if Path(path).exists() and not Path(path).is_dir() and not Path(path).is_file():
            why = "it is a device, a pipe or a socket, not a file"
        else:
            with open(path, "rb") as file:
                source = file.read(MOST_BYTES + 1)
            if len(source) <= MOST_BYTES:
                return source
            why = f"it has more than {MOST_BYTES:,} bytes"
    except OSError as error:
        why = error.strerror or str(error)
    raise StudyError(f"plugins: {path}: {why}: paths are relative to the working directory")


def kept_path(results: Path, sha256: str) -> Path:
    """Return where the copy of a plug-in file is kept."""
    return results / "plugins" / f"{sha256}.py"


def keep(results: Path) -> None:
    """Write a copy of each plug-in file that is loaded to results/plugins, where it is not there."""
    for sha256 in _active:
        if not kept_path(results, sha256).exists():
            files.write_bytes(kept_path(results, sha256), _executed[sha256].source)


def kept_config(data: dict[str, Any], results: Path = Path("results")) -> dict[str, Any]:
    """Return the YAML of a config that was read, with the kept copies in place of the plug-in files that it lists.

    Raises
    ------
    KeyError
        The config was not read by this process.
    """
    listed = data.get("plugins") or []
    return {**data, "plugins": [str(kept_path(results, _hashes[path])) for path in listed]} if listed else data


def load_hashes(hashes: Iterable[str], results: Path) -> None:
    """Make the entries of kept plug-in files known to the registries; another version of one of them gives way.

    Parameters
    ----------
    hashes
        The sha256 of each file.
    results
        The folder of results, which holds the copies.

    Raises
    ------
    StudyError
        A copy is missing, or its content is not what its name says.
    """
    for sha256 in hashes:
        if sha256 in _active:
            continue
        plugin = _executed.get(sha256) or _execute(kept_path(results, sha256), _read_kept(results, sha256))
        for other in [other for other in _active if _executed[other].names() & plugin.names()]:
            _deactivate(other)
        _activate(plugin)


def load_kept(spec: RunSpec, results: Path) -> None:
    """Load the kept plug-in files that a run uses; see ``load_hashes``."""
    load_hashes(spec.plugins, results)


def read_run(path: Path, results: Path) -> RunSpec:
    """Read the spec of a run or trunk and load the plug-ins that it uses, so that it can be trained, measured or counted.

    Raises
    ------
    StudyError
        The spec cannot be read, or a plug-in that it uses cannot be loaded.
    """
    spec: RunSpec = read_spec(path)
    load_kept(spec, results)
    return spec


def read_corpus(path: Path, results: Path) -> CorpusSpec:
    """Read the spec of a corpus and load the plug-ins that bring its kinds of sources, so that its text can be read.

    Raises
    ------
    StudyError
        The spec cannot be read, or a plug-in that it uses cannot be loaded.
    """
    spec: CorpusSpec | MixtureSpec = read_spec(path, "corpus")
    if isinstance(spec, MixtureSpec):
        raise StudyError(f"{path} is a mixture, which has no passages of its own: the stage tokenize mixes tokens of its corpora")
    load_hashes(sorted({source.plugin for source in spec.sources} - {""}), results)
    return spec


def _read_kept(results: Path, sha256: str) -> bytes:
    path = kept_path(results, sha256)
    try:
        source = path.read_bytes()
    except OSError:
        raise StudyError(f"{path} does not exist: run snakemake with the plug-in file that this run was made with") from None
    if hashlib.sha256(source).hexdigest() != sha256:
        raise StudyError(f"{path} was edited, its name is not its sha256: delete it and run snakemake again")
    return source


def _activate(plugin: Plugin) -> None:
    """Register the entries of a plug-in. Raises StudyError where a name is there already, and leaves none of them then."""
    if plugin.sha256 in _active:
        return
    try:
        with of_plugin(plugin.sha256):
            for registry, entry in plugin.entries:
                registry.register(entry)
    except StudyError:
        forget(plugin.sha256)
        raise
    _active.append(plugin.sha256)


def _deactivate(sha256: str) -> None:
    _active.remove(sha256)
    forget(sha256)


def _execute(path: Path, source: bytes) -> Plugin:
    """Execute a plug-in file, where this process has not yet, with no other plug-in in the registries."""
    sha256 = hashlib.sha256(source).hexdigest()
    if sha256 in _executed:
        return _executed[sha256]
    others = [_executed[other] for other in _active]
    for other in others:
        _deactivate(other.sha256)
    module = types.ModuleType(f"scalinglaws_plugin_{sha256[:10]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pydantic look their classes' module up
    entries: list[tuple[Registry[Any], Any]] = []
    try:
        with of_plugin(sha256):
            exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise StudyError(f"plugins: {_told(path, error)}") from None
    finally:
        entries += forget(sha256)
        for other in others:
            _activate(other)
    if not entries:
        raise StudyError(f"plugins: {path} registers nothing: call register of ARCHITECTURES, OPTIMIZERS or TEXT_SOURCES in it")
    _executed[sha256] = Plugin(sha256, source, tuple(entries))
    return _executed[sha256]


def _told(path: Path, error: BaseException) -> str:
    """Tell what went wrong in a plug-in file: the file, its line where there is one, and the error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else lines[-1] if lines else None
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    kind = "" if isinstance(error, StudyError) else f"{type(error).__name__}: "
    return f"{path}{f', line {line}' if line else ''}: {kind}{what}"
