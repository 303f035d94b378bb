"""check_mixin on sequence discriminators, on the warp loss, and on which side's loss and optimizer a term is in."""
import pytest
import torch
from torch import nn

from tests.checking.test_check_mixin import Computes, Computing, names, videos
from tests.checking.test_planted import ADD_GROUP, WALK
from tests.example_gans import example
from timecyclegan import check_mixin
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin


class Full(SeqDMixin, WarpLossMixin, Computing):
    """All mixins at once; ``left_out`` are the calls that it forgets, ``swapped`` those in the wrong loss."""

    left_out, dropped, swapped = (), (), ()

    def __init__(self, trained=True):
        still = lambda newer, older: (torch.zeros(len(newer), 2, 16, 16), torch.ones(len(newer), 1, 16, 16))  # noqa: E731
        super().__init__(warp_flow_backend=still)
        self.define_seq_D(2, discriminators=[nn.Conv2d(6, 1, 3)])
        self.timecycles["target"].add_discriminator(self.discriminator)
        self.optimizer_G.add_param_group({"params": self.timecycle_parameters()})
        judges = [*self.discriminator.parameters(), *(self.seq_D_parameters() if trained else [])]
        self.optimizer_D = torch.optim.Adam(judges)

    def forward(self, source, real):
        super().forward(source, real)
        self.set_timecycle_discriminator_input(real)
        if "set_seq_D_input" not in self.left_out:
            self.set_seq_D_input(self.fake, real)
        if "warp_forward" not in self.left_out:
            self.warp_forward(self.fake, real)

    def backward(self):
        Computes.backward(self)
        for side in "GD":
            terms = {"G": ("timecycle_backward", "seq_D_backward", "warp_backward"),
                     "D": ("timecycle_backward_D", "seq_D_backward_D")}[side]  # fmt: skip
            for name in set(terms) - set(self.left_out):
                loss = "loss_" + ({"G": "D", "D": "G"}[side] if name in self.swapped else side)
                value = getattr(self, name)()
                if name not in self.dropped:
                    setattr(self, loss, getattr(self, loss) + value)


def found(trained=True, **changes):
    gan = Full(trained)
    vars(gan).update(changes)
    return names(gan, videos())


def test_all_mixins_at_once(capsys):
    assert check_mixin(Full(), videos()) == []
    *seen, verdict = capsys.readouterr().out.splitlines()
    assert verdict == "check_mixin: all is well (target, sequence discriminators target, warp loss)"
    assert [line.split(": ")[1] for line in seen] == ["target", "sequence discriminators target", "warp loss"]


def test_sequence_discriminators_in_no_optimizer():
    assert found(trained=False) == ["sequence discriminators in no optimizer"]


@pytest.mark.parametrize("method", ["seq_D_backward", "seq_D_backward_D", "warp_backward"])
def test_a_term_that_is_not_computed_or_not_added(method):
    assert found(left_out=(method,)) == [f"{method} never called"]
    assert found(dropped=(method,)) == [f"{method} never back-propagated"]


def test_sequence_discriminators_without_input():
    left_out = ("set_seq_D_input", "seq_D_backward", "seq_D_backward_D")
    assert found(left_out=left_out) == ["set_seq_D_input never called"]


@pytest.mark.parametrize("method", ["set_seq_D_input", "warp_forward"])
def test_a_loss_asked_for_before_the_videos_are_given(method):
    assert found(left_out=(method,)) == [f"{method} never called"]


def test_which_of_several_groups():
    gan = Full()
    gan.define_seq_D(2, seq_D_name="other", discriminators=[nn.Conv2d(6, 1, 3)])
    gan.backward = lambda: setattr(gan, "loss_G", gan.timecycle_backward())
    texts = [finding.text for finding in check_mixin(gan, videos(), verbose=False) if "seq_D_input" in finding.name]
    assert len(texts) == 1 and texts[0].startswith("sequence discriminators 'other': ")


def test_terms_of_the_two_sides_exchanged():
    """Where check_mixin back-propagates the host's losses, and no optimizer makes a step."""
    for name in ("timecycle_backward", "seq_D_backward"):
        assert found(swapped=(name,)) == [f"{name} in the other side's loss"]
        both = (name, f"{name}_D")
        assert found(swapped=both) == [f"{method} in the other side's loss" for method in both]


def test_one_loss_for_all_is_not_the_other_side_s():
    gan = Full()
    gan.backward = lambda: (Full.backward(gan), setattr(gan, "loss_G", gan.loss_G + gan.loss_D), delattr(gan, "loss_D"))
    assert names(gan, videos()) == []


# ---- a gradient that is lost


def lost(*changes):
    one = example("plain_class", *changes)
    (finding,) = check_mixin(one.gan, one.batch(), verbose=False)
    return finding


def test_a_motion_model_in_the_discriminator_s_optimizer():
    finding = lost((ADD_GROUP, ADD_GROUP.replace("_G", "_D")))
    assert finding.name == "gradient cleared before it was used" and "or the optimizer" in finding.text


@pytest.mark.parametrize("before", [False, True])
def test_a_backward_that_leaves_the_motion_model_out(before):
    """Whether or not it has a gradient from before."""
    backward = "loss.backward(inputs=optimizer.param_groups[0]['params'])\n"
    one = example("plain_class", ("loss.backward()\n", backward), ("optimizer.zero_grad()", "pass"))
    for p in one.gan.timecycle_parameters():
        p.grad = torch.ones_like(p) if before else None
    finding, other = check_mixin(one.gan, one.batch(), verbose=False)
    assert finding.name == "motion model gets no gradient" and "no gradient reached" in finding.text
    assert "inputs=" in finding.text and other.name == "gradients not cleared in the step"


def test_how_a_gradient_was_cleared():
    wipe = "[setattr(p, 'grad', None) for p in optimizer.param_groups[-1]['params']]"
    for clear in ("optimizer.zero_grad()", "optimizer.zero_grad(set_to_none=False)", wipe):
        text = lost(("loss.backward()\n", f"loss.backward(); {clear}\n")).text
        assert "the gradient of timecycle_backward() was set to zero or taken away" in text


# ---- frames that are left out


def test_frames_left_out_of_the_walk_only():
    one = example("separate_steps", (WALK["separate_steps"], "self.timecycle_forward(self.fake, maps, 1)"))
    (finding,) = check_mixin(one.gan, one.batch(), one.step, verbose=False)
    assert finding.name == "discriminator with the wrong input"
    assert "the walked sequence is (2, 3, 3, 16, 16), the real one (2, 4, 3, 16, 16)" in finding.text
    assert "give the same ignore_first_n to both" in finding.text


def test_what_sequence_discriminators_hold_is_put_back_where_the_package_is_installed(monkeypatch):
    monkeypatch.setattr("timecyclegan.util.snapshot.is_installed", lambda file: True)
    gan = Full()
    assert names(gan, videos()) == [] and not hasattr(gan.seq_Ds["target"].step, "fake")
