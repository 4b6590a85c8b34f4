"""Listener and Client: meeting, proving, and peers that do not come to the point."""

import hashlib
import hmac
import os
import random
import resource
import select
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

import pytest

import polyproc
from conftest import needs
from polyproc import AuthenticationError
from polyproc._connection import sockets as address_module
from polyproc.connection import Client, Listener, answer_challenge, arbitrary_address, deliver_challenge

KEY = b"the key"


@pytest.fixture(params=["AF_INET", "AF_UNIX"])
def family(request):
    return request.param


def client_says(address, message, key=KEY, told=None):
    try:
        with Client(address, authkey=key) as connection:
            connection.send(message)
            answer = connection.recv()
    except Exception as error:
        answer = error
    if told is not None:
        told.append(answer)


def in_thread(act, *args):
    thread = threading.Thread(target=act, args=args)
    thread.start()
    return thread


def serve_one(listener):
    with listener.accept() as connection:
        message = connection.recv()
        connection.send(message * 2)
        return message


@pytest.mark.parametrize("key", [None, KEY])
def test_meeting(family, key):
    with Listener(family=family, authkey=key) as listener:
        told = []
        thread = in_thread(client_says, listener.address, "ab", key, told)
        assert serve_one(listener) == "ab"
        thread.join()
        assert told == ["abab"]
    for act in (listener.accept, lambda: Client(listener.address)):
        with pytest.raises(OSError):
            act()


@pytest.mark.parametrize("length", [0, 150])
def test_a_path_is_the_owners_alone_and_goes_with_the_listener_however_long_it_is(tmp_path, length):
    folder = tmp_path / ("d" * length)
    folder.mkdir(exist_ok=True)
    path = str(folder / "socket")
    with Listener(path, authkey=KEY) as listener:
        assert listener.address == path
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        thread = in_thread(client_says, path, "ab")
        assert serve_one(listener) == "ab"
        thread.join()
    assert not os.path.exists(path)


@needs("abstract sockets")
def test_an_arbitrary_address_leaves_no_file_and_needs_no_temporary_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 30)))
    with Listener() as listener:
        assert isinstance(listener.address, str)
        assert not list(tmp_path.iterdir())


def test_where_there_is_no_abstract_namespace_an_arbitrary_address_is_a_path(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(address_module, "have_abstract_sockets", False)
    with Listener(authkey=KEY) as listener:
        thread = in_thread(client_says, listener.address, "ab")
        assert serve_one(listener) == "ab"
        thread.join()
        assert stat.S_IMODE(os.stat(os.path.dirname(listener.address)).st_mode) == 0o700
    assert not list(tmp_path.iterdir())


@needs("abstract sockets")
def test_a_listener_of_another_user_that_took_an_arbitrary_address_is_not_talked_to():
    if os.geteuid() != 0:
        pytest.skip("it takes two users")
    address = arbitrary_address("AF_UNIX")
    program = """
import os, socket, sys
os.setuid(65534)
taken = socket.socket(socket.AF_UNIX)
taken.bind("\\0" + sys.argv[1])
taken.listen()
print(1, flush=True)
while True: taken.accept()
"""
    other = subprocess.Popen([sys.executable, "-c", program, address[1:]], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(AuthenticationError, match="another user"):
            Client(address)
    finally:
        other.kill()
        other.communicate()


def test_from_child_to_parent(ctx, family):
    with Listener(family=family, authkey=KEY) as listener:
        process = ctx.Process(target=client_says, args=(listener.address, [1], KEY))
        process.start()
        assert serve_one(listener) == [1]
        process.join(30)
        assert process.exitcode == 0


def test_a_wrong_key(family):
    with Listener(family=family, authkey=KEY) as listener:
        told = []
        thread = in_thread(client_says, listener.address, "x", b"another key", told)
        with pytest.raises(AuthenticationError, match="digest received was wrong"):
            listener.accept()
        thread.join()
        assert isinstance(told[0], AuthenticationError)
        thread = in_thread(client_says, listener.address, "still serving")
        assert serve_one(listener) == "still serving"
        thread.join()


def test_a_listener_that_does_not_know_the_key(family):
    """The client is proved to, too: it does not talk to whoever has taken the address."""
    with Listener(family=family) as listener:
        told = []
        thread = in_thread(client_says, listener.address, "secret", KEY, told)
        with listener.accept() as connection, pytest.raises(AuthenticationError):
            deliver_challenge(connection, b"guessed")
        thread.join()
        assert isinstance(told[0], AuthenticationError | EOFError | OSError)


def test_accept_has_a_limit(family):
    with Listener(family=family, authkey=KEY) as listener:
        begin = time.monotonic()
        with pytest.raises(polyproc.TimeoutError):
            listener.accept(timeout=0.1)
        assert 0.1 <= time.monotonic() - begin < 5
        with pytest.raises(TimeoutError):
            listener.accept(timeout=0)


def test_a_limit_that_is_set_on_the_socket_is_that_of_accept(family):
    with Listener(family=family) as listener:
        inside = listener._listener
        assert (inside._address, inside._family, inside._last_accepted) == (listener.address, family, None)
        assert inside._socket.gettimeout() is None
        inside._socket.settimeout(0.02)
        for accept in (listener.accept, inside.accept, inside._socket.accept):
            with pytest.raises(TimeoutError):
                accept()
        inside._socket.setblocking(False)
        for accept in (listener.accept, inside.accept, inside._socket.accept):
            with pytest.raises(BlockingIOError):
                accept()
        with pytest.raises(TimeoutError):
            listener.accept(timeout=0.01)  # this one goes before
        inside._socket.settimeout(None)
        for accept in (listener.accept, inside.accept):
            with Client(listener.address) as client, accept() as connection:
                client.send("there")
                assert connection.recv() == "there"
    assert listener._listener is None
    with pytest.raises(OSError, match="listener is closed"):
        listener.accept()


def test_who_selects_the_socket_is_told_of_every_peer(family):
    """None of them waits in a place that select(2) does not see."""
    many, heard, answers = 8, [], []
    with Listener(family=family, authkey=KEY) as listener:
        threads = [threading.Thread(target=client_says, args=(listener.address, n, KEY, answers)) for n in range(many)]
        for thread in threads:
            thread.start()
        while len(heard) < many:
            assert select.select([listener._listener._socket], [], [], 30)[0]
            with listener.accept() as connection:
                heard.append(connection.recv())
                connection.send("heard")
        for thread in threads:
            thread.join()
    assert sorted(heard) == list(range(many))
    assert answers == ["heard"] * many


def test_a_listener_closed_by_another_thread(family):
    listener = Listener(family=family)
    threading.Timer(0.1, listener.close).start()
    with pytest.raises(OSError, match="closed"):
        listener.accept()


def test_several_threads_accept():
    with Listener(authkey=KEY) as listener:
        served = []
        servers = [in_thread(lambda: served.append(serve_one(listener))) for _ in range(4)]
        clients = [in_thread(client_says, listener.address, number) for number in range(4)]
        for thread in servers + clients:
            thread.join()
        assert sorted(served) == [0, 1, 2, 3]


def raw(listener):
    sock = socket.socket(socket.AF_INET if isinstance(listener.address, tuple) else socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(listener.address)
    return sock


def drip(sock, data):
    try:
        for byte in data:
            sock.sendall(bytes([byte]))
            time.sleep(0.01)
    except OSError:
        pass


HOSTILE = {
    "silent": lambda sock: None,
    "gone": lambda sock: sock.close(),
    "garbage": lambda sock: sock.sendall(os.urandom(100)),
    "garbage at length": lambda sock: sock.sendall(os.urandom(100_000)),
    "http": lambda sock: sock.sendall(b"GET / HTTP/1.1\r\n\r\n"),
    "huge header": lambda sock: sock.sendall(struct.pack("!i", 0x7FFFFFFF)),
    "huger header": lambda sock: sock.sendall(struct.pack("!iQ", -1, 1 << 62)),
    "half a header": lambda sock: sock.sendall(b"\0\0"),
    "half a message": lambda sock: sock.sendall(struct.pack("!i", 100) + b"x"),
    "reset": lambda sock: (
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
        sock.close(),
    ),
    "slow": lambda sock: in_thread(drip, sock, struct.pack("!i", 50) + b"x" * 50),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_peer_hinders_nobody(family, what):
    with Listener(family=family, authkey=KEY) as listener:
        sockets = [raw(listener) for _ in range(5)]
        threads = [done for sock in sockets if isinstance(done := HOSTILE[what](sock), threading.Thread)]
        thread = in_thread(client_says, listener.address, "served")
        begin = time.monotonic()
        while True:
            try:
                assert serve_one(listener) == "served"
                break
            except AuthenticationError:  # one of them has answered something
                pass
        assert time.monotonic() - begin < 4
        thread.join()
        for sock in sockets:
            sock.close()
        for one in threads:
            one.join()


def test_a_thousand_half_open_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    sockets = []
    try:
        with Listener(("127.0.0.1", 0), authkey=KEY) as listener:
            served = []

            def serve():
                for _ in range(5):
                    served.append(serve_one(listener))

            server = in_thread(serve)
            for number in range(1000):
                sockets.append(raw(listener))
                if number % 200 == 100:
                    client_says(listener.address, number)
            server.join(30)
            assert served == [100, 300, 500, 700, 900]
            assert threading.active_count() < 10
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_instead_of_answers(seed):
    chance = random.Random(seed)
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener:
        sock = raw(listener)
        for _ in range(chance.randrange(1, 4)):
            body = chance.choice((b"#CHALLENGE#", b"#WELCOME#", b"{sha256}", b"{md5}", b"")) + chance.randbytes(20)
            sock.sendall(struct.pack("!i", len(body)) + body)
        thread = in_thread(client_says, listener.address, "served")
        for _ in range(2):
            try:
                assert serve_one(listener) == "served"
                break
            except AuthenticationError:
                pass
        thread.join()
        sock.close()


def test_who_takes_too_long_is_dropped(monkeypatch):
    from polyproc._connection import admission

    monkeypatch.setattr(admission, "SECONDS", 0.2)
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener, raw(listener) as sock:
        with pytest.raises(TimeoutError):
            listener.accept(timeout=1)
        data = b"x"
        while data:
            data = sock.recv(1000)  # the challenge, then the end


@pytest.mark.parametrize("first", [b"", b"{", b"{}", b"{md5}"])  # its challenge is random, and may begin like ours
def test_a_peer_that_knows_md5_alone(first):
    """The client's side of Python 3.11 and older."""

    class Old:
        def __init__(self, address):
            self.connection = Client(address)

        def prove(self):
            message = self.connection.recv_bytes()
            assert message.startswith(b"#CHALLENGE#")
            self.connection.send_bytes(hmac.new(KEY, message[11:], "md5").digest())
            assert self.connection.recv_bytes() == b"#WELCOME#"
            challenge = first + os.urandom(20 - len(first))
            self.connection.send_bytes(b"#CHALLENGE#" + challenge)
            answer = self.connection.recv_bytes()
            assert answer == hmac.new(KEY, challenge, hashlib.md5).digest()
            self.connection.send_bytes(b"#WELCOME#")
            self.connection.send("old")
            self.connection.close()

    with Listener(authkey=KEY) as listener:
        thread = in_thread(lambda: Old(listener.address).prove())
        with listener.accept() as connection:
            assert connection.recv() == "old"
        thread.join()


STANDARD = """
import sys
from multiprocessing.connection import Client, Listener
key = b"the key"
if sys.argv[1] == "client":
    with Client((sys.argv[2], int(sys.argv[3])), authkey=key) as connection:
        connection.send(["from", {"the": "standard library"}])
        print(connection.recv())
else:
    with Listener(("127.0.0.1", 0), authkey=key) as listener:
        print(listener.address[1], flush=True)
        with listener.accept() as connection:
            connection.send(connection.recv() * 2)
"""


def test_with_the_standard_librarys_client_and_listener():
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener:
        command = [sys.executable, "-c", STANDARD, "client", *map(str, listener.address)]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert serve_one(listener) == ["from", {"the": "standard library"}]
        assert "standard library" in client.communicate(timeout=30)[0]
    command = [sys.executable, "-c", STANDARD, "listener"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        told = []
        client_says(("127.0.0.1", port), "to it", KEY, told)
        assert told == ["to itto it"]


def test_challenges_over_a_pipe():
    one, two = polyproc.Pipe()
    with one, two:
        thread = in_thread(answer_challenge, two, KEY)
        deliver_challenge(one, KEY)
        thread.join()
        for act in (deliver_challenge, answer_challenge):
            with pytest.raises(ValueError, match="must be bytes"):
                act(one, "text")


def test_encrypted(contexts):
    server, client = contexts
    with Listener(("127.0.0.1", 0), authkey=KEY, ssl=server) as listener:
        message = os.urandom(300_000)

        def talk():
            with Client(("localhost", listener.address[1]), authkey=KEY, ssl=client) as connection:
                connection.send(message)
                connection.send_bytes(b"")
                told.append(connection.recv())

        told = []
        hostile = [raw(listener) for _ in range(3)]
        hostile[0].sendall(b"no tls at all" * 10)
        thread = in_thread(talk)
        with listener.accept() as connection:
            assert connection.recv() == message
            assert connection.recv_bytes() == b""
            assert not connection.poll(0)
            connection.send("thanks")
            with pytest.raises(TypeError, match="encrypted"):
                polyproc.reduction.ForkingPickler.dumps(connection)
            thread.join()
            assert told == ["thanks"]
            with pytest.raises(EOFError):
                connection.recv()
        for sock in hostile:
            sock.close()


def test_a_certificate_that_is_not_known(contexts):
    import ssl

    server, _ = contexts
    with Listener(("127.0.0.1", 0), authkey=KEY, ssl=server) as listener:
        told = []

        def talk():
            try:
                Client(("localhost", listener.address[1]), authkey=KEY, ssl=ssl.create_default_context())
            except OSError as error:
                told.append(type(error).__name__)

        thread = in_thread(talk)
        with pytest.raises(TimeoutError):
            listener.accept(timeout=1)
        thread.join()
        assert told == ["SSLCertVerificationError"]


def test_arguments():
    with pytest.raises(TypeError, match="byte string"):
        Listener(authkey="text")
    with pytest.raises(TypeError, match="byte string"):
        Client("x", authkey="text")
    with pytest.raises(TypeError, match="address type"):
        Client(5)
    with pytest.raises(ValueError, match="not recognized"):
        Listener(family="AF_PIPE")
    with pytest.raises(OSError):
        Client("/nowhere/at/all")


def test_an_abstract_socket_that_is_asked_for():
    with Listener(f"\0polyproc-test-{os.getpid()}", authkey=b"k") as listener:
        client = threading.Thread(target=lambda: Client(listener.address, authkey=b"k").close())
        client.start()
        with listener.accept(timeout=30) as connection, pytest.raises(EOFError):
            connection.recv()
        client.join()
