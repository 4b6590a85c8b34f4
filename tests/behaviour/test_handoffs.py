"""Messages that meet a waiting receiver take a short cut, which nobody can tell from the pipe beside it."""

import itertools
import os
import random
import select
import signal
import struct
import subprocess
import sys
import threading
import time

import pytest

import polyproc
from polyproc import connection
from polyproc._base.native import native

ctx = polyproc.get_context("fork" if hasattr(os, "fork") else "spawn")
SEED = int(os.environ.get("POLYPROC_SEED", random.randrange(1 << 30)))
SIZES = (0, 1, 100, 219, 220, 221, 300, 5_000, 300_000)


@pytest.fixture(params=[True, False], ids=["socket", "pipe"])
def ends(request):
    with (pair := ctx.Pipe(request.param))[0], pair[1]:
        pair[1].send("first")
        assert pair[0].recv() == "first"
        yield pair


def in_thread(act, *args):
    found = []
    thread = threading.Thread(target=lambda: found.append(act(*args)))
    thread.start()

    def result():
        thread.join(20)
        assert not thread.is_alive()
        return found[0]

    return result


def fails(act):
    with pytest.raises((EOFError, OSError)):
        act()
    return True


def receive(receiving, seed, is_locked):
    chance = random.Random(seed)
    found = []
    buffer = bytearray(SIZES[-1] + 8)
    while True:
        with is_locked:
            way = chance.random()
            if way < 0.2:
                receiving.poll(None)
            if way < 0.3:
                select.select([receiving], [], [])
            message = receiving.recv_bytes() if way < 0.6 else bytes(buffer[: receiving.recv_bytes_into(buffer)])
        if message == b"end":
            return found
        found.append(struct.unpack_from("2i", message))
        assert set(message[8:]) <= {ord("x")}
        if chance.random() < 0.1:
            time.sleep(chance.random() / 1000)


@pytest.mark.parametrize("senders, receivers", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_all_arrive_once_and_those_of_a_sender_in_order(ends, senders, receivers):
    receiving, sending = ends
    count, turn, answers = 300, ctx.Lock(), ctx.SimpleQueue()
    sends = ctx.Lock()  # long messages of two processes would be mixed

    def child(name):
        chance = random.Random(SEED + name)
        for number in range(count):
            size = chance.choice(SIZES if chance.random() < 0.1 else SIZES[:6])
            with sends:
                sending.send_bytes(struct.pack("2i", name, number) + b"x" * size)
            if chance.random() < 0.1:
                time.sleep(chance.random() / 1000)

    def other(seed):
        answers.put(receive(receiving, seed, turn))

    processes = [ctx.Process(target=child, args=(name,)) for name in range(senders)]
    readers = [ctx.Process(target=other, args=(SEED - number,)) for number in range(receivers)]
    for process in processes + readers:
        process.start()
    for process in processes:
        process.join(20)
    for _ in readers:
        sending.send_bytes(b"end")
    found = [answers.get() for _ in readers]
    for process in processes + readers:
        process.join(20)
        assert process.exitcode == 0, SEED
    for name in range(senders):
        numbers = [[number for sender, number in part if sender == name] for part in found]
        assert all(part == sorted(part) for part in numbers), SEED
        assert sorted(itertools.chain(*numbers)) == [*range(count)], SEED


def test_who_does_not_wait_in_recv_sees_it_in_the_kernel(ends):
    receiving, sending = ends
    for number in range(20):
        sending.send(number)
        if number % 3 == 0:
            assert select.select([receiving], [], [], 20)[0]
        elif number % 3 == 1:
            assert connection.wait([receiving], 20) == [receiving]
        else:
            assert receiving.poll(20)
        assert receiving.recv() == number
        result = in_thread(receiving.recv)
        sending.send("for the thread")
        assert result() == "for the thread"
        assert not receiving.poll()


def test_what_a_program_writes_by_the_descriptor_keeps_its_place(ends):
    receiving, sending = ends
    result = in_thread(lambda: [receiving.recv_bytes() for _ in range(3)])
    for number in range(20):
        os.write(sending.fileno(), struct.pack("!i", 3) + b"raw")
        sending.send_bytes(b"ours")
        sending.send_bytes(b"ours again")
        assert result() == [b"raw", b"ours", b"ours again"]
        if number < 19:
            result = in_thread(lambda: [receiving.recv_bytes() for _ in range(3)])


FOREIGN = """
import sys
from multiprocessing.connection import Connection
with Connection(int(sys.argv[1])) as connection:
    for _ in range(50):
        connection.send(connection.recv() + 1)
"""


def test_the_standard_library_may_be_at_the_other_end():
    here, there = ctx.Pipe()
    with here, there:
        there.send("known")
        assert here.recv() == "known"
        command = [sys.executable, "-c", FOREIGN, str(there.fileno())]
        with subprocess.Popen(command, pass_fds=[there.fileno()]):
            there.close()
            for number in range(50):
                here.send(number)
                assert here.recv() == number + 1
            with pytest.raises(EOFError):
                here.recv()


def test_the_end_of_the_other_side_ends_a_wait(ends):
    receiving, sending = ends
    result = in_thread(fails, receiving.recv)
    time.sleep(random.random() / 50)
    sending.close()
    result()


def test_a_killed_partner_ends_a_wait():
    for _ in range(5):
        here, there = ctx.Pipe()

        def talk(here, there):
            here.close()
            while True:
                there.send(there.recv())

        partner = ctx.Process(target=talk, args=(here, there))
        partner.start()
        there.close()
        with here:
            for number in range(10):
                here.send(number)
                assert here.recv() == number
            os.kill(partner.pid, signal.SIGKILL)
            with pytest.raises((EOFError, OSError)):
                while True:
                    here.send("more")
                    here.recv()
        partner.join()


def test_a_wait_of_one_that_another_thread_closes_ends_with_the_other_side(ends):
    receiving, sending = ends
    result = in_thread(fails, receiving.recv)
    time.sleep(random.random() / 50)
    receiving.close()
    sending.close()
    result()


class Alarm(Exception):
    pass


@pytest.mark.skipif(not native, reason="pure Python closes a connection that is interrupted in the middle of a message")
def test_a_signal_handler_that_raises_loses_nothing(ends):
    receiving, sending = ends

    def ring(*_):
        raise Alarm

    def send():
        for number in range(300):
            sending.send(number)
            time.sleep(random.random() / 2000)

    before = signal.signal(signal.SIGALRM, ring)
    partner = ctx.Process(target=send)
    partner.start()
    found = []
    try:
        while len(found) < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
                found.extend(itertools.starmap(receiving.recv, [()]))  # no code of Python runs between the two
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        partner.join()
    assert found == [*range(300)]


def test_one_that_does_not_block_says_so(ends):
    receiving, sending = ends
    os.set_blocking(receiving.fileno(), False)
    for number in range(10):
        with pytest.raises(BlockingIOError):
            receiving.recv()
        sending.send(number)
        assert receiving.recv() == number


def test_one_that_got_another_descriptor_has_nothing_to_do_with_the_first(ends):
    receiving, sending = ends
    result = in_thread(receiving.recv)
    read_fd, write_fd = os.pipe()
    old, sending._handle = sending._handle, write_fd
    sending.send("elsewhere")
    assert os.read(read_fd, 100)
    os.write(old, struct.pack("!i", 2) + b"N.")  # a pickled None
    assert result() is None
    os.close(read_fd)
    os.close(old)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_started_child_takes_it_too(method):
    if method not in polyproc.get_all_start_methods():
        pytest.skip("not here")
    there = polyproc.get_context(method)
    here, other = there.Pipe()
    with here, other:
        partner = there.Process(target=answer, args=(other, 200))
        partner.start()
        for number in range(200):
            here.send(number)
            assert here.recv() == number
        partner.join()
        assert partner.exitcode == 0


def answer(end, count):
    for _ in range(count):
        end.send(end.recv())


def test_a_manager_that_is_asked_often_answers_as_one_that_is_asked_seldom():
    with ctx.Manager() as manager:
        shared, items, lock = manager.dict(), manager.Queue(), manager.Lock()
        for number in range(200):
            shared[number] = "x" * (number * 7 % 500)
            items.put(number)
            assert shared[number] == "x" * (number * 7 % 500)
            assert items.get() == number
            if number % 50 == 0:
                with lock, pytest.raises(KeyError):
                    shared["nothing"]
        shared["large"] = b"x" * 300_000
        assert shared["large"] == b"x" * 300_000
        found = [in_thread(lambda: [shared.get(number) for number in range(200)]) for _ in range(3)]
        assert all(result() == [shared[number] for number in range(200)] for result in found)


def in_vain(shared):
    with pytest.raises((OSError, EOFError)):
        while True:
            shared.get(1)


def test_a_manager_that_is_killed_ends_calls_that_share_its_memory():
    with ctx.Manager() as manager:
        shared = manager.dict()
        for _ in range(100):
            shared.get(1)
        result = in_thread(in_vain, shared)
        time.sleep(random.random() / 50)
        os.kill(manager._process.pid, signal.SIGKILL)
        result()


@pytest.mark.skipif(not native, reason="pure Python closes a connection that is interrupted in the middle of a message")
def test_an_interrupted_call_of_a_manager_does_not_harm_the_next():
    def ring(*_):
        raise Alarm

    with ctx.Manager() as manager:
        shared = manager.dict()
        for number in range(100):
            shared[number] = number
        before = signal.signal(signal.SIGALRM, ring)
        try:
            for number in range(300):
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-4))
                    for place in range(100):
                        assert shared[place] == place
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Alarm:
                    pass
                assert shared[number % 100] == number % 100
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
