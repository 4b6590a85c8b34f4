"""Where a program stands: folders, streams, virtual environments, consoles, sandboxes."""

import io
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import venv
import zipfile
from pathlib import Path

import pytest
import targets

import polyproc
from polyproc.connection import wait

PROGRAMS = Path(__file__).parent / "programs"
WHO = PROGRAMS / "who.py"


def run(*command, **options):
    options.setdefault("timeout", 80)
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


def is_well(done):
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "all is well"


@pytest.mark.parametrize("name", ["with spaces and 'quotes' & %PATH%", "ünïcödé Ж 日本"])
def test_folders_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(WHO, folder / "program mit Ä.py")
    is_well(run(sys.executable, folder / "program mit Ä.py", cwd=folder))


@pytest.mark.slow
def test_temporary_folder_may_be_missing(tmp_path):
    is_well(run(sys.executable, WHO, env={**os.environ, "TEMP": str(tmp_path / "nowhere"), "TMP": ""}))


@pytest.mark.slow
def test_program_without_streams_starts_children(tmp_path):
    done = tmp_path / "done"
    windowed = Path(sys.executable).with_name("pythonw.exe")
    if not windowed.exists():
        pytest.skip("there is no pythonw.exe")
    detached = subprocess.DETACHED_PROCESS
    process = subprocess.Popen([str(windowed), str(WHO), str(done)], creationflags=detached, close_fds=True)
    assert process.wait(80) == 0
    assert done.read_text(encoding="utf-8") == "all is well"


def virtual_environment(folder):
    """Make one as the module `venv` does, which Wine cannot run; return its Python."""
    home = Path(sys._base_executable).parent
    launcher = Path(venv.__file__).parent / "scripts" / "nt" / "venvlauncher.exe"
    if not launcher.exists():
        pytest.skip("this Python has no virtual environments")
    python = folder / "Scripts" / "python.exe"
    python.parent.mkdir(parents=True)
    python.write_bytes(launcher.read_bytes())
    (folder / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\nversion = 3.13.1\n")
    return python


@pytest.mark.slow
def test_child_of_a_virtual_environment_is_the_process_that_was_started(tmp_path):
    python = virtual_environment(tmp_path / "environment")
    prefix = run(python, "-c", "import sys; print(sys.prefix != sys.base_prefix)")
    assert prefix.stdout.strip() == "True", prefix.stderr
    is_well(run(python, WHO, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}))


def test_service_starts_python(monkeypatch):
    from polyproc._platform.interpreter import Interpreter

    monkeypatch.setattr(sys, "executable", r"C:\service\PythonService.exe")
    assert Interpreter().executable == os.path.join(sys.exec_prefix, "python.exe")


FROZEN = """
import sys
import polyproc

def square(number):
    return number * number, getattr(sys, "frozen", False)

if __name__ == "__main__":
    sys.frozen = True
    sys.executable = sys.argv[0]
    polyproc.set_executable(sys.executable)
    polyproc.freeze_support()
    child = polyproc.Process(target=square, args=(3,))
    child.start()
    assert child.result(40) == (9, True)
    with polyproc.Pool(1) as pool:
        assert pool.map(square, [1, 2]) == [(1, True), (4, True)]
    print("all is well")
"""


@pytest.mark.slow
def test_frozen_program_is_started_as_its_own_child(tmp_path):
    """A launcher of pip's with a script in it: what it is given to start goes to the script as it stands."""
    launcher = Path(sys.base_prefix) / "Lib" / "site-packages" / "pip" / "_vendor" / "distlib" / "t64.exe"
    if not launcher.exists():
        pytest.skip("there is no pip here")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", FROZEN)
    program = tmp_path / "frozen.exe"
    program.write_bytes(launcher.read_bytes() + f'#!"{sys.executable}"\r\n'.encode() + packed.getvalue())
    is_well(run(program, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}))


def test_variables_are_the_parents_of_this_moment(monkeypatch):
    monkeypatch.setenv("POLYPROC_TEST_Ä", "ö=1;2")
    monkeypatch.delenv("POLYPROC_NOT_THERE", raising=False)
    process = polyproc.Process(target=os.environ.get, args=("POLYPROC_TEST_Ä",))
    process.start()
    monkeypatch.delenv("POLYPROC_TEST_Ä")
    assert process.result(40) == "ö=1;2"


def test_daemons_end_with_a_killed_parent_where_job_objects_are_refused():
    command = [sys.executable, str(PROGRAMS / "parent_without_jobs.py")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    from polyproc._platform.handles import open_pidfd

    children = [open_pidfd(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    assert wait(children, 0) == []
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for child in children:
        assert wait([child], 20) == [child]


@pytest.mark.slow
def test_ctrl_c_interrupts_parent_and_children(tmp_path):
    told = tmp_path / "told"
    command = [sys.executable, str(PROGRAMS / "ctrl_c.py"), str(told)]
    process = subprocess.Popen(command, creationflags=subprocess.CREATE_NEW_CONSOLE)
    assert process.wait(80) == 0
    assert told.read_text().splitlines() == ["interrupted", "-2", "ended"]


def test_files_of_the_parent_are_not_the_childs(tmp_path):
    with open(tmp_path / "file", "w") as file:
        os.set_inheritable(file.fileno(), True)
        process = polyproc.Process(target=targets.sleep)
        process.start()
    os.rename(tmp_path / "file", tmp_path / "other")
    (tmp_path / "other").unlink()
    process.kill()
    process.join()


@pytest.mark.slow
def test_functions_of_an_interactive_session_travel():
    program = """
        import polyproc
        namespace = {"__name__": "__main__"}
        exec("def cell(number, more=lambda n: n + 1):\\n    return more(number) * factor\\nfactor = 2", namespace)
        if __name__ == "__main__":
            with polyproc.Pool(1) as pool:
                assert pool.map(namespace["cell"], [1, 2]) == [4, 6]
            print("all is well")
    """
    is_well(run(sys.executable, "-c", textwrap.dedent(program)))


@pytest.mark.slow
def test_a_hundred_children_at_once():
    processes = [polyproc.Process(target=targets.nothing) for _ in range(100)]
    for process in processes:
        process.start()
    left = {process.sentinel for process in processes}
    until = time.monotonic() + 90
    while left and time.monotonic() < until:
        left -= {*wait(left, 5)}
    assert not left
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}


def handles_of_this_process():
    import ctypes
    from ctypes import wintypes

    kernel32 = ctypes.WinDLL("kernel32")
    kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    kernel32.GetProcessHandleCount.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD))
    count = wintypes.DWORD()
    assert kernel32.GetProcessHandleCount(kernel32.GetCurrentProcess(), ctypes.byref(count))
    return count.value


def use_what_is_shared():
    queue, lock, semaphore = polyproc.SimpleQueue(), polyproc.Lock(), polyproc.BoundedSemaphore(2)
    with lock, semaphore:
        queue.put(lock)
        queue.get()
    thread = threading.Thread(target=semaphore.acquire)
    thread.start()
    thread.join()
    ours, theirs = polyproc.Pipe()
    ours.send(1)
    wait([theirs])
    queue.close()
    for end in (ours, theirs):
        end.close()


@pytest.mark.slow
def test_handles_are_given_back():
    import gc

    def start_one(index):
        process = polyproc.Process(target=targets.nothing, daemon=index % 2 == 0)
        process.start()
        process.join()

    for act, times in ((start_one, 6), (lambda index: use_what_is_shared(), 30)):
        for index in range(3):
            act(index)
        gc.collect()
        before = handles_of_this_process()
        for index in range(times):
            act(index)
        gc.collect()
        assert handles_of_this_process() <= before + 2
