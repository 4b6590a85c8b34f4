"""Processes on other hosts, by the engine that starts agents by command lines: here they are processes beside us."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

import polyproc
from conftest import PROGRAMS, eventually, interrupt_program, is_running
from polyproc._hosts import agent as agent_module
from polyproc._hosts import node as node_module
from polyproc._hosts.certificate import make_certificate
from polyproc._hosts.child_output import AHEAD
from polyproc._hosts.host_engine import find_engine
from polyproc._platform.handles import POLLOUT, pause, ready
from polyproc.connection import wait
from support import on_hosts
from support.lines import Line, call, context_of, started

IN_TIME = 30


# -- what a process is -------------------------------------------------------------------------------------------------


def test_hosts_each_gets_a_process_and_its_result_comes_back(hosts):
    processes = [started(hosts, on_hosts.where) for _ in range(2)]
    assert {process.result(IN_TIME) for process in processes} == {"one", "two"}
    assert [process.exitcode for process in processes] == [0, 0]


def test_hosts_child_has_its_name_and_its_parent(hosts):
    process = started(hosts, on_hosts.family, name="far away")
    name, parent, is_alive, agent = process.result(IN_TIME)
    assert (name, parent, is_alive) == ("far away", os.getpid(), True)
    assert agent not in (parent, process.pid)


def test_hosts_child_may_start_processes_there(hosts):
    assert started(hosts, on_hosts.result_of_own_child).result(IN_TIME) in ("one", "two")


def test_hosts_exception_keeps_its_type_and_says_where(hosts, capfd):
    process = started(hosts, on_hosts.fail)
    error = process.exception(IN_TIME)
    assert type(error) is KeyError
    assert process.exitcode == 1
    assert "the key" in str(error.__cause__)
    assert any("on the host" in note for note in error.__notes__)


@pytest.mark.parametrize("target, args, code", [(on_hosts.leave, (3,), 3), (on_hosts.end_by, (signal.SIGUSR1,), -10)])
def test_hosts_exit_code_is_the_childs(hosts, target, args, code):
    process = started(hosts, target, *args)
    died = process.exception(IN_TIME)
    assert process.exitcode == died.exitcode == code
    assert (type(died), died.host in ("one", "two"), died.pid) == (polyproc.ProcessDied, True, process.pid)


@pytest.mark.parametrize("word, code", [("terminate", -15), ("kill", -9), ("interrupt", -2)])
def test_hosts_signals_come_there(hosts, word, code):
    process = started(hosts, on_hosts.sleep)
    assert process.is_alive()
    assert wait([process.sentinel], 0) == []
    getattr(process, word)()
    assert wait([process.sentinel], IN_TIME) == [process.sentinel]
    process.join(0)
    assert process.exitcode == code


def test_hosts_stop_goes_step_by_step(hosts):
    process = started(hosts, on_hosts.hold_on)
    assert process.stop(0.2) in (-2, -15, -9)
    assert not process.is_alive()


def test_hosts_join_waits_no_longer_than_told(hosts):
    process = started(hosts, on_hosts.sleep)
    process.join(0.05)
    assert process.is_alive()
    assert process.exitcode is None
    with pytest.raises(ValueError, match="still running"):
        process.close()
    process.kill()
    process.join(IN_TIME)
    process.close()


def test_hosts_process_can_be_awaited(hosts):
    async def main():
        return await started(hosts, on_hosts.echo, "value")

    assert asyncio.run(main()) == "value"


def test_hosts_output_comes_here_with_the_hosts_name(hosts, capfd):
    process = started(hosts, on_hosts.say, "first\nsecond", "an error")
    process.join(IN_TIME)
    out, err = capfd.readouterr()
    assert sorted({line.partition(" ")[2] for line in out.splitlines()}) == ["first", "second"]
    assert out.startswith(("[one] ", "[two] "))
    assert err.endswith("] an error\n")


def test_hosts_large_arguments_and_results_travel(hosts):
    data = os.urandom(1 << 22)
    assert started(hosts, on_hosts.echo, data).result(IN_TIME) == data


def test_hosts_class_of_a_process_may_be_ones_own(hosts):
    process = hosts.Process(target=lambda: 6 * 7)
    process.start()
    assert process.result(IN_TIME) == 42


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_hosts_what_is_of_this_host_is_refused_before_anything_starts(hosts):
    reader, writer = polyproc.Pipe()
    with pytest.raises(polyproc.ProcessError, match="what the engine 'command' starts.*cannot pass a descriptor"):
        started(hosts, on_hosts.echo, reader)
    reader.close()
    writer.close()


def test_hosts_lock_of_another_context_is_refused(hosts):
    with pytest.raises(polyproc.ProcessError, match="engine 'command'"):
        started(hosts, on_hosts.echo, polyproc.get_context("spawn").Lock())


def test_hosts_process_object_is_not_sent_on(hosts):
    process = started(hosts, on_hosts.sleep)
    with pytest.raises(TypeError, match="engine 'command' cannot send its handle"):
        polyproc.reduction.ForkingPickler.dumps(process)
    process.kill()
    process.join()


@pytest.mark.parametrize("options", [{"hosts": []}, {"hosts": "one"}, {"local": "thread"}, {"peer_timeout": -1}])
def test_hosts_wrong_options_are_refused(options):
    with pytest.raises((ValueError, TypeError)):
        polyproc.get_context("command", **options)


def test_hosts_options_are_for_engines_alone():
    with pytest.raises(TypeError, match="for engines alone: hosts"):
        polyproc.get_context("spawn", hosts=["one"])
    with pytest.raises(ValueError, match="cannot find context for 'rays'"):
        polyproc.get_context("rays", hosts=["one"])


def test_hosts_command_that_fails_is_told_with_what_it_said():
    with (
        polyproc.get_context("command", command=["sh", "-c", "echo no such host {host} >&2; exit 7"]) as context,
        pytest.raises(polyproc.ProcessError, match=r"exit code 7(.|\n)*no such host localhost"),
    ):
        started(context, on_hosts.where)


def test_hosts_one_that_does_not_come_is_named_and_the_others_work():
    command = ["sh", "-c", "test {host} = good && exec {agent}"]
    with polyproc.get_context("command", command=command, hosts=["bad", "good"]) as context:
        with pytest.warns(RuntimeWarning, match="no agent on 'bad'"):
            process = started(context, on_hosts.where)
        assert process.result(IN_TIME) == "good"


def test_hosts_agent_of_another_version_is_refused(monkeypatch):
    ours = agent_module.versions()
    monkeypatch.setattr(node_module, "versions", lambda: {**ours, "python": "2.7.18"})
    with (
        polyproc.get_context("command") as context,
        pytest.raises(polyproc.ProcessError, match=rf"has python {ours['python']}, this process python 2\.7\.18"),
    ):
        started(context, on_hosts.where)


def test_hosts_closed_context_starts_nothing():
    context = polyproc.get_context("command")
    context.close()
    with pytest.raises(polyproc.ProcessError, match="was closed"):
        started(context, on_hosts.where)


# -- code that goes along ----------------------------------------------------------------------------------------------


def test_hosts_modules_go_along(tmp_path, monkeypatch):
    package = tmp_path / "carried_along"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with polyproc.get_context("command", modules=["carried_along"]) as context:
        first = started(context, on_hosts.use_carried).result(IN_TIME)
        for file in package.iterdir():  # they are not read there
            if file.is_file():
                file.unlink()
        assert started(context, on_hosts.use_carried).result(IN_TIME) == first == (42, str(package / "__init__.py"))


def test_hosts_module_that_is_not_there_is_named():
    with (
        polyproc.get_context("command", modules=["no_such_module"]) as context,
        pytest.raises(ModuleNotFoundError, match="no_such_module"),
    ):
        started(context, on_hosts.where)


# -- ends --------------------------------------------------------------------------------------------------------------


def agent_of(process):
    return process._popen.node.facts["pid"]


def test_hosts_killed_agent_takes_its_children_along_and_is_told():
    with polyproc.get_context("command", hosts=["one"]) as context:
        process = started(context, on_hosts.sleep)
        os.kill(agent_of(process), signal.SIGKILL)
        died = process.exception(IN_TIME)
        assert (died.reason, died.host, process.exitcode) == ("host lost", "one", -9)
        assert "lost with its host" in str(died)
        eventually(lambda: not is_running(process.pid))
        # and there is another, for the next one
        assert started(context, on_hosts.where).result(IN_TIME) == "one"


def test_hosts_agent_that_has_to_leave_gives_its_children_time():
    with polyproc.get_context("command", hosts=["one"], grace=0.2) as context:
        gentle, stubborn = started(context, on_hosts.sleep), started(context, on_hosts.hold_on)
        os.kill(agent_of(gentle), signal.SIGTERM)
        assert (gentle.exception(IN_TIME).reason, gentle.exitcode) == ("preempted", -15)
        assert stubborn.exception(IN_TIME).reason in ("host lost", "preempted")
        eventually(lambda: not is_running(stubborn.pid))


def test_hosts_parent_that_reads_nothing_for_long_loses_no_child(capfd):
    """What a child writes fills all buffers meanwhile: whoever has no room is there all the same."""
    with polyproc.get_context("command", hosts=["one"], peer_timeout=0.5) as context:
        process = started(context, on_hosts.write_much)
        ctypes.PyDLL(None).usleep(2_500_000)  # keeps the GIL
        process.join(IN_TIME)
        assert process.exitcode == 0
    assert capfd.readouterr().out.count("\n") == 20_000


def test_hosts_output_that_nobody_reads_holds_up_no_report():
    reader, writer = os.pipe()
    with (
        open(reader, "rb"),
        open(writer, "w") as stream,
        contextlib.redirect_stdout(stream),
        polyproc.get_context("command", hosts=["one"]) as context,
    ):
        noisy = started(context, on_hosts.write_for_ever)
        eventually(lambda: not ready([writer], 0, POLLOUT))
        assert [started(context, on_hosts.where).result(IN_TIME) for _ in range(2)] == ["one"] * 2
        assert noisy.is_alive()
        display = context._nodes._display
        assert sum(len(text) for _, text, _ in display._pieces) < 4 * AHEAD
        noisy.kill()
        noisy.join(IN_TIME)
        assert noisy.exitcode == -9


def test_hosts_output_that_is_read_slowly_comes_whole():
    reader, writer = os.pipe()
    found = []

    def read():
        with open(reader, "rb") as stream:
            while piece := stream.read(1 << 20):
                found.append(piece)
                pause(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    with (
        open(writer, "w") as stream,
        contextlib.redirect_stdout(stream),
        polyproc.get_context("command", hosts=["one"]) as context,
    ):
        process = started(context, on_hosts.write_much)
        process.join(IN_TIME)
        assert process.exitcode == 0
    thread.join()
    assert b"".join(found) == (b"[one] " + b"x" * 1023 + b"\n") * 20_000


def test_hosts_agent_without_descriptors_refuses_and_its_children_live():
    command = ["sh", "-c", "ulimit -n 48; exec {agent}"]
    with polyproc.get_context("command", command=command, hosts=["one"]) as context:
        first = started(context, on_hosts.sleep)
        running = [first]
        with pytest.raises((polyproc.ProcessError, OSError)):
            while len(running) < 48:
                running.append(started(context, on_hosts.sleep))
        assert first.is_alive() and len(running) > 2
        for process in running:
            process.kill()
            process.join(IN_TIME)
        assert {process.exitcode for process in running} == {-9}
        assert started(context, on_hosts.where).result(IN_TIME) == "one"


def test_hosts_nothing_is_left_of_a_program_that_is_killed():
    with subprocess.Popen([sys.executable, str(PROGRAMS / "uses_hosts.py")], stdout=subprocess.PIPE) as program:
        try:
            pids = [int(word) for word in program.stdout.readline().split()]
            assert len(pids) == 4
            assert all(map(is_running, pids))
        finally:
            program.kill()
        eventually(lambda: not any(map(is_running, pids)))


def test_hosts_ctrl_c_ends_what_runs_there_with_one_traceback():
    status, errors, _ = interrupt_program("interrupted_hosts.py", pause=0.1)
    assert status == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1, errors


def test_hosts_start_that_is_broken_off_disturbs_nobody(monkeypatch):
    with polyproc.get_context("command", hosts=["one"]) as context:
        other = started(context, on_hosts.sleep)
        monkeypatch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            started(context, on_hosts.sleep)
        monkeypatch.undo()
        assert started(context, on_hosts.where).result(IN_TIME) == "one"
        assert other.is_alive()
        other.kill()
        other.join(IN_TIME)


def interrupted(event, timeout=None):
    raise KeyboardInterrupt


def test_hosts_close_ends_agents_and_children():
    context = polyproc.get_context("command", hosts=["one"])
    process = started(context, on_hosts.sleep)
    agent = agent_of(process)
    context.close()
    assert process.exception(IN_TIME).reason == "host lost"
    eventually(lambda: not is_running(agent) and not is_running(process.pid))


def test_hosts_forked_child_of_the_caller_does_not_keep_agents_alive(hosts):
    context = polyproc.get_context("command", hosts=["one"])
    agent = agent_of(started_and_ended(context))
    with polyproc.get_context("fork").Pool(1) as pool:
        context.close()
        eventually(lambda: not is_running(agent))
        assert pool.apply(abs, (-1,)) == 1


def started_and_ended(context):
    process = started(context, on_hosts.where)
    process.join(IN_TIME)
    return process


# -- strangers ---------------------------------------------------------------------------------------------------------


def garbage(invitation):
    with call(invitation) as sock:
        sock.sendall(os.urandom(4096))


def silence(invitation):
    silent.append(call(invitation))


silent = []


def wrong_ticket(invitation):
    with pytest.raises((polyproc.AuthenticationError, OSError, EOFError)):
        polyproc.connection.Client(tuple(invitation["dial"][0]), authkey=b"another ticket").close()


def goes_in_the_middle(invitation):
    with call(invitation) as sock:
        sock.recv(64)  # the challenge


@pytest.mark.parametrize("act", [garbage, silence, wrong_ticket, goes_in_the_middle], ids=lambda act: act.__name__)
def test_hosts_stranger_who_calls_first_is_refused_and_disturbs_nobody(act):
    with context_of(Line(act)) as context:
        assert started(context, on_hosts.where).result(IN_TIME) == "there"
    while silent:
        silent.pop().close()


def test_hosts_ticket_is_good_once():
    engine = Line(lambda invitation: None)
    with context_of(engine) as context:
        assert started(context, on_hosts.where).result(IN_TIME) == "there"
        [invitation] = engine.invitations
        with pytest.raises(OSError):
            call(invitation).close()


def nonsense(invitation):
    """Prove the ticket, and then talk nonsense: an agent that is no agent."""
    address, ticket = tuple(invitation["dial"][0]), bytes.fromhex(invitation["ticket"])
    with polyproc.connection.Client(address, authkey=ticket) as connection:
        os.write(connection.fileno(), b"\x80\x04cos\nsystem\n" + os.urandom(64) + b"\n")


def test_hosts_agent_that_does_not_say_who_it_is_is_refused():
    with (
        context_of(Line(nonsense), start_timeout=20) as context,
        pytest.raises(polyproc.ProcessError, match="did not say who it is"),
    ):
        started(context, on_hosts.where)


def other_address():
    """Return an address of this host beside the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return sock.getsockname()[0]


def test_hosts_connection_off_this_host_is_encrypted():
    address = other_address()
    if address is None or address.startswith("127."):
        pytest.skip("this host has no other address than its own")
    engine = Line(lambda invitation: None, address)
    with context_of(engine) as context:
        assert started(context, on_hosts.echo, b"x" * (1 << 20)).result(IN_TIME) == b"x" * (1 << 20)
        [invitation] = engine.invitations
        assert len(invitation["fingerprint"]) == 64
        [node] = context._nodes.all()
        assert node._wire._socket.version() == "TLSv1.3"


def test_hosts_agent_goes_to_no_other_certificate():
    from polyproc._hosts.wire import dial

    ours, other = make_certificate(), make_certificate()
    with polyproc.connection.Listener(("127.0.0.1", 0), authkey=b"key", ssl=other.server_context()) as listener:

        def accept():
            with pytest.raises((polyproc.TimeoutError, OSError, polyproc.AuthenticationError)):
                listener.accept(0.5)

        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(polyproc.AuthenticationError, match="another certificate"):
            dial([listener.address], ours.fingerprint)
        thread.join()


def test_hosts_engines_are_found_by_their_names():
    assert find_engine("command").name == "command"
    assert find_engine("no such engine") is None
