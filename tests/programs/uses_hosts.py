"""Starts processes on two nodes, says which they are and who their agents are, and waits."""

import os
import time

import polyproc


def sleep():
    time.sleep(100)


def agent():
    return os.getppid()


if __name__ == "__main__":
    context = polyproc.get_context("command", hosts=["one", "two"])
    agents = []
    for _ in range(2):
        process = context.Process(target=agent)
        process.start()
        agents.append(process.result())
    processes = [context.Process(target=sleep) for _ in range(2)]
    for process in processes:
        process.start()
    print(*agents, *(process.pid for process in processes), flush=True)
    time.sleep(100)
