"""What is said of calls that cannot be: what was given, what is wanted, what to write; the standard library's text first."""

import os
import re
import sys
import threading
import time

import pytest

import polyproc
from polyproc import connection, managers, shared_memory
from polyproc._base.native import native
from polyproc._managers.links import links

fork = polyproc.get_context("fork")


def takes_one(name):
    return name


def takes_any(*args):
    return args


def said_of(call):
    """Return all that is said of the error that a call raises, its notes too."""
    with pytest.raises(Exception) as caught:
        call()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def process(**options):
    return fork.Process(name="Robert", **options)


def started(**options):
    made = process(**options)
    made.start()
    made.join()
    return made


def closed(made):
    made.close()
    return made


PROCESSES = {
    "a string for args": (
        lambda: process(target=takes_one, args="Robert"),
        [
            "args is a tuple of arguments, and not the string 'Robert', which would be 6 arguments",
            "write args=.'Robert',.$",
        ],
    ),
    "a number for args": (
        lambda: process(target=takes_one, args=3),
        ["^'int' object is not iterable: ", "args is a tuple of arguments, and not 3", "write args=.3,.$"],
    ),
    "a process for args": (
        lambda: process(target=takes_one, args=polyproc.current_process()),
        ["^'MainProcess' object is not iterable: ", "write args=.the_object,.$"],
    ),
    "a queue for args": (
        lambda: process(target=takes_one, args=fork.Queue()),
        ["^'Queue' object is not iterable: ", "write args=.the_object,.$"],
    ),
    "a string for kwargs": (
        lambda: process(target=takes_one, kwargs="x"),
        ["^dictionary update sequence element", "kwargs is a dict of keyword arguments, and not 'x'", "write kwargs={"],
    ),
    "a target that comes first": (
        lambda: fork.Process(takes_one),
        ["^group argument must be None for now: ", "takes_one", "write Process.target=takes_one"],
    ),
    "a target that cannot be called": (
        lambda: process(target="takes_one").run(),
        ["^'str' object is not callable: ", "target is a function", "not 'takes_one'", "write Process.target="],
    ),
    "a name that is a number": (lambda: setattr(process(), "name", 3), ["^name must be a string, and not 3"]),
    "a key that is a string": (
        lambda: setattr(process(), "authkey", "secret"),
        ["^string argument without an encoding: authkey is bytes", "write b'"],
    ),
    "terminate before start": (
        lambda: process().terminate(),
        [
            "^'NoneType' object has no attribute 'terminate': Robert has not been started",
            r"start\(\) before terminate\(\)",
        ],
    ),
    "kill before start": (
        lambda: process().kill(),
        ["attribute 'kill': Robert has not been started", r"before kill\(\)"],
    ),
    "interrupt before start": (lambda: process().interrupt(), ["Robert has not been started", r"before interrupt\(\)"]),
    "stop before start": (lambda: process().stop(), ["^can only stop a started process: Robert", r"before stop\(\)"]),
    "join before start": (lambda: process().join(), ["^can only join a started process: Robert", r"before join\(\)"]),
    "result before start": (
        lambda: process().result(),
        ["^can only join a started process: Robert", r"call start\(\)"],
    ),
    "sentinel before start": (lambda: process().sentinel, ["^process not started: Robert", r"call start\(\)"]),
    "start twice": (
        lambda: started().start(),
        ["^cannot start a process twice: ", "for another Robert make another Process"],
    ),
    "daemon after start": (
        lambda: setattr(started(), "daemon", True),
        ["^process has already started: ", "set daemon before", r"Process\(..., daemon=True\)"],
    ),
    "join of a closed one": (lambda: closed(started()).join(), ["^process object is closed: of Robert nothing"]),
    "start of a closed one": (lambda: closed(started()).start(), ["^process object is closed: of Robert nothing"]),
}

METHODS_BY_NAME = ["'fork'", "'spawn'", "'forkserver'"]  # the default is the first, which is another from 3.14 on
CONTEXTS = {
    "a start method that is none": (
        lambda: polyproc.get_context("sapwn"),
        ["^cannot find context for 'sapwn': ", *METHODS_BY_NAME, "write 'spawn'$"],
    ),
    "a start method that is a number": (
        lambda: polyproc.set_start_method(3, force=True),
        ["^cannot find context for 3: the start methods here are ", *METHODS_BY_NAME],
    ),
    "a context's method": (
        lambda: fork.set_start_method("spawn"),
        ["^cannot set start method of concrete context: this one's is 'fork';"],
    ),
    "a string of modules": (
        lambda: polyproc.set_forkserver_preload("json"),
        ["^module_names must be a list of strings, and not the string 'json': write .'json'."],
    ),
    "a number among modules": (
        lambda: polyproc.set_forkserver_preload(["json", 3]),
        ["^module_names must be a list of strings, and 3 in it is none"],
    ),
    "a string of modules for spares": (
        lambda: polyproc.get_context("spawn", preload="json"),
        ["^preload must be a list of strings, and not the string 'json'"],
    ),
}

QUEUES = {
    "a size that is a string": (
        lambda: fork.Queue("10"),
        ["^'str' object cannot be interpreted", "maxsize is a number of items", "not '10'", "write 10$"],
    ),
    "a size that is a fraction": (lambda: fork.JoinableQueue(2.5), ["maxsize is a number of items", "not 2.5"]),
    "a timeout that is a string": (
        lambda: fork.Queue().get(timeout="3"),
        ["^must be real number, not str: timeout is a number of seconds or None, and not '3': write 3$"],
    ),
    "the same for putting": (lambda: fork.Queue(1).put(1, timeout="0.5"), ["not '0.5': write 0.5$"]),
    "put on a closed one": (
        lambda: closed(fork.Queue()).put(1),
        ["^Queue <.*> is closed: close.. says", "put before it"],
    ),
    "get of a closed one": (lambda: closed(fork.Queue()).get(), ["^Queue <.*> is closed: close.. says"]),
    "a simple one that is closed": (
        lambda: closed(fork.SimpleQueue()).put(1),
        [r"^handle is closed: close\(\) was called in this process"],
    ),
    "join_thread before close": (
        lambda: fork.Queue().join_thread(),
        [r"not closed: call close\(\) before join_thread"],
    ),
    "task_done of nothing": (
        lambda: fork.JoinableQueue().task_done(),
        [r"^task_done\(\) called too many times: it belongs once to each item that get\(\) has returned"],
    ),
}

LOCKS = {
    "released too often": (
        lambda: fork.Lock().release(),
        [r"^semaphore or lock released too many times: each release\(\) belongs to one acquire"],
    ),
    "above its first value": (lambda: fork.BoundedSemaphore(1).release(), ["released too many times: each release"]),
    "not its owner": (
        lambda: fork.RLock().release(),
        [r"^attempt to release recursive lock not owned by thread: the thread that called acquire\(\)"],
    ),
    "a timeout that is a string": (
        lambda: fork.Lock().acquire(timeout="3"),
        ["seconds or None, and not '3': write 3$"],
    ),
    "an event's": (lambda: fork.Event().wait("soon"), ["seconds or None, and not 'soon'$"]),
    "a value that is a string": (
        lambda: fork.Semaphore("3"),
        ["^'str' object cannot be interpreted as an integer: a semaphore's value", "not '3': write 3$"],
    ),
    "a value below zero": (lambda: fork.Semaphore(-1), ["Invalid argument", "from 0 to 2147483647, and not -1"]),
    "wait without the lock": (
        lambda: fork.Condition().wait(),
        [r"^must acquire\(\) condition before using wait\(\): write `with condition: condition.wait\(\)`"],
    ),
    "notify without the lock": (
        lambda: fork.Condition().notify(),
        [r"^lock is not owned: write `with condition: condition.notify\(\)`"],
    ),
    "a lock that is none": (lambda: fork.Condition(3), ["needs a Lock or an RLock of polyproc, and not 3"]),
    "parties that are a string": (lambda: fork.Barrier("3"), ["parties is how many wait", "not '3': write 3$"]),
    "no parties": (lambda: fork.Barrier(0), ["^parties must be > 0: 0 was given"]),
}

NO_TYPE = "bad typecode" if sys.version_info >= (3, 15) else "this type has no size"  # as there

MEMORY = {
    "a type's name": (
        lambda: fork.Value("int", 3),
        [f"^{NO_TYPE}.*c, b, B, ", "'int' is neither", ": write 'i'$"],
    ),
    "a type of Python": (lambda: fork.Array(float, 3), [f"^{NO_TYPE}.*<class 'float'>", "write 'd'$"]),
    "the value first": (lambda: fork.RawValue(3, "i"), [f"^{NO_TYPE}.*: 3 is neither"]),
    "a value that is a string": (
        lambda: fork.Value("i", "3"),
        ["^'str' object cannot be interpreted as an integer: ", "'3'"],
    ),
    "fractions in whole numbers": (
        lambda: fork.Array("i", [1.5]),
        ["^'float' object cannot be interpreted as an integer: ", "1.5"],
    ),
    "a size that is a fraction": (
        lambda: fork.Array("i", 3.5),
        [
            r"^object of type 'float' has no len\(\): an array is made of a whole number, its size, or of a sequence",
            "3.5",
        ],
    ),
    "a lock that is none": (lambda: fork.Array("i", 3, lock=3), ["^3 has no method 'acquire': lock is True"]),
    "a segment's size that is a string": (
        lambda: shared_memory.SharedMemory(create=True, size="10"),
        ["size is a number of bytes, and not '10': write 10$"],
    ),
    "a segment's name that is a number": (
        lambda: shared_memory.SharedMemory(3),
        ["the name of a segment must be a str, and not 3: write size="],
    ),
}

CONNECTIONS = {
    "a closed one": (
        lambda: closed(fork.Pipe()[0]).send(1),
        [r"^handle is closed: close\(\) was called in this process"],
    ),
    "the end that receives": (
        lambda: fork.Pipe(False)[0].send(1),
        [r"^connection is read-only: of Pipe\(duplex=False\) the second end sends"],
    ),
    "the end that sends": (
        lambda: fork.Pipe(False)[1].recv(),
        [r"^connection is write-only: of Pipe\(duplex=False\) the first end receives"],
    ),
    "a timeout that is a string": (lambda: fork.Pipe()[0].poll("3"), ["seconds or None, and not '3': write 3$"]),
    "one object to wait for": (
        lambda: connection.wait(fork.Pipe()[0]),
        [r"^'Connection' object is not iterable: wait\(\) takes a list", r"write wait\(\[the_object\]\)"],
    ),
    "one queue to wait for": (
        lambda: connection.wait(fork.Queue()),
        [r"^'Queue' object is not iterable: wait\(\) takes a list"],
    ),
    "what cannot be waited for": (
        lambda: connection.wait(["a"]),
        [r"^Invalid file object: 'a': what can be waited for has a fileno\(\)"],
    ),
    "a port that is a string": (
        lambda: connection.Client(("localhost", "6000")),
        [
            "^'str' object cannot be interpreted",
            r"\(host, port\)",
            r"not \('localhost', '6000'\): write \('localhost', 6000\)",
        ],
    ),
    "the same to listen at": (lambda: connection.Listener(("localhost", "0")), [r"write \('localhost', 0\)"]),
    "an address that is none": (
        lambda: connection.Client(3),
        ["^address type of 3 unrecognized: ", r"\(host, port\), or"],
    ),
    "nobody there": (
        lambda: connection.Client("/tmp/nobody is here"),
        ["No such file or directory: '/tmp/nobody is here'"],
    ),
    "a key that is a string": (
        lambda: connection.Listener(authkey="secret"),
        ["^authkey should be a byte string: authkey is bytes", "write b'"],
    ),
    "a family that is none": (
        lambda: connection.Listener(family="TCP"),
        ["^unrecognized family: it is 'AF_INET' or", "'TCP'"],
    ),
    "a backlog that is a string": (
        lambda: connection.Listener(backlog="3"),
        ["backlog is how many", "not '3': write 3$"],
    ),
    "a closed listener": (lambda: _closed_listener().accept(), [r"^listener is closed: close\(\) was called"]),
}


def _closed_listener():
    listener = connection.Listener()
    listener.close()
    return listener


MANAGERS = {
    "not started": (lambda: managers.SyncManager().dict(), ["^server not yet started: call start", "with manager"]),
    "shutdown before start": (
        lambda: managers.SyncManager().shutdown(),
        ["^'SyncManager' object has no attribute 'shutdown': server not yet started; call start"],
    ),
    "not registered": (
        lambda: managers.SyncManager().counter(),
        ["^'SyncManager' object has no attribute 'counter': ", r"SyncManager.register\('counter', ...\)"],
    ),
    "a key that is a string": (lambda: managers.BaseManager(authkey="secret"), ["authkey is bytes", "write b'"]),
}

ALL = {
    f"{subject}: {name}": case
    for subject, cases in (
        ("processes", PROCESSES),
        ("contexts", CONTEXTS),
        ("queues", QUEUES),
        ("locks", LOCKS),
        ("memory", MEMORY),
        ("connections", CONNECTIONS),
        ("managers", MANAGERS),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("name", ALL)
def test_says_what_is_wrong(name):
    call, patterns = ALL[name]
    said = said_of(call)
    for pattern in patterns:
        assert re.search(pattern, said, re.MULTILINE), (pattern, said)


def test_a_key_is_not_shown():
    for call in (
        lambda: setattr(process(), "authkey", "secret"),
        lambda: connection.Client("/tmp/nobody", authkey="secret"),
        lambda: connection.Listener(authkey="secret"),
        lambda: managers.BaseManager(authkey="secret"),
    ):
        assert "secret" not in said_of(call)


def test_a_string_for_args_is_taken_where_it_can_be():
    assert process(target=takes_any, args="abc").run() == ("a", "b", "c")
    assert process(target=takes_one, args="a").run() == "a"
    assert process(target=takes_any, args="").run() == ()
    assert process(args="abc")._args == ("a", "b", "c")


def test_what_is_told_is_short_and_comes_also_where_the_object_cannot_be_shown():
    class Broken:
        def __repr__(self):
            raise LookupError("cannot be shown")

    assert "not <" in said_of(lambda: process(target=takes_one, args=Broken()))
    assert "Broken" in said_of(lambda: process(target=takes_one, args=Broken()))
    assert len(said_of(lambda: fork.Lock().acquire(timeout="3" * 100_000))) < 300
    assert "real number" in said_of(lambda: fork.Event().wait(Broken()))


def test_the_start_method_that_was_chosen_is_told():
    chosen = polyproc.get_start_method(allow_none=True)
    polyproc.set_start_method("fork", force=True)
    try:
        said = said_of(lambda: polyproc.set_start_method("spawn"))
        with pytest.raises(RuntimeError, match="already been set"):
            polyproc.set_start_method("no such method")
        with pytest.raises(ValueError, match="cannot find context"):
            polyproc.set_start_method("no such method", force=True)
        assert polyproc.get_start_method() == "fork"
    finally:
        polyproc.set_start_method(chosen, force=True)
    assert re.match("context has already been set: it is 'fork'; to replace it: .*force=True.*get_context", said)


def test_a_running_process_is_given_seconds():
    other = process(target=time.sleep, args=(60,))
    other.start()
    try:
        said = said_of(lambda: other.join("3"))
        assert said == "must be real number, not str: timeout is a number of seconds or None, and not '3': write 3"
        assert "timeout is a number of seconds" in said_of(lambda: other.result("3"))
        assert "grace is a number of seconds or None, and not '0.5': write 0.5" in said_of(lambda: other.stop("0.5"))
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def _tries_to_join(other):
    return said_of(other.join), said_of(other.is_alive)


def test_whose_child_it_is_is_told():
    other = process(target=time.sleep, args=(60,))
    other.start()
    try:
        asked = fork.Process(target=_tries_to_join, args=(other,))
        asked.start()
        joined, looked = asked.result(30)
        where = f"process {os.getpid()} made Robert, and this is process {asked.pid}"
        assert joined.startswith(f"can only join a child process: {where}")
        assert looked.startswith(f"can only test a child process: {where}")
    finally:
        other.kill()
        other.join()


def test_a_managers_server_that_is_gone_is_told():
    with fork.Manager() as manager:
        kept = manager.dict()
        kept["a"] = 1
    assert "the manager's server is not there: it was shut down" in said_of(kept.copy)
    assert said_of(manager.dict).startswith("server not yet started: it has been shut down")
    links.forget(manager.address, "pickle")


# -- paths -------------------------------------------------------------------------------------------------------------


class Holds:
    """An object with a lock inside."""

    def __init__(self, lock):
        self.lock = lock

    def method(self):
        pass


def path_in(call):
    """Return where the error of a call says that something cannot be sent."""
    [note] = re.findall(r"^cannot be sent to another process: (.*?): <", said_of(call), re.MULTILINE)
    return note


def test_paths_are_in_the_words_of_who_called():
    spawn = polyproc.get_context("spawn")
    lock = threading.Lock()
    assert path_in(spawn.Process(target=takes_any, args=(1, {"a": lock})).start) == "args[1]['a']"
    assert path_in(spawn.Process(target=takes_any, kwargs={"x": Holds(lock)}).start) == "kwargs['x'].lock"
    assert path_in(spawn.Process(target=Holds(lock).method).start) == "target.__self__.lock"
    if native:
        assert path_in(lambda: fork.Queue().put({"a": lock})) == "obj['a']"
    assert path_in(lambda: fork.Pipe()[0].send([1, Holds(lock)])) == "obj[1].lock"
    assert path_in(lambda: fork.SimpleQueue().put(Holds(lock).method)) == "Holds.method.__self__.lock"


def test_paths_in_a_managers_calls_too():
    lock = threading.Lock()
    with fork.Manager() as manager:
        kept = manager.dict()
        assert path_in(lambda: manager.list([1, {"a": lock}])) == "args[0][1]['a']"
        assert path_in(lambda: manager.dict(a=lock)) == "kwargs['a']"
        assert path_in(lambda: kept.update({"k": [lock]})) == "args[0]['k'][0]"
        assert path_in(lambda: kept.update(x=lock)) == "kwargs['x']"
        kept["still"] = "there"
        assert kept.copy() == {"still": "there"}
    links.forget(manager.address, "pickle")
