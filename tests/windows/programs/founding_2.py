import os

from polyproc import Process, parent_process


def info(title):
    print(title)
    print("module name:", __name__)
    print("ppid:", parent_process() and parent_process().pid)  # os.getppid ends Wine's processes
    print("pid: ", os.getpid())
    print()


def f(name):
    info("function f")
    print("hello", name)


if __name__ == "__main__":
    info("main line")
    p = Process(target=f, args=("Robert",))
    p.start()
    p.join()
