"""The shape of the package: imports go down only, start-up is light, the catalog is true."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from covidcxr_tf import catalog
from covidcxr_tf.cli.data import COMMANDS as DATA_COMMANDS
from covidcxr_tf.cli.main import COMMANDS

PACKAGE = Path(catalog.__file__).parent

# Rooms from the lowest to the highest; rooms of one row may not import each other, but for the ones named.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "files", "progress", "parallel", "ledger", "interrupts"),
    ("catalog",),
    ("config", "papers"),
    ("imaging",),
    ("data",),
    ("lungs",),
    ("shards",),
    ("prepare",),
    ("models", "pipeline"),
    ("lung_finder", "voting", "gate"),
    ("classifiers",),
    ("combined",),
    ("train", "predict", "evaluate", "segmentation_files"),
    ("explain", "export", "predict_stream"),
    ("predict_parts",),
    ("report", "audit", "serving", "dicom"),
    ("judging", "run", "doctor", "biomarker_study", "predict_many"),
    ("audit_films", "report_gallery"),
    ("recipes",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ROWS) for room in rooms}
HEAVY = ("tensorflow", "keras", "matplotlib", "scipy", "pandas", "cv2")


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from covidcxr_tf import x` imports a room, or the version
            found += [f"{node.module}.{n.name}" for n in node.names] if node.module == "covidcxr_tf" else [node.module]
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    own = room_of("covidcxr_tf." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    assert own in LEVEL, f"{own} has no place in the order of rooms"
    for module in imports_of(path):
        if not module.startswith("covidcxr_tf.") or module == "covidcxr_tf.__version__":
            continue
        other = room_of(module)
        if other != own:
            assert LEVEL[other] < LEVEL[own], f"{own} imports {module}, which is not below it"


def test_an_upward_import_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from covidcxr_tf.cli.main import cli\n")
    assert imports_of(wrong) == ["covidcxr_tf.cli.main"]
    assert LEVEL[room_of("covidcxr_tf.cli.main")] > LEVEL["imaging"]


@pytest.mark.parametrize("room", ["evaluate", "report", "data", "lungs"])
def test_rooms_that_run_without_tensorflow(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        heavy = {name.split(".")[0] for name in imports_of(path)} & {"tensorflow", "keras"}
        assert not heavy, f"{path.name} imports {heavy}"


def commands() -> list[list[str]]:
    return [[], *([name] for name in COMMANDS), *(["data", name] for name in DATA_COMMANDS)]


def test_help_loads_nothing_heavy() -> None:
    # One process for all: each command's help, then what has been loaded.
    script = f"""
import sys
from covidcxr_tf.cli.main import cli
for words in {commands()!r}:
    try:
        cli.main([*words, "--help"], prog_name="covidcxr", standalone_mode=False)
    except SystemExit as stop:
        assert not stop.code, words
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    assert not heavy, (words, heavy)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: covidcxr") == len(commands())


@pytest.mark.parametrize("module", ["covidcxr_tf.cli.main", "covidcxr_tf"])
def test_console_script_help_starts_in_a_process_of_its_own(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"  {name}" in done.stdout


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_each_name_in_the_catalog_resolves(kind: str) -> None:
    for name in catalog.KINDS[kind]:
        assert catalog.resolve(kind, name) is not None


def test_each_architecture_source_and_config_has_its_line() -> None:
    sources = {path.stem for path in (PACKAGE / "data" / "sources").glob("*.py")} - {"__init__", "common"}
    listed = {entry.target.split(":")[0].rsplit(".", 1)[1] for entry in catalog.SOURCES.values()}
    assert listed <= sources


def test_public_names_resolve_and_no_submodule_takes_the_name_of_a_function() -> None:
    import covidcxr_tf

    for name, target in covidcxr_tf._PUBLIC.items():
        if ":" in target:
            assert not (PACKAGE / name).exists()
            assert not (PACKAGE / f"{name}.py").exists()
    for name in covidcxr_tf.__all__:
        assert getattr(covidcxr_tf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = covidcxr_tf.nothing


def test_the_wheel_lists_every_package_and_carries_configs_and_models() -> None:
    import configparser

    setup = configparser.ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    folders = {path.parent for path in PACKAGE.rglob("__init__.py")}
    there = {".".join(("covidcxr_tf", *folder.relative_to(PACKAGE).parts)) for folder in folders}
    assert listed == there | {"covidcxr_tf.configs", "covidcxr_tf.saved_models"}
    data = setup["options.package_data"]
    assert data["covidcxr_tf.configs"] == "*.toml"
    assert data["covidcxr_tf.saved_models"] == "**/*"
