"""What is said of calls of pools, executors and tasks that cannot be; see test_messages.py."""

import re
import subprocess
import sys
import threading

import pytest

import polyproc
from polyproc.pool import Pool, ThreadPool

fork = polyproc.get_context("fork")

WITHIN = 60  # seconds; nothing here takes as long


def one(value):
    return value


def two(first, second):
    return first, second


def numbers(count):
    yield from range(count)


class HoldsPool:
    """An object whose methods are called in the pool that it has."""

    def __init__(self, pool):
        self.pool = pool

    def work(self, value):
        return value


def said_of(call):
    """Return all that is said of the error that a call raises, its notes too."""
    with pytest.raises(Exception) as caught:
        call()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


MADE = {
    "workers as a string": (
        lambda: fork.Pool("4"),
        ["^'str' object cannot be interpreted as an integer: processes is a number of workers, and not '4': write 4$"],
    ),
    "a start method for the workers": (lambda: fork.Pool("spawn"), ["for a start method write get_context.'spawn'.$"]),
    "a function for the workers": (lambda: fork.Pool(one), ["not <function one.*>: write initializer=one"]),
    "no workers": (lambda: fork.Pool(0), ["^Number of processes must be at least 1: 0 was given"]),
    "an initializer that is a string": (
        lambda: fork.Pool(1, "one"),
        ["^initializer must be a callable, and not 'one': write initializer=a_function, initargs="],
    ),
    "a string for initargs": (
        lambda: fork.Pool(1, one, "Robert"),
        ["^initargs is a tuple of arguments, and not the string 'Robert'", "write initargs=.'Robert',.$"],
    ),
    "tasks as a string": (
        lambda: fork.Pool(1, maxtasksperchild="3"),
        ["^maxtasksperchild must be a positive int or None, and not '3'"],
    ),
    "an idle time that is a string": (lambda: fork.Pool(1, idle_timeout="3"), ["idle_timeout is a number of seconds"]),
    "an amount of memory": (lambda: fork.Pool(1, max_memory_per_child=1.5), ["^not an amount of memory: 1.5; say"]),
    "a context that is a string": (
        lambda: Pool(1, context="spawn"),
        ["^'str' object has no attribute 'Process': context is a context", "polyproc.get_context.'spawn'.$"],
    ),
    "an executor's context that is a string": (
        lambda: polyproc.ProcessPoolExecutor(1, "spawn"),
        [
            "^'str' object has no attribute 'get_start_method': mp_context is a context, and not 'spawn'",
            "write mp_context=polyproc.get_context.'spawn'.$",
        ],
    ),
    "an executor's workers": (
        lambda: polyproc.ProcessPoolExecutor("4"),
        ["max_workers is a number of workers", "write 4$"],
    ),
    "an executor without workers": (
        lambda: polyproc.ProcessPoolExecutor(0),
        ["^max_workers must be greater than 0: 0 was given"],
    ),
    "a pool of threads": (lambda: ThreadPool("4"), ["processes is a number of workers, and not '4': write 4$"]),
    "a number as a task": (
        lambda: polyproc.task(3),
        [r"^'int' object is not callable: task\(\) takes a function, and not 3: write @task, or @task\(timeout=3\)"],
    ),
    "a task's timeout": (lambda: polyproc.task(timeout="3"), ["timeout is a number of seconds or None", "write 3$"]),
    "a task's option": (
        lambda: polyproc.task(workers=3),
        ["^options.. got an unexpected keyword argument 'workers': there"],
    ),
    "a task's pool": (
        lambda: polyproc.task(pool=3)(one),
        ["a task's pool is a Pool or a ProcessPoolExecutor, and not 3"],
    ),
    "a task's context": (lambda: polyproc.task(context="spawn")(one), ["write context=polyproc.get_context.'spawn'.$"]),
}

POOL = {
    "a string for args": (
        lambda pool: pool.apply(one, "Robert"),
        ["^args is a tuple of arguments, and not the string 'Robert'", "write args=.'Robert',.$"],
    ),
    "a number for args": (
        lambda pool: pool.apply(one, 3),
        ["^'int' object is not iterable: args is a tuple", "write args=.3,.$"],
    ),
    "a list for kwds": (lambda pool: pool.apply(one, (), [1]), ["kwds is a dict of keyword arguments, and not .1."]),
    "what a call has returned": (
        lambda pool: pool.apply(one(3)),
        [r"^'int' object is not callable: apply\(\) takes a function first, and not 3, which is perhaps"],
    ),
    "the same for map": (
        lambda pool: pool.map(one(3), [1]),
        [r"^'int' object is not callable: map\(\) takes a function"],
    ),
    "the same for submit": (
        lambda pool: pool.submit(3),
        [r"^'int' object is not callable: submit\(\) takes a function"],
    ),
    "several iterables": (
        lambda pool: pool.map(two, [1, 2], [3, 4]),
        [r"behind the items of map\(\) comes chunksize, and not \[3, 4\]", r"write starmap\(function, zip\(a, b\)\)$"],
    ),
    "several iterables of imap": (lambda pool: pool.imap(two, [1], [3]), [r"items of imap\(\) comes chunksize"]),
    "no iterable": (
        lambda pool: pool.map(one, 3),
        [
            r"^'int' object is not iterable: map\(\) takes a function and an iterable of items",
            r"write map\(one, \[3\]\)$",
        ],
    ),
    "no iterable for imap": (
        lambda pool: pool.imap(one, 3),
        [r"^'int' object is not iterable: imap\(\) takes a function"],
    ),
    "the iterable first": (lambda pool: pool.map([1, 2], one), [r"in this order: write map\(one, \[1, 2\]\)$"]),
    "a chunk size that is a string": (
        lambda pool: pool.map(one, [1], "2"),
        ["chunksize is how many items", "write 2$"],
    ),
    "numbers for tuples": (
        lambda pool: pool.starmap(two, [1, 2]),
        [r"^'int' object is not iterable: each item of starmap is a tuple", r"write items like \(1,\)$"],
    ),
    "strings for tuples": (
        lambda pool: pool.starmap(one, ["ab"]),
        [r"not the string 'ab'", r"write items like \('ab',\)$"],
    ),
    "a result's timeout": (
        lambda pool: pool.apply_async(one, (1,)).get("3"),
        ["seconds or None, and not '3': write 3$"],
    ),
    "join before close": (
        lambda pool: pool.join(),
        [r"^Pool is still running: call close\(\), or terminate\(\), before join"],
    ),
    "a size that is a string": (lambda pool: pool.resize("3"), ["processes is a number of workers", "write 3$"]),
    "an option's time": (
        lambda pool: pool.options(timeout="3"),
        ["^must be real number, not str: timeout is a number of seconds or None, and not '3': write 3$"],
    ),
    "an option's name": (
        lambda pool: pool.options(timeouts=3),
        ["unexpected keyword argument 'timeouts'", "write timeout=..."],
    ),
    "an option's number": (
        lambda pool: pool.options(retries="3"),
        ["^retries must be an integer, and not '3': write 3$"],
    ),
    "exceptions in a list": (
        lambda pool: pool.options(retry_on=[OSError]),
        [r"^retry_on must be an exception class or a tuple of them", r"write \(OSError,\)$"],
    ),
    "a pool as an argument": (
        lambda pool: pool.apply(one, (pool,)),
        ["^pool objects cannot be passed between processes or pickled: ", r"another process: args\[0\]: <.*Pool"],
    ),
    "a method of who has the pool": (
        lambda pool: pool.map(HoldsPool(pool).work, [1]),
        [
            "^pool objects cannot be passed between processes or pickled: ",
            "holds one; write a function that needs none, or a __getstate__ that leaves it out",
            "another process: HoldsPool.work.__self__.pool: <.*Pool",
        ],
    ),
    "a lock in the arguments": (
        lambda pool: pool.apply(one, ({"a": threading.Lock()},)),
        [r"another process: args\[0\]\['a'\]: <"],
    ),
    "a lock in a keyword": (
        lambda pool: pool.apply(one, (), {"value": [threading.Lock()]}),
        [r"another process: kwargs\['value'\]\[0\]: <"],
    ),
    "a lock in an item": (lambda pool: pool.map(one, [{"a": threading.Lock()}]), [r"another process: item\['a'\]: <"]),
    "a lock in an item of imap": (
        lambda pool: list(pool.imap(one, [{"a": threading.Lock()}])),
        [r"another process: item\['a'\]: <"],
    ),
    "a result that cannot be sent": (
        lambda pool: pool.apply(numbers, (3,)),
        [
            r"^Error sending result: '<generator object numbers at .*>'. Reason: 'TypeError\(",
            "What a call returns is pickled: return data alone, list.{5} in place of a generator",
            "another process: result: <generator",
        ],
    ),
    "one of many results": (lambda pool: pool.map(numbers, [3]), [r"another process: result\[0\]: <generator"]),
}

EXECUTOR = {
    "a method of who has the executor": (
        lambda executor: executor.submit(HoldsPool(executor).work, 1).result(WITHIN),
        [
            "^cannot pickle 'ProcessPoolExecutor' object: executors",
            "HoldsPool.work.__self__.pool: <.*ProcessPoolExecutor",
        ],
    ),
    "what a call has returned": (
        lambda executor: executor.submit(one(3)).result(WITHIN),
        [r"^'int' object is not callable: submit\(\) takes a function first, and not 3"],
    ),
    "a lock in the arguments": (
        lambda executor: executor.submit(one, {"a": threading.Lock()}).result(WITHIN),
        [r"another process: args\[0\]\['a'\]: <"],
    ),
    "a result that cannot be sent": (
        lambda executor: executor.submit(numbers, 3).result(WITHIN),
        ["^cannot pickle 'generator' object", "another process: result: <generator"],
    ),
    "no iterable": (
        lambda executor: executor.map(one, 3),
        [r"^'int' object is not iterable: map\(\) takes a function"],
    ),
    "a timeout that is a string": (
        lambda executor: executor.map(one, [1], timeout="3"),
        ["timeout is a number of seconds or None, and not '3': write 3$"],
    ),
    "a chunk size that is a string": (lambda executor: executor.map(one, [1], chunksize="3"), ["write 3$"]),
}


def check(call, patterns, *given):
    said = said_of(lambda: call(*given))
    for pattern in patterns:
        assert re.search(pattern, said, re.MULTILINE), (pattern, said)


@pytest.mark.parametrize("name", MADE)
def test_making_one_says_what_is_wrong(name):
    check(*MADE[name])


def ended(pool):
    pool.close()
    pool.join()
    return pool


def test_a_pool_says_what_is_wrong():
    pool = fork.Pool(1)
    try:
        for call, patterns in POOL.values():
            check(call, patterns, pool)
            assert pool.apply(one, (1,)) == 1
        assert pool.starmap(one, ["a", "b"]) == ["a", "b"]  # what worked works
        assert pool.apply(two, "ab") == ("a", "b")
        assert pool.apply(one, [1]) == 1
    finally:
        ended(pool)
    for call in (
        lambda: pool.map(one, [1]),
        lambda: pool.apply(one, (1,)),
        lambda: pool.imap(one, [1]),
        lambda: pool.submit(one, 1),
        lambda: pool.__enter__(),
    ):
        check(call, ["^Pool not running: it was closed or terminated, or `with` has ended; make another one$"])


def test_an_executor_says_what_is_wrong():
    executor = polyproc.ProcessPoolExecutor(1, mp_context=fork)
    try:
        for call, patterns in EXECUTOR.values():
            check(call, patterns, executor)
            assert executor.submit(one, 1).result(WITHIN) == 1
    finally:
        executor.shutdown()
    for call in (lambda: executor.submit(one, 1), lambda: executor.map(one, [1])):
        check(call, [r"^cannot schedule new futures after shutdown: shutdown\(\) was called"])


ENDS_EARLY = """
import sys, time
import polyproc

def model():
    time.sleep(0.05)
    yield 1
    time.sleep(0.01)

if __name__ == "__main__":
    context = polyproc.get_context(sys.argv[1])
    for wait in range(8):
        pool = context.Pool(2, initializer=model)
        time.sleep(wait / 100)
        if wait % 2:
            pool.terminate()
            pool.join()
        else:
            with pool:
                pass
    print("done")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_that_ends_while_its_workers_start_writes_nothing(tmp_path, method):
    (tmp_path / "ends_early.py").write_text(ENDS_EARLY)
    done = subprocess.run(
        [sys.executable, tmp_path / "ends_early.py", method], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
