"""Random talks over pipes and sockets: what was sent arrives whole and in order, up to the end of whoever sent it."""

import itertools

import pytest

from polyproc import AuthenticationError, Pipe
from polyproc._base import native as _native
from polyproc.connection import Client, Listener, wait
from polyproc.reduction import ForkingPickler
from support.episodes import Chaos, Episode

NATIVE = bool(_native.native)
CALM, ROUGH = Chaos(), Chaos(kills=0.01, most_kills=1, raising=True)
SIZES = (0, 1, 100, 5000, 70_000, 300_000)
END = (OSError, EOFError)  # what tells of an end; BrokenPipeError and ConnectionResetError are OSErrors


def body(number, size):
    return b"B" + number.to_bytes(4, "little") + bytes([number % 256]) * size


def number_in(data):
    """Return a body's number; fail if it is torn."""
    number = int.from_bytes(data[1:5], "little")
    assert len(data) - 5 in SIZES, f"{number}: {len(data)} bytes"
    assert not data[5:].strip(bytes([number % 256])), f"{number} is torn"
    return number


def settle(actor, connection, outcome):
    """Return whether to go on: not at the end, and not when an interruption in the middle of a message has closed it."""
    if outcome.done or (outcome.interrupted and not connection.closed):
        return True
    if outcome.interrupted or isinstance(outcome.error, END):
        actor.note("over")
        return False
    raise outcome.error


def send_all(actor, connection, other, objects, times):
    """Send numbered messages in all ways: bytes, objects, ends of pipes that answer."""
    other.close()
    for number in range(times):
        data = body(number, actor.chance.choice(SIZES))
        way = actor.chance.randrange(3 if objects else 5)
        actor.note("send?", number)
        if way == 0 and actor.chance.random() < 0.2:
            outcome = send_an_end(actor, connection, data)
        elif way < 3:
            outcome = actor.attempt(connection.send, data)
        elif way == 3:
            outcome = actor.attempt(connection.send_bytes, data)
        else:
            outcome = actor.attempt(connection.send_bytes, b"xx" + data + b"yyy", 2, len(data))
        actor.note("sent" if outcome.done else "unsure")
        if not settle(actor, connection, outcome):
            return
        actor.pause()
    connection.close()


def send_an_end(actor, connection, data):
    """Send an end of a pipe, with a message in the pipe; it has arrived when it answers."""
    mine, theirs = Pipe()
    with mine, theirs:
        mine.send_bytes(data[:5])
        outcome = actor.attempt(connection.send, theirs)
        if outcome.done and not mine.poll(2):  # its receiver has ended, or was interrupted as it fetched it
            outcome.done, outcome.interrupted = False, True
        return outcome


def receive_all(actor, connection, other, objects):
    """Receive in all ways until the end."""
    other.close()
    while True:
        way = actor.chance.randrange(5)
        if way == 0:
            limit = actor.chance.choice((0.0, 0.001, 0.01))
            outcome = actor.attempt(connection.poll, limit, limit=limit)
        elif way == 1:
            outcome = actor.attempt(wait, [connection], 0.01, limit=0.01)
        else:
            actor.note("receive?")
            outcome = actor.attempt(connection.recv if objects and way == 2 else connection.recv_bytes)
            if outcome.done:
                actor.note("received", number_in(opened(outcome.value)))
            else:
                actor.note("not")
        if not settle(actor, connection, outcome):
            return
        actor.pause()


def opened(got):
    """Return the body that came, in whatever way it was sent."""
    if isinstance(got, bytes) and got[:1] == b"\x80":
        got = ForkingPickler.loads(got)
    if isinstance(got, bytes):
        return got
    with got:
        data = got.recv_bytes()
        got.send("had")
    return data


def check(run, sender, receiver):
    """Fail on a message that came out of turn, twice, or not at all though both lived."""
    sent, got = run.records(sender).get(sender, []), run.records(receiver).get(receiver, [])
    numbers = [line[1] for line in got if line[0] == "received"]
    assert numbers == sorted(set(numbers)), f"out of turn: {numbers}"
    sure = {line[1] for line, over in itertools.pairwise(sent) if line[0] == "send?" and over == ("sent",)}
    assert set(numbers) <= {line[1] for line in sent if line[0] == "send?"}
    last = numbers[-1] if numbers else -1
    skipped = {number for number in sure - set(numbers) if number < last}
    interrupted = sum(line[0] == "not" for line in got)
    assert len(skipped) <= interrupted, f"lost {skipped}, {interrupted} interrupted"
    if run.ended(sender, sent) and run.ended(receiver, got) and not interrupted and ("unsure",) not in sent:
        assert sure <= set(numbers), f"lost {sure - set(numbers)}"


def pipes_episode(method, seed, chaos, times=25):
    """Two pipes: of the one the first worker sends, and of the other the second."""
    with Episode(method, seed, chaos) as run:
        ends = []
        for k, duplex in enumerate((False, True)):
            receiving, sending = run.ctx.Pipe(duplex)
            objects = run.chance.random() < 0.5
            run.start(f"s{k}", send_all, sending, receiving, objects, times)
            run.start(f"r{k}", receive_all, receiving, sending, objects)
            sending.close()
            receiving.close()
            ends.append((f"s{k}", f"r{k}"))
        run.run()
        run.check()
        for pair in ends:
            check(run, *pair)


# -- listeners -------------------------------------------------------------------------------------------------------------

KEY = b"known to both"


def serve(actor, family, where, times):
    """Echo what each client sends, one client after the other, until one says that it is the last."""
    with Listener(None if family != "AF_INET" else ("localhost", 0), family, authkey=KEY) as listener:
        where.send(listener.address)
        last = False
        while not last:
            outcome = actor.attempt(listener.accept, raising=False)
            if not outcome.done:
                if not (outcome.interrupted or isinstance(outcome.error, (AuthenticationError, *END))):
                    raise outcome.error
                continue
            with outcome.value as client:
                last = echo(actor, client)


def echo(actor, client):
    while True:
        outcome = actor.attempt(client.recv)
        if outcome.done:
            if outcome.value == "the last":
                return True
            answer = actor.attempt(client.send, outcome.value)
            if not settle(actor, client, answer):
                return False
            if answer.interrupted and not answer.done:
                return False
        elif not settle(actor, client, outcome):
            return False


def visit(actor, address, times):
    """Connect with the right key or a wrong one, and have things echoed."""
    for _ in range(times):
        wrong = actor.chance.random() < 0.2
        outcome = actor.attempt(connect, address, b"wrong" if wrong else KEY)
        if outcome.done:
            assert not wrong, "a wrong key was good enough"
            with outcome.value as connection:
                talk(actor, connection)
        elif not outcome.interrupted and not isinstance(outcome.error, (AuthenticationError, *END)):
            raise outcome.error
        actor.note("refused" if wrong else "visited")
        actor.pause()


def connect(address, key):
    return Client(address, authkey=key)


def talk(actor, connection):
    for number in range(actor.chance.randrange(4)):
        data = body(number, actor.chance.choice(SIZES))
        sent = actor.attempt(connection.send, data)
        if not sent.done:
            return
        got = actor.attempt(connection.recv)
        if not got.done:
            if not got.interrupted and not isinstance(got.error, END):
                raise got.error
            return
        assert got.value == data, f"echo of another: {got.value[:10]}"


def listener_episode(method, seed, family, chaos, times=6):
    with Episode(method, seed, Chaos(raising=chaos.raising and NATIVE)) as run:
        where, tell = run.ctx.Pipe(False)
        run.start("server", serve, family, tell, times)
        tell.close()
        address = where.recv()
        where.close()
        for k in range(3):
            run.start(f"c{k}", visit, address, times)
        if chaos.kills:
            run.kill("c1")
        run.run(until=lambda: not any(run.workers[f"c{k}"].is_alive() for k in range(3)))
        while run.workers["server"].is_alive():
            try:
                with Client(address, authkey=KEY) as last:
                    last.send("the last")
                    last.poll(1)
            except (AuthenticationError, *END):
                pass
        run.run()


@pytest.mark.parametrize("manner", ["calm", "rough"])
def test_random_pipes(method, manner, seed):
    if manner == "rough" and not NATIVE:
        pytest.skip("interruptions of Python code are not foreseen")
    pipes_episode(method, f"{seed}-{manner}", ROUGH if manner == "rough" else CALM)


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_random_visitors(method, family, seed):
    listener_episode(method, f"{seed}-{family}", family, ROUGH)


@pytest.mark.chaos
def test_many_random_programs(method, seeds):
    for seed in seeds:
        pipes_episode(method, seed, CALM, 200)
        if NATIVE:
            pipes_episode(method, seed, ROUGH, 200)
        for family in ("AF_UNIX", "AF_INET"):
            listener_episode(method, seed, family, ROUGH, 20)
