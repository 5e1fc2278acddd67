"""Files are whole or absent: after a failure the old content is there and no temporary file; one module alone renames files."""

import ast
import errno
import os
from pathlib import Path

import pytest

from scalinglaws.common import files
from scalinglaws.common.errors import StudyError

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
    with pytest.raises(FileNotFoundError), files.replacing(path):
        pass  # the block wrote nothing
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_the_file(tmp_path: Path, code: int) -> None:
    with pytest.raises(StudyError, match=r"no space left to write .*a\.bin"), files.replacing(tmp_path / "a.bin") as temporary:
        temporary.touch()
        raise OSError(code, os.strerror(code))
    with pytest.raises(PermissionError), files.replacing(tmp_path / "a.bin"):
        raise PermissionError(errno.EACCES, "not ours")
    assert names(tmp_path) == []


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
