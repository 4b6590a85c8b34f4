"""An engine whose agents are what a test makes of an invitation."""

import json
import socket
import subprocess
import threading

IN_TIME = 30


def started(context, target, *args, **kwds):
    process = context.Process(target=target, args=args, **kwds)
    process.start()
    return process


class Line:
    """An engine whose agents are what the test makes of an invitation."""

    name = "line"

    def __init__(self, act, address="127.0.0.1"):
        self.act, self.invitations, self._address = act, [], address

    def nodes(self, want):
        return ["there"]

    def address(self):
        return self._address

    def lease(self, spec, want, node):
        self.invitations.append(json.loads(spec.standard_input()))
        return LineLease(node, self.act, spec)

    def close(self):
        pass


class LineLease:
    """Runs the test's function in a thread, then a real agent."""

    def __init__(self, node, act, spec):
        self.node = node
        self._agent = None
        self._thread = threading.Thread(target=self._run, args=(act, spec))
        self._thread.start()

    def _run(self, act, spec):
        act(json.loads(spec.standard_input()))
        self._agent = subprocess.Popen(spec.argv, stdin=subprocess.PIPE)
        self._agent.stdin.write(spec.standard_input())
        self._agent.stdin.close()

    def failure(self):
        return None

    def forward(self):
        pass

    def on_lost(self, callback):
        pass

    def release(self):
        self._thread.join()
        if self._agent is not None:
            self._agent.wait(IN_TIME)


def context_of(engine, **options):
    from polyproc._hosts.nodes import Nodes
    from polyproc._hosts.remote_context import RemoteContext

    return RemoteContext("line", Nodes("line", engine, **options))


def call(invitation):
    return socket.create_connection(tuple(invitation["dial"][0]), 10)
