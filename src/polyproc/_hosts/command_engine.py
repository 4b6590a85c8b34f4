"""The engine `command`: an agent is started by a command line, whatever that is: ssh, srun, kubectl exec, a shell.

    get_context("command", command="ssh {host}", hosts=["a", "b"], address="10.0.0.1")

In the command's words `{host}` stands for the host's name and `{agent}` for the agent's command line as a shell reads
it; a command without `{agent}` gets the words of that line behind its own.
"""

from __future__ import annotations

import collections
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading

from polyproc._base.errors import ProcessError
from polyproc._base.typing import Callable, Sequence
from polyproc._hosts.host_engine import AgentSpec, Resources

_LINES = 20  # of what the command has said last
_PIECE = 65536
_ENDING = 3.0  # seconds for a command whose agent has gone
_LOOPBACK = "127.0.0.1"


class CommandEngine:
    """Starts one agent on each of some hosts.

    Args:
        command: the words that start a program there, or one string that is split as a shell would; none of them runs
            the agent on this host.
        hosts: names of hosts; a name may stand there several times, for several agents.
        address: this host's address, on which it listens and which the hosts reach; unless given, that of the
            interface by which the first of them is reached, and for names that mean nothing here this host alone.
    """

    name = "command"

    def __init__(
        self,
        command: str | Sequence[str] = (),
        hosts: Sequence[str] = ("localhost",),
        address: str | None = None,
    ) -> None:
        if isinstance(hosts, str) or not hosts or not all(isinstance(host, str) for host in hosts):
            raise ValueError(f"hosts must be a list of names, at least one, and not {hosts!r}")
        self._words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
        self._by_name: dict[str, str] = {}
        for host in hosts:
            count = list(self._by_name.values()).count(host)
            self._by_name[f"{host}#{count + 1}" if count else host] = host
        self._address = address

    def nodes(self, want: Resources) -> Sequence[str]:
        """Return the hosts; one that was named more than once has a number from the second time on."""
        return list(self._by_name)

    def address(self) -> str:
        """Return the address of the interface by which the first host is reached, unless one was given."""
        if self._address is None:
            self._address = _route_to(next(iter(self._by_name.values())))
        return self._address

    def lease(self, spec: AgentSpec, want: Resources, node: str) -> CommandLease:
        """Start the command. Raises OSError if there is no such program."""
        if want:
            raise ValueError(
                "the engine 'command' places nothing: it starts an agent on each of its hosts, whatever these have; "
                f"leave resources= out and name the hosts that have {dict(want)!r}, or use an engine that places"
            )
        line = shlex.join(spec.argv)
        words = [word.replace("{host}", self._by_name[node]).replace("{agent}", line) for word in self._words]
        if not any("{agent}" in word for word in self._words):
            words += spec.argv
        return CommandLease(node, words, spec)

    def close(self) -> None:
        """Do nothing: there are only the leases."""


def _route_to(host: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((host, 9))  # nothing is sent
        except OSError:
            return _LOOPBACK
        address: str = sock.getsockname()[0]
        return address


class CommandLease:
    """A command that runs."""

    def __init__(self, node: str, words: Sequence[str], spec: AgentSpec) -> None:
        self.node = node
        self._callbacks: list[Callable[[str], None]] = []
        self._said: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._begun = b""  # a line that has no end yet
        self._forwards = False
        self._lock = threading.Lock()
        self._command = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **spec.env},
            cwd=spec.cwd,
            start_new_session=True,  # a Ctrl-C is ours to decide upon
        )
        self._listener = threading.Thread(target=self._listen, name=f"polyproc-command-{node}", daemon=True)
        self._listener.start()
        self._invite(spec.standard_input())

    def _invite(self, line: bytes) -> None:
        pipe = self._command.stdin
        assert pipe is not None  # as asked for
        try:
            pipe.write(line)
            pipe.close()
        except OSError:  # it has ended: that is seen by its exit code
            pass

    def _listen(self) -> None:
        """Read what the command says, until nobody has its end of the pipe any more; then it has ended."""
        pipe = self._command.stdout
        assert pipe is not None  # as asked for
        with pipe:
            while piece := os.read(pipe.fileno(), _PIECE):  # a prompt has no end of line
                *lines, self._begun = (self._begun + piece).split(b"\n")
                self._begun = self._begun[-_PIECE:]
                for line in lines:
                    self._take(line)
        if self._begun:
            self._take(self._begun)
            self._begun = b""
        code = self._command.wait()
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(f"its command ended with exit code {code}")

    def _take(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        self._said.append(text)
        if self._forwards and sys.stderr is not None:
            sys.stderr.write(f"[{self.node}] {text}\n")

    def waits_for(self) -> str:
        """Return what the command has said, if it has: it may have asked for something."""
        said = "\n".join([*self._said, self._begun.decode(errors="replace")]).strip("\n")
        return f"its command runs, and has said:\n{said}" if said else "its command runs, and has said nothing"

    def forward(self) -> None:
        """Show what the command says from now on."""
        self._forwards = True

    def failure(self) -> ProcessError | None:
        """Return why there will be no agent, if the command has ended."""
        code = self._command.poll()
        if code is None:
            return None
        self._listener.join(_ENDING)
        said = "\n".join(self._said)
        words = shlex.join(map(str, self._command.args))  # type: ignore[arg-type]
        text = f"no agent on {self.node!r}: its command ended with exit code {code}: {words[:500]}"
        return ProcessError(f"{text}\n{said}" if said else text)

    def on_lost(self, callback: Callable[[str], None]) -> None:
        """Call back when the command has ended."""
        with self._lock:
            self._callbacks.append(callback)

    def release(self) -> None:
        """End the command: first by itself, as its agent does when its connection ends."""
        with self._lock:
            self._callbacks.clear()
        for signum in (0, signal.SIGTERM, signal.SIGKILL):
            if signum:
                self._signal(signum)
            try:
                self._command.wait(_ENDING)
                break
            except subprocess.TimeoutExpired:
                pass
        self._listener.join(_ENDING)

    def _signal(self, signum: int) -> None:
        if self._command.poll() is None:  # the group bears its number
            try:
                os.killpg(self._command.pid, signum)
            except ProcessLookupError:
                pass
