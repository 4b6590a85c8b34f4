"""The program of a spawned child. Started as `python -c`, by `_start/spawn.py`; nobody imports it."""

from __future__ import annotations

import gc

from polyproc._base.modules import os
from polyproc._process.black_box import keep
from polyproc._process.job import perform_and_exit

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


def main(job: dict[str, Any]) -> None:
    """Do the job; never returns."""
    gc.freeze()  # what is there by now holds no file of the user's: child_life.live need not look through it
    keep("stdout")
    keep("stderr")
    os.set_inheritable(job["box"], False)
    perform_and_exit(job, None)
