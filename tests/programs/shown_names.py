"""Tells under which names public classes are shown, here and in a child to which objects of theirs were sent."""

import multiprocessing
import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.shared_memory
import sys


def shown(things):
    return [f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in things]


def tell(answers, things):
    answers.put(shown(things))


def main(method):
    ctx = multiprocessing.get_context(method)
    queue, (one, other) = ctx.Queue(), ctx.Pipe()
    things = [queue, ctx.SimpleQueue(), ctx.JoinableQueue(), ctx.Lock(), ctx.RLock(), ctx.Event(), ctx.Condition()]
    things += [ctx.Semaphore(), ctx.BoundedSemaphore(), ctx.Barrier(1), one]
    with ctx.Manager() as manager:
        things += [manager.dict(), manager.Lock(), manager.Array("i", [1])]
        process = ctx.Process(target=tell, args=(queue, things))
        process.start()
        there = queue.get(timeout=60)
        process.join()
        here = shown(things)
        assert (process.exitcode, there) == (0, here), (there, here)
        del things[-3:]
    print(*here, *shown([multiprocessing.current_process(), ctx, manager]), sep="\n")
    print(repr(multiprocessing.TimeoutError), repr(multiprocessing.shared_memory.SharedMemory))
    one.close()
    other.close()


if __name__ == "__main__":
    main(sys.argv[1])
