import subprocess
import sys
import time
from pathlib import Path

import pytest
import targets

import polyproc
from polyproc.connection import wait

PROGRAMS = Path(__file__).parent / "programs"


def started(target, *args, **options):
    process = polyproc.Process(target=target, args=args, **options)
    process.start()
    return process


def run_program(name, *args):
    return subprocess.run([sys.executable, str(PROGRAMS / name), *args], capture_output=True, text=True, timeout=50)


def test_spawn_is_the_only_start_method():
    assert polyproc.get_all_start_methods() == ["spawn"]
    assert polyproc.get_start_method() == "spawn"
    for method in ("fork", "forkserver"):
        with pytest.raises(ValueError, match="cannot find context for"):
            polyproc.get_context(method)


def test_child_runs_its_target_and_returns_what_that_returns():
    process = started(targets.double, 21)
    assert process.result(30) == 42
    assert process.exitcode == 0


def test_exit_codes_are_the_childs():
    assert [started(targets.exit_with, code).exception(30).exitcode for code in (3, 255)] == [3, 255]


def test_exception_comes_to_the_parent():
    error = started(targets.fail, "what").exception(30)
    assert (type(error), str(error)) == (ValueError, "what")


def test_child_knows_its_parent():
    process = started(targets.about_parent, name="child")
    assert process.result(30) == (polyproc.current_process().pid, "MainProcess", True, "child")


def test_child_starts_children():
    assert started(targets.start_another).result(30) == 7


def test_join_waits_no_longer_than_it_is_told():
    process = started(targets.sleep)
    process.join(0.2)
    assert process.exitcode is None
    assert polyproc.active_children() == [process]
    process.kill()
    process.join()


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_terminated_child_has_the_exit_code_of_the_standard_library(end):
    process = started(targets.sleep)
    getattr(process, end)()
    process.join(30)
    assert process.exitcode == -15
    with pytest.raises(polyproc.ProcessDied):
        process.result()


def test_interrupt_raises_in_the_childs_main_thread():
    ours, theirs = polyproc.Pipe()
    process = started(targets.wait_for_interrupt, theirs)
    assert ours.recv() == "ready"
    process.interrupt()
    assert process.result(30) == "interrupted"


def test_sentinel_is_ready_when_the_child_has_ended():
    process = started(targets.sleep)
    assert wait([process.sentinel], 0.1) == []
    process.terminate()
    assert wait([process.sentinel], 30) == [process.sentinel]
    process.join()


def test_more_children_than_the_system_waits_for_at_once_are_waited_for():
    pipes = [polyproc.Pipe() for _ in range(150)]
    readers = [reader for reader, _ in pipes]
    assert wait(readers, 0.1) == []
    pipes[140][1].send(1)
    assert wait(readers, 30) == [readers[140]]


def test_closed_process_cannot_be_asked():
    process = started(targets.nothing)
    process.join()
    process.close()
    with pytest.raises(ValueError, match="closed"):
        process.is_alive()


@pytest.mark.parametrize("name", ["founding_1.py", "founding_2.py"])
def test_founding_documents_programs_run(name):
    done = run_program(name)
    assert done.returncode == 0, done.stderr
    assert "hello Robert" in done.stdout


def test_program_without_a_guard_runs_once():
    done = run_program("unguarded.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[0, 1, 4]"]


def test_module_and_text_of_a_command_line_may_start_children():
    for arguments in (["-m", "founding_1"], ["-c", TEXT]):
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=50, cwd=PROGRAMS)
        assert done.returncode == 0, done.stderr
        assert "hello Robert" in done.stdout


TEXT = """
import polyproc
def greet(name): print("hello", name)
p = polyproc.Process(target=greet, args=("Robert",)); p.start(); p.join()
"""


def test_daemon_ends_with_a_killed_parent_and_others_do_not():
    parent = subprocess.Popen([sys.executable, str(PROGRAMS / "parent.py")], stdout=subprocess.PIPE, text=True)
    from polyproc._platform.handles import open_pidfd, send_signal

    daemon, other = (open_pidfd(int(pid)) for pid in parent.stdout.readline().split())
    assert wait([daemon, other], 0.2) == []
    parent.kill()
    assert wait([daemon], 10) == [daemon]
    assert wait([other], 0) == []
    parent.wait()
    parent.stdout.close()
    send_signal(other, 0, 9)
    assert wait([other], 40) == [other]


def test_nothing_is_left_of_a_pool_and_a_manager_when_the_parent_is_killed():
    parent = subprocess.Popen([sys.executable, str(PROGRAMS / "parent_of_many.py")], stdout=subprocess.PIPE, text=True)
    from polyproc._platform.handles import open_pidfd

    children = [open_pidfd(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(children) == 3
    assert wait(children, 0) == []
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for child in children:
        assert wait([child], 10) == [child]


def test_start_of_what_is_no_program_leaves_nothing():
    from polyproc._platform.interpreter import interpreter

    before = interpreter.executable
    polyproc.set_executable("C:\\nothing.exe")
    try:
        with pytest.raises(FileNotFoundError):
            started(targets.nothing)
    finally:
        interpreter.executable = before
    assert polyproc.active_children() == []


def test_ten_children_at_once():
    processes = [started(time.sleep, 0.01) for _ in range(10)]
    for process in processes:
        process.join(40)
    assert [process.exitcode for process in processes] == [0] * 10
