"""What goes up: by imports that the linter sees, one floor at most, and never by a name in a string."""

import ast
import re
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "src" / "polyproc"
CONTRACTS = {
    contract["name"].partition(":")[0].partition(",")[0]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
LAYERS = CONTRACTS["Imports point down"]
FLOORS = {name.strip(" ()"): -number for number, layer in enumerate(LAYERS["layers"]) for name in layer.split("|")}
MAX_UP, MAX_IN_A_PACKAGE = 16, 7  # they may only shrink

# Where modules of ours are named by strings: for another interpreter, or another system, which imports them itself.
NAMED = {
    "__init__": "the public names, each loaded when it is first asked for",
    "_forkserver/fork_server": "what a fork server imports for its children",
    "_hosts/host_engine": "the group of entry points",
    "_hosts/node": "the program of an agent",
    "_memory/tracker": "the program of the tracker",
    "_threads": "the public module in whose place it is",
    "_platform/windows_modules": "what stands in for what on Windows",
    "_process/preparation": "the public module, if a program has replaced a function there",
    "_process/receiving": "in whose frames imports are a service's",
    "_start/early_interpreter": "what another interpreter loads before it has its job",
    "_start/child": "the program of the tracker",
    "_start/spawn": "what a child is sent, and its programs",
    "_start/windows_spawn": "its programs",
}


def climbs(contract):
    for line in CONTRACTS[contract]["ignore_imports"]:
        yield [name.strip().removeprefix("polyproc.") for name in line.split("->")]


def test_climbs_are_of_one_floor_and_become_fewer():
    found = list(climbs("Imports point down"))
    assert len(found) <= MAX_UP
    for importer, imported in found:
        assert FLOORS[imported.partition(".")[0]] - FLOORS[importer.partition(".")[0]] == 1, (importer, imported)


def test_types_point_down_too():
    """Also what is imported for type checkers alone, but by the root, which is the front door and has no floor."""
    graph = grimp.build_graph("polyproc", exclude_type_checking_imports=False, cache_dir=None)
    allowed = [tuple(pair) for pair in climbs("Imports point down")]
    up = []
    for importer in graph.modules - {"polyproc"}:
        for imported in graph.find_modules_directly_imported_by(importer) - {"polyproc"}:
            pair = importer.removeprefix("polyproc."), imported.removeprefix("polyproc.")
            if FLOORS[pair[1].partition(".")[0]] > FLOORS[pair[0].partition(".")[0]] and pair not in allowed:
                up.append(pair)
    assert not up


def test_cycles_are_climbs_or_in_one_package_and_become_fewer():
    up = list(climbs("Imports point down"))
    others = [pair for pair in climbs("No cycles") if pair not in up]
    assert len(others) <= MAX_IN_A_PACKAGE
    assert all(importer.partition(".")[0] == imported.partition(".")[0] for importer, imported in others)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_above_is_named_in_a_string(path):
    place = path.relative_to(PACKAGE).with_suffix("")
    if str(place) in NAMED:
        return
    floor = FLOORS[place.parts[0]]
    named = [
        node.value.split(".")[1]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"polyproc\.[\w.]+$", node.value)
    ]
    assert not [name for name in named if FLOORS[name] > floor]
    assert 'load("polyproc' not in path.read_text()
