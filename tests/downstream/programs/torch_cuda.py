"""torch on a CUDA device, in several processes: tensors and events through queues, pipes and pools, pinned batches, NCCL."""

import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, TensorDataset


def produce(queue, done):
    for n in range(4):
        queue.put((n, torch.full((1000,), n, device="cuda"), {"deep": torch.arange(n + 1, device="cuda")}))
    done.wait(60)  # the memory is its producer's


def add_in_place(connection):
    tensor, event = connection.recv()
    event.wait()
    tensor += 1
    torch.cuda.synchronize()
    del tensor, event
    connection.send("added")
    connection.recv()


def double(tensor):
    return (tensor * 2).cpu(), tensor.device.type


def rank(index, shared, folder, barrier):
    dist.init_process_group("gloo", init_method=f"file://{folder}/two", rank=index, world_size=2)
    tensor = torch.full((4,), float(index + 1), device="cuda")
    host = tensor.cpu()
    dist.all_reduce(host)
    shared[index] += host.sum().to(shared.device)
    torch.cuda.synchronize()
    barrier.wait(60)
    dist.destroy_process_group()


def alone(index, folder):
    dist.init_process_group("nccl", init_method=f"file://{folder}/one", rank=0, world_size=1)
    tensor = torch.ones(8, device="cuda")
    dist.all_reduce(tensor)
    dist.destroy_process_group()
    raise ValueError(f"the sum was {tensor.sum().item()}")


def main(method):
    context = mp.get_context(method)
    queue, done = context.Queue(), context.Event()
    process = context.Process(target=produce, args=(queue, done))
    process.start()
    for _ in range(4):
        number, tensor, deep = queue.get(timeout=120)
        print(number, tensor.device.type, tensor.sum().item(), deep["deep"].tolist())
    del tensor, deep
    done.set()
    process.join()
    print(process.exitcode)
    if method == "fork":
        return  # CUDA cannot be used in a forked child of a process that has used it

    ours, theirs = context.Pipe()
    process = context.Process(target=add_in_place, args=(theirs,))
    process.start()
    tensor = torch.zeros(1000, device="cuda")
    event = torch.cuda.Event(interprocess=True)
    event.record()
    ours.send((tensor, event))
    print(ours.recv(), tensor.sum().item())
    ours.send(None)
    process.join()
    print(process.exitcode)

    with context.Pool(2) as pool:
        for result, kind in pool.map(double, [torch.tensor([i, i + 1], device="cuda") for i in range(6)]):
            print(result.tolist(), kind)

    dataset = TensorDataset(torch.arange(40.0))
    for (batch,) in DataLoader(dataset, 10, num_workers=2, pin_memory=True, multiprocessing_context=method):
        print(batch.is_pinned(), batch.cuda(non_blocking=True).sum().item())

    shared = torch.zeros(2, device="cuda")
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(rank, args=(shared, folder, context.Barrier(2)), nprocs=2, start_method=method)
        print(shared.tolist())
        try:
            mp.start_processes(alone, args=(folder,), nprocs=1, start_method=method)
        except mp.ProcessRaisedException as error:
            print("raised", "the sum was 8.0" in str(error))


if __name__ == "__main__":
    main(sys.argv[1])
