"""What every engine has to do, the demo's job, and shared objects on three nodes of Ray, some of them lost in the middle; and what Ray's own ways cost.

It runs with polyproc alone: the standard library has no such context.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import polyproc

ROOT = Path(__file__).resolve().parent.parent.parent.parent
COUNT = 10_000
IN_TIME = 120


def where():
    return os.environ["POLYPROC_HOST"], os.getpid()


def square(number):
    return number * number


def slow_square(begun, number):
    begun.put(os.environ["POLYPROC_HOST"])
    time.sleep(1.0)
    return number * number


def add_up(lock, value, times):
    for _ in range(times):
        with lock:
            value.value += 1


def seconds(act, times=1):
    begin = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - begin) / times


def run_one(context):
    process = context.Process(target=square, args=(3,))
    process.start()
    process.join(IN_TIME)
    assert process.exitcode == 0


def processes(context):
    started = [context.Process(target=where) for _ in range(6)]
    for process in started:
        process.start()
    found = [process.result(IN_TIME) for process in started]
    assert len({host for host, _ in found}) == 3, found
    assert [process.pid for process in started] == [pid for _, pid in found]
    process = context.Process(target=time.sleep, args=(100,))
    process.start()
    process.terminate()
    process.join(IN_TIME)
    assert process.exitcode == -15


def shared(context):
    lock, value = context.Lock(), context.Value("q", 0, lock=False)
    started = [context.Process(target=add_up, args=(lock, value, 50)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(IN_TIME)
    assert value.value == 150


def real_job(context, cluster, node):
    """The demo's job, unchanged but for the context; one of the three nodes is lost in the middle, with its raylet."""
    sys.path[:0] = [str(ROOT / "demo"), str(ROOT / "examples")]
    import cluster as example
    import main as demo

    files = demo.find_files(900)
    batches = [files[start : start + 10] for start in range(0, len(files), 10)]
    expected = demo.measure_files(files)
    plain = type("Module", (), {"get_context": staticmethod(lambda name: context)})
    assert demo.run_in_processes(plain, "ray", batches, 3, lambda count: None)[1] == expected
    removed = []

    def lose(host, agent):
        cluster.remove_node(node, allow_graceful=False)
        removed.append(host)

    done, total, lost = example.run(context, batches, lose)
    assert total == expected
    assert removed and len(set(lost)) == 1, (removed, lost)
    print("the job:", dict(done), "lost:", lost)


def engine(cluster):
    """What every engine has to do; and a node that is lost with its raylet."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import engine_suite

    def make(**options):
        return polyproc.get_context("ray", modules=["support"], **options)

    def lose(processes):
        found = next(node for node in cluster.worker_nodes if node.node_id.startswith(name_of(processes[0])))
        cluster.remove_node(found, allow_graceful=False)
        return processes[0]

    def name_of(process):
        return process._popen.host.rpartition("-")[2]

    engine_suite.run_all(make)
    engine_suite.lost_node_is_told_in_time(make, lambda processes: lose(sorted(processes, key=is_head)))


def is_head(process):
    """Return whether a process is on the node that must not be lost."""
    import ray

    [head] = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"]]
    return head.startswith(process._popen.host.rpartition("-")[2])


def placed(context_options, **resources):
    with polyproc.get_context("ray", resources=resources, **context_options) as context:
        process = context.Process(target=seen)
        process.start()
        return process.result(IN_TIME)


def seen():

    return os.environ["POLYPROC_HOST"].rpartition("-")[2], os.environ.get("CUDA_VISIBLE_DEVICES")


def resources(cluster):
    """What a context asks for is Ray's placement; and the devices that it gives are those that children see."""
    import ray

    node = cluster.add_node(num_cpus=1, num_gpus=2, labels={"zone": "far"})
    try:
        for asked in ({"gpus": 1}, {"labels": {"zone": "far"}}, {"gpus": 2, "cpus": 1, "memory": 1 << 20}):
            host, devices = placed({}, **asked)
            assert node.node_id.startswith(host), (asked, host, node.node_id)
            if "gpus" in asked:
                assert len(devices.split(",")) == asked["gpus"], (asked, devices)
        with polyproc.get_context("ray", resources={"gpus": 2}) as context:
            process = context.Process(target=seen)
            process.start()
            process.join(IN_TIME)
            assert ray.available_resources().get("GPU", 0) == 0  # the lease has both
        try:
            placed({}, gpus=3)
        except polyproc.ProcessError as error:
            assert "has no nodes" in str(error), error
        else:
            raise AssertionError("three of two devices were found")
    finally:
        cluster.remove_node(node)


def doctor(cluster):
    """`python -m polyproc doctor --engine ray` finds the nodes."""
    env = {**os.environ, "RAY_ADDRESS": cluster.address}
    words = [sys.executable, "-m", "polyproc", "doctor", "--engine", "ray"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=IN_TIME)
    assert done.returncode == 0, done
    assert "3 nodes" in done.stdout, done.stdout


def lose_a_node(context, cluster, node):
    """Run a job on three nodes, and lose one while it runs: its call is lost and named, or done elsewhere."""
    begun = context.Queue()
    with context.Pool(3) as pool:
        plain = [pool.apply_async(slow_square, (begun, number)) for number in range(3)]
        assert len({begun.get(timeout=IN_TIME) for _ in plain}) == 3
        cluster.remove_node(node, allow_graceful=False)
        outcomes = []
        for result in plain:
            try:
                outcomes.append(result.get(IN_TIME))
            except polyproc.ProcessDied as died:
                assert died.reason == "host lost", died
                outcomes.append(died.host)
        assert sorted(kind.__name__ for kind in map(type, outcomes)) == ["int", "int", "str"], outcomes
        assert pool.options(retries=2).map(square, range(100)) == [square(number) for number in range(100)]
        pool.terminate()
        pool.join()


def compare(context):
    """Hold what this costs against what Ray's own pool, queue and actors do."""
    import ray
    from ray.util.multiprocessing import Pool as RayPool
    from ray.util.queue import Queue as RayQueue

    @ray.remote(num_cpus=0)
    class Actor:
        def ping(self):
            return None

    ours, theirs = context.Queue(), RayQueue()
    rates = {
        "process": (seconds(lambda: run_one(context), 10), seconds(lambda: ray.get(Actor.remote().ping.remote()), 3)),
        "put and get": (
            seconds(lambda: (ours.put(1), ours.get()), 2000),
            seconds(lambda: (theirs.put(1), theirs.get()), 100),
        ),
    }
    with context.Pool(2) as pool:
        pool.map(square, range(10))
        mine = seconds(lambda: pool.map(square, range(COUNT)))
        pool.terminate()
        pool.join()
    with RayPool(2) as pool:
        pool.map(square, range(10))
        rates["map"] = mine, seconds(lambda: pool.map(square, range(COUNT)))
    for what, (here, there) in rates.items():
        print(f"{what}: {here * 1e3:.3f} ms, by Ray itself {there * 1e3:.3f} ms, {there / here:.1f} times")
        assert here < there, what


def main():
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        doctor(cluster)
        resources(cluster)
        engine(cluster)
        nodes = [cluster.add_node(num_cpus=1), *cluster.worker_nodes]
        with polyproc.get_context("ray") as context:
            processes(context)
            shared(context)
            compare(context)
            real_job(context, cluster, nodes.pop())
            nodes.append(cluster.add_node(num_cpus=1))
            lose_a_node(context, cluster, nodes[-1])
        try:
            polyproc.get_context("ray", address="ray://somewhere:10001")
        except polyproc.ProcessError as error:
            assert "Ray Client" in str(error)
        else:
            raise AssertionError("ray:// was not refused")
    finally:
        ray.shutdown()
        cluster.shutdown()
    print("all well")


if __name__ == "__main__":
    main()
