"""One name for each thing, and the field's where there is one: names that were given up do not come back."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ("src", "csrc")
EVERYWHERE = (*SOURCE, "docs", "tests", "bench", "demo", "examples", "README.md", "CONTRIBUTING.md")

# Given up, what is said instead, and where that holds.
GIVEN_UP = [
    ("(Thread)?Crew|crew|Desk", "engine, PoolState", EVERYWHERE),
    ("Staff|Member|Ledger|Account|Tally|Overtime", "WorkerSet, WorkerHandle, Assignments, WorkerLoad", EVERYWHERE),
    ("Twin|twin|Bell|_?bell|_BELL|Told|Lane|lane", "Async..., ThreadEvent, ThreadResult, OwnerThread", EVERYWHERE),
    ("blame|Fate|fate|reborn", "diagnosis, ClientExit, after_fork_in_child", EVERYWHERE),
    (r"(?:PP_)?_?MOST(?:_\w+)?|PP_\w+_MOST", "MAX_...", EVERYWHERE),
    ("_PLACES|is_own", "is_overridden", EVERYWHERE),
    ("pp_segment|pp_turn", "pp_queue_block, pp_batch_cursor", EVERYWHERE),
    (r"p[py]_\w*_take|take_guard|try_to_take", "acquire for a lock; begin_get, commit_get, abort_get; alloc", SOURCE),
    (r"told(?= = )|\*told", "preparation, job", ("src",)),
    (
        "preparation_data|bootstrap|[Bb]ooting|can_boot|BOOT|run_ahead",
        "preparation, job, child_life, early",
        EVERYWHERE,
    ),
    (r"_programs[./]boot", "prelude", EVERYWHERE),
    ("ROOMS|DOORS", "packages, public modules", EVERYWHERE),
]


@pytest.fixture(scope="module")
def texts():
    """All that is ours to word: the decisions stand as they were written."""
    found = {}
    for place in EVERYWHERE:
        for path in [ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*")):
            name = path.relative_to(ROOT)
            is_decision = name.parts[:2] == ("docs", "adr")
            if path.suffix in {".py", ".pyi", ".c", ".h", ".md"} and path != Path(__file__) and not is_decision:
                found[name] = path.read_text()
    return found


@pytest.mark.parametrize(("old", "new", "places"), GIVEN_UP, ids=[new for _, new, _ in GIVEN_UP])
def test_a_word_that_was_given_up_is_nowhere(old, new, places, texts):
    word = re.compile(rf"(?<![\w-])(?:{old})(?![\w-])")
    found = [
        f"{name}: {word.search(text)[0]}"
        for name, text in texts.items()
        if name.parts[0] in places and word.search(text)
    ]
    assert not found, f"say {new}"


def test_docstrings_begin_with_a_verb_or_a_noun():
    """*Return*, *Add*, *A worker as its pool sees it*; not *Have ...*, *Say whether ...*, *Of a ...*, *Who ...*."""
    start = re.compile(r"(?:Have|Say|To have|The same|Of|Those|Who|What it has)\b")
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if start.match(text):
                    found.append(f"{path.relative_to(ROOT)}: {text.splitlines()[0]}")
    assert not found
