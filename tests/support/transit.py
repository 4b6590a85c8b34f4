"""What children do in test_in_transit.py."""

import time

SIZE = 1 << 20


def first_of(array):
    return array[0]


def last_of(pair):
    return pair[1][0][-1]


def made(context, value):
    array = context.RawArray("b", SIZE)
    array[0] = value
    return array


def echo(receive, answer):
    """Receive arrays until there is None; answer with the first byte of each."""
    while (array := receive()) is not None:
        value = array[0]
        del array
        answer(value)


def echo_queue(queue, answers):
    echo(queue.get, answers.put)


def echo_pipe(connection, answers):
    echo(connection.recv, answers.put)


def waits(queue, connection, there):
    """Take nothing, and wait to be killed."""
    there.set()
    time.sleep(100)


def waits_and_echoes(go, queue, answers):
    go.wait(100)
    echo_queue(queue, answers)


def forward(inward, outward):
    """Receive, and send on."""
    while (array := inward.get()) is not None:
        outward.put(array)
        del array
    outward.put(None)


def added(array, number):
    return array[0] + number
