"""A prefork worker of Celery: its tasks use locks, queues and connections; it ends in good order when it is told to."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

APPLICATION = """
import multiprocessing, os, threading
from celery import Celery
base = os.environ["BASE"]
folders = {"data_folder_in": base + "/q", "data_folder_out": base + "/q", "control_folder": base + "/ctl", "polling_interval": 0.1}
app = Celery("application", broker="filesystem://", backend="file://" + base + "/results")
app.conf.update(broker_transport_options=folders, broker_connection_retry_on_startup=True)
lock, counted = multiprocessing.get_context("fork").Lock(), multiprocessing.get_context("fork").Value("i")
@app.task
def add(a, b):
    with lock:
        counted.value += 1
    return a + b
@app.task
def through(items):
    context = multiprocessing.get_context("fork")
    queue, (one, other) = context.SimpleQueue(), context.Pipe()
    for item in items:
        queue.put(item)
    one.send(len(items))
    return [queue.get() for _ in range(other.recv())]
@app.task
def fail():
    raise LookupError("of a task")
@app.task
def count():
    return counted.value
"""
WORKER = "celery -A application worker -P prefork -c 2 -l ERROR --without-gossip --without-mingle --without-heartbeat"


def ask(application):
    sums = [application.add.delay(n, 1) for n in range(8)]
    print(
        [one.get(timeout=100, interval=0.02) for one in sums],
        application.through.delay(["a", "b"]).get(timeout=100, interval=0.02),
    )
    try:
        application.fail.delay().get(timeout=100, interval=0.02)
    except LookupError as error:
        print(repr(error))
    print(application.count.delay().get(timeout=100, interval=0.02))


def main():
    with tempfile.TemporaryDirectory() as base:
        for name in ("q", "ctl", "results"):
            os.mkdir(os.path.join(base, name))
        Path(base, "application.py").write_text(APPLICATION)
        os.environ["BASE"] = base
        sys.path.insert(0, base)
        os.chdir(base)
        import application

        with open("log", "w+") as log:
            worker = subprocess.Popen([sys.executable, "-m", *WORKER.split()], stdout=log, stderr=log)
            try:
                ask(application)
                worker.send_signal(signal.SIGTERM)
                print("ended with", worker.wait(60))
            finally:
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()
                    sys.stderr.write(Path("log").read_text())
        os.chdir("/")


if __name__ == "__main__":
    main()
