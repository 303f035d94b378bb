"""Work in threads: in order, so much ahead, and all of them ended."""
import itertools
import threading
import time

import pytest

from timecyclegan.util.threads import concurrently, in_advance


@pytest.fixture(autouse=True)
def threads_end():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_and_no_more_is_taken_than_allowed(threads):
    def slowly(number):
        time.sleep(0.001 * (number % 3))
        return number**2

    assert list(concurrently(slowly, range(20), threads)) == [number**2 for number in range(20)]
    assert list(concurrently(slowly, [], threads)) == []
    for ahead in (None, 0, 5):
        taken = []
        results = concurrently(slowly, (taken.append(i) or i for i in itertools.count()), threads, ahead)
        for count in range(1, 40):
            next(results)
            assert len(taken) <= count + (2 * threads if ahead is None else ahead)
        results.close()


def test_items_are_taken_where_the_caller_is_and_worked_on_elsewhere():
    here, barrier = threading.get_ident(), threading.Barrier(3, timeout=5)  # passes only if three are under way

    def work(taken_in):
        barrier.wait()
        return taken_in, threading.get_ident()

    found = list(concurrently(work, (threading.get_ident() for _ in range(9)), 3))
    assert {taken_in for taken_in, _ in found} == {here} and here not in {worked_in for _, worked_in in found}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_what_fails_is_raised_after_the_results_before_it(threads):
    def items(last):
        yield from range(last)
        raise OSError("no more items")

    results, found = concurrently(lambda number: 12 // (4 - number), items(9), threads), []
    with pytest.raises(ZeroDivisionError):
        found.extend(results)
    assert found == [3, 4, 6, 12]
    results, found = concurrently(str, items(4), threads), []
    with pytest.raises(OSError, match="no more items"):
        found.extend(results)
    assert found == ["0", "1", "2", "3"]


def test_leaving_early_waits_for_what_is_under_way_and_drops_the_rest():
    begun, ended = [], []

    def work(number):
        begun.append(number)
        time.sleep(0.02)
        ended.append(number)

    results = concurrently(work, itertools.count(), 2, 8)
    next(results)
    results.close()
    assert sorted(begun) == sorted(ended) and len(begun) < 9


def test_items_in_advance():
    """As many as allowed are made while nobody asks, in one thread, and what makes them is closed with it."""
    made, closed, full = [], threading.Event(), threading.Semaphore(0)

    def numbers(last):
        try:
            for number in range(last):
                made.append(threading.get_ident())
                full.release()
                yield number
            raise ValueError("the end")
        finally:
            closed.set()

    coming = in_advance(numbers(1000), 4)
    assert next(coming) == 0
    for _ in range(5):
        assert full.acquire(timeout=5)
    time.sleep(0.02)
    assert len(made) == 5 and len(set(made)) == 1 and threading.get_ident() not in made
    assert next(coming) == 1 and not closed.is_set()
    coming.close()
    assert closed.is_set() and len(made) <= 6
    assert list(in_advance(range(7), 3)) == list(range(7)) and list(in_advance([], 3)) == []
    found = []
    with pytest.raises(ValueError, match="the end"):
        found.extend(in_advance(numbers(5), 3))
    assert found == list(range(5))
