"""What is sent is let go when it has arrived, or cannot arrive any more."""

import functools
import gc
import os
import threading

import pytest

import polyproc
from conftest import eventually, needs, plain_fork
from polyproc._base.native import native
from polyproc._connection.sharer import sharer
from polyproc._pickling.in_transit import find, in_transit
from polyproc._pickling.pickler import ForkingPickler
from support import transit

MANY = 20


def held():
    """Return how many arrays this process has memory for."""
    gc.collect()
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            path = f"/proc/self/fd/{name}"
            count += "polyproc-" in os.readlink(path) and transit.SIZE <= os.stat(path).st_size < 2 * transit.SIZE
        except OSError:
            pass
    return count


@pytest.fixture(autouse=True)
def nothing_is_kept():
    """Fail a test after which this process keeps something."""
    before = held()
    yield
    eventually(lambda: held() <= before)
    eventually(lambda: not in_transit)


def send(context, put, answers):
    for number in range(MANY):
        put(transit.made(context, number))  # nobody here has it any more
        assert answers.get(timeout=60) == number
    eventually(lambda: held() <= 1)


def joined(process):
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue", "JoinableQueue"])
def test_through_queues(ctx, kind):
    queue, answers = getattr(ctx, kind)(), ctx.Queue()
    process = ctx.Process(target=transit.echo_queue, args=(queue, answers))
    process.start()
    send(ctx, queue.put, answers)
    queue.put(None)
    joined(process)


@pytest.mark.parametrize("duplex", [True, False])
def test_through_pipes(ctx, duplex):
    ours, theirs = ctx.Pipe(duplex)
    if not duplex:
        ours, theirs = theirs, ours
    answers = ctx.Queue()
    process = ctx.Process(target=transit.echo_pipe, args=(theirs, answers))
    process.start()
    theirs.close()
    send(ctx, ours.send, answers)
    ours.send(None)
    joined(process)
    ours.close()


def test_through_a_third_process(ctx):
    first, second, answers = ctx.Queue(), ctx.Queue(), ctx.Queue()
    processes = [
        ctx.Process(target=transit.forward, args=(first, second)),
        ctx.Process(target=transit.echo_queue, args=(second, answers)),
    ]
    for process in processes:
        process.start()
    send(ctx, first.put, answers)
    first.put(None)
    for process in processes:
        joined(process)


def test_to_and_from_a_pool(ctx):
    with ctx.Pool(2) as pool:
        for number in range(MANY):
            assert pool.apply(transit.first_of, (transit.made(ctx, number),)) == number
        assert held() <= 3
        assert pool.map(transit.first_of, [transit.made(ctx, number) for number in range(MANY)]) == list(range(MANY))
        assert list(pool.imap(transit.first_of, (transit.made(ctx, 7) for _ in range(MANY)))) == [7] * MANY
        array = transit.made(ctx, 1)
        results = pool.imap_unordered(functools.partial(transit.added, array), range(MANY), chunksize=3)
        del array  # the workers open the function one after the other
        assert sorted(results) == list(range(1, MANY + 1))
        for number in range(MANY):
            assert pool.apply(transit.made, (polyproc.get_context("fork"), number))[0] == number
        eventually(lambda: held() <= 2)


def test_through_a_manager(ctx):
    with ctx.Manager() as manager:
        there = manager.dict()
        for number in range(MANY):
            there["array"] = transit.made(ctx, number)
            assert there["array"][0] == number
        del there
        eventually(lambda: held() <= 1)


def test_with_the_start_of_a_process(ctx):
    for number in range(3):
        process = ctx.Process(target=transit.last_of, args=((0, [transit.made(ctx, number)]),))
        process.start()
        joined(process)
        del process
        assert held() <= 1


@needs("/proc")
def test_what_nobody_has_taken_goes_with_a_queue_that_is_dropped():
    ctx = polyproc.get_context("spawn")
    queue = ctx.Queue()
    for number in range(MANY):
        queue.put(transit.made(ctx, number))
    if not native:
        queue.close()
        queue.join_thread()
    del queue
    eventually(lambda: held() == 0)


@needs("/proc")
def test_what_nobody_has_taken_goes_with_a_pipe_that_is_closed():
    ctx = polyproc.get_context("spawn")
    ours, theirs = ctx.Pipe()
    for number in range(MANY):
        ours.send(transit.made(ctx, number))
    theirs.close()
    eventually(lambda: held() == 0)
    ours.close()


@needs("/proc")
def test_a_killed_receiver_leaves_nothing_with_its_sender(ctx):
    queue, there = ctx.Queue(), ctx.Event()
    ours, theirs = ctx.Pipe()
    process = ctx.Process(target=transit.waits, args=(queue, theirs, there))
    process.start()
    assert there.wait(60)
    theirs.close()
    for number in range(MANY):
        queue.put(transit.made(ctx, number))
        ours.send(transit.made(ctx, number))
    if not native:
        queue.close()
        queue.cancel_join_thread()
    process.kill()
    process.join()
    del queue, process
    eventually(lambda: held() == 0)
    ours.close()


def test_what_waits_in_a_queue_stays_as_long_as_somebody_can_take_it(ctx):
    queue, answers, go = ctx.Queue(), ctx.Queue(), ctx.Event()
    process = ctx.Process(target=transit.waits_and_echoes, args=(go, queue, answers))
    process.start()
    queue.put(transit.made(ctx, 5))
    queue.put(None)
    if not native:
        queue.close()
        queue.join_thread()
    del queue
    gc.collect()
    for _ in range(3):  # nobody here has the queue, but somebody has
        in_transit.search()
    go.set()
    assert answers.get(timeout=60) == 5
    joined(process)


@needs("/proc")
def test_descriptors_on_their_way_are_let_go():
    ctx = polyproc.get_context("spawn")
    ours, theirs = ctx.Pipe()
    for _ in range(MANY):
        ends = ctx.Pipe()
        ours.send(ends[0])
        ends[0].close()
        ends[1].close()
    theirs.close()
    ours.close()
    assert sharer._shared
    eventually(lambda: not sharer._shared)


def test_a_message_that_cannot_be_pickled_keeps_nothing(ctx):
    queue = ctx.Queue()
    for _ in range(MANY):
        with pytest.raises(TypeError):
            queue.put([transit.made(ctx, 1), threading.Lock()])
    eventually(lambda: held() == 0)
    queue.close()


@needs("/proc")
def test_a_forked_child_keeps_nothing_of_what_its_parent_has_sent():
    ctx = polyproc.get_context("fork")
    queue = ctx.Queue()
    queue.put(transit.made(ctx, 3))
    pid = plain_fork()
    if pid == 0:
        os._exit(held())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert queue.get(timeout=60)[0] == 3
    queue.close()


def test_a_pickle_that_the_sender_keeps_can_be_opened_many_times():
    array = transit.made(polyproc.get_context("fork"), 9)
    data = bytes(ForkingPickler.dumps(array))
    for _ in range(3):
        assert ForkingPickler.loads(data)[0] == 9
        eventually(lambda: not in_transit)


@needs("/proc")
def test_what_a_process_has_is_found():
    read_fd, write_fd = os.pipe()
    inode = os.fstat(read_fd).st_ino
    assert find({("pipe", inode), ("socket", 1)}) == {("pipe", inode)}
    os.close(read_fd)  # who could write is not one who could receive
    assert not find({("pipe", inode)})
    os.close(write_fd)
