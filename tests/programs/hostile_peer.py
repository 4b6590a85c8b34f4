"""A peer that is up to no good: `hostile_peer.py ADDRESS WHAT [KEY]`, until it is killed. Uses nothing of polyproc.

ADDRESS is a literal of Python. With a KEY the peer proves that it knows it, and is up to no good after that.
"""

import ast
import hmac
import os
import pickle
import socket
import struct
import sys
import threading
import time


class Command:
    def __reduce__(self):
        return os._exit, (77,)


def frame(data):
    return struct.pack("!i", len(data)) + data


def connected(address):
    sock = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(address)
    return sock


def message(sock):
    header = sock.recv(4, socket.MSG_WAITALL)
    return sock.recv(struct.unpack("!i", header)[0], socket.MSG_WAITALL)


def prove(sock, key, digest="sha256"):
    challenge = message(sock)[len(b"#CHALLENGE#") :]
    prefix = b"{" + digest.encode() + b"}" if digest else b""
    sock.sendall(frame(prefix + hmac.new(key, challenge, digest or "md5").digest()))
    if message(sock) != b"#WELCOME#":
        return False
    sock.sendall(frame(b"#CHALLENGE#{sha256}" + os.urandom(40)))
    message(sock)
    sock.sendall(frame(b"#WELCOME#"))
    return True


def command(sock):
    sock.sendall(frame(b"x" * 8))
    time.sleep(0.004)
    for _ in range(3):
        sock.sendall(frame(pickle.dumps(Command())))


def slow(sock):
    threading.Thread(target=drip, args=(sock,), daemon=True).start()


def drip(sock):
    for byte in frame(b"x" * 200):
        sock.sendall(bytes([byte]))
        time.sleep(0.05)


def guess(sock, digest):
    sys.exit(3 if prove(sock, b"a guess", digest) else 4)


SAYS = {
    "silent": lambda sock: None,
    "half a header": lambda sock: sock.sendall(b"\0\0"),
    "half a message": lambda sock: sock.sendall(struct.pack("!i", 16) + b"x"),
    "huge header": lambda sock: sock.sendall(struct.pack("!i", 0x7FFFFFFF)),
    "huger header": lambda sock: sock.sendall(struct.pack("!iQ", -1, 1 << 40)),
    "negative header": lambda sock: sock.sendall(struct.pack("!i", -7)),
    "command": command,
    "slow": slow,
    "another digest": lambda sock: guess(sock, "sha256"),
    "md5": lambda sock: guess(sock, "md5"),
    "old md5": lambda sock: guess(sock, ""),
}


def flood(address, per_second):
    """Connect so many times a second, and say nothing."""
    kept, begin = [], time.monotonic()
    for number in range(1 << 30):
        try:
            kept.append(connected(address))
        except OSError:
            pass
        if len(kept) > 4000:
            kept.pop(0).close()
        time.sleep(max(begin + number / per_second - time.monotonic(), 0))


def main(text, what, key=""):
    address = ast.literal_eval(text)
    if what == "flood":
        flood(address, 1000)
    many = 1 if "md5" in what or "digest" in what else 20
    while True:
        kept = []
        for _ in range(many):
            try:
                kept.append(connected(address))
                if key:
                    prove(kept[-1], bytes.fromhex(key))
                SAYS[what](kept[-1])
            except (OSError, struct.error):  # it was dropped
                pass
        sys.stdout.write("there\n")
        sys.stdout.flush()
        time.sleep(0.05 if what == "command" else 60)


if __name__ == "__main__":
    main(*sys.argv[1:])
