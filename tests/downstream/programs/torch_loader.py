"""torch's DataLoader with workers: maps, iterables, persistent workers, shared counters, errors, early ends."""

import sys

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info


class Squares(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.full((1000,), index * index, dtype=torch.float32), {"index": index, "name": str(index)}


class Counted(IterableDataset):
    def __iter__(self):
        worker = get_worker_info()
        return iter(range(worker.id, 20, worker.num_workers))


class Failing(Squares):
    def __getitem__(self, index):
        if index == 13:
            raise KeyError("thirteen")
        return super().__getitem__(index)


def seed(worker):
    torch.manual_seed(worker)


def main(method):
    options = {"num_workers": 2, "multiprocessing_context": method}
    for batch, extra in DataLoader(Squares(), batch_size=8, worker_init_fn=seed, **options):
        print(tuple(batch.shape), batch.sum().item(), extra["index"].tolist(), extra["name"])
    print(sorted(int(x) for batch in DataLoader(Counted(), batch_size=3, **options) for x in batch))
    loader = DataLoader(Squares(), batch_size=5, persistent_workers=True, prefetch_factor=4, **options)
    for _ in range(3):
        print(sum(batch.sum().item() for batch, _ in loader))
    for batch, _ in loader:
        print(batch[0, 0].item())
        break
    try:
        for _ in DataLoader(Failing(), batch_size=4, **options):
            pass
    except KeyError as error:
        print("KeyError", "thirteen" in str(error), "Failing" in str(error) or "__getitem__" in str(error))
    print(len(list(DataLoader(Squares(), batch_size=None, in_order=False, **options))))


if __name__ == "__main__":
    main(sys.argv[1])
