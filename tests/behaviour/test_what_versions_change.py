"""What CPython 3.14 and 3.15 changed: it is so here with every version, but for the default start method and lazy imports."""

import ctypes
import itertools
import os
import subprocess
import sys
import time
from concurrent import futures

import pytest

import polyproc
from polyproc.connection import wait


def run(code, *options, tmp_path=None):
    """Run a program, from a file if there is a folder for it; return what it prints."""
    program = ["-c", code]
    if tmp_path is not None:
        (tmp_path / "program.py").write_text(code)
        program = [str(tmp_path / "program.py")]
    done = subprocess.run([sys.executable, *options, *program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_default_start_method_is_the_interpreters():
    first = "forkserver" if sys.version_info >= (3, 14) else "fork"
    said = run("import polyproc; print(polyproc.get_start_method(True), *polyproc.get_all_start_methods())")
    assert said[:2] == ["None", first]
    assert sorted(said[1:]) == ["fork", "forkserver", "spawn"]


CHOOSES_LATER = """
import polyproc, sys
def say(answers):
    answers.put(polyproc.get_start_method(True))
if __name__ == "__main__":
    context = polyproc.get_context(sys.argv[1])
    answers = context.SimpleQueue()
    child = context.Process(target=say, args=(answers,))
    child.start()
    print(answers.get())
    child.join()
    print(polyproc.get_start_method(True))
    polyproc.set_start_method("fork")
    print(polyproc.get_start_method())
"""


def test_a_start_by_a_context_chooses_no_method_for_the_program(tmp_path, method):
    program = CHOOSES_LATER.replace("sys.argv[1]", repr(method))
    assert run(program, tmp_path=tmp_path) == [method, "None", "fork"]


def test_a_wait_for_nothing_takes_the_time_that_it_was_given():
    for nothing in ([], iter(())):
        begin = time.monotonic()
        assert wait(nothing, 0.05) == []
        assert time.monotonic() - begin >= 0.05
    assert wait([], 0) == wait([], -1) == []


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_a_lock_says_whether_it_is_locked(ctx, name):
    lock = getattr(ctx, name)()
    assert not lock.locked()
    with lock:
        assert lock.locked()
    assert not lock.locked()


def test_a_managers_locks_say_whether_they_are_locked(ctx):
    with ctx.Manager() as manager:
        for lock in (manager.Lock(), manager.RLock(), manager.Condition()):
            if not hasattr(lock, "locked"):
                continue
            if sys.version_info >= (3, 14):  # those are of `threading`
                assert not lock.locked()
                with lock:
                    assert lock.locked()


def test_a_managers_set_is_one(ctx):
    with ctx.Manager() as manager:
        numbers = manager.set([1, 2])
        numbers |= {3}
        numbers -= {1}
        numbers ^= {9}
        numbers &= {2, 9}
        assert numbers.copy() == {2, 9}
        assert 9 in numbers
        assert len(numbers) == 2
        assert {1, 2} | numbers == {1, 2, 9}
        assert numbers < {2, 9, 10}
        assert not numbers.isdisjoint({2})


def test_each_future_of_a_dead_worker_has_an_error_of_its_own_with_pid_and_exit_code(ctx):
    with polyproc.ProcessPoolExecutor(1, mp_context=ctx) as executor:
        pids = [executor.submit(os.getpid).result()]
        errors = [executor.submit(os._exit, 3).exception() for _ in range(2)]
    assert errors[0] is not errors[1]
    assert errors[0].pid == pids[0]
    assert [error.exitcode for error in errors] == [3, 3]
    assert all("3" in str(error) for error in errors)


def test_an_executors_workers_are_ended_at_once_and_its_calls_have_an_error(ctx):
    for end in ("terminate_workers", "kill_workers"):
        executor = polyproc.ProcessPoolExecutor(1, mp_context=ctx)
        calls = [executor.submit(time.sleep, 600), executor.submit(time.sleep, 600)]
        while not executor._processes:
            time.sleep(0.001)
        getattr(executor, end)()
        assert not futures.wait(calls, 30).not_done
        assert all(call.cancelled() or call.exception() for call in calls)
        for use in (executor.submit, executor.options(priority=1).submit, executor.map):
            with pytest.raises(
                polyproc.pool.BrokenProcessPool, match="^A child process terminated abruptly, the process "
            ):
                use(int, ())
        assert executor._broken
        with pytest.raises(ValueError, match="^Unsupported operation: 'stop'$"):
            executor._force_shutdown("stop")
        executor.shutdown()


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_an_executor_whose_workers_are_ended_while_they_have_nothing_to_do_is_shut_down(ctx, end):
    with polyproc.ProcessPoolExecutor(1, mp_context=ctx) as executor:
        executor.submit(int).result(60)
        getattr(executor, end)()
        with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown") as caught:
            executor.submit(int)
        assert not isinstance(caught.value, futures.BrokenExecutor)


def test_a_map_with_a_buffer_goes_on_to_say_that_workers_were_ended(ctx):
    with polyproc.ProcessPoolExecutor(1, mp_context=ctx) as executor:
        results = executor.map(time.sleep, itertools.repeat(0.05), buffersize=2)
        next(results)
        executor.submit(time.sleep, 600)
        executor.kill_workers()
        with pytest.raises((polyproc.pool.BrokenProcessPool, futures.CancelledError)):
            list(results)


def test_a_map_with_a_buffer_takes_no_more_than_that(ctx):
    taken = []

    def numbers():
        for number in range(100):
            taken.append(number)
            yield number

    with polyproc.ProcessPoolExecutor(1, mp_context=ctx) as executor:
        results = executor.map(abs, numbers(), buffersize=4)
        assert next(results) == 0
        assert len(taken) <= 5
        results.close()


SAYS_OPTIONS = """
import polyproc, sys
def say(answers):
    answers.put(sorted(sys._xoptions.items()))
if __name__ == "__main__":
    context = polyproc.get_context(METHOD)
    answers = context.SimpleQueue()
    child = context.Process(target=say, args=(answers,))
    child.start()
    assert answers.get() == sorted(sys._xoptions.items()), sys._xoptions
    child.join()
    print(len(sys._xoptions))
"""


def test_all_x_options_reach_children(tmp_path, method):
    options = ["-Xno_debug_ranges", "-Xint_max_str_digits=5000", "-Xof_some_tool=a=b", "-Xutf8=1", "-Xflag"]
    assert run(SAYS_OPTIONS.replace("METHOD", repr(method)), *options, tmp_path=tmp_path) == ["5"]


def write(file):
    file.write("written")
    file.flush()


def test_a_text_file_is_sent_as_itself_and_not_as_what_is_in_it(ctx, tmp_path):
    for path in (tmp_path / "first", tmp_path / "second"):
        with open(path, "w+") as file:
            child = ctx.Process(target=write, args=(file,))
            child.start()
            child.join()
            assert child.exitcode == 0
        assert path.read_text() == "written"


# -- imports that are made when they are needed (PEP 810) ----------------------------------------------------------

lazy = pytest.mark.skipif(sys.version_info < (3, 15), reason="there are no lazy imports before 3.15")

MAKES_LAZY_IMPORTS = """
import sys, polyproc
lazy import colorsys
lazy import preloaded
lazy import no_such_module
def say(answers):
    answers.put([name for name in ("colorsys", "sndhdr_of_ours", "preloaded") if name in sys.modules])
if __name__ == "__main__":
    context = polyproc.get_context(METHOD)
    answers = context.SimpleQueue()
    child = context.Process(target=say, args=(answers,))
    child.start()
    print(*answers.get())
    child.join()
"""


@lazy
def test_a_fork_server_makes_the_lazy_imports_of_what_it_preloads(tmp_path, method):
    (tmp_path / "preloaded.py").write_text("lazy import sndhdr_of_ours\n")
    (tmp_path / "sndhdr_of_ours.py").write_text("")
    made = run(MAKES_LAZY_IMPORTS.replace("METHOD", repr(method)), tmp_path=tmp_path)
    assert made == (["colorsys", "sndhdr_of_ours", "preloaded"] if method == "forkserver" else [])


SENDS_WHAT_USES_THEM = """
import polyproc
lazy import colorsys
lazy from json import dumps as written
if __name__ == "__main__":
    context = polyproc.get_context(METHOD)
    child = context.Process(target=lambda: (colorsys.rgb_to_hsv(1, 1, 1), written([1])))
    child.start()
    print(*child.result()[1:])
    with context.Pool(1) as pool:
        print(pool.apply(lambda: written([2])))
"""


@lazy
@pytest.mark.parametrize("place", ["file", "option"])
def test_a_function_that_is_sent_by_value_brings_what_lazy_imports_stand_for(tmp_path, method, place):
    program = SENDS_WHAT_USES_THEM.replace("METHOD", repr(method))
    assert run(program, tmp_path=tmp_path if place == "file" else None) == ["[1]", "[2]"]


IN_ANOTHER_INTERPRETER = """
from concurrent import interpreters
CODE = '''
import sys
sys.path[:] = {path!r}
import polyproc
for method in ("spawn", "forkserver"):
    context = polyproc.get_context(method)
    queue = context.Queue()
    queue.put(method)
    child = context.Process(target=abs, args=(-3,))
    child.start()
    with context.Manager() as manager, context.Lock():
        print(queue.get(timeout=30), child.result(30), *manager.list([4]), flush=True)
for start in (polyproc.get_context("fork").Process(target=int).start, polyproc.get_context("spawn").Pool):
    try:
        start()
    except RuntimeError as error:
        print("interpreter" in str(error), flush=True)
'''
if __name__ == "__main__":
    import polyproc
    for _ in range(2):
        other = interpreters.create()
        other.exec(CODE)
        other.close()
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no interpreters beside the main one in the standard library")
def test_an_interpreter_beside_the_main_one_has_processes_queues_and_managers_but_no_threads_of_ours_and_no_fork():
    found = run(IN_ANOTHER_INTERPRETER.format(path=sys.path))
    assert found == 2 * ["spawn", "3", "4", "forkserver", "3", "4", "True", "True"]


@pytest.mark.parametrize("code, kind", [("c", ctypes.c_char), ("u", ctypes.c_wchar)])
def test_what_is_no_character_is_refused_in_the_words_of_this_versions_ctypes(code, kind):
    value = polyproc.Value(code, b"a" if code == "c" else "a")
    for wrong in (1 << 40, -1, 300, None, 1.5, "", "ab", b"", b"ab", bytearray(b"xy"), object()):
        if code == "c" and isinstance(wrong, str):
            wrong = wrong or "a"
        with pytest.raises(TypeError) as theirs:
            kind(wrong)
        with pytest.raises(TypeError) as ours:
            value.value = wrong
        assert str(ours.value) == str(theirs.value)


FORKS_IN_THREADS = """
import polyproc, sys, threading, warnings
sys.setswitchinterval(1e-6)
def go():
    for _ in range(10):
        child = polyproc.get_context("fork").Process(target=int)
        child.start()
        child.join()
        codes.append(child.exitcode)
codes = []
threads = [threading.Thread(target=go) for _ in range(4)]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    before = list(warnings.filters)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(codes.count(0), list(warnings.filters) == before)
"""


def test_threads_that_fork_at_once_leave_the_filters_of_warnings_as_they_were():
    assert run(FORKS_IN_THREADS) == ["40", "True"]


# From 3.14 on a call takes fewer references to what it is given.
HOLDS_ALL = """
import polyproc, threading, time
if __name__ == "__main__":
    context = polyproc.get_context(METHOD)
    held = [context.Process(target=time.sleep, args=(0.1,)) for _ in range(12)]
    for process in held:
        process.start()
    print(*[thread.name for thread in threading.enumerate()])
    for process in held:
        process.join()
"""


def test_no_thread_looks_after_children_that_a_program_refers_to(method, tmp_path):
    assert run(HOLDS_ALL.replace("METHOD", repr(method)), tmp_path=tmp_path) == ["MainThread"]
