"""Whether the files in ``results/`` are as they were written, and what to remove so that the next run makes them again.

Most files are compared with the lists of sums that their jobs left (common/sums.py). Checkpoints have their sum inside, and small
files that the study itself determines are named by their content.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scalinglaws.cluster.bundle import read as read_bundle
from scalinglaws.common import files, sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import parse_json, read_json, read_text
from scalinglaws.data.checked import NOTES
from scalinglaws.data.corpus import SPLITS
from scalinglaws.study.init import CONFIG as OF_WEIGHTS
from scalinglaws.study.spec import read_spec
from scalinglaws.tables import read as tables
from scalinglaws.train import sealed

OF_RUN, OF_TOKENS, OF_CORPUS = "metrics.json", "meta.json", "report.json"  # each of these is the last file of its job
AGGREGATED = ("curves.parquet", "evals.parquet", "runs.parquet", tables.WARNINGS)
EXPONENTS = ("exponents.md", "exponents.parquet", "fits.parquet")
OF_TABLES = {tables.SUMS: AGGREGATED, tables.SUMS_OF_TIMINGS: ("timings.parquet",), tables.SUMS_OF_EXPONENTS: EXPONENTS}
OF_TABLES |= {tables.SUMS_OF_FORECASTS: ("forecasts.parquet",)}


@dataclass(frozen=True)
class Fault:
    """A file that is damaged or missing.

    Attributes
    ----------
    path
        The file.
    what
        What is wrong with it, as the end of a sentence.
    remove
        The files that must go so that the next run makes it again; the first of them says that the others are whole.
    content
        What is to be written to ``path`` instead, for a list of sums of which the files themselves are whole; else None.
    """

    path: Path
    what: str
    remove: tuple[Path, ...] = ()
    content: str | None = None


@dataclass
class Found:
    """What a look at results found: faults, files that are missing beside them, and files that have no sums."""

    damaged: list[Fault] = field(default_factory=list)
    missing: list[Fault] = field(default_factory=list)
    without_sums: list[Path] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Add what a look at other results found."""
        self.damaged += other.damaged
        self.missing += other.missing
        self.without_sums += other.without_sums


@dataclass(frozen=True)
class Part:
    """A part of the results that is checked by itself: its files, and how they are checked."""

    paths: tuple[Path, ...]
    look: Callable[[], Found]

    @property
    def size(self) -> int:
        """Return the bytes of its files that are there."""
        return sum(map(_size, self.paths))


def parts(results: Path) -> list[Part]:
    """List the parts of a folder of results, sorted by kind and name.

    Parameters
    ----------
    results
        The folder. Logs, downloads (which are compared with their pinned sums when they are read) and what processes
        write while they train are no part of it.

    Returns
    -------
    list of Part
        A part for each result of a job that is there, and for each small file that the study determines.
    """
    splits = [f"{split}.jsonl.zst" for split in SPLITS]
    streams = [f"{split}.bin" for split in SPLITS] + [f"{split}.starts.npy" for split in SPLITS[1:]]
    found = [*_specs(results), *_named(results)]
    for folder in _folders(results, "corpora/*"):
        found.append(_job(folder, {sums.LIST: [OF_CORPUS, *splits]}, together=OF_CORPUS))
    for folder in _folders(results, "tokenizers/*"):
        found.append(_job(folder, {"tokenizer.sha256": ["tokenizer.json"]}))
    for folder in _folders(results, "tokens/*/*"):
        found.append(_job(folder, {sums.LIST: [OF_TOKENS, *streams]}, together=OF_TOKENS, besides=(NOTES,)))
    for folder in _folders(results, "weights/*"):
        tensors = [path.name for path in _files(folder, "*.safetensors")]
        found.append(_job(folder, {sums.LIST: [OF_WEIGHTS, *tensors]}, together=OF_WEIGHTS))
    for folder in _folders(results, "trunks/*"):
        found += [_checkpoint(path) for path in _files(folder, "*.safetensors")]
    for folder in _folders(results, "runs/*"):
        lists, timing = {sums.LIST: [OF_RUN, "curve.jsonl", "model.safetensors"]}, {"timing.sha256": ["timing.json"]}
        besides = ("timing.sha256", "timing.json")
        found.append(_job(folder, lists, together=OF_RUN, spare="model.safetensors", besides=besides))
        found.append(_job(folder, timing))  # no run is trained again for its speed
        found += [_checkpoint(path) for path in _files(folder, "checkpoint-*.safetensors")]
    for folder in _folders(results, "evals/*"):
        found += _each(folder)
    found += _each(results / "rates")
    for folder in _folders(results, "studies/*"):
        found += [*_of_study(folder), *_of_study(folder / "partial")]
    return found


def _of_study(folder: Path) -> Iterator[Part]:
    """Yield the parts of the folder of a study, or of the folder in it of a study that is not finished."""
    yield from (part for name in ("fits", "forecasts") for part in _each(folder / name))
    yield from (_job(folder / name, OF_TABLES) for name in ("tables", "fitted"))
    drawn = sorted({path.stem for pattern in ("*.svg", "*.png") for path in _files(folder / "figures", pattern)})
    for name in drawn:
        yield _job(folder / "figures", {f"{name}{sums.SUFFIX}": [f"{name}.svg", f"{name}.png"]})
    yield _job(folder, {"report.sha256": ["report.md"]})


def _each(folder: Path) -> list[Part]:
    """Return a part for each JSON file of a folder: every one was made by a job of its own."""
    return [_job(folder, {f"{path.stem}{sums.SUFFIX}": [path.name]}) for path in _files(folder, "*.json")]


def verify(results: Path, tell: Callable[[int], object] = lambda size: None) -> Found:
    """Check every file of a folder of results.

    Parameters
    ----------
    results
        The folder of results.
    tell
        Is called with the bytes of each part once it is checked.

    Returns
    -------
    Found
        What is damaged, what is missing and what has no sums.

    Raises
    ------
    StudyError
        A file or folder may not be read.
    """
    found = Found()
    with _permission():
        for part in parts(results):
            seen = part.look()
            if seen.damaged or seen.missing:  # perhaps a job has just replaced them
                seen = part.look()
            found.add(seen)
            tell(part.size)
    return found


def repair(found: Found) -> list[Path]:
    """Remove what is damaged, with what must go with it, so that the next run of Snakemake makes it again.

    A list of sums that is damaged while its files are whole is written again.

    Returns
    -------
    list of Path
        The files that were removed.

    Raises
    ------
    StudyError
        A file may not be removed, or there is a folder in its place: that holds what no job has written. All others are repaired.
    """
    removed, strange = [], []
    with _permission():
        for fault in [*found.damaged, *found.missing]:
            if fault.content is not None:
                files.write_text(fault.path, fault.content)
            for path in fault.remove:
                if path.is_dir():
                    strange.append(path)
                elif os.path.lexists(path):
                    path.unlink()
                    removed.append(path)
    if strange:
        raise StudyError(f"{strange[0]} is a folder in place of a file: move it away, and call this again")
    return removed


@contextlib.contextmanager
def _permission() -> Iterator[None]:
    """Say what this process may not do; a file that cannot be looked at is not taken for a damaged one."""
    try:
        yield
    except PermissionError as error:
        raise StudyError(f"{error.filename}: {error.strerror}: call this as the user who owns the results") from None


def _folders(results: Path, pattern: str) -> list[Path]:
    return sorted(path for path in results.glob(pattern) if path.is_dir())


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern, without hidden ones, which are of processes that are at work."""
    return sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _job(
    folder: Path, lists: Mapping[str, Sequence[str]], together: str = "", spare: str = "", besides: tuple[str, ...] = ()
) -> Part:
    """Return the part of the files that one job made.

    Parameters
    ----------
    lists
        Name of a list of sums -> the files that it has.
    together
        The file that says that the result of the job is there, where all of its files are made again together; else empty.
    spare
        A file that may be deleted to save space.
    besides
        Further files that go with the others.
    """
    paths = tuple(folder / name for names in lists.values() for name in names)
    every = tuple(folder / name for name in (*(path.name for path in paths), *lists, *besides))

    def look() -> Found:
        found = Found()
        if together and not (folder / together).exists():
            return found  # it is made again in any case
        for list_name, names in lists.items():
            there = [name for name in names if (folder / name).exists()]
            if not there and not together:
                continue
            seen = sums.look(folder / list_name, there)
            faults, missing = dict(seen.damaged), seen.missing
            if not seen.listed:
                found.without_sums += [folder / name for name in there]
                faults = {name: what for name in there if (what := _unreadable(folder / name))}
                missing = [name for name in names if name not in there and together]
            for name, what in faults.items():
                again = seen.again if name == list_name else None
                lost = every if together else (folder / list_name, *(folder / n for n in names)) if name == list_name else ()
                found.damaged.append(Fault(folder / name, what, () if again else lost or (folder / name,), again))
            for name in missing:
                if name != spare:
                    found.missing.append(Fault(folder / name, "is missing", every if together else ()))
        return found

    return Part(paths, look)


def _unreadable(path: Path) -> str | None:
    """Tell what is wrong with a file that no list has, as far as that can be seen; None for a file that can be read."""
    try:
        if path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".jsonl":
            for number, line in enumerate(read_text(path).splitlines(), 1):
                parse_json(line, f"{path}, line {number},")
        elif path.suffix == ".parquet":
            tables.read_own(path)
        elif path.suffix == ".bin":
            expected = read_json(path.with_name(OF_TOKENS))["splits"][path.stem]["sha256"]
            sums.require_sum(path, expected, OF_TOKENS)
        elif not _size(path):
            return "is empty"
    except (StudyError, KeyError, TypeError):
        return "is damaged"
    return None


def _checkpoint(path: Path) -> Part:
    return Part((path,), partial(_one, path, lambda: sealed.is_whole(path), "its contents do not match the sha256 in it"))


def _specs(results: Path) -> Iterator[Part]:
    for kind, patterns in {"corpus": ["corpora"], "tokenizer": ["tokenizers"], "run": ["trunks", "runs"]}.items():
        for path in sorted(path for pattern in patterns for path in results.glob(f"{pattern}/*/spec.json")):
            yield Part((path,), partial(_one, path, partial(_is_spec, path, kind), "it is not what its folder's name says"))
    for path in sorted(results.glob("weights/*/spec.json")):
        is_named = partial(_is_named, path, path.parent.name)
        yield Part((path,), partial(_one, path, is_named, "it is not what its folder's name says"))


def _named(results: Path) -> Iterator[Part]:
    """Yield the files that are named by their content."""
    manifests = ("studies/*/tables/manifest-*.jsonl", "studies/*/partial/tables/manifest-*.jsonl")
    for pattern in ("evals/sets/*.txt", *manifests, "plugins/*.py", "logs/study/*.json", "rates/sweeps/*.json"):
        for path in _files(results, pattern):
            yield Part((path,), partial(_one, path, partial(_is_named, path), "it is not what its name says"))
    for path in _files(results, "bundles/*.json"):
        yield Part((path,), partial(_one, path, partial(_is_bundle, path), "it is not what its name says"))


def _one(path: Path, is_whole: Callable[[], bool], otherwise: str) -> Found:
    """Return what a look at a file that is checked by itself found."""
    try:
        what = "" if is_whole() else f"is damaged, {otherwise}"
    except FileNotFoundError:
        return Found()  # it was removed meanwhile
    except PermissionError:
        raise
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
    return Found([Fault(path, what, (path,))] if what else [])


def _is_named(path: Path, name: str = "") -> bool:
    return sums.is_named_by(path.read_bytes(), (name or path.stem).rpartition("-")[2])


def _is_spec(path: Path, kind: str) -> bool:
    # The text tells for specs of every version; one that was written otherwise has its fields hashed.
    return sums.is_named_by(path.read_bytes(), path.parent.name.rpartition("-")[2]) or _succeeds(partial(read_spec, path, kind))


def _is_bundle(path: Path) -> bool:
    return _succeeds(partial(read_bundle, path))


def _succeeds(read: Callable[[], object]) -> bool:
    try:
        read()
    except StudyError:
        return False
    return True
