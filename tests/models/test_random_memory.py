"""Random users of memory: each finds what the others wrote, whole, whoever made it, sent it on, dropped it or was killed."""

import os

import pytest

from polyproc._base import native as _native
from polyproc._memory.tracker import tracker
from polyproc.shared_memory import ShareableList, SharedMemory
from support.episodes import Chaos, Episode

NATIVE = bool(_native.native)
CALM, ROUGH = Chaos(), Chaos(kills=0.02, raising=True)
SIZES = (1, 100, 4096, 70_000)
ROWS, ROW = 4, 16  # of numbers that belong together: a row is one number, again and again
pytestmark = pytest.mark.filterwarnings("ignore::polyproc.OwnerDiedWarning")


@pytest.fixture(autouse=True)
def no_tracker_stays():
    yield
    tracker._stop()


def fill(actor, array, value, times):
    """Write rows under the array's lock, and see that rows are whole; count under the value's."""
    for _ in range(times):
        row = actor.chance.randrange(ROWS)
        place = slice(row * ROW, row * ROW + ROW)
        dice = actor.chance.randrange(4)
        if dice == 0:
            with array.get_lock():
                array[place] = [actor.chance.randrange(2**31)] * ROW
        elif dice == 1:
            with array.get_lock():
                number = actor.chance.randrange(2**31)
                for k in range(place.start, place.stop):
                    array[k] = number
                numbers = array[place]
            assert set(numbers) == {number}, numbers
        elif dice == 2:
            numbers = array[place]  # takes the lock itself
            assert len(set(numbers)) == 1 or actor.others_die, numbers
        else:
            actor.note("count?")
            with value.get_lock():
                before = value.value
                actor.pause()
                value.value = before + 1
            actor.note("counted")


def values_episode(method, seed, chaos, times=60):
    with Episode(method, seed, chaos) as run:
        array, value = run.ctx.Array("l", ROWS * ROW), run.ctx.Value("q", 0)
        for k in range(3):
            run.start(f"w{k}", fill_all, array, value, times, bool(chaos.kills))
        run.run()
        run.check()
        lines = [line for found in run.records("").values() for line in found]
        counted, begun = lines.count(("counted",)), lines.count(("count?",))
        assert counted <= value.value <= begun, f"{value.value} is not from {counted} to {begun}"


def fill_all(actor, array, value, times, others_die):
    actor.others_die = others_die
    fill(actor, array, value, times)
    if NATIVE:
        actor.in_fork(fill_in_fork, array, value, times // 4, others_die)


def fill_in_fork(actor, array, value, times, others_die):
    actor.others_die = others_die
    fill(actor, array, value, times)


# -- named segments --------------------------------------------------------------------------------------------------------


def content(number, size):
    return bytes([number % 255 + 1]) * size


def pass_on(actor, pipes, number, times):
    """Make segments and hand their names on; attach to those of others, look, and unlink them."""
    mine, theirs = pipes[number], pipes[(number + 1) % len(pipes)]
    for k, (receiving, sending) in enumerate(pipes):
        if k != number:
            receiving.close()
        if k != (number + 1) % len(pipes):
            sending.close()
    kept = []
    for turn in range(times):
        size = actor.chance.choice(SIZES)
        segment = SharedMemory(create=True, size=size)
        segment.buf[:size] = content(turn, size)
        actor.note("made", segment.name)
        theirs[1].send((segment.name, turn, size))
        if actor.chance.random() < 0.5:
            segment.close()
        else:
            kept.append(segment)
        while mine[0].poll(0.001):
            try:
                look_at(actor, *mine[0].recv())
            except EOFError:  # the one before us has done all
                break
        actor.pause()
    theirs[1].close()
    try:
        while True:
            look_at(actor, *mine[0].recv())
    except EOFError:
        pass
    for segment in kept:
        segment.close()


def look_at(actor, name, turn, size):
    segment = SharedMemory(name)
    try:
        assert bytes(segment.buf[:size]) == content(turn, size), f"{name} is torn"
        assert segment.size >= size
    finally:
        segment.close()
    segment.unlink()
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)


def segments_episode(method, seed, times=12):
    with Episode(method, seed, CALM) as run:
        pipes = [run.ctx.Pipe(False) for _ in range(3)]
        for k in range(3):
            run.start(f"w{k}", pass_on, pipes, k, times)
        for pair in pipes:
            for end in pair:
                end.close()
        run.run()
        made = [line[1] for lines in run.records("").values() for line in lines if line[0] == "made"]
        assert len(made) == 3 * times
        assert not set(made) & set(os.listdir("/dev/shm"))


# -- lists -----------------------------------------------------------------------------------------------------------------


def change(actor, name, lock, place, times):
    """Change one's own place of a list, and look at all."""
    shared = ShareableList(name=name)
    model = shared[place]
    for _ in range(times):
        if actor.chance.random() < 0.6:
            model = actor.chance.choice(
                (None, True, actor.chance.randrange(2**40), 0.5, "ab" * actor.chance.randrange(8), b"xy")
            )
            shared[place] = model
        assert shared[place] == model, f"{shared[place]!r} is not {model!r}"
        with lock:
            assert len(shared) == 5
            assert shared[4] == "the end"
    actor.note("last", model)
    shared.shm.close()


def list_episode(method, seed, times=40):
    with Episode(method, seed, CALM) as run:
        shared = ShareableList(["x" * 20] * 4 + ["the end"])
        try:
            lock = run.ctx.Lock()
            for k in range(3):
                run.start(f"w{k}", change, shared.shm.name, lock, k, times)
            run.run()
            run.check()
            for k in range(3):
                assert shared[k] == run.records(f"w{k}")[f"w{k}"][-2][1]
            assert list(shared)[3:] == ["x" * 20, "the end"]
        finally:
            shared.shm.close()
            shared.shm.unlink()


@pytest.mark.parametrize("manner", ["calm", "rough"])
def test_random_values(method, manner, seed):
    if manner == "rough" and not NATIVE:
        pytest.skip("a killed holder's lock is lost without the core")
    values_episode(method, f"{seed}-{manner}", ROUGH if manner == "rough" else CALM)


def test_random_segments(method, seed):
    segments_episode(method, seed)


def test_random_lists(method, seed):
    list_episode(method, seed)


@pytest.mark.chaos
def test_many_random_programs(method, seeds):
    for seed in seeds:
        values_episode(method, seed, ROUGH if NATIVE else CALM, 200)
        segments_episode(method, seed, 50)
        list_episode(method, seed, 200)
