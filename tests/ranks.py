"""Processes that train together, on the CPU."""
import multiprocessing
import traceback

import torch


def on_two_ranks(work, folder, ranks=2):
    """What ``work(rank)`` returns in each of two (or more) processes of a gloo group, in the order of the ranks."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def begin(rank):
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank,
                                             world_size=ranks)
        try:
            results.put((rank, work(rank), ""))
        except BaseException:
            results.put((rank, None, traceback.format_exc()))
        torch.distributed.destroy_process_group()

    processes = [context.Process(target=begin, args=(rank,)) for rank in range(ranks)]
    for process in processes:
        process.start()
    found = {}
    try:
        for _ in processes:
            rank, found[rank], error = results.get(timeout=120)
            assert not error, f"on rank {rank}: {error}"
    except BaseException:
        for process in processes:  # the other one may wait for it forever
            process.kill()
        raise
    for process in processes:
        process.join()
    return [found[rank] for rank in range(ranks)]
