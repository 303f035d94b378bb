"""Times that repeat, go back or are missing, and rates: against values that are known, and against trying all."""
from fractions import Fraction
from itertools import pairwise

import pytest

from timecyclegan.video.times import ascending, average_rate, bounded

EVEN = list(range(0, 1200, 40))


@pytest.mark.parametrize(("change", "changed"), [
    ({}, 0), ({7: 240}, 1), ({7: 240, 20: 760}, 2), ({7: 200}, 1), ({7: 100_000}, 1), ({7: -5000}, 1), ({0: None}, 1),
    ({7: None, 8: None, 29: None}, 3), ({7: 320, 8: 280}, 1),
])  # fmt: skip
def test_single_wrong_times_are_put_between_their_neighbours(change, changed):
    times, count = ascending([change.get(place, time) for place, time in enumerate(EVEN)], Fraction(1))
    wrong = {place: time for place, time in enumerate(times) if time != EVEN[place]}
    assert count == changed and set(wrong) <= set(change)
    assert all(a < b for a, b in pairwise(times))
    if len(change) != 2 or None in change.values():  # two that changed places stand where one of them was
        assert not wrong


def test_uneven_times_are_left_alone():
    stamps = [0, 40, 50, 400, 1000, 1033, 9000]
    assert ascending(stamps, Fraction(1)) == (stamps, 0)


@pytest.mark.parametrize("first", [10, 20, 35])
def test_recordings_behind_each_other_go_on(first):
    stamps = [5000 + 40 * t for t in range(first)] + [40 * t for t in range(30)]
    times, _ = ascending(stamps, Fraction(1))
    assert [time - times[0] for time in times] == [40 * t for t in range(first + 30)]


def test_without_times_frames_follow_each_other():
    assert ascending([None] * 3, Fraction(5, 2)) == ([0, Fraction(5, 2), 5], 3)
    assert ascending([None, 7, 12, None], Fraction(1)) == ([2, 7, 12, 17], 2)
    assert ascending([7, 7, 7, 7, 90], Fraction(3)) == ([0, 3, 6, 9, 12], 5)  # most of them tell nothing


def rate_of(times, lengths, *hints, tick=Fraction(1, 1000)):
    return average_rate([Fraction(t) * tick for t in times], [Fraction(n) * tick for n in lengths], hints, tick)


def test_a_declared_rate_counts_where_the_times_follow_it():
    ntsc = Fraction(30000, 1001)
    rounded = [round(t * 1000 / ntsc) for t in range(300)]
    for hint in (ntsc, Fraction(60000, 1001), Fraction(25), None, Fraction(0)):  # the last ones lie, or say nothing
        assert rate_of(rounded, [33] * 300, hint) == ntsc
    assert rate_of([33 * t for t in range(30)], [1] * 30, Fraction(1000)) == Fraction(1000, 33)
    assert rate_of(range(30), [1] * 30, Fraction(30), Fraction(1000, 33), tick=Fraction(33, 1000)) == Fraction(1000, 33)


def test_the_average_counts_the_last_frame_for_as_long_as_it_is_shown():
    assert rate_of([0, 40, 90, 150], [40, 50, 60, 2000]) == Fraction(4, 1) / Fraction(2150, 1000)
    assert rate_of([0, 40, 90, 150], [1, 1, 1, 1], Fraction(1000)) == Fraction(4000, 200)  # lengths that lie
    assert rate_of([0], [500]) == 2 and rate_of([0], [0], None, Fraction(30)) == 30 and rate_of([0], [0]) == 25


@pytest.mark.parametrize("rate", [Fraction(7, 3), Fraction(120000, 1001), Fraction(314159, 10**5), Fraction(499, 10),
                                  Fraction(60), Fraction(101, 100), Fraction(1)])  # fmt: skip
def test_a_bounded_rate_is_the_nearest_one(rate):
    most = 50
    parts = range(1, most + 1)
    found = bounded(rate, most)
    assert max(found.numerator, found.denominator) <= most
    assert abs(found - rate) == min(abs(Fraction(p, q) - rate) for p in parts for q in parts)
    assert bounded(1 / rate, most) == 1 / found
