"""Has a pool and a manager, says which processes they are, and sleeps."""

import time

import polyproc

if __name__ == "__main__":
    pool, manager = polyproc.Pool(2), polyproc.Manager()
    busy = pool.map_async(time.sleep, [60, 60], 1)
    print(*(child.pid for child in polyproc.active_children()), flush=True)
    time.sleep(60)
