"""The demo's real job on three nodes: as it stands, but for the context, and with a node that is lost in the middle."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

import polyproc
from support import on_hosts

ROOT = Path(__file__).resolve().parent.parent.parent
HOSTS = ["one", "two", "three"]


@pytest.fixture
def job(monkeypatch):
    """The demo, the example of a cluster, parts of the work, and what they come to in one process."""
    monkeypatch.syspath_prepend(str(ROOT / "demo"))
    modules = []
    for name, path in (("demo_main", "demo/main.py"), ("example_cluster", "examples/cluster.py")):
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(sys, "path", sys.path.copy())
        spec.loader.exec_module(module)
        modules.append(module)
    demo, example = modules
    files = demo.find_files(120)
    yield types.SimpleNamespace(
        demo=demo,
        example=example,
        batches=[files[start : start + 20] for start in range(0, len(files), 20)],
        expected=demo.measure_files(files),
    )
    sys.modules.pop("parsing", None)


def on_three_hosts(name):
    return polyproc.get_context(name, hosts=HOSTS, modules=["parsing", "example_cluster"])


def test_host_jobs_the_demos_job_runs_as_it_stands(job):
    with on_three_hosts("command") as context:
        mp = types.SimpleNamespace(get_context=lambda name: context)
        _, total = job.demo.run_in_processes(mp, "command", job.batches, 3, lambda count: None)
    assert total == job.expected


def test_host_jobs_of_a_node_that_is_lost_are_done_elsewhere_and_named(job):
    killed = []

    def lose(host, agent):
        killed.append(host)
        job.example.kill(host, agents[host])

    lost = []
    while not lost and len(killed) < 10:  # who waits for the results may be slower than all of them
        with on_three_hosts("command") as context:
            agents = {node.name: node.facts["pid"] for node in context._nodes.all()}
            done, total, lost = job.example.run(context, job.batches, lose)
        assert total == job.expected
        assert sum(done.values()) == len(job.batches)
    assert set(lost) == {killed[-1]}


def test_host_jobs_a_host_named_twice_has_two_agents():
    with polyproc.get_context("command", hosts=["one", "one"]) as context:
        processes = [context.Process(target=on_hosts.where) for _ in range(2)]
        for process in processes:
            process.start()
        assert {process.result(30) for process in processes} == {"one", "one#2"}
