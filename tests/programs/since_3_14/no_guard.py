"""A script without a guard."""

import multiprocessing


def work():
    print("worked")


child = multiprocessing.Process(target=work)
child.start()
child.join()
print("exit code", child.exitcode)
