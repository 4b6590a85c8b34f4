"""asyncio and trio alike, for the tests of what can be awaited."""

import asyncio
import gc
import threading

try:
    import trio
except ImportError:  # not with each version of Python
    trio = None

OURS = ("polyproc-aio", "polyproc-aio-owner")


def run_asyncio(function, *args):
    return asyncio.run(function(*args))


def no_threads():
    gc.collect()
    return not [thread for thread in threading.enumerate() if thread.name in OURS]


async def sleep(seconds):
    if asyncio._get_running_loop() is not None:
        await asyncio.sleep(seconds)
    else:
        await trio.sleep(seconds)


async def cut_short(seconds, function):
    """Await a call for so long, then cancel it; say whether it was cancelled."""
    if asyncio._get_running_loop() is not None:
        try:
            async with asyncio.timeout(seconds):  # not wait_for, which makes a task of its own in Python 3.11
                await function()
        except TimeoutError:
            return True
        return False
    with trio.move_on_after(seconds) as scope:
        await function()
    return scope.cancelled_caught


async def together(*functions):
    """Await calls at the same time; return what they return, in order."""
    if asyncio._get_running_loop() is not None:
        return await asyncio.gather(*(function() for function in functions))
    found = {}

    async def one(number, function):
        found[number] = await function()

    async with trio.open_nursery() as nursery:
        for number, function in enumerate(functions):
            nursery.start_soon(one, number, function)
    return [found[number] for number in range(len(functions))]
