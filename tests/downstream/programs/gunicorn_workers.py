"""gunicorn with two workers, whose application uses a pool, a lock and a manager of multiprocessing."""

import multiprocessing
import os
import sys
import threading
import time
import urllib.request

from gunicorn.app.base import BaseApplication

counter = multiprocessing.Value("i", 0)
context = multiprocessing.get_context("fork")


def cube(x):
    return x**3


def application(environ, start_response):
    with counter.get_lock():
        counter.value += 1
    if environ["PATH_INFO"] == "/pool":
        with context.Pool(2) as pool:
            text = str(pool.map(cube, range(6)))
    elif environ["PATH_INFO"] == "/manager":
        with context.Manager() as manager:
            shared = manager.dict(a=1)
            shared["b"] = 2
            text = str(dict(shared))
    else:
        text = f"{counter.value}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


class Server(BaseApplication):
    def load_config(self):
        for name, value in {
            "bind": "127.0.0.1:0",
            "workers": 2,
            "loglevel": "error",
            "when_ready": ready,
            "graceful_timeout": 5,
        }.items():
            self.cfg.set(name, value)

    def load(self):
        return application


def ready(arbiter):
    port = arbiter.LISTENERS[0].getsockname()[1]
    threading.Thread(target=ask, args=(port, os.getpid()), daemon=True).start()


def fetch(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return answer.read().decode()


def ask(port, server):
    try:
        for path in ("/pool", "/manager", "/pool", "/"):
            print(path, fetch(port, path), flush=True)
        while int(fetch(port, "/")) < 20:
            time.sleep(0.01)
        print("counted", flush=True)
    finally:
        os.kill(server, 15)


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    Server().run()
