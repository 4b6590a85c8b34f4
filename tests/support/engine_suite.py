"""What every engine has to do: checks that take what makes a context of one. No test framework is needed.

Run on the engine `command` by test_engines.py, on Ray by tests/downstream/programs/ray_nodes.py.
"""

import contextlib
import io
import os
import signal
import sys
import time

import polyproc
from polyproc._hosts import node as node_module
from support import on_hosts

IN_TIME = 60


def started(context, target, *args):
    process = context.Process(target=target, args=args)
    process.start()
    return process


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition):
    deadline = time.monotonic() + IN_TIME
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def refused(errors, act):
    """Return the error with which something is refused."""
    try:
        act()
    except errors as error:
        return str(error)
    raise AssertionError("it was not refused")


def each_node_has_one_agent_until_it_is_released(make):
    with make() as context:
        nodes = context._nodes.all()
        assert len({node.name for node in nodes}) == len(nodes) >= 2
        processes = [started(context, on_hosts.sleep) for _ in nodes]
        assert {process._popen.host for process in processes} == {node.name for node in nodes}
        pids = [node.facts["pid"] for node in nodes] + [process.pid for process in processes]
        assert len(set(pids)) == 2 * len(nodes)
        assert all(map(is_running, pids))
        nodes[0]._lease.release()  # which ends its agent; a second time nothing happens
        nodes[0]._lease.release()
        assert processes[[process._popen.host for process in processes].index(nodes[0].name)].exception(IN_TIME)
    eventually(lambda: not any(map(is_running, pids)))


def agent_that_is_killed_is_told_and_replaced(make):
    with make() as context:
        [node, *_] = context._nodes.all()
        said = []
        node._lease.on_lost(said.append)
        process = next(p for p in iter(lambda: started(context, on_hosts.sleep), None) if p._popen.node is node)
        os.kill(node.facts["pid"], signal.SIGKILL)
        died = process.exception(IN_TIME)
        assert (died.reason, died.host, process.exitcode) == ("host lost", node.name, -9)
        eventually(lambda: said)
        assert isinstance(said[0], str)
        eventually(lambda: not is_running(process.pid))
        assert started(context, on_hosts.echo, "value").result(IN_TIME) == "value"


def resources_are_found_or_refused(make):
    with make(resources={"cpus": 1}) as context:
        if context._name == "command":
            assert "places nothing" in refused(ValueError, lambda: started(context, on_hosts.where))
            return
        assert started(context, on_hosts.where).result(IN_TIME)
    with make(resources={"cpus": 10_000}) as context:
        assert "has no nodes" in refused(polyproc.ProcessError, lambda: started(context, on_hosts.where))


def output_comes_here(make):
    with make() as context, contextlib.redirect_stdout(io.StringIO()) as out:
        process = started(context, on_hosts.say, "a line", "")
        process.join(IN_TIME)
    assert out.getvalue() == f"[{process._popen.host}] a line\n"


def environment_and_folder_are_as_asked(make):
    with make(env={"POLYPROC_TRIED": "yes"}, cwd="/") as context:
        found = started(context, on_hosts.surroundings, "POLYPROC_TRIED").result(IN_TIME)
        assert found == ("yes", "/"), found


def another_version_is_refused_with_both_named(make):
    ours = node_module.versions
    node_module.versions = lambda: {**ours(), "python": "2.7.18"}
    try:
        with make() as context:
            said = refused(polyproc.ProcessError, lambda: started(context, on_hosts.where))
    finally:
        node_module.versions = ours
    assert "python 2.7.18" in said and ours()["python"] in said, said


def agent_that_cannot_start_is_told(make):
    with make(python="/no/such/python") as context:
        refused((polyproc.ProcessError, OSError), lambda: started(context, on_hosts.where))


def node_that_is_vacated_gives_a_grace_and_is_named(make):
    with make(grace=0.3) as context:
        process = started(context, on_hosts.sleep)
        os.kill(process._popen.node.facts["pid"], signal.SIGTERM)
        assert (process.exception(IN_TIME).reason, process.exitcode) == ("preempted", -15)


CHECKS = [
    each_node_has_one_agent_until_it_is_released,
    agent_that_is_killed_is_told_and_replaced,
    resources_are_found_or_refused,
    output_comes_here,
    environment_and_folder_are_as_asked,
    another_version_is_refused_with_both_named,
    agent_that_cannot_start_is_told,
    node_that_is_vacated_gives_a_grace_and_is_named,
]


def lost_node_is_told_in_time(make, lose):
    """With what loses the node of a process, as the engine does."""
    with make() as context:
        nodes = {node.name for node in context._nodes.all()}
        processes = [started(context, on_hosts.sleep) for _ in nodes]
        lost = lose(processes)
        began = time.monotonic()
        died = lost.exception(IN_TIME)
        assert time.monotonic() - began < 10
        assert died.reason == "host lost", died
        assert all(process.is_alive() for process in processes if process is not lost)
        assert started(context, on_hosts.where).result(IN_TIME) in nodes - {died.host}


def run_all(make):
    """Run all checks; say which."""
    for check in CHECKS:
        check(make)
        print(check.__name__.replace("_", " "), file=sys.stderr, flush=True)
