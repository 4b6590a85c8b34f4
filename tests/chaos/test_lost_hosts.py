"""A host whose link is cut: here a network namespace of its own, with a real TCP connection over a pair of veth devices."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import time

import pytest

import polyproc
from conftest import eventually, is_running
from support import on_hosts

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2 to make hosts: NOT TESTED HERE"
    ),
]

IN_TIME = 30
OURS = "10.213.77.1"


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def namespace_of(number):
    """Have a network namespace that reaches this one by a link of its own; yield its name and our address there."""
    name, ours = f"pp{os.getpid() % 10000}{number}", f"10.213.{77 + number}.1"
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: NOT TESTED: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{ours}/24", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "addr", "add", f"10.213.{77 + number}.2/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "route", "add", "default", "via", ours)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", f"{name}a"], capture_output=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.fixture
def namespace():
    """A network namespace that reaches this one by a link; what `ip` cannot do here, the test is skipped for."""
    with namespace_of(0) as name:
        yield name


def test_lost_hosts_one_of_three_costs_what_ran_there():
    """Three hosts, each behind a link of its own; one link is cut while all work."""
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(namespace_of(number)) for number in range(3)]
        command = ["ip", "netns", "exec", "{host}"]
        options = {"command": command, "hosts": names, "address": OURS, "peer_timeout": 2}
        context = stack.enter_context(polyproc.get_context("command", **options))
        with context.Pool(3) as pool:
            begun = context.Queue()
            calls = [pool.apply_async(on_hosts.tell_and_sleep, (begun, 4.0)) for _ in names]
            assert {begun.get(timeout=IN_TIME) for _ in names} == {*names}
            ip("link", "set", f"{names[1]}a", "down")
            outcomes = []
            for call in calls:
                try:
                    outcomes.append(call.get(IN_TIME))
                except polyproc.ProcessDied as died:
                    outcomes.append((died.reason, died.host))
            assert sorted(outcomes, key=str) == sorted([("host lost", names[1]), names[0], names[2]], key=str)
            assert pool.options(retries=2).map(on_hosts.echo, range(100)) == list(range(100))
            pool.terminate()
            pool.join()


def context_of(namespace, **options):
    """Return a context whose node is in that namespace; it is reached by an address of its own, so all is encrypted."""
    command = ["ip", "netns", "exec", namespace]
    return polyproc.get_context("command", command=command, hosts=["far"], address=OURS, **options)


def started(context, target, *args):
    process = context.Process(target=target, args=args)
    process.start()
    return process


def test_lost_hosts_processes_are_told_within_ten_seconds_and_killed_there(namespace):
    with context_of(namespace) as far:
        lock, taken = far.Lock(), far.Event()
        process = started(far, on_hosts.take_and_hold, lock, taken)
        assert taken.wait(IN_TIME)
        ip("link", "set", f"{namespace}a", "down")
        begin = time.monotonic()
        process.join(IN_TIME)
        assert time.monotonic() - begin < 10
        died = process.exception()
        assert (died.reason, died.host, process.exitcode) == ("host lost", "far", -9)
        assert lock.acquire(timeout=10)  # which it held
        lock.release()
        eventually(lambda: not is_running(process.pid))


def test_lost_hosts_are_told_of_in_time_though_much_is_on_its_way(namespace, capfd):
    """Both sides have sent what is not acknowledged: the one notices, and the other kills."""
    with context_of(namespace, peer_timeout=2) as far:
        process, pid = started(far, on_hosts.write_for_ever), None
        eventually(lambda: capfd.readouterr().out)
        other = started(far, on_hosts.sleep)
        pid = other.pid
        ip("link", "set", f"{namespace}a", "down")
        begin = time.monotonic()
        for one in (process, other):
            one.kill()  # an order that nobody hears
            one.join(IN_TIME)
            assert one.exception().reason == "host lost"
        assert time.monotonic() - begin < 10
        eventually(lambda: not is_running(pid) and not is_running(process.pid))


def test_lost_hosts_silent_parent_loses_no_child(namespace):
    """The kernel answers for it: one that holds the GIL for longer than the limit is there."""
    with context_of(namespace, peer_timeout=2) as far:
        process = started(far, on_hosts.sleep, 5.0)
        # One call into the C library that keeps the GIL: nothing of Python runs meanwhile.
        ctypes.PyDLL(None).usleep(4_000_000)
        process.join(IN_TIME)
        assert process.exitcode == 0


def test_lost_hosts_pool_goes_on_elsewhere(namespace):
    command = ["sh", "-c", f"test {{host}} = near && exec {{agent}} || exec ip netns exec {namespace} {{agent}}"]
    options = {"command": command, "hosts": ["near", "far"], "address": OURS, "peer_timeout": 2}
    with polyproc.get_context("command", **options) as context, context.Pool(2) as pool:
        begun = context.Queue()
        retried = pool.options(retries=2)
        results = [retried.apply_async(on_hosts.tell_and_sleep, (begun, 5.0)) for _ in range(2)]
        assert {begun.get(timeout=IN_TIME), begun.get(timeout=IN_TIME)} == {"near", "far"}
        ip("link", "set", f"{namespace}a", "down")
        assert [result.get(60) for result in results] == ["near", "near"]
        pool.terminate()
        pool.join()
