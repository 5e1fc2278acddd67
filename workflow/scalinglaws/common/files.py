"""Files that are whole or absent, whatever is killed when: a file that exists is complete. It imports the standard library only.

Every file that others read is written through this module; no other module renames files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalinglaws.common.errors import StudyError, shown, told

LONGEST_NAME = 255  # bytes of a file's name on the file systems of Linux
# Faults of a write that may come without the name of a file.
FAILED_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE)
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # an OSError of numpy, which has no number
OF_THE_SYSTEM = (("/", "proc"), ("/", "sys"))  # folders whose files are no files
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: True, "of an unknown kind"),
)


def temporary_suffix() -> str:
    """Return how the names of temporary files of this process end; they begin with a dot (common/leftovers.py)."""
    return f".{socket.gethostname()}-{os.getpid()}.tmp"


@contextlib.contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Give a temporary file in the folder of ``path``; what is written to it becomes ``path`` when the block ends.

    The content is on the disk (fsync) before the file gets its name. Where the block raises, the temporary file is removed and
    ``path`` stays as it was. The name of the temporary file holds this machine and the number of this process, so that two
    processes that write the same file do not disturb each other, and what a killed process left behind can be told from what is
    being written (common/leftovers.py). It is made anew, so a link that lies at its name is not followed. Without ``sync``
    nothing waits for the disk: a power failure may leave the file empty.

    Raises
    ------
    StudyError
        ``path`` cannot be replaced (see ``check_replaceable``), or it cannot be written, as where the disk or the quota is full;
        the message names ``path``.
    """
    check_replaceable(path)
    temporary = _made_beside(path)
    try:
        yield temporary
        move(temporary, path, sync)
    except OSError as error:
        if error.filename in (None, temporary, str(temporary)):
            if SHORT_WRITE.fullmatch(str(error)):
                error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if error.filename or error.errno in FAILED_WRITES:
                raise _refused(error, path, temporary) from None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_replaceable(path: Path) -> None:
    """Check that a file can be written at ``path``: that it is absent or a regular file.

    A link is never written through: one of this user to a file, or to nothing, is replaced by the file, and what it leads to
    stays as it is.

    Raises
    ------
    StudyError
        There is a folder, a device, a pipe or a socket at ``path``, a link to one, or a link of another user; or ``path`` lies in
        a folder of the system, such as /dev/stdout.
    """
    folder = Path(os.path.realpath(path.parent))
    if folder == Path("/dev") or folder.parts[:2] in OF_THE_SYSTEM:
        raise StudyError(f"{shown(path)} is no place for a file: name a file to write")
    try:
        link = path.lstat()
        if stat.S_ISLNK(link.st_mode) and link.st_uid != os.geteuid():
            raise StudyError(f"{shown(path)} is a link of another user, which is not written through: name another file")
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StudyError(told(error, path)) from None
    if not stat.S_ISREG(mode):
        kind = next(word for test, word in KINDS if test(mode))
        raise StudyError(f"{shown(path)} is {kind}, not a file that can be replaced: name a file to write")


def _made_beside(path: Path) -> Path:
    """Make the temporary file of ``path`` in its folder, and that folder. Raises StudyError where that fails."""
    suffix = temporary_suffix()
    stem = os.fsdecode(os.fsencode(path.name)[: LONGEST_NAME - len(suffix) - 1])
    temporary = path.with_name(f".{stem}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a process of this number may have been killed here
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    except OSError as error:
        raise _refused(error, path, temporary) from None
    return temporary


def _refused(error: OSError, path: Path, temporary: Path) -> StudyError:
    """Return the error that says why ``path`` cannot be written; its temporary name is nothing that a user knows."""
    named = path if error.filename in (None, temporary, str(temporary)) else error.filename
    return StudyError(told(OSError(error.errno, error.strerror, str(named))))


def write_bytes(path: Path, data: bytes, sync: bool = True) -> None:
    """Write a file so that it is whole or absent, as ``replacing`` does; raises StudyError where it cannot be written."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON in UTF-8; NaN and infinity are refused with ValueError."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity are refused with ValueError."""
    write_bytes(path, json_bytes(value))


def move(source: Path, path: Path, sync: bool = True) -> None:
    """Give a finished file the name ``path``, on the same filesystem, with ``sync`` after its content is on the disk (fsync)."""
    if sync:
        with source.open("rb+") as file:
            os.fsync(file.fileno())
    os.replace(source, path)


def link(source: Path, path: Path) -> None:
    """Give a finished file a second name on the same filesystem; where that has no hard links, write a copy instead."""
    with replacing(path) as temporary:
        temporary.unlink()  # a link cannot take the place of a file
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def keep(path: Path, text: str) -> Path:
    """Write ``text`` to ``path``, whose name tells its content, where it is not there yet; return the path."""
    if not path.exists():
        write_text(path, text)
    return path


def look(folder: Path) -> None:
    """List a folder, if it is there.

    A network filesystem may still hold that the folder lacks files that other nodes made since; listing it makes it look again.
    """
    with contextlib.suppress(FileNotFoundError):
        os.listdir(folder)
