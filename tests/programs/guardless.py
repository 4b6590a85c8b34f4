"""No guard: chooses a start method and starts four processes at top level."""

import os
import sys

import polyproc


def say(text):
    os.write(1, f"{text}\n".encode())  # in one piece, whatever other processes write


say(f"top {os.getpid()}")
polyproc.set_start_method(sys.argv[1])


def work(number):
    say(f"work {number} {os.getpid()}")


processes = [polyproc.Process(target=work, args=(n,)) for n in range(4)]
for process in processes:
    process.start()
say(f"after {os.getpid()}")


def defined_late(number):
    return number + 1


late = polyproc.Process(target=defined_late, args=(41,))
late.start()
for process in processes:
    process.join()
say(f"late {late.result()}")
sys.exit(sum(p.exitcode for p in processes))
