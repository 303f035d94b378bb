"""check_mixin finds the faults that are planted into the examples, and names them."""
import pytest

from tests.example_gans import EXAMPLES, example
from timecyclegan import check_mixin

ADD_GROUP = 'self.optimizer_G.add_param_group({"params": self.timecycle_parameters()})'
TERM = "self.loss_G = self.loss_G + self.timecycle_backward()"
ADD = 'optimizerG.add_param_group({"params": cycle.parameters(), "lr": 1e-3})'
DEFINE = "self.define_timecycle(input_channels=4, output_channels=3)"
BUILD = 'define_motion_model("resnet_1blocks", 6, 3, filters=8)'
WALK = {
    "plain_class": "self.timecycle_forward(self.fake, self.source)",
    "separate_steps": "self.timecycle_forward(self.fake, maps)",
    "pix2pix_style": "self.timecycle_forward(self.fake_B, self.real_A)",
    "lightning_style": "self.timecycle_forward(fake, maps)",
}
SCHEDULER = "self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer_G, lambda epoch: 1.0)"
SEPARATE_D = "self.loss_D = self.loss_D + self.timecycle_backward_D()"
# Fault: the name it is found by, and by example the changes of its source that make it.
PLANTED = {
    "not in the optimizer": ("motion model in no optimizer", {
        **{name: [(ADD_GROUP, "pass")] for name in ("plain_class", "separate_steps", "pix2pix_style")},
        "lightning_style": [("parameters += self.timecycle_parameters()", "pass")],
        "dcgan_script": [(ADD, "pass")],
    }),
    "half of it in the optimizer": ("motion model in no optimizer", {
        "plain_class": [("self.timecycle_parameters()})", "self.timecycle_parameters()[::2]})")],
    }),
    "input channels": ("wrong channel count", {
        **{name: [(DEFINE, DEFINE.replace("4", "6"))] for name in WALK},
        "dcgan_script": [(BUILD, BUILD.replace("6", "3"))],
    }),
    "output channels": ("wrong channel count", {
        **{name: [(DEFINE, DEFINE.replace("3", "1"))] for name in WALK},
        "dcgan_script": [(BUILD, BUILD.replace("3", "1"))],
    }),
    "added after backward": ("back-propagated before the term was added", {
        "plain_class": [  # the host does it inside
            ("loss.backward()\n", "pass\n"),
            ("        self.loss_D = (self.judge", "        self.loss_G.backward()\n        self.loss_D = (self.judge"),
        ],
        "separate_steps": [(TERM, f"self.loss_G.backward(retain_graph=True); {TERM}"),
                           ("        self.loss_G.backward()\n", "")],
        "pix2pix_style": [("self.timecycle_backward().backward(retain_graph=True)  # TimeCycle\n", "pass\n"),
                          ("super().backward_G()", f"super().backward_G(); {TERM}")],
        "dcgan_script": [("errG = errG + cycle.generator_loss()", "errG.backward()"),
                         ("    errG.backward()\n    opt", "    errG = errG + cycle.generator_loss()\n    opt")],
    }),
    "added after backward, and the sum back-propagated": ("back-propagated before the term was added", {
        "separate_steps": [(TERM, f"self.loss_G.backward(); {TERM}")],
        "pix2pix_style": [("self.timecycle_backward().backward(retain_graph=True)  # TimeCycle\n", "pass\n"),
                          ("super().backward_G()", f"super().backward_G(); {TERM}; self.loss_G.backward()")],
    }),
    "not added": ("term never back-propagated", {
        "plain_class": [(TERM, "self.timecycle_backward()")],
        "lightning_style": [("loss_G = loss_G + self.timecycle_backward()", "self.timecycle_backward()")],
    }),
    "never computed": ("timecycle_backward never called", {
        "plain_class": [(TERM, "pass")],
        "dcgan_script": [("errG = errG + cycle.generator_loss()", "pass")],
    }),
    "no forward and no backward": ("timecycle_forward never called", {
        "plain_class": [(WALK["plain_class"], "pass"), (TERM, "pass")],
        "pix2pix_style": [(WALK["pix2pix_style"], "pass"),
                          ("self.timecycle_backward().backward(retain_graph=True)", "pass")],
    }),
    "no forward": ("timecycle_forward never called", {
        **{name: [(call, "pass")] for name, call in WALK.items()},
        "dcgan_script": [("    cycle(fake)", "    pass")],
    }),
    "detached": ("detached sequence", {
        "plain_class": [(WALK["plain_class"], "self.timecycle_forward(self.fake.detach(), self.source)")],
        "separate_steps": [(WALK["separate_steps"], "self.timecycle_forward([f.detach() for f in self.fake], maps)")],
        "dcgan_script": [("    cycle(fake)", "    cycle(fake.detach())")],
    }),
    "shorter condition": ("sequence and condition differ", {
        "plain_class": [(WALK["plain_class"], "self.timecycle_forward(self.fake, self.source[:, 1:])")],
        "separate_steps": [(WALK["separate_steps"], "self.timecycle_forward(self.fake, maps[:-1])")],
        "pix2pix_style": [(WALK["pix2pix_style"], "self.timecycle_forward(self.fake_B[:, 1:], self.real_A)")],
    }),
    "real and condition": ("sequence and condition differ", {
        "separate_steps": [("self.set_timecycle_discriminator_input(real, maps)",
                            "self.set_timecycle_discriminator_input(real, maps[1:])")],
    }),
    "no condition": ("condition missing", {
        "plain_class": [(WALK["plain_class"], "self.timecycle_forward(self.fake)")],
        "lightning_style": [(WALK["lightning_style"], "self.timecycle_forward(fake)")],
    }),
    "no video": ("sequence of the wrong shape", {
        "dcgan_script": [("    cycle(fake)", "    cycle(fake[:, 0])")],
        "lightning_style": [("self.set_timecycle_discriminator_input(real)",
                             "self.set_timecycle_discriminator_input(real.flatten(0, 1))")],
    }),
    "generator out of range": ("values outside [-1, 1]", {
        **{name: [("nn.Tanh()", "nn.Hardtanh(1.5, 2)")] for name in EXAMPLES},
    }),
    "frames instead of a sequence": ("discriminator with the wrong input", {
        "lightning_style": [("n_frames=3, conditional", "n_frames=2, conditional")],
        "dcgan_script": [("cycle.add_discriminator(netD)", "cycle.add_discriminator(netD, n_frames=2)")],
    }),
    "a discriminator without the condition that it was built for": ("discriminator with the wrong input", {
        "separate_steps": [("(self.discriminator)  #", "(self.discriminator, conditional=False)  #")],
        "lightning_style": [("n_frames=3, conditional=False", "n_frames=3, conditional=True")],
    }),
    "a condition that the discriminator was not built for": ("discriminator with the wrong input", {
        "lightning_style": [("n_frames=3, conditional=False", "n_frames=3"),
                            ("discriminator_input(real)", "discriminator_input(real, maps)")],
    }),
    "real frames of other channels": ("discriminator with the wrong input", {
        "separate_steps": [("self.set_timecycle_discriminator_input(real, maps)",
                            "self.set_timecycle_discriminator_input(maps, maps)")],
    }),
    "an objective that is not a number": ("not a number", {
        "separate_steps": [("(self.discriminator)  #",
                            "(self.discriminator); self.criterion_GAN = lambda shown, real: shown.mean() / 0 * 0  #")],
    }),
    "a motion model that fails": ("motion model fails", {
        "plain_class": [(DEFINE, "self.define_timecycle(4, 3, motion_model=nn.Unflatten(1, (3, 3)))")],
    }),
    "terms once more after they were back-propagated": ("timecycle_forward never called", {
        "pix2pix_style": [("self.timecycle_backward().backward(retain_graph=True)",
                           "self.timecycle_backward().backward(retain_graph=True); self.timecycle_backward()")],
    }),
    "real frames forgotten": ("discriminator with the wrong input", {
        "separate_steps": [("self.set_timecycle_discriminator_input(real, maps)", "pass")],
        "dcgan_script": [("cycle.set_discriminator_input(real)", "pass")],
    }),
    "the other order of channels": ("discriminator with the wrong input", {
        "separate_steps": [("zip(maps, frames, strict=True)", "zip(frames, maps, strict=True)")],
    }),
    "a discriminator too long for the walk": ("discriminator sees nothing", {
        "lightning_style": [("n_frames=3, conditional", "n_frames=9, conditional")],
        "dcgan_script": [("cycle.add_discriminator(netD)", "cycle.add_discriminator(netD, n_frames=9)")],
    }),
    "discriminator not trained": ("timecycle_backward_D never called", {
        "separate_steps": [(SEPARATE_D, "pass")],
        "dcgan_script": [("errD = errD + cycle.discriminator_loss()", "pass")],
    }),
    "discriminator's term not added": ("discriminator's term never back-propagated", {
        "separate_steps": [(SEPARATE_D, "self.timecycle_backward_D()")],
        "dcgan_script": [("errD = errD + cycle.discriminator_loss()", "cycle.discriminator_loss()")],
    }),
    "discriminator's term in the generator's loss": ("gradient cleared before it was used", {
        "separate_steps": [(SEPARATE_D, "pass"), (TERM, f"{TERM} + self.timecycle_backward_D()")],
    }),
    "discriminator's term in the generator's loss, the last": ("gradient never used", {
        "dcgan_script": [("errD = errD + cycle.discriminator_loss()", "pass"),
                         ("+ cycle.generator_loss()", "+ cycle.generator_loss() + cycle.discriminator_loss()")],
        "lightning_style": [("loss_D = loss_D + self.timecycle_backward_D()", "pass"),
                            ("self.timecycle_backward()", "self.timecycle_backward() + self.timecycle_backward_D()")],
    }),
    "gradients cleared": ("gradient cleared before it was used", {
        "plain_class": [("loss.backward()\n", "loss.backward(); optimizer.zero_grad()\n")],
        "pix2pix_style": [("self.timecycle_backward().backward(retain_graph=True)",
                           "self.timecycle_backward().backward(retain_graph=True); self.optimizer_G.zero_grad()")],
    }),
    "gradients taken away": ("gradient cleared before it was used", {
        "plain_class": [("loss.backward()\n", "loss.backward(); [setattr(p, 'grad', None) for p in "
                                              "optimizer.param_groups[-1]['params']]\n")],
        "separate_steps": [("self.loss_G.backward()\n", "self.loss_G.backward(); "
                            "[setattr(p, 'grad', None) for p in self.timecycle_parameters()]\n")],
    }),
    "an optimizer of its own that makes no step": ("gradient never used", {
        "plain_class": [(ADD_GROUP, "self.optimizer_M = torch.optim.Adam(self.timecycle_parameters())")],
        "dcgan_script": [(ADD, "optimizerM = torch.optim.Adam(cycle.parameters())"),
                         ("    return {", "    optimizerM.zero_grad\n    return {")],
    }),
    "both optimizers": ("motion model in several optimizers", {
        name: [(ADD_GROUP, f"{ADD_GROUP}; {ADD_GROUP.replace('_G', '_D')}")]
        for name in ("separate_steps", "pix2pix_style")
    }),
    "frozen": ("motion model gets no gradient", {
        name: [(ADD_GROUP, f"{ADD_GROUP}; [p.requires_grad_(False) for p in self.timecycle_parameters()]")]
        for name in ("plain_class", "separate_steps")
    }),
    "walked without gradients": ("motion model gets no gradient", {
        "plain_class": [(WALK["plain_class"], f"torch.no_grad()(lambda: {WALK['plain_class']})()")],
    }),
    "a scheduler made too early": ("scheduler made before the parameter group", {
        **{name: [(ADD_GROUP, f"{SCHEDULER}; {ADD_GROUP}")] for name in ("plain_class", "separate_steps")},
        "dcgan_script": [(ADD, f"torch.optim.lr_scheduler.LinearLR(optimizerG); {ADD}")],
    }),
    "the generated clip given as real": ("generated clip given as real", {
        "separate_steps": [("input(real, maps)  #", "input(self.fake, maps)  #")],
        "lightning_style": [("discriminator_input(real)", "discriminator_input(fake.detach())")],
        "dcgan_script": [("discriminator_input(real)", "discriminator_input(fake.detach().clone())")],
    }),
    "a learning rate of 0": ("learning rate 0", {
        "plain_class": [("self.timecycle_parameters()}", 'self.timecycle_parameters(), "lr": 0.0}')],
        "pix2pix_style": [("self.netG.parameters(), lr=2e-4", "self.netG.parameters(), lr=0")],
        "dcgan_script": [('"lr": 1e-3', '"lr": 0')],
    }),
    "a weight of 0": ("weight 0", {
        **{name: [("timecycle_loss_weight=5", "timecycle_loss_weight=0")] for name in WALK},
        "dcgan_script": [("weight=5.0", "weight=0.0")],
    }),
    "a weight of 0 outside": ("weight 0", {
        "plain_class": [(TERM, "self.loss_G = self.loss_G + 0 * self.timecycle_backward()")],
    }),
    "added twice": ("term added twice", {
        "plain_class": [(TERM, f"{TERM}; {TERM}")],
        "separate_steps": [(TERM, "term = self.timecycle_backward(); self.loss_G = term + self.loss_G + term")],
        "dcgan_script": [("errG = errG + cycle.generator_loss()",
                          "errG = errG + sum(cycle.generator_loss() for _ in range(2))")],
        "lightning_style": [("loss_D + self.timecycle_backward_D()",
                             "loss_D + sum([self.timecycle_backward_D()] * 2)")],
    }),
    "nothing clears gradients": ("gradients not cleared in the step", {
        "plain_class": [("optimizer.zero_grad()", "pass")],
        "dcgan_script": [("optimizerG.zero_grad()", "pass")],
        "separate_steps": [("self.optimizer_D.zero_grad()", "pass")],
    }),
    "the generator clears its own gradients alone": ("gradients not cleared in the step", {
        "dcgan_script": [("optimizerG.zero_grad()", "netG.zero_grad()")],
        "separate_steps": [("self.optimizer_G.zero_grad()", "self.generator.zero_grad()")],
    }),
    "a real clip of pixels in [0, 1]": ("real clip in [0, 1]", {
        "separate_steps": [("input(real, maps)  #", "input([(x + 1) / 2 for x in real], maps)  #")],
        "dcgan_script": [("discriminator_input(real)", "discriminator_input((real + 1) / 2)")],
        "plain_class": [("self.source, self.real = source, real", "self.source, self.real = source, (real + 1) / 2")],
        "pix2pix_style": [('input["A"], input["B"]', 'input["A"], (input["B"] + 1) / 2')],
    }),
    "the condition backwards": ("condition in another order of time", {
        "lightning_style": [(WALK["lightning_style"], "self.timecycle_forward(fake, maps.flip(1))")],
        "plain_class": [(WALK["plain_class"], "self.timecycle_forward(self.fake, self.source.flip(1))")],
        "separate_steps": [(WALK["separate_steps"], "self.timecycle_forward(self.fake, maps[::-1])")],
        "pix2pix_style": [(WALK["pix2pix_style"], "self.timecycle_forward(self.fake_B, self.real_A.roll(1, 1))")],
    }),
    "the clip backwards": ("condition in another order of time", {
        "lightning_style": [(WALK["lightning_style"], "self.timecycle_forward(fake.flip(1), maps)")],
    }),
    "a weight far too large": ("gradient far above the host's", {
        **{name: [("timecycle_loss_weight=5", "timecycle_loss_weight=5e4")] for name in WALK},
        "dcgan_script": [("weight=5.0", "weight=2e4")],
    }),
    "the generator's gradients in the discriminator": ("gradients of the generator's loss in a discriminator", {
        "separate_steps": [("self.optimizer_D.zero_grad()", "pass"),
                           ("self.optimizer_G.zero_grad()", "self.zero_grad()")],
        "lightning_style": [("optimizer_D.zero_grad()", "pass"),
                            ("optimizer_D.step()", "optimizer_D.step(); optimizer_D.zero_grad()")],
        "dcgan_script": [("netD.zero_grad()", "pass"), ("optimizerD.step()", "optimizerD.step(); netD.zero_grad()")],
    }),
    "frames and channels swapped": ("frames and channels swapped", {
        "plain_class": [(WALK["plain_class"], "self.timecycle_forward(self.fake.transpose(1, 2), self.source)")],
        "pix2pix_style": [(WALK["pix2pix_style"], "self.timecycle_forward(self.fake_B.transpose(1, 2), "
                                                  "self.real_A.transpose(1, 2))")],
        "dcgan_script": [("    cycle(fake)", "    cycle(fake.transpose(1, 2))")],
    }),
    "an error of the host's": ("the step failed", {
        "plain_class": [("10 * (self.fake", "10 / 0 * (self.fake")],
        "lightning_style": [("maps, real = batch", "maps, real, more = batch")],
    }),
}  # fmt: skip
SCRIPT = {"timecycle_forward": "cycle", "timecycle_backward_D": "cycle.discriminator_loss",
          "timecycle_backward": "cycle.generator_loss"}  # fmt: skip
CASES = [(fault, name) for fault, (_, changes) in PLANTED.items() for name in changes]


@pytest.mark.parametrize(("fault", "name"), CASES)
def test_planted_fault(fault, name, capsys):
    expected, changes = PLANTED[fault]
    if name == "dcgan_script":
        for words, in_a_script in SCRIPT.items():
            expected = expected.replace(words, in_a_script)
    one = example(name, *changes[name])
    findings = check_mixin(one.gan, one.batch(), one.step)
    assert {finding.name for finding in findings} == {expected}
    output = capsys.readouterr().out
    assert all(str(finding) in output for finding in findings) and "well" not in output
    if name == "dcgan_script":  # which has no self, and no methods of the mixin
        assert "self." not in output and "timecycle_" not in output
