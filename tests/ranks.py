"""Two processes that train together, on the CPU."""
import multiprocessing

import torch


def on_two_ranks(work, folder):
    """What ``work(rank)`` returns in each of two processes of a gloo group, in the order in which they end."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def begin(rank):
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
        results.put(work(rank))
        torch.distributed.destroy_process_group()

    ranks = [context.Process(target=begin, args=(rank,)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = [results.get(timeout=60) for _ in ranks]
    for process in ranks:
        process.join()
    return found
