"""The layout's one law: a module imports only from the rows above its own."""

import ast
import pathlib

import pytest

import perfnet_tf

PACKAGE = pathlib.Path(perfnet_tf.__file__).parent

#: The rooms in the order in which a clip passes through them.
ROWS = [
    ("__init__", "version", "errors"),
    ("features",),
    ("config",),
    ("presets",),
    ("video",),
    ("pose",),
    ("flow",),
    ("records",),
    ("datasets",),
    ("models",),
    ("distill",),
    ("training",),
    ("evaluation",),
    ("saved_model",),
    ("prediction",),
    ("benchmark",),
    ("demo",),
    ("reproduction",),
    ("tpu_check",),
    ("cli",),
    ("__main__",),
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: pathlib.Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(module: pathlib.Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [node.module]
            if node.module == "perfnet_tf":
                names = [f"perfnet_tf.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("perfnet_tf.")}
    return rooms


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_from_rows_above(module):
    row = ROW_OF[room_of(module)]
    below = {room for room in imported_rooms(module) if ROW_OF[room] > row}
    assert not below, f"{module.name} imports from below: {below}"
