"""uvicorn with two worker processes."""

import os
import signal
import socket
import threading
import time
import urllib.request

import uvicorn


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def ask(port):
    pids = set()
    deadline = time.monotonic() + 30
    while len(pids) < 2 and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                pids.add(int(answer.read()))
        except OSError:
            time.sleep(0.05)
    print(len(pids), os.getpid() in pids, flush=True)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    threading.Thread(target=ask, args=(port,), daemon=True).start()
    uvicorn.run("uvicorn_workers:app", port=port, workers=2, log_level="critical")
    print("ended")
