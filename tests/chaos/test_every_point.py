"""Every crash point of the C core is in a test here and in the table of csrc/README.md, and nothing else is."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "csrc"


def points_in_source():
    text = "".join(path.read_text() for path in sorted((*CSRC.glob("core/*.[ch]"), *CSRC.glob("bind/*.[ch]"))))
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return set(re.findall(r'PP_CRASH_POINT\("([^"]+)"\)', code))


def strings_of_tests():
    """Return the strings in the code of the tests that kill, which are not only in a comment or a docstring."""
    found = {}
    for path in HERE.glob("test_*.py"):
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                skipped = any(re.search(r"mark\.(skip\b|xfail)", ast.unparse(mark)) for mark in function.decorator_list)
                for node in () if skipped else ast.walk(function):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        found.setdefault(node.value, path.name)
    return found


POINTS = sorted(points_in_source())


def test_there_are_points():
    assert len(POINTS) > 40


@pytest.mark.parametrize("point", POINTS)
def test_point_is_exercised_by_a_test(point):
    assert point in strings_of_tests()


def test_table_lists_the_points_of_the_source():
    table = re.findall(r"^\| (`.*?) \|", (CSRC / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for row in table for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", row)) == POINTS
