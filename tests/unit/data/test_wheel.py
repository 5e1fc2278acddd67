"""Wheels: pip fetches the wheel of the hash alone, no value of a source reaches a command line, and members are read whole."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scalinglaws.cli.app import main
from scalinglaws.common.errors import StudyError
from scalinglaws.data import sources
from scalinglaws.study import config
from scalinglaws.study.spec import CorpusSpec, Source

HASH = "0" * 64


class Silent(SimpleHTTPRequestHandler):
    """A server of files that writes no log."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve an archive whose setup.py writes the file RAN, and return its address; the folder is pip's index as well."""
    monkeypatch.chdir(tmp_path)
    index = tmp_path / "index"
    index.mkdir()
    code = f"open({str(tmp_path / 'RAN')!r}, 'w').write('x')\nfrom setuptools import setup\nsetup(name='evil', version='1')\n"
    members = {"setup.py": code, "PKG-INFO": "Metadata-Version: 1.0\nName: evil\nVersion: 1\n"}
    with tarfile.open(index / "evil-1.tar.gz", "w:gz") as archive:
        for name, text in members.items():
            content = text.encode()
            info = tarfile.TarInfo(f"evil-1/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(index)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield f"http://127.0.0.1:{server.server_port}/evil-1.tar.gz"
    server.shutdown()
    server.server_close()


VALUES = [
    ("package", "evil @ {url}#", "name of a package is expected"),
    ("package", "{url}", "name of a package is expected"),
    ("package", "--log=RAN", "name of a package is expected"),
    ("package", "-rRAN", "name of a package is expected"),
    ("package", "../index/evil", "name of a package is expected"),
    ("package", "evil[x]", "name of a package is expected"),
    ("package", "evil\n--index-url={url}\nevil", "name of a package is expected"),
    ("package", "evil\n", "name of a package is expected"),
    ("package", "evil\u017f", "name of a package is expected"),
    ("package", "", "name of a package is expected"),
    ("version", "1 @ {url}", "(version .*expected|ASCII)"),
    ("version", "1 --hash=sha256:0 --log=RAN", "(version .*expected|ASCII)"),
    ("version", "*", "(version .*expected|ASCII)"),
    ("version", "1\n", "(version .*expected|ASCII)"),
    ("sha256", f"{HASH}\n--index-url={{url}}", "(is no hash|sha256)"),
]


@pytest.mark.parametrize(("key", "value", "said"), VALUES)
def test_no_value_of_a_source_reaches_pips_command_line(evil: str, tmp_path: Path, key: str, value: str, said: str) -> None:
    fields: dict[str, Any] = {"package": "evil", "version": "1", "sha256": HASH, key: value.format(url=evil)}
    spec = CorpusSpec((Source("wheel", ("*",), **fields),), 100, 0.1, 0.1, 0)
    Path("spec.json").write_text(spec.canonical)
    assert main(["corpus", "--spec", "spec.json", "--out", "out", "--downloads", "downloads"]) == 1
    with pytest.raises(StudyError, match=said):
        sources.resolve(spec.sources[0], tmp_path / "downloads")
    assert not (tmp_path / "RAN").exists() and not (tmp_path / "downloads").exists()
    study = {"study": "s", "corpora": {"c": {"sources": [{"kind": "wheel", "files": ["*"], **fields}]}}}
    with pytest.raises(StudyError, match=r"corpora.c.sources\[0\]"):
        config.parse({**study, "defaults": {}, "experiments": {"e": {}}})


@pytest.mark.parametrize("pinned", [False, True])
def test_pip_takes_no_archive_with_code(evil: str, tmp_path: Path, pinned: bool) -> None:
    digest = hashlib.sha256((tmp_path / "index" / "evil-1.tar.gz").read_bytes()).hexdigest() if pinned else None
    with pytest.raises(StudyError, match=r"pip could not download evil==1: .*No matching distribution"):
        sources.resolve(Source("wheel", ("*",), package="evil", version="1", sha256=digest), tmp_path / "downloads")
    assert not (tmp_path / "RAN").exists()


def made(folder: Path, **members: Any) -> Source:
    """Write a wheel to the folder of downloads and return its source, which matches its files below texts/."""
    folder.mkdir(exist_ok=True)
    path = folder / "made-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"texts/{name}.txt", content)
    return Source("wheel", ("texts/*",), package="made", version="1", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def broken(folder: Path, source: Source, old: bytes, new: bytes) -> Source:
    (path,) = folder.glob("*.whl")
    content = path.read_bytes().replace(old, new)
    path.write_bytes(content)
    return Source("wheel", source.files, package="made", version="1", sha256=hashlib.sha256(content).hexdigest())


def test_members_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    cases = [
        ((b"A good text.", b"A bad text.."), r"texts/a.txt is damaged \(Bad CRC-32"),
        ((b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"), "texts/a.txt in .* is encrypted"),
        ((b"PK\x01\x02\x14\x03\x14\0\0\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\0\x63\0"), "unknown method 99"),
        ((b"PK\x05\x06", b"PK\x05\x07"), "is not a wheel"),
    ]
    for change, said in cases:
        with pytest.raises(StudyError, match=said):
            list(sources.documents(broken(downloads, made(downloads, a="A good text."), *change), downloads))
    link = zipfile.ZipInfo("link")
    made(downloads, a="x")
    with zipfile.ZipFile(downloads / "made-1-py3-none-any.whl", "a") as archive:
        link.filename, link.external_attr = "texts/link.txt", (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    source = broken(downloads, Source("wheel", ("texts/*",)), b"", b"")
    with pytest.raises(StudyError, match=r"texts/link.txt in .* is a link"):
        list(sources.documents(source, downloads))


def test_a_climbing_member_is_text_and_nothing_is_unpacked(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    made(downloads, a="x")
    with zipfile.ZipFile(downloads / "made-1-py3-none-any.whl", "a") as archive:
        archive.writestr("texts/../../../evil.txt", "climbed")
    source = broken(downloads, Source("wheel", ("texts/*",)), b"", b"")
    assert ("texts/../../../evil.txt", "climbed") in list(sources.documents(source, downloads))
    assert not list(tmp_path.rglob("evil*"))
