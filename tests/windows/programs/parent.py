"""Starts a daemon and another child, says which they are, and sleeps."""

import time

import polyproc

if __name__ == "__main__":
    children = [polyproc.Process(target=time.sleep, args=(s,), daemon=d) for s, d in ((60, True), (60, False))]
    for child in children:
        child.start()
    print(*(child.pid for child in children), flush=True)
    time.sleep(60)
