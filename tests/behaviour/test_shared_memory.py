"""Named segments and share(): who removes them, and who does not."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import polyproc
from conftest import eventually, run_program
from polyproc._base.native import native
from polyproc._memory.tracker import _folder, tracker
from polyproc.shared_memory import ShareableList, SharedMemory
from support import sharing

FOLDER = "/dev/shm"


@pytest.fixture(autouse=True)
def no_tracker_stays():
    yield
    tracker._stop()


def exists(name):
    return os.path.exists(f"{FOLDER}/{name.lstrip('/')}")


@pytest.fixture
def names(monkeypatch):
    """The names that are given to segments: others on this machine make segments, too."""
    given = []
    make = SharedMemory._make_filename

    def note():
        given.append(make())
        return given[-1]

    monkeypatch.setattr(SharedMemory, "_make_filename", note)
    return given


def test_segment_is_shared_by_name_and_by_pickling(ctx):
    segment = SharedMemory(create=True, size=100)
    process = ctx.Process(target=sharing.write_into, args=(segment,))
    process.start()
    process.join()
    assert (process.exitcode, segment.buf[0]) == (0, 42)
    other = SharedMemory(segment.name)
    assert (other.buf[0], other.size >= 100) == (42, True)
    other.close()
    segment.close()
    segment.unlink()
    with pytest.raises(FileNotFoundError):
        SharedMemory(segment.name)
    with pytest.raises(FileNotFoundError):
        segment.unlink()


def test_segment_outlives_the_child_that_made_it_and_processes_that_attach(ctx):
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = ctx.Process(target=sharing.make_segment, args=(theirs,))
        process.start()
        name = ours.recv()
        process.join()
    process = ctx.Process(target=sharing.attach_and_end, args=(name,))
    process.start()
    process.join()
    unrelated = f"from polyproc.shared_memory import SharedMemory; SharedMemory({name!r}).close()"
    subprocess.run([sys.executable, "-c", unrelated], check=True)
    segment = SharedMemory(name)
    assert segment.buf[0] == 7
    segment.close()
    segment.unlink()


@pytest.mark.parametrize("end", ["return", "kill"])
def test_nothing_is_left_when_a_family_has_ended(method, end):
    done = run_program("leaves_segments.py", method, end)
    names = done.stdout.split()
    assert len(names) == 2
    eventually(lambda: not any(exists(name) for name in names))


@pytest.mark.parametrize("names", [[], ["pptest_kept"]], ids=["random", "given"])
@pytest.mark.parametrize(
    ("how", "stays"),
    [
        ("left", False),
        ("unregistered", True),
        ("unregistered, registered", False),
        ("untracked", True),
        ("replaced", True),
    ],
)
def test_a_program_can_have_its_segment_outlive_it(how, stays, names):
    done = run_program("keeps_segment.py", how, *names)  # until its tracker has ended, too, which has its output
    *told, name = done.stdout.split("\n")[:-1]
    try:
        assert (exists(name), told) == (stays, ["asked shared_memory"] if how == "replaced" else []), done.stderr
        assert ("leaked shared_memory" in done.stderr) == (not stays)
    finally:
        if exists(name):
            SharedMemory(name).unlink()


def test_a_name_that_is_taken_stays_known_to_the_tracker():
    first = SharedMemory("pptest_known", create=True, size=10)
    with pytest.raises(FileExistsError):
        SharedMemory("pptest_known", create=True, size=10)
    first.close()
    tracker._stop()
    assert not exists("pptest_known")


def test_no_other_family_removes_a_segment():
    ours = SharedMemory(create=True, size=10)
    assert run_program("keeps_segment.py", "left").stderr.count("/psm_") == 1
    assert exists(ours.name)
    ours.close()
    ours.unlink()


def test_segment_that_was_made_anew_under_the_name_is_not_the_trackers():
    segment = SharedMemory(create=True, size=10, name="pptest_anew")
    os.unlink(f"{FOLDER}/pptest_anew")
    with open(f"{FOLDER}/pptest_anew", "w") as file:
        file.write("somebody else's")
    tracker._stop()
    assert exists("pptest_anew")
    os.unlink(f"{FOLDER}/pptest_anew")
    segment.close()


def test_wrong_use_raises_the_standard_librarys_errors():
    for arguments, error in (
        ({"create": True, "size": 0}, ValueError),
        ({"create": True, "size": -1}, ValueError),
        ({"name": None}, ValueError),
        ({"name": "pptest_is_not_there"}, FileNotFoundError),
        ({"name": "with\0zero", "create": True, "size": 1}, ValueError),
    ):
        with pytest.raises(error):
            SharedMemory(**arguments)
    segment = SharedMemory(create=True, size=10)
    with pytest.raises(FileExistsError):
        SharedMemory(segment.name, create=True, size=10)
    view = segment.buf[:2]
    with pytest.raises(BufferError):
        segment.close()
    view.release()
    segment.close()
    assert segment.buf is None
    segment.close()
    segment.unlink()


def test_full_file_system_is_an_error_and_leaves_nothing(names):
    room = os.statvfs(FOLDER)
    more = room.f_frsize * (room.f_blocks + 1)
    for name in (None, "pptest_too_large"):
        with pytest.raises(OSError, match="No space left on device") as caught:
            SharedMemory(name, create=True, size=more)
        assert f"no room for {more} bytes" in caught.value.__notes__[0]
        assert not any(exists(name) for name in [*names, "pptest_too_large"])
    assert len(names) == 1


def test_size_that_is_no_size_is_an_error_and_leaves_nothing(names):
    for size, error in ((1.5, TypeError), ("1", TypeError), (1 << 80, (OverflowError, OSError)), (1 << 62, OSError)):
        with pytest.raises(error):
            SharedMemory(create=True, size=size)
    assert not any(exists(name) for name in names)


def test_segment_is_made_while_a_timer_goes_off():
    before = signal.signal(signal.SIGALRM, lambda *args: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        segment = SharedMemory(create=True, size=256 << 20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (segment.size, segment.buf[-1]) == (256 << 20, 0)
    segment.close()
    segment.unlink()


@pytest.mark.parametrize("name", [None, "pptest_taken"])
def test_name_that_is_taken(names, monkeypatch, name):
    first = SharedMemory("pptest_taken", create=True, size=10)
    first.buf[0] = 7
    if name is None:
        given = iter(["/pptest_taken", "/pptest_free"])
        monkeypatch.setattr(SharedMemory, "_make_filename", lambda: next(given))
        second = SharedMemory(create=True, size=10)
        assert second.name == "pptest_free"
        second.close()
        second.unlink()
    else:
        with pytest.raises(FileExistsError):
            SharedMemory(name, create=True, size=20)
    again = SharedMemory("pptest_taken")
    assert (again.buf[0], again.size) == (7, 10)
    again.close()
    first.close()
    first.unlink()


def test_segment_that_is_dropped_is_closed_and_one_in_use_stays_mapped():
    segment = SharedMemory(create=True, size=1 << 20)
    name, fd = segment.name, segment._fd
    view = segment.buf[:5]
    view[:] = b"still"
    del segment
    with pytest.raises(OSError):
        os.fstat(fd)
    assert bytes(view) == b"still"
    view.release()
    assert name not in Path("/proc/self/maps").read_text()
    again = SharedMemory(name)
    whole = again.buf
    again.unlink()
    del again
    with pytest.raises(ValueError, match="released"):
        whole[0]


def test_close_can_be_told_to_leave_a_view_alone():
    segment = SharedMemory(create=True, size=10)
    view = segment.buf[:5]
    with pytest.raises(BufferError):
        segment.close()
    segment._buf = None
    segment._mmap = None
    segment.close()
    view[:] = b"still"
    assert (bytes(view), segment.buf) == (b"still", None)
    segment.unlink()


def test_second_init_closes_what_was_open():
    segment = SharedMemory(create=True, size=10)
    first = segment.name
    segment.unlink()
    segment.__init__(create=True, size=20)
    assert (segment.name == first, segment.size) == (False, 20)
    assert first not in Path("/proc/self/maps").read_text()
    segment.close()
    segment.unlink()


def test_subclass_that_makes_its_own_segment():
    class Counted(SharedMemory):
        closed = 0

        def __init__(self, size):
            super().__init__(create=True, size=size)
            self.more = "attributes"

        def close(self):
            type(self).closed += 1
            super().close()

    segment = Counted(10)
    assert (segment.more, repr(segment)) == ("attributes", f"Counted({segment.name!r}, size=10)")
    segment.unlink()
    del segment
    assert Counted.closed == 1
    empty = Counted.__new__(Counted)  # __init__ never ran
    assert (empty.name, empty.buf) == ("", None)
    empty.close()
    empty.unlink()


def test_tracker_that_cannot_be_started_is_an_error_and_leaves_nothing(monkeypatch, names):
    def fails(*args):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr("polyproc._memory.tracker.spawn", fails)
        with pytest.raises(BlockingIOError):
            SharedMemory(create=True, size=10)
    assert len(names) == 1 and not exists(names[0])
    segment = SharedMemory(create=True, size=10)
    segment.close()
    segment.unlink()


def test_no_descriptors_is_an_error_and_leaves_nothing(names):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd")) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            SharedMemory(create=True, size=10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(names) == 1 and not exists(names[0])


def test_killed_tracker_is_replaced():
    segment = SharedMemory(create=True, size=10)
    os.kill(tracker._pid, signal.SIGKILL)
    with pytest.warns(UserWarning, match="process died unexpectedly, relaunching"):
        eventually(lambda: tracker._check_alive() is False)
        tracker.ensure_running()
    segment.close()
    segment.unlink()


def test_killed_tracker_is_noticed_by_who_makes_segments():
    segments = [SharedMemory(create=True, size=10)]
    os.kill(tracker._pid, signal.SIGKILL)
    eventually(lambda: not tracker._check_alive())
    time.sleep(0.02)  # it is looked at each 10 ms at the most
    with pytest.warns(UserWarning, match="process died unexpectedly, relaunching"):
        segments.append(SharedMemory(create=True, size=10))
    assert tracker._check_alive()
    for segment in segments:
        segment.close()
        segment.unlink()


def hidden():
    begin, beside = f".polyproc-{tracker._mark}-", "-alive"  # what says that there is a tracker
    return {name for name in os.listdir(_folder()) if name.startswith(begin) and not name.endswith(beside)}


def test_what_is_unlinked_leaves_nothing_with_the_tracker():
    for number in range(50):
        segment = SharedMemory(f"pptest_tagged{number}", create=True, size=10)
        assert len(hidden()) == 1
        segment.close()
        segment.unlink()
        assert not hidden()
    left = SharedMemory(create=True, size=10)
    left.close()
    tracker._stop()
    assert not exists(left.name)


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a\nREGISTER:pptest_other:shared_memory", "a b:c", "\udcff\udc80\t", "é" * 60, "-" * 200],
    ids=["newline", "line", "separators", "bytes", "letters", "long"],
)
def test_a_name_may_hold_anything_and_is_no_command_to_the_tracker(name):
    if not (native or name.isprintable() or name.isascii()):
        pytest.skip("without the core a name is text")
    other = SharedMemory("pptest_other", create=True, size=10, track=False)
    first = SharedMemory("pptest_odd" + name, create=True, size=10)
    assert SharedMemory("pptest_odd" + name).size == first.size
    first.close()
    tracker._stop()
    assert not exists("pptest_odd" + name)
    assert exists("pptest_other")
    other.close()
    other.unlink()


def test_shareable_list_keeps_types_and_room():
    items = [1, -2.5, True, None, "text", b"bytes", ""]
    made = ShareableList(items)
    try:
        assert list(made) == items
        other = ShareableList(name=made.shm.name)
        other[0] = 7
        other[4] = "\u20ac"
        assert (made[0], made[4], made.count(7), made.index(b"bytes")) == (7, "\u20ac", 1, 5)
        with pytest.raises(ValueError, match="exceeds available storage"):
            made[4] = "far too long for its place"
        for wrong in (7, -8):
            with pytest.raises(IndexError):
                made[wrong]
        other.shm.close()
    finally:
        made.shm.close()
        made.shm.unlink()
    segment = SharedMemory(create=True, size=64)
    segment.buf[:8] = b"\xff" * 8
    with pytest.raises(ValueError, match="does not hold a ShareableList"):
        ShareableList(name=segment.name)
    segment.close()
    segment.unlink()


def test_shared_object_arrives_as_itself(ctx):
    if ctx.get_start_method() == "fork":
        pytest.skip("nothing is pickled")
    shared = polyproc.share({"data": bytearray(100_000)})
    process = ctx.Process(target=sharing.length_of, args=(shared,))
    process.start()
    assert process.result(30) == 100_000
    with shared:
        assert shared.get()["data"] == bytearray(100_000)
    with pytest.raises(ValueError, match="closed"):
        shared.get()


@pytest.mark.parametrize("writable", [False, True])
def test_buffers_of_a_shared_object_are_read_only_unless_it_was_shared_to_be_written_to(writable):
    parts = [sharing.Buffer(bytearray(8)) for _ in range(2000)]
    shared = polyproc.share(parts, writable=writable) if writable else polyproc.share(parts)
    process = polyproc.get_context("spawn").Process(target=sharing.write_to, args=(shared,))
    process.start()
    assert process.result(30) == ("written" if writable else "cannot modify read-only memory")
    mine = shared.get()
    assert all(part.data.readonly != writable for part in mine)
    assert [bytes(part.data[:1]) for part in (mine[0], mine[-1])] == [b"x" if writable else b"\0"] * 2
    assert parts[0].data == bytearray(8)  # it was copied


def test_an_object_of_a_class_that_a_worker_lacks_can_be_shared(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"""
import polyproc
pool = polyproc.get_context({method!r}).Pool(1)
class Late:
    def value(self): return 7
print(pool.apply(Late.value, (polyproc.share(Late()),)))
pool.close()
pool.join()
""")
    done = run_program(program)
    assert done.stdout == "7\n", done.stderr
