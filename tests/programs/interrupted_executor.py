"""An executor whose call sleeps, in a `with` block or at the interpreter's end; a Ctrl-C ends all."""

import sys
import time

import polyproc


def main():
    method, how = sys.argv[1:]
    executor = polyproc.ProcessPoolExecutor(1, polyproc.get_context(method))
    executor.submit(time.sleep, 0.0).result()
    if how == "result":
        with executor:
            future = executor.submit(time.sleep, 60)
            print("working", flush=True)
            future.result()
    elif how == "with":
        with executor:
            executor.submit(time.sleep, 60)
            print("working", flush=True)
    elif how == "map":
        with polyproc.get_context(method).Pool(1) as pool:
            print("working", flush=True)
            pool.map(time.sleep, [60] * 3)
    else:
        executor.submit(time.sleep, 60)
        print("working", flush=True)


if __name__ == "__main__":
    main()
