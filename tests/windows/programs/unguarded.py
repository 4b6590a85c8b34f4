import polyproc

with polyproc.Pool(1) as pool:
    print(pool.map(lambda number: number * number, range(3)))
