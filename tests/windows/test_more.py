"""What is made in a way of its own on Windows, beside processes, locks and queues."""

import asyncio
import importlib
import os
import socket
import threading
import time

import pytest
import targets

import polyproc
from polyproc import reduction
from polyproc._platform import windows_kernel as kernel
from polyproc._platform import windows_objects
from polyproc._platform.handles import open_pidfd
from polyproc.connection import Listener, wait

PUBLIC = (
    "connection context forkserver heap managers pool popen_fork popen_forkserver popen_spawn_posix process queues "
    "reduction resource_sharer resource_tracker shared_memory sharedctypes spawn synchronize util dummy abc"
)


def started(target, *args, **options):
    process = polyproc.Process(target=target, args=args, **options)
    process.start()
    return process


@pytest.mark.parametrize("name", PUBLIC.split())
def test_public_module_can_be_loaded(name):
    module = importlib.import_module(f"polyproc.{name}")
    assert all(hasattr(module, word) for word in module.__all__)


def test_the_doctor_finds_that_all_is_well(capsys):
    from polyproc._cli import doctor

    assert doctor.main() == 0, capsys.readouterr().out
    assert "spawn                  starts" in capsys.readouterr().out


def test_stop_ends_what_a_child_has_started():
    ours, theirs = polyproc.Pipe()
    process = started(targets.start_and_tell, theirs)
    grandchild = open_pidfd(ours.recv())
    assert wait([grandchild], 0) == []
    assert process.stop(0.5) == -15
    assert wait([grandchild], 30) == [grandchild]


def test_stop_interrupts_first():
    ours, theirs = polyproc.Pipe()
    process = started(targets.wait_for_interrupt, theirs)
    assert ours.recv() == "ready"
    assert process.stop(30) == 0
    assert process.result() == "interrupted"


def test_coroutines_wait_for_processes_connections_and_queues():
    async def main():
        queue = polyproc.Queue()
        ours, theirs = polyproc.Pipe()
        process = started(targets.double, 4)
        receiving = asyncio.create_task(ours.aio.recv())
        await asyncio.sleep(0.05)
        await theirs.aio.send("sent")
        await queue.aio.put("put")
        return await receiving, await queue.aio.get(), await process

    assert asyncio.run(main()) == ("sent", "put", 8)


def test_open_files_and_sockets_go_to_a_child_and_through_a_queue(tmp_path):
    with open(tmp_path / "file", "w+") as file, socket.create_server(("127.0.0.1", 0)) as listening:
        file.write("text")
        file.seek(0)
        assert started(targets.read_file, file).result(40) == "text"
        queue = polyproc.Queue()
        file.seek(1)
        queue.put((file, listening))
        received, same = queue.get(timeout=30)
        with received, same:
            assert received.read() == "ext"
            assert same.getsockname() == listening.getsockname()


def test_port_of_a_listener_is_its_own():
    with Listener(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match="10048"):
        Listener(listener.address)


def test_handles_are_sent():
    assert reduction.HAVE_SEND_HANDLE
    (ours, theirs), (reader, writer) = polyproc.Pipe(), polyproc.Pipe(duplex=False)
    reduction.send_handle(ours, writer.fileno(), os.getpid())
    with polyproc.connection.Connection(reduction.recv_handle(theirs), readable=False) as sent:
        sent.send("through another handle")
    assert reader.recv() == "through another handle"


def test_events_and_mutexes_that_cannot_be_had_are_errors():
    name = f"polyproc-test-{os.getpid()}"
    assert not windows_objects.is_event(name)
    event = windows_objects.new_event(True, name)
    assert windows_objects.is_event(name)
    kernel.close(event)
    assert not windows_objects.is_event(name)
    for make in (
        lambda: windows_objects.new_event(True, "no/such\\folder"),
        lambda: windows_objects.new_mutex("no\\one"),
    ):
        with pytest.raises(OSError, match="no such event or mutex"):
            make()


def test_threads_read_and_write_a_file_at_their_offsets():
    """A process's black box is such a file: two threads write their output there, and its parent looks into it."""
    made = kernel.unnamed_file()
    failed = []

    def use(byte):
        handle, offset, written = kernel.dup(made), byte << 17, bytes((byte,)) * 5000
        for _ in range(200):
            if kernel.pwrite(handle, written, offset) != 5000 or kernel.pread(handle, 5000, offset) != written:
                failed.append(byte)
        kernel.close(handle)

    threads = [threading.Thread(target=use, args=(byte,)) for byte in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert kernel.pread(made, 3, (5 << 17)) == kernel.pread(made, 3, (4 << 17) + 5000) == b""
    assert kernel.pread(made, 3, (4 << 17) + 4998) == b"\4\4"
    kernel.close(made)


def test_call_that_is_out_of_time_is_ended():
    with polyproc.Pool(1) as pool:
        began = time.monotonic()
        with pytest.raises(polyproc.TimeoutError):
            pool.options(timeout=0.3).apply(targets.spin, (50,))
        assert time.monotonic() - began < 40
        assert pool.apply(targets.double, (2,)) == 4
