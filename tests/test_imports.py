"""The house's contract: imports go downwards only, values need no torch, heavy libraries have one door, files stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import vitesse

SOURCE = Path(vitesse.__file__).parent
FLOORS: tuple[tuple[str, ...], ...] = (
    ("arch", "runs"),
    ("ops", "weights", "data", "losses", "measure", "search", "train"),
    ("nets",),
    ("saved", "supernet"),  # what the zoo, too, writes, reads and makes
    ("zoo", "distill", "deploy", "tasks"),
    ("shrink",),
    ("recipes", "report"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {"accelerate": "train", "tyro": "cli"} | dict.fromkeys(
    ("executorch", "nncf", "onnxruntime", "openvino"), "deploy"
)
HEAVY = ("torch", "timm", "optuna", "plotly", "onnx", "onnxruntime", "accelerate", "sklearn", "scipy", "numpy")
WARN_LINES, MOST_LINES = 300, 500

FILES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def room_of(path: Path) -> str | None:
    """The room a file is in; None for the package's own front door (`vitesse`, `vitesse.errors`, `vitesse.__main__`)."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return first if first in FLOOR else None


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Each module that a file imports anywhere in it, also inside functions, with the line."""
    package = ("vitesse", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from vitesse import nets` names the room behind the import.
            yield from (
                (node.lineno, f"{module}.{alias.name}" if module == "vitesse" else module) for alias in node.names
            )


def broken(path: Path) -> Iterator[str]:
    """The imports of a file that the house forbids, in words."""
    room = room_of(path)
    for line, module in imported(path):
        parts = module.split(".")
        where = f"{name_of(path)}:{line} imports {module}"
        if parts[0] in DOORS and room != DOORS[parts[0]]:
            yield f"{where}: only {DOORS[parts[0]]}/ may"
        if parts[0] != "vitesse":
            if room in FLOORS[0] and parts[0] not in sys.stdlib_module_names:
                yield f"{where}: {room}/ holds to the standard library"
        elif room is not None and parts[1:] and parts[1] not in ("errors", "__version__"):
            if parts[1] not in FLOOR:
                yield f"{where}: no room of the house"
            elif parts[1] != room and FLOOR[parts[1]] >= FLOOR[room]:
                yield f"{where}: floor {FLOOR[room]} must not import from floor {FLOOR[parts[1]]}"


def test_every_file_is_in_a_room() -> None:
    outside = {path.relative_to(SOURCE).parts[0] for path in FILES if room_of(path) is None}
    assert outside <= {"__init__.py", "__main__.py", "errors.py"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_downwards(path: Path) -> None:
    assert list(broken(path)) == []


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("import torch", "standard library"),
        ("import accelerate", "only train/"),
        ("from vitesse.runs.files import write_text", "floor 0"),
        ("def late():\n    from vitesse.ops import mlp", "floor 1"),
        ("from vitesse import nets", "floor 2"),
        ("from ..cli import main", "floor 7"),
        ("import vitesse.nowhere", "no room"),
    ],
)
def test_the_contract_sees(code: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself can fail."""
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    file = tmp_path / "arch" / "wrong.py"
    file.parent.mkdir()
    file.write_text(code)
    assert any(word in line for line in broken(file))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{name_of(path)} has {lines} lines; the house splits at {MOST_LINES}"
    if lines > WARN_LINES:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # pytest shows it at the end of the run
            warnings.warn(f"{name_of(path)} has {lines} lines; ask yourself at {WARN_LINES}", stacklevel=1)


@pytest.mark.parametrize(
    "code",
    [
        "import vitesse.arch",
        "import vitesse.runs.settings, vitesse.runs.folder, vitesse.runs.files",
        "from vitesse.cli.main import main; main(['--help'])",
        "from vitesse.cli.main import main; main(['--version'])",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    script = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('loaded:', *({HEAVY} & sys.modules.keys()))"
    )
    script = script.replace(str(HEAVY), repr(set(HEAVY)))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]
