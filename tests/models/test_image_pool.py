"""The pool of generated pictures: what it keeps, what it shows, and that it goes on as it was."""
import numpy as np
import pytest
import torch

from timecyclegan.models import default_options, get_model
from timecyclegan.models.image_pool import ImagePool


def pictures(*numbers):
    """One picture for each number, filled with it."""
    return torch.tensor(numbers, dtype=torch.float).view(-1, 1, 1, 1).expand(-1, 2, 3, 4)


def numbers(pictures):
    found = [picture.unique().tolist() for picture in pictures]
    assert all(len(values) == 1 for values in found), "a picture was changed"
    return [int(values[0]) for values in found]


def show(pool, *given):
    return numbers(pool.query(pictures(*given)))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_it_fills_first(batch):
    pool = ImagePool(4)
    for start in range(0, 4 - batch + 1, batch):
        given = range(start, start + batch)
        assert show(pool, *given) == list(given)
    filled = 4 // batch * batch
    assert numbers(pool.state()) == list(range(filled))
    show(pool, *range(filled, filled + 10))
    assert len(pool.pictures) == 4


def test_no_picture_is_lost_or_doubled():
    """What came in was shown or is held, each once."""
    pool, shown = ImagePool(5), []
    for step in range(200):
        shown += show(pool, 3 * step, 3 * step + 1, 3 * step + 2)
    # The first five were shown when they came and are held as well: they may be shown a second time.
    later, held = shown[5:], numbers(pool.pictures)
    assert sorted(later + held) == list(range(600))
    assert len(shown) == 600


def test_a_coin_decides_and_every_place_is_as_likely():
    size, steps = 4, 4000
    pool = ImagePool(size)
    show(pool, *range(size))
    replaced, old = [0] * size, 0
    for new in range(size, size + steps):
        before = numbers(pool.pictures)
        (shown,) = show(pool, new)
        after = numbers(pool.pictures)
        changed = [place for place in range(size) if before[place] != after[place]]
        if shown == new:
            assert not changed
        else:
            (place,) = changed
            assert before[place] == shown and after[place] == new
            replaced[place] += 1
            old += 1
    assert abs(old - steps / 2) < 4 * (steps / 4) ** 0.5  # four standard deviations
    for count in replaced:
        assert abs(count - old / size) < 4 * (old * (1 / size) * (1 - 1 / size)) ** 0.5


def test_size_0_shows_what_it_is_given():
    pool, state = ImagePool(0), torch.get_rng_state()
    given = pictures(*range(20))
    assert torch.equal(pool.query(given), given) and pool.pictures is None and pool.state() == []
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_do_not_pass():
    pool = ImagePool(1)
    given = torch.ones(3, 2, 3, 4, requires_grad=True)
    assert not pool.query(given).requires_grad and not pool.pictures[0].requires_grad


def test_only_the_pictures_are_held():
    """Not the batches that they came in: of a clip of five frames they would be five times as large."""
    pool = ImagePool(2)
    for step in range(20):
        pool.query(torch.rand(5, 3, 4, 4) + step)
    for picture in (pool.pictures, torch.stack(pool.state())):
        assert picture.untyped_storage().nbytes() == 2 * 3 * 4 * 4 * 4


def test_held_pictures_are_not_overwritten():
    pool, given = ImagePool(1), torch.ones(1, 2, 3, 4)
    pool.query(given)
    given.zero_()
    assert numbers(pool.pictures) == [1]


def test_it_goes_on_as_it_was():
    pool, other = ImagePool(3), ImagePool(3)
    show(pool, *range(10))
    state = pool.state()
    torch.manual_seed(1)
    expected = [show(pool, 100 + 2 * step, 101 + 2 * step) for step in range(50)]
    other.restore(state, torch.device("cpu"))
    torch.manual_seed(1)
    assert [show(other, 100 + 2 * step, 101 + 2 * step) for step in range(50)] == expected
    assert numbers(other.pictures) == numbers(pool.pictures)


def test_discriminators_of_cyclegan_see_through_the_pool():
    """One pool for each domain; the generators are judged by their own pictures."""
    size = {"image_height": 8, "image_width": 12, "discriminator_architecture": "pixel", "block_size": 2}
    small = {"generator_architecture": "resnet_1blocks", "generator_filters": 2, "discriminator_filters": 2}
    model = get_model("cyclegan", default_options("cyclegan", pool_size=2, **size, **small))
    seen = {domain: [] for domain in model.domains}
    for domain in model.domains:
        model.network("discriminator", domain).register_forward_pre_hook(
            lambda _, inputs, domain=domain: seen[domain].append(inputs[0])
        )
    made = {domain: [] for domain in model.domains}
    for _ in range(6):
        clips = torch.rand(2, 1, 2, 3, 8, 12)
        model(*clips)
        for domain in model.domains:
            made[domain] += list(model.step.fake[domain].flatten(0, 1).detach())
        model.discriminator_losses()
        model.generator_losses()
    older = 0
    for domain in model.domains:
        shown = torch.cat([real_and_fake.chunk(2)[1] for real_and_fake in seen[domain][::2]])
        assert torch.equal(torch.cat(seen[domain][1::2]).detach(), torch.stack(made[domain]))
        for place, picture in enumerate(shown):
            same = [k for k, other in enumerate(made[domain]) if torch.equal(other, picture)]
            assert len(same) == 1 and same[0] <= place  # a picture of this domain, of now or before
            older += same[0] < place
        assert len(model.pools[domain].pictures) == 2
    assert older
    state = model.training_state()
    assert {domain: len(pictures) for domain, pictures in state["pools"].items()} == {"target": 2, "source": 2}


def test_what_overflowed_is_not_kept():
    pool = ImagePool(2)
    pool.query(pictures(1, 2))
    for step in range(20):
        assert pool.query(torch.full_like(pictures(1), torch.nan)).shape == pictures(1).shape
        assert numbers(pool.state()) == [1, 2], step


def test_parts_of_a_batch_meet_what_the_whole_would():
    """The plan of the pictures in parts, and the pictures themselves."""
    whole, parts, given = ImagePool(3), ImagePool(3), pictures(*range(11))
    ours, theirs = np.random.default_rng(5), np.random.default_rng(5)
    expected = whole.query(given, whole.plan(11, ours))
    found = [parts.query(some, parts.plan(len(some), theirs)) for some in given.split([2, 1, 5, 3])]
    assert torch.equal(torch.cat(found), expected)
    assert all(map(torch.equal, parts.state(), whole.state()))
