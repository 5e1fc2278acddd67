"""Lists of sha256 sums beside results, in the format of coreutils: ``sha256sum -c SHA256SUMS`` checks them as well.

Each job leaves such a list beside its files: SHA256SUMS in a folder that one job fills, NAME.sha256 where a folder holds the
files of several jobs. The list gets its name before the file that says that the job's results are whole, so that a result
that is there has its list, unless an earlier version of the package made it. The first line of a list is a comment with the sum
of the lines below: damage of a list is told from damage of what it lists.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import look as look_again
from scalinglaws.common.files import write_bytes, write_text

LIST = "SHA256SUMS"
SUFFIX = ".sha256"
HEAD = "# sha256 of the lines below: "
REPAIR = "run `scalinglaws verify --repair`, which removes what is damaged, and then snakemake, which makes it again"
REWRITTEN = "delete it and run snakemake, which writes it again"
# A name that a user gives to a file may not fit into a line; such a file is not listed.
_NAME = re.compile(r"[^/\\\n\ud800-\udfff]+")
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({_NAME.pattern})")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex, without loading the file as a whole. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_of(sums: Mapping[str, str]) -> str:
    """Return the content of a list, sorted by name. ``sums`` maps names of files, without folders, to their sha256."""
    body = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return f"{HEAD}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def record(list_path: Path, files: Iterable[Path], coming: Mapping[str, bytes] | None = None) -> None:
    """Write the list of files, which lie in its folder, and of the contents of files that are written next, by name."""
    sums = {path.name: sha256_of(path) for path in files}
    sums |= {name: hashlib.sha256(data).hexdigest() for name, data in (coming or {}).items()}
    write_text(list_path, text_of({name: digest for name, digest in sums.items() if _NAME.fullmatch(name)}))


def finish(list_path: Path, files: Iterable[Path], last: Path, data: bytes) -> None:
    """Write the list of a job's files, and then the last of them, which says that the job's results are whole."""
    record(list_path, files, {last.name: data})
    write_bytes(last, data)


@contextlib.contextmanager
def listing(list_path: Path, files: Iterable[Path], wanted: bool) -> Iterator[None]:
    """Leave the list of the files that are written while this is active, where it is wanted; a list of what they replace goes."""
    files = list(files)
    try:
        replaced = not {path.name for path in files}.isdisjoint(read(list_path) or {})
    except StudyError:
        replaced = wanted
    if replaced:
        list_path.unlink(missing_ok=True)
    yield
    if wanted:
        record(list_path, files)


def beside(path: Path) -> Path:
    """Return the list of a file that has one of its own: LAW.sha256 for LAW.json."""
    return path.parent / (path.stem + SUFFIX)


def read(list_path: Path) -> dict[str, str] | None:
    """Return name -> sha256 of a list; None where there is no list, as for results of earlier versions.

    Raises StudyError where the list is damaged. A list without the first line, as sha256sum writes it, is read as well.
    """
    try:
        text = list_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{list_path} is damaged ({error}): {REPAIR}") from None
    head, _, rest = text.partition("\n") if text.startswith("#") else ("", "", text)
    found = [_LINE.fullmatch(line) for line in rest.removesuffix("\n").split("\n")]
    sums = {match[2]: match[1] for match in found if match}
    if len(sums) != len(found) or (head and text != text_of(sums)):
        raise StudyError(f"{list_path} is damaged: {REPAIR}")
    return sums


def require(list_path: Path, names: Iterable[str]) -> None:
    """Compare files with their list. What is not listed or not there is left to those who read it.

    Raises StudyError that names the first file which is not as it was written, or the list where that is damaged.
    """
    names = list(names)
    try:
        _require(list_path, names)
    except StudyError:
        look_again(list_path.parent)  # on a network filesystem one of the two may have been the file before
        _require(list_path, names)


def _require(list_path: Path, names: list[str]) -> None:
    listed = read(list_path) or {}
    for name in names:
        if name in listed:
            require_sum(list_path.with_name(name), listed[name], list_path.name)


def require_own(path: Path) -> None:
    """Compare a file with the list of its own, NAME.sha256. Raises StudyError as ``require`` does."""
    require(beside(path), [path.name])


def require_sum(path: Path, expected: str, where: str) -> None:
    """Compare a file with its sum, which stands in the file ``where``. Raises StudyError where they differ."""
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror}): {REPAIR}") from None
    if found != expected:
        raise StudyError(f"{path} is damaged, its sha256 is not the one in {where}: {REPAIR}")


@dataclass
class Found:
    """What a look at the files of a list found.

    Attributes
    ----------
    listed
        Whether there is a list.
    damaged
        Name of a file -> what is wrong with it, as the end of a sentence.
    missing
        Names that are listed and not there.
    again
        The content that the list had, where the list alone is damaged.
    """

    listed: bool = True
    damaged: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    again: str | None = None


def look(list_path: Path, names: Iterable[str]) -> Found:
    """Compare all files of a list with it; ``names`` are those that it should have, by which a damaged list is made out.

    Raises PermissionError where a file may not be read, which says nothing about its content.
    """
    found = Found()
    try:
        listed = read(list_path)
    except StudyError:
        found.again = _mended(list_path, sorted(names))
        found.damaged[list_path.name] = "is damaged" if found.again else "is damaged, and its files cannot be checked without it"
        return found
    found.listed = listed is not None
    for name, expected in (listed or {}).items():
        path = list_path.with_name(name)
        try:
            if sha256_of(path) != expected:
                found.damaged[name] = f"is damaged, its sha256 is not the one in {list_path.name}"
        except FileNotFoundError:
            found.missing.append(name)
        except PermissionError:
            raise
        except OSError as error:
            found.damaged[name] = f"cannot be read ({error.strerror})"
    return found


def _mended(list_path: Path, names: list[str]) -> str | None:
    """Return the content of a damaged list, made from the files as they are, if its first line or all others vouch for that."""
    try:
        data = list_path.read_bytes()
        whole = text_of({name: sha256_of(list_path.with_name(name)) for name in names}).encode()
    except PermissionError:
        raise
    except OSError:
        return None
    head, _, body = whole.partition(b"\n")
    return whole.decode() if data.startswith(head + b"\n") or data.endswith(body) else None


def is_named_by(data: bytes, digits: str) -> bool:
    """Tell whether ``digits`` begin the sha256 of a file's content, taken with or without the end of its last line.

    Some files are named by ten or all 64 hex digits of their content. Any other name says nothing about it, and is accepted.
    """
    if not re.fullmatch(r"[0-9a-f]{10}|[0-9a-f]{64}", digits):
        return True
    return any(hashlib.sha256(content).hexdigest().startswith(digits) for content in (data, data.removesuffix(b"\n")))


def read_named(path: Path) -> str:
    """Return the text of a file that is named by its content, such as manifest-0123456789.jsonl.

    Raises StudyError where the file is missing, is not UTF-8, or has another content than its name says.
    """
    try:
        data = path.read_bytes()
        if is_named_by(data, path.stem.rpartition("-")[2]):
            return data.decode()
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: run snakemake, which writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is damaged ({error}): {REWRITTEN}") from None
    raise StudyError(f"{path} is damaged, its content is not what its name says: {REWRITTEN}")
