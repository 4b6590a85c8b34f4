"""mpire, aiomultiprocess, tqdm's process_map: pools that others have built of multiprocessing's parts."""

import asyncio
import multiprocessing
import sys

import aiomultiprocess
from mpire import WorkerPool
from tqdm.contrib.concurrent import process_map


def square(x):
    return x * x


async def async_square(x):
    await asyncio.sleep(0.001)
    return x * x


async def use_aio():
    async with aiomultiprocess.Pool(2) as pool:
        return await pool.map(async_square, range(10))


def main(method):
    multiprocessing.set_start_method(method)
    with WorkerPool(2, start_method=method) as pool:
        print(pool.map(square, range(20)))
        print(sorted(pool.imap_unordered(square, range(20))))
        try:
            pool.map(square, ["x"])
        except TypeError as error:
            print(type(error).__name__)
    print(process_map(square, range(20), max_workers=2, chunksize=3, disable=True))
    if method != "fork":
        aiomultiprocess.set_start_method(method)
        print(asyncio.run(use_aio()))


if __name__ == "__main__":
    main(sys.argv[1])
