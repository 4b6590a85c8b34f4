"""What the linters do not hold: public modules, names, sizes, budgets, and that the pages point at what is there."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "src" / "polyproc"
FILES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = sorted(path.parent for path in PACKAGE.glob("_*/__init__.py"))
GROUND_WITHOUT_UNDERSCORE = {"__init__", "abc"}
PUBLIC_MODULES = [
    p for p in PACKAGE.glob("*.py") if not p.name.startswith("_") and p.stem not in GROUND_WITHOUT_UNDERSCORE
]
PUBLIC_MODULES += sorted((PACKAGE / "dummy").glob("*.py"))


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda p: p.stem)
def test_a_public_module_has_no_code(module):
    tree = ast.parse(module.read_text())
    kinds = ast.FunctionDef | ast.ClassDef | ast.If | ast.For | ast.While | ast.Try | ast.With | ast.Lambda
    assert not [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert ast.get_docstring(tree)
    assert "__all__" in module.read_text()
    assert len(module.read_text().splitlines()) <= 80


def test_what_children_take_of_os_is_in_the_interpreters_own_module_behind_it():
    """They may have no other: `polyproc._base.modules`."""
    import posix

    for path in FILES:
        tree = ast.parse(path.read_text())
        nodes = list(ast.walk(tree))
        sources = [
            node.module for node in nodes if isinstance(node, ast.ImportFrom) and "os" in {a.name for a in node.names}
        ]
        if "polyproc._base.modules" in sources:
            uses = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
            taken = {node.attr for node in uses if node.value.id == "os"}
            assert not taken - set(dir(posix)), path


def test_file_names_occur_once_among_the_packages():
    names = Counter(p.stem for package in PACKAGES for p in package.glob("*.py") if p.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] in ([], ["forkserver"])
    assert not set(names) & {"util", "utils", "helper", "helpers", "common", "misc", "base", "tools", "impl"}


def test_the_inits_of_packages_hold_a_docstring_and_nothing_else():
    for package in PACKAGES:
        tree = ast.parse((package / "__init__.py").read_text())
        assert len(tree.body) == 1
        assert ast.get_docstring(tree)


# Lines of a file, a function, a class (docs/adr/0031); and of the classes that are larger still: they may only shrink.
MAX_FILE, MAX_FUNCTION, MAX_CLASS = 600, 50, 250
LARGE_CLASSES = {"Pool": 274, "Child": 311, "Server": 288, "BaseProcess": 270, "PortableConnection": 259}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_sizes(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION, node.name
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno <= LARGE_CLASSES.get(node.name, MAX_CLASS), node.name


def test_every_module_can_be_imported_alone():
    names = [".".join(("polyproc", *p.relative_to(PACKAGE).with_suffix("").parts)) for p in FILES]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("._programs.prelude")]
    names = [name for name in names if ".windows_" not in name]  # they assert that they are there
    failed = []
    for name in names:
        done = subprocess.run([sys.executable, "-W", "error", "-c", f"import {name}"], capture_output=True, text=True)
        if done.returncode:
            failed.append((name, done.stderr))
    assert not failed


def test_nothing_imports_the_root():
    graph = grimp.build_graph("polyproc", exclude_type_checking_imports=True, cache_dir=None)
    lines = [
        detail["line_contents"]
        for importer in graph.find_modules_that_directly_import("polyproc")
        for detail in graph.get_import_details(importer=importer, imported="polyproc")
    ]
    assert set(lines) <= {"import polyproc._core as core"}  # the C core is no module that grimp sees


def test_standard_librarys_multiprocessing_is_never_imported():
    program = """
import sys, polyproc, pkgutil, importlib
for module in pkgutil.walk_packages(polyproc.__path__, "polyproc."):
    if not module.name.endswith("_programs.prelude") and ".windows_" not in module.name:
        importlib.import_module(module.name)
assert not [name for name in sys.modules if name.partition(".")[0] == "multiprocessing"]
assert "concurrent.futures.process" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_import_polyproc_loads_one_module_of_ours():
    program = "import sys, polyproc; print(sum(n.startswith('polyproc') for n in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program]) == b"1\n"


# What a first use loads in the parent by fork, spawn and fork server: modules of ours, and others. They may only shrink:
# it is most of what a small program waits for.
FIRST_USES = {
    "Process": ("end(context.Process(target=abs, args=(1,)))", (18, 12), (29, 33), (36, 37)),
    "locks": ("end(context.Process(target=hold, args=(context.Lock(), event())))", (27, 21), (34, 38), (41, 40)),
    "Queue": (
        "queue = context.Queue(); end(context.Process(target=queue.put, args=(1,)))",
        (29, 28),
        (35, 39),
        (42, 41),
    ),
    "Pool": ("with context.Pool(2) as pool: pool.map(abs, range(2))", (45, 32), (54, 40), (53, 40)),
    "executor": (
        "with polyproc.ProcessPoolExecutor(2, context) as pool: list(pool.map(abs, range(2)))",
        *((48, 52), (57, 54), (56, 55)),
    ),
    "Manager": (
        "with context.Manager() as made: end(context.Process(target=made.dict().get, args=(1,)))",
        *((38, 39), (44, 50), (50, 51)),
    ),
}
FIRST_USE = """
import os, sys
before = set(sys.modules)
import polyproc

listed = os.listdir  # without what other programs have in shared memory: who they were would be looked at
os.listdir = lambda path=".": [name for name in listed(path) if not name.startswith(".polyproc-")]

def end(process):
    process.start()
    process.join()
    assert process.exitcode == 0

def event():
    made = context.Event()
    made.set()
    return made

def hold(lock, event):
    event.wait()
    with lock:
        pass

if __name__ == "__main__":
    context = polyproc.get_context(sys.argv[1])
    %s
    new = set(sys.modules) - before
    print(*new)
"""
# Loaded where a wait came to its limit, or a worker ended by a signal before it was asked to: by chance.
BY_CHANCE = {"queue", "heapq", "_heapq", "signal"}
LARGE_MODULES = {"asyncio", "dataclasses", "email", "http", "inspect", "json", "logging", "multiprocessing", "ssl"}
LARGE_MODULES |= {"subprocess", "tempfile", "traceback", "typing", "xmlrpc"}


@pytest.mark.parametrize("use", FIRST_USES)
def test_first_use_loads_few_modules(use, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(FIRST_USE % FIRST_USES[use][0])
    for method, most in zip(("fork", "spawn", "forkserver"), FIRST_USES[use][1:], strict=True):
        loaded = subprocess.check_output([sys.executable, program, method], text=True, timeout=60).split()
        ours = [name for name in loaded if name.partition(".")[0] == "polyproc"]
        others = [name for name in loaded if name.partition(".")[0] != "polyproc" and name not in BY_CHANCE]
        assert (len(ours) <= most[0], len(others) <= most[1]) == (True, True), (method, len(ours), len(others), loaded)
        assert not LARGE_MODULES & set(loaded) - ({"logging", "traceback"} if use == "executor" else set())


def test_who_only_imports_the_executor_loads_nothing_that_runs_one():
    """A worker whose main module imports it, above all: its main module has no more use for it there."""
    text = "import sys, polyproc; polyproc.ProcessPoolExecutor; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", text], text=True, timeout=60).split()
    ours = {name.split(".")[1] for name in loaded if name.startswith("polyproc.")}
    assert "_pool" in ours
    assert not {"_workers", "_start", "_forkserver"} & ours


def test_fork_servers_children_load_nothing_of_ours(tmp_path):
    """The fork server has it: what a worker has is what a process has that does nothing."""
    program = tmp_path / "program.py"
    program.write_text("""
import sys, polyproc

def modules(*args):
    return [name for name in sys.modules if name.partition(".")[0] == "polyproc"]

if __name__ == "__main__":
    context = polyproc.get_context("forkserver")
    with context.Pool(1) as pool:
        worker = pool.apply(modules)
    bare = context.Process(target=modules)
    bare.start()
    print(*sorted(set(worker) - set(bare.result(30))))
    bare.join()
""")
    assert subprocess.check_output([sys.executable, program], timeout=60) == b"\n"


def test_fork_servers_children_import_nothing(tmp_path):
    """Not even what is part of the interpreter's own library: each would be a file to read, in each child.

    And they compile nothing, as a named tuple does with which the first is made.
    """
    (tmp_path / "watched.py").write_text("""
import os, sys

server, imported = os.getpid(), []

def hear(event, args):
    if event in ("import", "compile") and os.getpid() != server:
        imported.append(args[0])

sys.addaudithook(hear)
""")
    program = tmp_path / "program.py"
    program.write_text("""
import polyproc

def imported(*args):
    import watched
    return watched.imported

if __name__ == "__main__":
    context = polyproc.get_context("forkserver")
    context.set_forkserver_preload(["watched"])
    for turn in range(4):
        process = context.Process(target=imported)
        process.start()
        print(process.result(30))
        process.join()
        if turn == 0:  # it is told of what its client has loaded meanwhile
            with context.Pool(2) as pool:
                print(*pool.map(imported, range(2), 1))
""")
    assert subprocess.check_output([sys.executable, program], text=True, timeout=60) == "[]\n[] []\n" + 3 * "[]\n"


def test_bundle_is_what_a_child_loads():
    import polyproc
    from polyproc._start.spawn import CHILD
    from support import light

    process = polyproc.get_context("spawn").Process(target=light.modules)
    process.start()
    names = process.result(30).split()
    loaded = [name for name in names if name.startswith("polyproc") and name != "polyproc._core"]
    process.join()
    assert not {"asyncio", "logging", "pickle", "signal", "socket", "subprocess", "tempfile", "threading"} & set(names)
    assert loaded == list(CHILD)  # in the order of their imports: nothing was searched for
    assert len(loaded) <= 30


def test_docs_where_is_it_table_points_at_files():
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(r"\| `([^`]+)` \|$", text.partition("## Where is it?")[2], re.MULTILINE)
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_docs_state_table_names_objects_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path, name in re.findall(r"`([_a-z/]+\.py): ([a-z_]+)`", text):
        assert re.search(rf"^{name}\b.*=", (PACKAGE / path).read_text(), re.MULTILINE), (path, name)


def test_readme_and_contributing_name_commands_that_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        for command in re.findall(r"`make ([a-z-]+)`", (ROOT / page).read_text()):
            assert re.search(rf"^{command}:", makefile, re.MULTILINE), command


def test_names_signatures_are_the_standard_librarys():
    """In a process of its own, so that this one keeps free of multiprocessing."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "conformance" / "names.py")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


TESTS = ROOT / "tests"
# The random programs of managers are those of what they serve.
RANDOM_PROGRAMS = [f"models.test_random_{name}" for name in ("locks", "queues", "waits")]
# What holds of local processes is tried on hosts by the same tests.
ON_HOSTS = [f"behaviour.test_{name}" for name in ("executor", "locks", "pool", "process", "queues", "result")]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_test_modules_share_by_support_and_import_no_other(path):
    """What several tests use is in tests/support; programs that tests run are in tests/programs."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    files = [name for name in imported if (TESTS / f"{name.replace('.', '/')}.py").is_file()]
    homes = {"support", "programs", "conftest", "conformance"}
    assert sorted(name for name in files if name.split(".")[0] not in homes) in ([], RANDOM_PROGRAMS, ON_HOSTS)
    # A module that is no file: of a folder that it has left.
    assert not [name for name in imported if name.startswith(("behaviour", "chaos", "unit")) and name not in files]


def test_headers_of_the_core_form_no_circle():
    """And those of `core` know none of `bind`, which knows Python."""
    csrc = ROOT / "csrc"
    included = {
        str(path.relative_to(csrc)): re.findall(r'^#include "(.+)"', path.read_text(), re.MULTILINE)
        for path in csrc.glob("*/*.h")
    }
    assert not [name for name in included if name.startswith("core/") for one in included[name] if "bind/" in one]
    left = {name: set(names) for name, names in included.items()}
    while free := [name for name, names in left.items() if not names & set(left)]:
        for name in free:
            del left[name]
    assert not left
