"""An agent, a child or their owner that is stopped for long (SIGSTOP) and goes on: nothing is lost meanwhile.

POLYPROC_STOPPED says for how many seconds, if not for eight: longer than it takes to give up a host that says nothing.
"""

import os
import shutil
import signal
import subprocess
import sys

import pytest

import polyproc
from conftest import PROGRAMS, eventually, is_running
from polyproc._platform.handles import pause
from support import on_hosts

pytestmark = pytest.mark.chaos

STOPPED = float(os.environ.get("POLYPROC_STOPPED", "8"))
IN_TIME = 60
HOSTS = ["one", "two", "three"]


def test_stopped_hosts_agent_and_child_lose_nothing():
    """Of three nodes one has its agent stopped, one its worker, and the third goes on."""
    with polyproc.get_context("command", hosts=HOSTS, peer_timeout=1) as context, context.Pool(3) as pool:
        begun, items = context.Queue(), context.Queue()
        calls = [pool.apply_async(on_hosts.tell_and_sleep, (begun, 1.0)) for _ in HOSTS]
        assert {begun.get(timeout=IN_TIME) for _ in HOSTS} == {*HOSTS}
        nodes = {node.name: node for node in context._nodes.all()}
        workers = {worker._popen.host: worker.pid for worker in pool._pool}
        process = context.Process(target=on_hosts.put_numbers, args=(items, 1000))
        stopped = [nodes["one"].facts["pid"], workers["two"]]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            results = [pool.apply_async(on_hosts.echo, (number,)) for number in range(100)]
            large = pool.apply_async(on_hosts.summary_of, (on_hosts.large(1, 2),))
            pause(STOPPED)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert {call.get(IN_TIME) for call in calls} == {*HOSTS}
        assert [result.get(IN_TIME) for result in results] == [*range(100)]
        assert large.get(IN_TIME)[0] == on_hosts.SIZE
        process.start()
        assert [items.get(timeout=IN_TIME) for _ in range(1000)] == [*range(1000)]
        process.join(IN_TIME)
        pool.terminate()
        pool.join()


def test_stopped_hosts_owner_loses_nothing():
    command = [sys.executable, str(PROGRAMS / "stopped_hosts.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            pids = [int(word) for word in program.stdout.readline().split()]
            assert len(pids) == len(HOSTS)
            program.send_signal(signal.SIGSTOP)
            pause(STOPPED)
            assert all(map(is_running, pids))
            program.send_signal(signal.SIGCONT)
            rest, _ = program.communicate(timeout=IN_TIME)
        finally:
            program.kill()
    assert program.returncode == 0
    assert rest.endswith("all is there\n")
    eventually(lambda: not any(map(is_running, pids)))


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root: NOT TESTED HERE")
def test_stopped_hosts_full_disk_is_needed_by_nothing_that_works_without():
    """On the node there is not a byte of room in the folders for files that last, nor in those for memory."""
    full = "mount -t tmpfs -o size=4k none {place} && head -c 4096 /dev/zero > {place}/full"
    places = " && ".join(full.format(place=place) for place in ("/tmp", "/var/tmp", "/dev/shm"))
    command = ["unshare", "--mount", "sh", "-c", f"{places} && cd / && exec {{agent}}"]
    with polyproc.get_context("command", command=command, hosts=["full"], env={"TMPDIR": "/tmp"}) as context:
        queue = context.Queue()
        process = context.Process(target=on_hosts.put_numbers, args=(queue, 100))
        process.start()
        assert [queue.get(timeout=IN_TIME) for _ in range(100)] == [*range(100)]
        assert process.result(IN_TIME) is None
        with context.Pool(2) as pool:
            assert pool.map(on_hosts.echo, range(100)) == [*range(100)]
            made = on_hosts.large(1, 2)
            assert pool.apply(on_hosts.echo, (made,)).summary() == (on_hosts.SIZE, 1, 2, False)
            with polyproc.share(made) as shared:
                assert pool.apply(on_hosts.summary_of, (shared,))[:3] == (on_hosts.SIZE, 1, 2)
            with pytest.raises(OSError, match="No space left"):
                pool.apply(on_hosts.write_file, ("/tmp/more", 1 << 16))
            pool.terminate()
            pool.join()
