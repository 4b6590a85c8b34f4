"""Goes through all that processes share and do, with the start methods that are named; says `METHOD: all is well`.

What cannot be is told by an exception, which ends it. Nothing is left behind.
"""

import os
import pickle
import signal
import sys
import time
import warnings

import polyproc
from polyproc import connection, shared_memory
from polyproc._context import default_context

SECOND = 20  # what anything may take at most, ten times over
LARGE = 300_000


def echo(queue, answers):
    while True:
        item = queue.get(timeout=SECOND)
        if item is None:
            return
        answers.put(bytes(item) if isinstance(item, pickle.PickleBuffer) else item)


def count(lock, value, array, times):
    for index in range(times):
        with lock:
            value.value += 1
            array[index] += 1


def meet(condition, event, barrier, semaphore, told):
    with condition:
        told.put("waits")
        assert condition.wait(SECOND)
    assert event.wait(SECOND)
    with semaphore:
        barrier.wait(SECOND)
    told.put("met")


def die_holding(lock, told):
    lock.acquire()
    told.put(os.getpid())
    time.sleep(SECOND)


def write(name, at):
    segment = shared_memory.SharedMemory(name)
    segment.buf[at] = 7
    segment.close()


def square(number):
    return number * number


def length(data):
    return len(data)


def fail():
    raise LookupError("as it should")


def worked(queue):
    for _ in range(3):
        queue.get()
        queue.task_done()


def wait_to_be_ended():
    time.sleep(SECOND)


def ignore_what_asks(told):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    told.put("ready")
    time.sleep(SECOND)


def starts_another(method, told):
    child = polyproc.get_context(method).Process(target=told.put, args=("a grandchild",))
    child.start()
    child.join()
    told.put(polyproc.parent_process().is_alive())


def started(context, target, *args, **options):
    process = context.Process(target=target, args=args, **options)
    process.start()
    return process


def is_running(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return "\nState:\tZ" not in file.read()
    except OSError:  # its fork server has reaped it
        return False


def ended(process, code=0):
    process.join(SECOND)
    assert process.exitcode == code, (process, process.exitcode)
    process.close()


def queues(context):
    queue, answers = context.Queue(), context.Queue()
    child = started(context, echo, queue, answers)
    sent = [
        1,
        "two",
        b"3" * 1000,
        bytes(LARGE),
        bytearray(LARGE),
        list(range(LARGE)),
        pickle.PickleBuffer(bytearray(LARGE)),
    ]
    for item in sent:
        queue.put(item)
        found = answers.get(timeout=SECOND)
        assert found == (bytes(item) if isinstance(item, pickle.PickleBuffer) else item)
    queue.put(None)
    ended(child)
    for number in range(2_000):  # more than a segment, and nobody takes them
        queue.put(b"%07d" % number + b"x" * 500)
    assert [int(queue.get(timeout=SECOND)[:7]) for _ in range(2_000)] == list(range(2_000))
    limited = context.Queue(1)
    limited.put(1)
    assert limited.full()
    joinable = context.JoinableQueue()
    for number in range(3):
        joinable.put(number)
    child = started(context, worked, joinable)
    joinable.join()
    ended(child)
    simple = context.SimpleQueue()
    simple.put("simple")
    assert simple.get() == "simple"
    simple.close()
    queue.put("looked for")
    waitable = queue if polyproc.native else queue._reader
    assert connection.wait([waitable], SECOND) == [waitable]
    for each in (queue, answers, limited, joinable):
        each.close()
        each.join_thread()


def mapped_memory_at_fork(context):
    """A large message that is mapped stays what it was, in parent and child, while its slot is used again."""
    queue, told = context.Queue(), context.Queue()
    queue.put(pickle.PickleBuffer(bytearray(b"a" * LARGE)))
    found = memoryview(queue.get(timeout=SECOND))
    with warnings.catch_warnings():  # of other threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        told.put(bytes(found[:10]) + bytes(found[-10:]))
        told.close()
        told.join_thread()
        os._exit(0)
    for _ in range(3):
        queue.put(pickle.PickleBuffer(bytearray(b"b" * LARGE)))
        queue.get(timeout=SECOND)
    assert told.get(timeout=SECOND) == b"a" * 20
    os.waitpid(pid, 0)
    assert bytes(found) == b"a" * LARGE
    queue.close()
    told.close()


def memory(context):
    lock, value, array = context.Lock(), context.Value("q", 0), context.Array("l", 5_000)
    children = [started(context, count, lock, value, array, 500) for _ in range(2)]
    for child in children:
        ended(child)
    assert value.value == 1_000
    assert array[499] == 2
    assert array[4_999] == 0
    whole = context.RawArray("B", LARGE)
    whole[LARGE - 1] = 9
    for size in (1, LARGE):
        segment = shared_memory.SharedMemory(create=True, size=size)
        ended(started(context, write, segment.name, size - 1))
        assert segment.buf[size - 1] == 7
        segment.close()
        segment.unlink()
    segment = shared_memory.SharedMemory(f"a_name_of_{os.getpid()}", create=True, size=LARGE)
    ended(started(context, write, segment.name, 0))
    segment.close()
    segment.unlink()
    listed = shared_memory.ShareableList([1, "text", None])
    assert list(listed) == [1, "text", None]
    listed.shm.close()
    listed.shm.unlink()


def locks(context):
    condition, event, barrier, semaphore = (
        context.Condition(),
        context.Event(),
        context.Barrier(2),
        context.BoundedSemaphore(2),
    )
    told = context.Queue()
    child = started(context, meet, condition, event, barrier, semaphore, told)
    assert told.get(timeout=SECOND) == "waits"
    with condition:
        condition.notify()
    event.set()
    barrier.wait(SECOND)
    assert told.get(timeout=SECOND) == "met"
    ended(child)
    recursive = context.RLock()
    with recursive, recursive:
        pass
    many = context.Semaphore(100)
    assert many.acquire(timeout=SECOND)
    many.release()
    told.close()
    told.join_thread()


def a_killed_owner(context):
    """On the core its lock is handed on: at once when it was waited for, and also when nobody has yet."""
    if not polyproc.native:
        return
    told = context.SimpleQueue()
    for waited_for in (True, False):
        for make in (context.Lock, context.RLock):
            lock = make()
            owner = started(context, die_holding, lock, told)
            told.get()
            os.kill(owner.pid, signal.SIGKILL)
            while is_running(owner.pid):
                time.sleep(0.001)
            if waited_for:
                ended(owner, -signal.SIGKILL)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", polyproc.OwnerDiedWarning)
                start = time.monotonic()
                assert lock.acquire(timeout=SECOND), f"the lock of a dead process, {waited_for=}"
                took = time.monotonic() - start
                assert took < SECOND / 4, f"after {took} s, {waited_for=}"
                assert lock.recovered
            if not waited_for:
                ended(owner, -signal.SIGKILL)
    told.close()


def ends(context):
    child = started(context, wait_to_be_ended)
    assert child.is_alive()
    child.join(0.01)
    assert child.exitcode is None
    assert not connection.wait([child.sentinel], 0)
    child.terminate()
    assert connection.wait([child.sentinel], SECOND) == [child.sentinel]
    ended(child, -signal.SIGTERM)
    child = started(context, wait_to_be_ended, daemon=True)
    child.kill()
    ended(child, -signal.SIGKILL)
    told = context.SimpleQueue()
    child = started(context, ignore_what_asks, told)
    told.get()
    child.stop(0.1)
    ended(child, -signal.SIGKILL)
    child = started(context, square, 3)
    assert child.result(SECOND) == 9
    ended(child)
    child = started(context, starts_another, context.get_start_method(), told)
    assert [told.get(), told.get()] == ["a grandchild", True]
    ended(child)
    told.close()


def messages(context):
    ours, theirs = context.Pipe()
    child = started(context, answer_by_what_comes, theirs)
    near, far = context.Pipe()
    ours.send(far)
    assert near.poll(SECOND)
    assert near.recv() == "by the one that came"
    ended(child)
    for each in (ours, theirs, near, far):
        each.close()
    with connection.Listener(authkey=b"a key") as listener:
        child = started(context, call, listener.address)
        with listener.accept() as accepted:
            assert accepted.recv() == "hello"
        ended(child)


def answer_by_what_comes(where):
    with where.recv() as there:
        there.send("by the one that came")


def call(address):
    with connection.Client(address, authkey=b"a key") as there:
        there.send("hello")


def pools(context):
    with context.Pool(2) as pool:
        assert pool.map(square, range(50)) == [number * number for number in range(50)]
        assert sum(pool.imap_unordered(square, range(50), 5)) == sum(number * number for number in range(50))
        assert pool.apply(length, (bytes(3 * LARGE),)) == 3 * LARGE
        assert len(pool.apply(bytes, (LARGE,))) == LARGE
        try:
            pool.apply(fail)
        except LookupError:
            pass
        try:
            pool.apply(os._exit, (3,))
        except polyproc.ProcessDied:
            pass
        assert pool.apply(square, (4,)) == 16
        pool.close()
        pool.join()
    with polyproc.ProcessPoolExecutor(2, mp_context=context) as executor:
        assert executor.submit(square, 5).result(SECOND) == 25


def managers(context):
    with context.Manager() as manager:
        kept, lock = manager.dict(key=1), manager.Lock()
        with lock:
            kept["key"] += 1
        assert kept.copy() == {"key": 2}


def others(context):
    with polyproc.get_context(context.get_start_method()).Pool(1, initializer=square, initargs=(1,)) as pool:
        assert pool.map(square, [3]) == [9]
    assert not default_context.active_children()


STEPS = [queues, mapped_memory_at_fork, memory, locks, a_killed_owner, ends, messages, pools, managers, others]

if __name__ == "__main__":
    for method in sys.argv[1].split(","):
        for step in STEPS:
            if len(sys.argv) < 3 or step.__name__ in sys.argv[2].split(","):
                begun = time.monotonic()
                step(polyproc.get_context(method))
                if "TIMES" in os.environ:
                    print(method, step.__name__, round(time.monotonic() - begun, 3))
        print(f"{method}: all is well", flush=True)
