"""dask.distributed with worker processes."""

from distributed import Client, LocalCluster


def cube(x):
    return x**3


if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        print(client.gather(client.map(cube, range(8))))
        print(client.submit(sum, [1, 2, 3]).result())
