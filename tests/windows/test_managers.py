import threading

import pytest
import targets

import polyproc
from polyproc.connection import Client, Listener


def answer(address, key):
    with Client(address, authkey=key) as connection:
        connection.send("hello")
        connection.send(connection.recv() + 1)


@pytest.mark.parametrize("family", ["AF_INET", "AF_PIPE"])
def test_client_with_the_key_is_let_in(family):
    with Listener(family=family, authkey=b"key") as listener:
        process = polyproc.Process(target=answer, args=(listener.address, b"key"))
        process.start()
        with listener.accept(40) as connection:
            assert connection.recv() == "hello"
            connection.send(1)
            assert connection.recv() == 2
        process.join()
        assert process.exitcode == 0


@pytest.mark.parametrize("family", ["AF_INET", "AF_PIPE"])
def test_client_with_another_key_is_not_let_in(family):
    refused = []

    def connect():
        try:
            Client(listener.address, authkey=b"another")
        except (polyproc.AuthenticationError, EOFError, OSError) as error:
            refused.append(error)

    with Listener(family=family, authkey=b"key") as listener:
        thread = threading.Thread(target=connect)
        thread.start()
        with pytest.raises(polyproc.AuthenticationError):
            listener.accept(40)
        thread.join()
    assert refused


@pytest.mark.parametrize("family", ["AF_INET", "AF_PIPE"])
def test_accept_ends_in_time(family):
    with Listener(family=family) as listener, pytest.raises(polyproc.TimeoutError):
        listener.accept(0.1)


def test_manager_has_objects_for_several_processes():
    with polyproc.Manager() as manager:
        table, items, queue, lock = manager.dict(a=1), manager.list([1]), manager.Queue(), manager.Lock()
        table["b"] = 2
        items.append(3)
        process = polyproc.Process(target=targets.put_many, args=(queue, "x", 3))
        process.start()
        assert [queue.get(timeout=40) for _ in range(3)] == [("x", 0), ("x", 1), ("x", 2)]
        process.join()
        with lock:
            assert (table.copy(), list(items)) == ({"a": 1, "b": 2}, [1, 3])


def test_error_of_a_managers_object_comes_to_its_client():
    with polyproc.Manager() as manager, pytest.raises(KeyError):
        manager.dict()["nothing"]
