"""Two processes that train together, on the CPU."""
import multiprocessing
import traceback

import torch


def on_two_ranks(work, folder):
    """What ``work(rank)`` returns in each of two processes of a gloo group, in the order of the ranks."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def begin(rank):
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
        try:
            results.put((rank, work(rank), ""))
        except BaseException:
            results.put((rank, None, traceback.format_exc()))
        torch.distributed.destroy_process_group()

    ranks = [context.Process(target=begin, args=(rank,)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = {}
    try:
        for _ in ranks:
            rank, found[rank], error = results.get(timeout=60)
            assert not error, f"on rank {rank}: {error}"
    except BaseException:
        for process in ranks:  # the other one may wait for it forever
            process.kill()
        raise
    for process in ranks:
        process.join()
    return [found[rank] for rank in range(2)]
