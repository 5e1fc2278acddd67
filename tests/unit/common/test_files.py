"""Files are whole or absent: after a failure the old content is there and no temporary file; one module alone renames files."""

import ast
import errno
import os
import socket
from pathlib import Path

import pytest

from scalinglaws.common import files
from scalinglaws.common.errors import StudyError, told

PACKAGE = Path(__file__).parents[3] / "workflow" / "scalinglaws"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent and not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole" and names(path.parent) == ["a.txt"]
    files.write_json(path, {"a": [1]})
    assert path.read_bytes() == b'{\n  "a": [\n    1\n  ]\n}\n' and names(path.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), files.replacing(path) as temporary:
        temporary.write_text("new")
        raise KeyError("a mistake of the block")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "full"), r"no space left to write .*/a\.bin: "),
        (OSError(errno.EDQUOT, "full"), r"no space left to write .*/a\.bin, since the quota is used up"),
        (OSError(errno.EFBIG, "large"), r"/a\.bin would be larger than a file may be"),
        (OSError(errno.EIO, "broken"), r"the disk failed at .*/a\.bin: "),
        (OSError("1000 requested and 12 written"), r"no space left to write .*/a\.bin: "),  # numpy's tofile
    ],
)
def test_a_failed_write_is_told_with_the_file(tmp_path: Path, raised: OSError, said: str) -> None:
    with pytest.raises(StudyError, match=said), files.replacing(tmp_path / "a.bin"):
        raise raised
    assert names(tmp_path) == []


def test_errors_of_a_block_that_are_not_about_its_file_go_through(tmp_path: Path) -> None:
    for error in (
        PermissionError(errno.EACCES, "not ours"),
        FileNotFoundError(errno.ENOENT, "no", "other.txt"),
        OSError("what?"),
    ):
        with pytest.raises(OSError) as found, files.replacing(tmp_path / "a.bin"):
            raise error
        assert found.value is error
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EMFILE, errno.ENAMETOOLONG])
def test_a_file_that_cannot_be_begun_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(path: Path, *_: int) -> int:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StudyError) as found:
        files.write_text(tmp_path / "a.txt", "x")
    assert str(found.value) == told(OSError(code, os.strerror(code), str(tmp_path / "a.txt")))


def special(folder: Path, kind: str) -> Path:
    """Make something in a folder that is no file, or a link to it, and return its path."""
    path = folder / "out"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link to a device": "/dev/null", "link to a folder": str(folder), "circle": "out"}[kind])
    return path


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "link to a device", "link to a folder", "circle"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = special(tmp_path, kind)
    before = path.lstat()
    with pytest.raises(StudyError, match=r"/out is a "), files.replacing(path):
        raise AssertionError("the block must not begin")
    assert path.lstat() == before and names(tmp_path) == ["out"]


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/dev/new", "/proc/self/comm", "/sys/new"])
def test_folders_of_the_system_hold_no_outputs(path: str) -> None:
    with pytest.raises(StudyError, match=f"^{path} is "):
        files.write_text(Path(path), "x")


@pytest.mark.parametrize("path", ["/processed/a.json", "/system/a", "/dev/shm/scalinglaws-none", "/devices/a"])
def test_other_folders_of_the_root_do(path: str) -> None:
    files.check_replaceable(Path(path))


def test_a_link_is_never_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nothing")
    user = os.geteuid()
    with monkeypatch.context() as patched, pytest.raises(StudyError, match="link of another user"):
        patched.setattr(os, "geteuid", lambda: user + 1)
        files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    for name in ("link", "dangling"):
        files.write_text(tmp_path / name, "new")
        assert not (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == "new"
    assert (tmp_path / "target").read_text() == "old" and names(tmp_path) == ["dangling", "link", "target"]


def test_a_link_at_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / f".a.txt.{socket.gethostname()}-{os.getpid()}.tmp").symlink_to("target")
    files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "target").read_text() == "old" and names(tmp_path) == ["a.txt", "target"]


@pytest.mark.parametrize("name", ["ä" * 127, "b" * 255, "new\nline $x 'q' \udcff", "-x"])
def test_every_name_that_a_file_may_have_is_written(tmp_path: Path, name: str) -> None:
    files.write_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]


def test_kept_text_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "hash.json"
    assert files.keep(path, "one") == path
    before = path.stat().st_mtime_ns
    files.keep(path, "one")
    assert path.stat().st_mtime_ns == before and path.read_text() == "one"


def renames(source: str) -> list[str]:
    """Return a module's calls that rename a file: os.replace and its like, and a path's own methods of one argument."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            found += [
                f"from {node.module} import {alias.name}" for alias in node.names if alias.name in ("replace", "rename", "move")
            ]
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        if node.func.attr in ("replace", "rename", "renames", "move") and owner in ("os", "shutil"):
            found.append(f"{owner}.{node.func.attr}")
        elif node.func.attr == "replace" and len(node.args) == 1 and not node.keywords and owner != "dataclasses":
            found.append("a path's replace")  # a text's replace takes two arguments
    return found


def test_one_module_renames_files() -> None:
    assert renames((PACKAGE / "common" / "files.py").read_text()) == ["os.replace"]
    found = {str(path.relative_to(PACKAGE)): renames(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    assert {name: calls for name, calls in found.items() if calls and name != "common/files.py"} == {}


@pytest.mark.parametrize(
    "source",
    ["import os\nos.replace(a, b)", "os.rename(a, b)", "from os import replace", "shutil.move(a, b)", "part.replace(out)"],
)
def test_a_rename_is_found(source: str) -> None:
    assert len(renames(source)) == 1
    assert renames('text.replace("a", "b")\ndataclasses.replace(spec, tokens=0)\ncolumn.replace({1: 2}, default=3)') == []
