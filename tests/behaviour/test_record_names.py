"""%(processName)s in log records is the process's own name, without the runner."""

import pytest

from conftest import run_program


@pytest.mark.parametrize("other", ["alone", "std"])
@pytest.mark.parametrize("when", ["early", "late"])
def test_log_records_name_the_process_in_every_start_method(when, other):
    done = run_program("names_records.py", when, other)
    assert done.stdout == "ok\n", done.stderr
