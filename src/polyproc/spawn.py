"""Public names of the start of fresh interpreters: `_start/spawn`, `_process/job`."""

from polyproc._start.spawn import freeze_support as freeze_support
from polyproc._start.spawn import get_command_line as get_command_line
from polyproc._start.spawn import import_main_path as import_main_path
from polyproc._platform.interpreter import get_executable as get_executable
from polyproc._platform.interpreter import set_executable as set_executable
from polyproc._process.preparation import get_preparation_data as get_preparation_data

# Kept for programs that reach inside multiprocessing.
from polyproc._start.spawn import is_forking as is_forking
from polyproc._process.job import apply_preparation as prepare
from polyproc._process.process import current_process as current_process

__all__ = [
    "freeze_support",
    "get_command_line",
    "get_executable",
    "get_preparation_data",
    "import_main_path",
    "set_executable",
]
