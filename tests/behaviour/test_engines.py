"""The engine `command` does what every engine has to."""

import os
import signal

import pytest

import polyproc
from support import engine_suite


def make(**options):
    return polyproc.get_context("command", hosts=["one", "two"], **options)


@pytest.mark.filterwarnings("ignore:a node of the engine:RuntimeWarning")
@pytest.mark.parametrize("check", engine_suite.CHECKS, ids=lambda check: check.__name__)
def test_engines_command(check):
    check(make)


def test_engines_command_loses_a_node():
    def lose(processes):
        os.killpg(processes[0]._popen.node._lease._command.pid, signal.SIGKILL)
        return processes[0]

    engine_suite.lost_node_is_told_in_time(make, lose)
