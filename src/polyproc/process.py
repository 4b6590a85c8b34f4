"""Public names of `_process/`: process classes, and the processes around this one."""

from polyproc._base import modules as _modules
from polyproc._process.process import BaseProcess as BaseProcess
from polyproc._process.process import active_children as active_children
from polyproc._process.process import current_process as current_process
from polyproc._process.parent import parent_process as parent_process

# Kept for programs that reach inside multiprocessing.
from polyproc._process.parent import ParentProcess as _ParentProcess
from polyproc._process.process import AuthenticationString as AuthenticationString
from polyproc._base.process_state import process_state as _family
from polyproc._process.parent import dangling as _dangling
from polyproc._process.process import reap as _cleanup

_modules.live(
    __name__,
    _family,
    ORIGINAL_DIR="original_dir",
    _children="children",
    _current_process="current",
    _parent_process="parent",
    _process_counter="counter",
)

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]
