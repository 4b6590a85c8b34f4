"""result(), exception() and ProcessDied."""

import signal
import threading

import pytest

import polyproc
from support import targets


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        True,
        2.5,
        "text",
        b"bytes",
        [1, {"a": (2, {3})}],
        range(3),
        10**40,
        pytest.param("x" * 10**6, id="long"),
    ],
)
def test_result_is_what_the_target_returned(ctx, value):
    process = ctx.Process(target=targets.echo, args=(value,))
    process.start()
    result = process.result(30)
    assert result == value
    assert type(result) is type(value)
    assert process.exception() is None


def test_exception_keeps_its_type_and_its_traceback(ctx, capfd):
    process = ctx.Process(target=targets.raise_key_error)
    process.start()
    with pytest.raises(KeyError) as caught:
        process.result(30)
    assert caught.value.args == ("the key",)
    assert "in raise_key_error" in str(caught.value.__cause__)
    assert isinstance(process.exception(), KeyError)


def test_exception_that_cannot_travel_arrives_as_text(ctx, capfd):
    process = ctx.Process(target=targets.raise_unpicklable)
    process.start()
    with pytest.raises(Exception, match="Unpicklable") as caught:
        process.result(30)
    assert type(caught.value).__name__ == "RemoteError"
    assert "Unpicklable: first" in str(caught.value)


def test_result_that_cannot_be_pickled_is_an_error_of_result_alone(ctx):
    process = ctx.Process(target=threading.Lock)
    process.start()
    with pytest.raises(Exception, match="cannot be pickled") as caught:
        process.result(30)
    assert "lock" in str(caught.value)
    assert process.exitcode == 0


def test_timeout_is_both_timeout_errors(ctx):
    process = ctx.Process(target=targets.sleep)
    process.start()
    with pytest.raises(polyproc.TimeoutError):
        process.result(0.01)
    with pytest.raises(TimeoutError):
        process.result(0)
    process.kill()
    process.join()


def test_death_by_signal_is_told(ctx, capfd):
    process = ctx.Process(target=targets.kill_self, args=(signal.SIGTERM,))
    process.start()
    died = process.exception(30)
    assert isinstance(died, polyproc.ProcessDied)
    assert (died.pid, died.exitcode, died.signal, died.reason) == (process.pid, -15, signal.SIGTERM, "signal")
    assert f"(pid {process.pid}) was killed by SIGTERM" in str(died)


def test_death_by_a_fault_comes_with_stack_and_output(ctx, capfd, method):
    process = ctx.Process(target=targets.segfault)
    process.start()
    died = process.exception(30)
    assert died.signal == signal.SIGSEGV
    assert "in segfault" in died.stack
    if method != "fork":  # a forked child goes on with pytest's own stream
        assert "before the end" in died.output


@pytest.mark.parametrize(
    ("target", "args", "code"), [(targets.exit_with, (0,), 0), (targets.os_exit, (0,), 0), (targets.exit_with, (5,), 5)]
)
def test_end_without_a_result_is_never_taken_for_one(ctx, target, args, code):
    process = ctx.Process(target=target, args=args)
    process.start()
    died = process.exception(30)
    assert isinstance(died, polyproc.ProcessDied)
    assert (died.exitcode, died.signal, died.reason) == (code, None, "exit")


def test_process_died_can_be_pickled():
    import pickle

    died = polyproc.ProcessDied(7, -11, name="worker", signal=signal.SIGSEGV, output="o", stack="s", task="t")
    copy = pickle.loads(pickle.dumps(died))
    assert copy.__dict__ == died.__dict__
    assert str(copy) == str(died)
