"""Waits for a process on another host, which does not end by itself."""

import time

import polyproc


def sleep():
    time.sleep(100)


if __name__ == "__main__":
    context = polyproc.get_context("command", hosts=["one"])
    process = context.Process(target=sleep)
    process.start()
    print("working", flush=True)
    process.join()
