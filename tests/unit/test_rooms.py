"""The house: every module lies in a room, imports point downwards, and no two modules import each other in a circle.

Imports inside functions and below ``if TYPE_CHECKING`` count as well: a room must not know of one above it in any way.
"""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow" / "scalinglaws"
# From the top floor down; what each is for stands in README.md.
ROOMS = (
    *("cli", "dag", "decide", "cluster", "report", "figures", "laws", "tables", "compress", "train", "evaluate", "data"),
    *("study", "optim", "models", "common"),
)
MOST_LINES = 350


def modules(package: Path) -> dict[str, Path]:
    """Return the dotted name below the package -> file of every module; a room's own __init__ has the room's name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path], package: str = "scalinglaws") -> set[str]:
    """Return the modules of the package that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if not name.startswith(f"{package}."):
                continue
            below = name.removeprefix(f"{package}.")
            while below not in known and "." in below:
                below = below.rpartition(".")[0]
            if below in known:
                found.add(below)
    return found


def faults(package: Path, rooms: tuple[str, ...] = ROOMS) -> list[str]:
    """Return a sentence for everything that breaks the rules of the house."""
    known = modules(package)
    uses = {name: imports(path, known) - {name} for name, path in known.items()}
    found = []
    for name, used in uses.items():
        room = name.partition(".")[0]
        if name in ("", "__main__"):
            continue
        if room not in rooms or ("." not in name and known[name].name != "__init__.py"):
            found.append(f"{name} lies beside the rooms")
            continue
        for other in sorted(used):
            above = other.partition(".")[0]
            if above in rooms and rooms.index(above) < rooms.index(room):
                found.append(f"{name} imports {other}, which is above it")
    try:
        graphlib.TopologicalSorter(uses).prepare()
    except graphlib.CycleError as error:
        found.append(f"modules import each other: {' -> '.join(error.args[1])}")
    return found


def test_every_module_lies_in_a_room_and_imports_point_down() -> None:
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"study/a.py": "from scalinglaws.figures.b import x", "figures/b.py": ""}, "study.a imports figures.b"),
        ({"study/a.py": "def f():\n    import scalinglaws.laws.b", "laws/b.py": ""}, "study.a imports laws.b"),
        ({"data/a.py": "import scalinglaws.data.b", "data/b.py": "from scalinglaws.data import a"}, "in a circle|each other"),
        ({"kinds.py": ""}, "kinds lies beside the rooms"),
        ({"cellar/a.py": ""}, "cellar.a lies beside the rooms"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).with_name("__init__.py").touch()
    found = faults(tmp_path)
    assert any(part in line for line in found for part in said.split("|")), found


def test_no_file_is_longer_than_fits_in_a_head() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "workflow" / "rules").glob("*.smk"), *(ROOT / "tests").rglob("*.py")]
    long = {str(path.relative_to(ROOT)): n for path in files if (n := len(path.read_text().splitlines())) > MOST_LINES}
    assert long == {}
    assert len((ROOT / "workflow" / "rules" / "common.smk").read_text().splitlines()) <= 150
