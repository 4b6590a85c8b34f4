"""torch.multiprocessing: tensors through queues and pipes, shared tensors, its Pool, spawn() and its errors, file_system."""

import sys

import torch
import torch.multiprocessing as mp
from torch import nn


def fill(tensor, value, events):
    tensor.fill_(value)
    events[0].set()
    events[1].wait(30)


def produce(queue, done):
    for n in range(5):
        queue.put((n, torch.arange(n + 1, dtype=torch.float64), [torch.zeros(2, 2), {"deep": torch.ones(3)}]))
    done.wait(30)


def train(model, lock):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        with lock:
            optimizer.zero_grad()
            model(torch.ones(4, 2)).sum().backward()
            optimizer.step()


def rank(index, shared, barrier):
    shared[index] += index + 1
    barrier.wait(30)


def bad_rank(index):
    if index == 1:
        raise ValueError("rank one")


def leaving_rank(index):
    if index == 1:
        sys.exit(3)


def double(tensor):
    return tensor * 2


def answer(connection):
    tensor = connection.recv()
    tensor += 1
    connection.send(tensor.sum())
    connection.recv()


def main(method):
    context = mp.get_context(method)
    print(mp.get_sharing_strategy(), sorted(mp.get_all_sharing_strategies()))
    shared = torch.zeros(10).share_memory_()
    events = [context.Event(), context.Event()]
    process = context.Process(target=fill, args=(shared, 7, events))
    process.start()
    print(events[0].wait(30), shared.tolist())
    events[1].set()
    process.join()
    print(process.exitcode)

    for kind in (context.Queue, context.SimpleQueue):
        queue, done = kind(), context.Event()
        process = context.Process(target=produce, args=(queue, done))
        process.start()
        for _ in range(5):
            number, tensor, (zeros, deep) = queue.get()
            print(number, tensor.tolist(), zeros.sum().item(), deep["deep"].is_shared())
        done.set()
        process.join()
        print(process.exitcode)

    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    model.share_memory()
    lock = context.Lock()
    workers = [context.Process(target=train, args=(model, lock)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print([round(value, 4) for value in model.weight.flatten().tolist()], [worker.exitcode for worker in workers])

    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs,))
    process.start()
    tensor = torch.ones(1000)
    ours.send(tensor)
    print(ours.recv().item(), tensor.sum().item())
    ours.send(None)
    process.join()

    with context.Pool(2) as pool:
        print([tensor.tolist() for tensor in pool.map(double, [torch.tensor([i, i + 1]) for i in range(6)])])
        print(pool.apply(double, (torch.eye(2),)).tolist())

    totals = torch.zeros(3, dtype=torch.int64).share_memory_()
    mp.start_processes(rank, args=(totals, context.Barrier(3)), nprocs=3, start_method=method)
    print(totals.tolist())
    try:
        mp.start_processes(bad_rank, nprocs=2, start_method=method)
    except mp.ProcessRaisedException as error:
        print("raised", error.error_index, "rank one" in str(error))
    try:
        mp.start_processes(leaving_rank, nprocs=2, start_method=method)
    except mp.ProcessExitedException as error:
        print("exited", error.error_index, error.exit_code)

    mp.set_sharing_strategy("file_system")
    shared = torch.zeros(4).share_memory_()
    events = [context.Event(), context.Event()]
    events[1].set()
    process = context.Process(target=fill, args=(shared, 3, events))
    process.start()
    process.join()
    print(shared.tolist(), process.exitcode)


if __name__ == "__main__":
    main(sys.argv[1])
