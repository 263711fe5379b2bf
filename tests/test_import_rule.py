"""The layout's two laws: imports point to rooms above, and no room holds a circle."""

import ast
import pathlib
import re

import pytest

import perfnet_tf

PACKAGE = pathlib.Path(perfnet_tf.__file__).parent

#: The rooms: what everything uses, then the stages in the order of a clip's way, then the commands.
ROWS = [
    ("version", "errors", "installed", "threads"),
    ("opencv", "devices", "files", "pickles", "classes", "label_kinds", "registry"),
    ("storage",),
    ("downloads",),
    ("streams", "backbones"),
    ("config",),
    ("presets",),
    ("video",),
    ("pose",),
    ("flow",),
    ("records",),
    ("synthetic",),
    ("datasets",),
    ("preparation",),
    ("input_pipeline",),
    ("models",),
    ("recognizers",),
    ("distill",),
    ("training",),
    ("transfer",),
    ("reporting",),
    ("evaluation", "inspection"),
    ("saved_model",),
    ("explanation", "prediction"),
    ("benchmark", "tpu_check"),
    ("reproduction",),
    ("demo",),
    ("__init__",),
    ("cli",),
    ("__main__",),
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(module: pathlib.Path) -> str:
    parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


NAMES = {name_of(module): module for module in MODULES}


def room_of(name: str) -> str:
    return name.split(".")[1]


def imported_modules(module: pathlib.Path) -> set[str]:
    """The package's modules that `module` imports, those imported inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = members & NAMES.keys()
            found |= submodules
            if submodules != members:
                found.add(node.module)
    found = {name for name in found if name.startswith("perfnet_tf.")}
    assert found <= NAMES.keys(), f"{module}: imports {found - NAMES.keys()}, which is no module"
    return found


IMPORTS = {name: imported_modules(module) for name, module in NAMES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_module_imports_only_from_rows_above_and_its_own_room(name):
    room = room_of(name)
    wrong = {
        other
        for other in IMPORTS[name]
        if room_of(other) != room and ROW_OF[room_of(other)] >= ROW_OF[room]
    }
    assert not wrong, f"{name} imports from its own row or below: {wrong}"


def test_no_modules_import_each_other_in_a_circle():
    ended: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in ended:
            return
        for other in sorted(IMPORTS[name]):
            walk(other, (*trail, name))
        ended.add(name)

    for name in NAMES:
        walk(name, ())


def test_the_design_lists_every_room_with_what_it_says_of_itself():
    page = (PACKAGE.parent / "docs" / "design.md").read_text()
    listed = re.findall(r"^\| `([\w/.]+?)(?:/|\.py)` \| (.*) \|$", page, re.MULTILINE)
    expected = []
    for room in (room for row in ROWS for room in row if not room.startswith("__")):
        folder = PACKAGE / room
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        docstring = ast.get_docstring(ast.parse(file.read_text()))
        expected.append((room, docstring.splitlines()[0]))
    assert listed == expected


def test_benchmarks_turn_onednn_on_before_tensorflow():
    """`import perfnet_tf` does, and imports are sorted: TensorFlow may come before it."""
    scripts = sorted((pathlib.Path(__file__).parent / "benchmarks").glob("*.py"))
    assert scripts
    for script in scripts:
        text = script.read_text()
        first = {
            package: found.start()
            for package in ("perfnet_tf", "tensorflow", "tf_keras")
            if (found := re.search(rf"^(?:import|from) {package}\b", text, re.MULTILINE))
        }
        package = first.pop("perfnet_tf", len(text))
        tensorflow = min(first.values(), default=len(text))
        turned_on = text.find('os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")')
        assert package <= tensorflow or 0 <= turned_on < tensorflow, script.name
