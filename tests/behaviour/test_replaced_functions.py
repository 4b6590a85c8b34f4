"""polyproc in an interpreter in which functions of the standard library that wait were replaced or removed."""

from conftest import run_program


def test_waits_do_not_depend_on_functions_that_somebody_has_replaced(method):
    done = run_program("replaced.py", method)
    assert done.stdout == "ok\n", done.stderr
