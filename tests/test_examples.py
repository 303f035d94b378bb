"""The examples: they run, add at most ten lines, and what these add is TimeCycle."""
import copy
import io
import re
import subprocess
import sys
import tokenize

import pytest
import torch

from tests import naive
from tests.example_gans import EXAMPLES, FOLDER, example, module, source
from timecyclegan import check_mixin

EACH = pytest.mark.parametrize("name", EXAMPLES)


def marked(name):
    """By line number, what stood in the place of each line that is marked as TimeCycle's: nothing, or another line."""
    tokens = tokenize.generate_tokens(io.StringIO(source(name)).readline)
    comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    found = {line: re.fullmatch(r"# TimeCycle(?:, was (.+))?", comment) for line, comment in comments.items()}
    return {line: match[1] for line, match in found.items() if match}


def without_timecycle(name):
    """The source of the GAN as it would be without TimeCycle, up to its main()."""
    lines, was = source(name).split("def main(")[0].splitlines(), marked(name)
    kept = []
    for number, line in enumerate(lines, 1):
        if number not in was:
            kept.append(line)
        elif was[number]:
            kept.append(line[: len(line) - len(line.lstrip())] + was[number])
    return "\n".join(kept)


@EACH
def test_at_most_ten_lines_are_added_and_they_are_all(name):
    """Without the marked lines the GAN trains, and does not know of TimeCycle."""
    assert 5 <= len(marked(name)) <= 10
    text = without_timecycle(name)
    code = text.split('"""', 2)[2]  # not the docstring, which may speak of it
    assert "timecycle" not in code.lower() and "cycle" not in code.lower()
    plain = example(name, text=text)
    assert plain.cycle is None
    networks = [value for value in {**vars(plain.module), **vars(plain.gan or plain.module)}.values()
                if isinstance(value, torch.nn.Module)]  # fmt: skip
    networks += [plain.gan] if isinstance(plain.gan, torch.nn.Module) else []
    before = [p.detach().clone() for network in networks for p in network.parameters()]
    plain.make_step(plain.batch())
    after = [p for network in networks for p in network.parameters()]
    assert before and not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_lightning_is_told_that_the_module_steps_itself():
    """Lightning 2 refuses manual_backward otherwise, and steps a second time."""
    told = "        self.automatic_optimization = False  # two optimizers, stepped below\n"
    assert example("lightning_style").gan.automatic_optimization is False
    untold = example("lightning_style", (told, ""))
    with pytest.raises(RuntimeError, match="automatic_optimization"):
        untold.make_step(untold.batch())


def plain_loss(name, x, c, model):
    """The cycle's loss one frame and one chain at a time."""
    if name == "dcgan_script":
        return naive.returning_loss(x, *naive.unconditional_cycle(x, model, model))
    return naive.conditional_loss(x, c, model, model)


@EACH
def test_the_first_step_s_loss_is_the_plain_one(name):
    one = example(name)
    for value in [one.gan, one.cycle, *vars(one.module).values(), *vars(one.gan).values()]:
        if isinstance(value, torch.nn.Module):
            value.double()
    if name == "dcgan_script":  # its codes come from torch's default type
        one.module.random_walk = lambda walk=one.module.random_walk: walk().double()
    batch = one.batch()
    batch = torch.utils._pytree.tree_map(torch.Tensor.double, batch)
    model = copy.deepcopy(one.cycle.backward_model)  # as it is before the step
    walks = []
    one.cycle.register_forward_hook(lambda cycle, args, walked: walks.append(walked))
    one.make_step(batch)
    (walked,) = walks
    assert walked.sequence.dtype == torch.double and walked.length == walked.sequence.shape[1] - walked.history
    c = None if walked.condition is None else walked.condition.unbind(1)
    with torch.no_grad():
        expected = plain_loss(name, walked.sequence.unbind(1), c, model)
    assert expected > 0.01
    assert one.cycle.terms()["cycle"].item() == pytest.approx(expected.item(), abs=1e-9)


@EACH
def test_the_motion_model_and_the_generator_learn_from_it(name):
    """With another weight, their gradients are others."""
    moved, learned = {}, {}
    for weight in (1, 5):
        one = example(name)
        one.cycle.weight = weight
        torch.manual_seed(1)
        one.make_step(one.batch())
        generator = one.module.netG if name == "dcgan_script" else vars(one.gan).get("netG") or one.gan.generator
        moved[weight] = [p.grad.clone() for p in generator.parameters()]
        learned[weight] = [p.grad.clone() for p in one.cycle.parameters() if p.dim() > 1]
    for gradients in (moved, learned):  # the biases before a normalisation have none
        assert any(not torch.allclose(a, b) for a, b in zip(*gradients.values(), strict=True))


@EACH
def test_check_mixin_finds_nothing_wrong(name, capsys):
    one = example(name)
    assert check_mixin(one.gan, one.batch(), one.step) == []
    seen, verdict = capsys.readouterr().out.splitlines()
    size = "3x32x32, " if name == "dcgan_script" else "3x16x16, condition 1 channel, "
    number = r"[-+.\de]+"
    assert re.fullmatch(
        f"check_mixin: target: walked 2 clips of 4 frames, {size}values {number} to {number}, reaches generator and "
        f"motion model; gradient {number} beside the host's {number}", seen)
    assert verdict == "check_mixin: all is well (target)"


def losses(output):
    """The TimeCycle loss in each line of an example's output that has one."""
    return [float(loss) for loss in re.findall(r"^step .* timecycle_(?:target|cycle) ([\d.]+)", output, re.M)]


@EACH
def test_its_main_runs(name, capsys):
    module(name, source(name)).main(["--steps", "2"])
    output = capsys.readouterr().out
    assert "all is well" in output and len(losses(output)) == 2 and min(losses(output)) > 0


@pytest.mark.parametrize("name", ["plain_class", "pix2pix_style"])
def test_its_main_runs_without(name, capsys):
    module(name, source(name)).main(["--steps", "2", "--without"])
    output = capsys.readouterr().out
    assert output.count("step ") == 2 and "check_mixin" not in output and losses(output) == []


@pytest.mark.slow
@EACH
def test_the_loss_falls(name):
    found = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--steps", "100"], capture_output=True, text=True)
    assert found.returncode == 0 and not found.stderr, found.stderr
    assert losses(found.stdout)[-1] < 0.6 * losses(found.stdout)[0]
