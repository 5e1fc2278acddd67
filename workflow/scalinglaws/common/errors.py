"""The exception for a user's mistake, and the sentences that tell faults of the machine. It imports the standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path


class StudyError(Exception):
    """A user's mistake. The command line prints its text without a traceback and exits with status 1."""


# What an OSError with one of these numbers says of the machine, of which no file needs to be known.
OF_THE_MACHINE = {
    errno.EMFILE: "too many files are open: raise the limit of open files (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: try again when fewer processes run",
    errno.ENOMEM: "memory ran out: give this process more memory (ulimit -v, or the limit of the container or of the job)",
    errno.EAGAIN: "this machine starts no further process: raise the limit of processes (ulimit -u), or use fewer",
}
# The same for a path, which stands in place of {}.
OF_A_PATH = {
    errno.ENOSPC: "no space left to write {}: free some and run again",
    errno.EDQUOT: "no space left to write {}, since the quota is used up: free some and run again",
    errno.EFBIG: "{} would be larger than a file may be: raise the limit of file sizes (ulimit -f)",
    errno.EACCES: "there is no permission for {}: change its owner or its mode, or name another place",
    errno.EPERM: "the system does not permit to use {} so: change its owner or its mode, or name another place",
    errno.EROFS: "{} lies on a file system that is read-only: make that writable, or name another place",
    errno.ENOENT: "{} does not exist",
    errno.EEXIST: "{} exists already and is something else: move it away",
    errno.ENOTDIR: "{} needs a folder where there is a file: move that file away, or name another place",
    errno.EISDIR: "{} is a folder where a file is needed: name a file",
    errno.ELOOP: "{} is a link that leads in a circle: remove it",
    errno.ENAMETOOLONG: "the name {} is too long: name a shorter one",
    errno.EIO: "the disk failed at {}: check it, then run again",
    errno.ESTALE: "the network file system lost {}: run again",
}
# How libraries tell that memory ran out. A library that cannot be loaded for that reason raises ImportError.
NO_MEMORY = re.compile(
    r"failed to map segment|cannot allocate memory|can't allocate memory|not enough memory|out of memory|bad_alloc"
    r"|can't start new thread|memory allocation .*failed|error return without exception set",
    re.IGNORECASE,
)


def shown(path: object) -> str:
    """Return a path for a message, on one line: characters that do not print, and bytes that are no UTF-8, are escaped."""
    text = os.fsdecode(path) if isinstance(path, (bytes, os.PathLike)) else str(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def told(error: BaseException, path: object = None) -> str | None:
    """Return the sentence that tells a fault of the machine, or None for an error that may be a mistake of the program.

    Parameters
    ----------
    error
        What was raised. Faults of the machine are an OSError that names a file or is about the whole machine, and memory that
        ran out, however a library says that.
    path
        The file that is meant where the error names none.
    """
    if isinstance(error, OSError) and not NO_MEMORY.search(str(error)):
        where = error.filename if error.filename is not None else path
        if error.errno in OF_THE_MACHINE:
            return OF_THE_MACHINE[error.errno]
        if where is None or isinstance(where, int):
            return None
        sentence = OF_A_PATH.get(error.errno or 0) or f"{{}}: {error.strerror or error}"
        return _obstacle(where) or sentence.replace("{}", shown(where), 1)
    libraries = isinstance(error, (OSError, ImportError, RuntimeError, SystemError)) and NO_MEMORY.search(str(error))
    if libraries or isinstance(error, MemoryError):
        return f"{OF_THE_MACHINE[errno.ENOMEM]} ({' '.join(str(error).split())[:200] or type(error).__name__})"
    return None


@contextlib.contextmanager
def faults_told() -> Iterator[None]:
    """Raise a StudyError in place of an error of the block that ``told`` has a sentence for."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if (sentence := told(error)) is None:
            raise
        raise StudyError(sentence) from None


def _obstacle(path: object) -> str | None:
    """Return the sentence that a path, or a folder above it, is a link to nothing, or a file in place of a folder; else None."""
    place = Path(os.fsdecode(path))  # type: ignore[arg-type]
    for part in (*reversed(place.parents), place):
        if os.path.islink(part) and not os.path.lexists(os.path.realpath(part)):
            return f"{shown(part)} is a link to {shown(os.readlink(part))}, which does not exist: make that, or remove the link"
        if part != place and os.path.exists(part) and not os.path.isdir(part):
            return f"{shown(part)} is a file where a folder is needed: move it away, or name another place"
    return None
