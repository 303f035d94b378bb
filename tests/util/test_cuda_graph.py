"""Functions that are recorded and replayed: on the CPU with a recorder that stands in for CUDA graphs, and on a GPU."""
import itertools

import pytest
import torch

from timecyclegan.util.cuda_graph import WARM_UPS, CapturedFunction, capture
from timecyclegan.util.errors import UserError

CPU = torch.device("cpu")


def stand_in(call):
    """As a CUDA graph does: recording computes nothing that can be read, replaying writes into the same tensors."""
    outputs = tuple(value if value is None else torch.full_like(value, 7) for value in call())

    def replay():
        for place, value in zip(outputs, call(), strict=True):
            if place is not None:
                place.copy_(value)

    return outputs, replay


class Walk:
    """A recurrence, and how often Python ran it."""

    def __init__(self):
        self.calls = 0

    def __call__(self, source, state, gain=None, sign=1):
        self.calls += 1
        made = torch.sin(source + state) * (1 if gain is None else gain) * sign
        return made, 0.5 * state + made


def walk(function, lengths, seed=0):
    """What comes out of ``function`` with the state carried along, of so many rows at a time; more begin anew."""
    rng, found, state = torch.Generator().manual_seed(seed), [], torch.zeros(0, 3)
    for rows in lengths:
        state = state[:rows] if rows <= len(state) else torch.zeros(rows, 3)
        made, state = function(torch.randn(rows, 3, generator=rng), state, gain=torch.full((1,), 2.0))
        found.append(made.clone())
    return torch.cat(found)


def test_what_is_replayed_is_what_would_be_called():
    function = Walk()
    captured = CapturedFunction(function, CPU, "this walk", stand_in)
    lengths = [3] * 6 + [2] * 7 + [3] * 2 + [1]  # the last one is too rare to be recorded
    assert torch.equal(walk(captured, lengths), walk(Walk(), lengths))
    # Called in earnest, once while recording, and once by each replay of the stand-in.
    assert function.calls == 2 * (WARM_UPS + 1) + (8 - WARM_UPS) + (7 - WARM_UPS) + 1


def test_outputs_are_written_again_and_every_signature_has_its_own():
    captured = CapturedFunction(Walk(), CPU, "this walk", stand_in)
    one, two = torch.ones(3), torch.full((3,), 2.0)
    for sign in (1, -1):
        for _ in range(WARM_UPS):
            captured(one, one, sign=sign)
    first, other = captured(one, one, sign=1)[0], captured(one, one, sign=-1)[0]
    before = first.clone()
    assert torch.equal(first, torch.sin(two)) and torch.equal(other, -first)
    again = captured(two, one, sign=1)[0]
    assert again is first and not torch.equal(first, before)
    assert torch.equal(captured(two.double(), one.double(), sign=1)[0], torch.sin(torch.full((3,), 3.0).double()))
    without = CapturedFunction(walk_plain := Walk(), CPU, "this walk")  # nothing to record on a CPU
    results = [without(one, one)[0] for _ in range(9)]
    assert walk_plain.calls == 9 and all(a is not b for a, b in itertools.combinations(results, 2))


def test_what_cannot_be_recorded_is_called_and_one_line_says_why(capsys):
    def refusing(call):
        try:
            call()
            raise RuntimeError("operation not permitted when stream is capturing\nCompile with ...")
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904 (as PyTorch)

    insisting = CapturedFunction(Walk(), CPU, "this walk", refusing, insist=True)
    with pytest.raises(UserError, match=r"--cuda_graph on cannot be: .* this walk .*: operation not permitted.*auto$"):
        walk(insisting, [2] * (WARM_UPS + 1))
    captured = CapturedFunction(Walk(), CPU, "this walk", refusing)
    lengths = [2] * 6 + [1] * 6
    assert torch.equal(walk(captured, lengths), walk(Walk(), lengths))
    assert capsys.readouterr().out == ("note: this walk runs kernel by kernel, as no CUDA graph of it can be "
                                       "recorded: operation not permitted when stream is capturing\n")  # fmt: skip


def test_on_a_cpu_nothing_is_recorded():
    walk = Walk()
    assert capture(walk, CPU, "this walk", "auto") is capture(walk, CPU, "this walk", "off", "it draws") is walk
    with pytest.raises(UserError, match="--cuda_graph on cannot be: it computes on the CPU"):
        capture(walk, CPU, "this walk", "on")


@pytest.mark.gpu
class TestOnGPU:
    def test_replays_equal_calls(self):
        device = torch.device("cuda", 0)
        captured = CapturedFunction(Walk(), device, "this walk")
        lengths = [3] * 6 + [2] * 7 + [3] * 2
        assert torch.equal(walk(captured, lengths).cpu(), walk(CapturedFunction(Walk(), device, ""), lengths).cpu())
        assert len(captured._recorded) == 2
        torch.testing.assert_close(walk(captured, lengths).cpu(), walk(Walk(), lengths))

    def test_a_network_learns_as_it_does_without(self):
        device, found = torch.device("cuda", 0), []
        for graph in (True, False):
            torch.manual_seed(0)
            network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).to(device)
            adam = torch.optim.Adam(network.parameters(), lr=0.01, capturable=True)

            def step(x, network=network, adam=adam):
                adam.zero_grad(set_to_none=True)
                loss = (network(x) - x.sum(1, keepdim=True)).square().mean()
                loss.backward()
                adam.step()
                return loss.detach()

            function = CapturedFunction(step, device, "this step") if graph else step
            batches = torch.randn(30, 4, 8, generator=torch.Generator().manual_seed(1)).pin_memory()
            found.append([function(batch if graph else batch.to(device)).item() for batch in batches])
            assert not graph or function._recorded
        assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0][-1] < found[0][0]

    def test_a_value_read_on_the_host_is_named_and_the_stream_is_as_before(self, capsys):
        device = torch.device("cuda", 0)
        before = torch.cuda.current_stream()
        captured = CapturedFunction(lambda x: x * float(x.sum()), device, "this product")
        for scale in range(6):
            x = torch.full((2,), float(scale))
            assert torch.equal(captured(x).cpu(), x * x.sum())
        assert torch.cuda.current_stream() == before
        out = capsys.readouterr().out
        assert out.count("\n") == 1 and "this product runs kernel by kernel" in out
        assert "previous error" not in out
