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
from tests.example_gans import FOLDER, STYLES, example, module, source
from tests.ranks import on_two_ranks
from timecyclegan import TimeCycle, check_mixin

EACH = pytest.mark.parametrize("name", STYLES)


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


@pytest.fixture
def double():
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(torch.float)


@EACH
def test_the_first_step_s_loss_is_the_plain_one(name, double):
    """One frame and one chain at a time."""
    one = example(name)
    batch = one.batch()
    model = copy.deepcopy(one.cycle.backward_model)  # as it is before the step
    walks = []
    one.cycle.register_forward_hook(lambda cycle, args, walked: walks.append(walked))
    one.make_step(batch)
    (walked,) = walks
    assert walked.sequence.dtype == torch.double and walked.length == walked.sequence.shape[1] - walked.history
    x = walked.sequence.unbind(1)
    with torch.no_grad():
        if one.style.conditional:
            expected = naive.conditional_loss(x, walked.condition.unbind(1), model, model)
        else:
            expected = naive.returning_loss(x, *naive.unconditional_cycle(x, model, model))
    assert expected > 0.003
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
        (generator,) = one.networks(one.style.generator)
        moved[weight] = [p.grad.clone() for p in generator.parameters()]
        learned[weight] = [p.grad.clone() for p in one.cycle.parameters() if p.dim() > 1]
    for gradients in (moved, learned):  # the biases before a normalisation have none
        assert any(not torch.allclose(a, b) for a, b in zip(*gradients.values(), strict=True))


@EACH
def test_no_discriminator_is_trained_by_it(name, monkeypatch):
    """The gradient of all that TimeCycle adds to the generator's loss, adversarial terms too: none at what judges."""
    one, seen = example(name), []
    networks = one.networks(*one.style.discriminators)

    def watched(cycle, of=TimeCycle.generator_loss):
        loss, seen[:] = of(cycle), [cycle.terms()]
        assert all(p.requires_grad for network in networks for p in network.parameters()) or name == "pix2pix_style"
        for network, reached in [*((one, False) for one in networks), (cycle, True)]:
            parameters = [p for p in network.parameters() if p.requires_grad]
            found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) if parameters else ()
            assert any(gradient is not None and bool(gradient.any()) for gradient in found) == reached
        return loss

    monkeypatch.setattr(TimeCycle, "generator_loss", watched)
    one.make_step(one.batch())
    assert ("gan" in seen[0]) == bool(one.cycle.judges)


@EACH
def test_the_loss_falls(name):
    """On one batch and noise, with the generator's learning rate at twenty times its own."""
    one, found = example(name), []
    (generator,), batch = one.networks(one.style.generator), one.batch()
    holders = [one.gan, one.module, *([one.gan.optimizers()] if name == "lightning_style" else [])]
    optimizers = [value for holder in holders for value in (vars(holder).values() if hasattr(holder, "__dict__") else
                  holder) if isinstance(value, torch.optim.Optimizer)]  # fmt: skip
    mine = {id(p) for p in generator.parameters()}
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] *= 20 if mine & {id(p) for p in group["params"]} else 1
    for _ in range(14):
        torch.manual_seed(1)
        one.make_step(batch)
        found.append(one.cycle.terms()["cycle"].item())
    assert sum(found[-3:]) < 0.7 * sum(found[:3]), found


@EACH
def test_check_mixin_finds_nothing_wrong(name, capsys):
    one = example(name)
    assert check_mixin(one.gan, one.batch(), one.step) == []
    called, style = "cycle" if getattr(one.gan, "cycle", None) is one.cycle else "target", one.style
    seen, verdict = capsys.readouterr().out.splitlines()
    size = f"3x{style.size}x{style.size}" + ", condition 1 channel" * style.conditional
    number = r"[-+.\de]+"
    assert re.fullmatch(
        f"check_mixin: {called}: walked 2 clips of {style.frames} frames, {size}, values {number} to {number}, reaches "
        f"generator and motion model; gradient {number} beside the host's {number}", seen)
    assert verdict == f"check_mixin: all is well ({called})"


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


# ---- in several processes

def on_a_rank(rank):
    """What two steps of examples/ddp.py make of its networks, as it is and where the motion model is not wrapped."""
    found = []
    for wrapped in ("DDP(motion_model.to(device))", "motion_model.to(device)"):
        text = source("ddp")
        assert text.count("DDP(motion_model.to(device))") == 1
        made = module("ddp", text.replace("DDP(motion_model.to(device))", wrapped).replace("filters=8", "filters=2"))
        torch.manual_seed(rank)
        gan = made.GAN("cpu", filters=2)
        for _ in range(2):
            gan.train_step(*made.moving_shapes(2, 4, 16))
        networks = gan.cycle, gan.netG, gan.netD
        apart = [made.spread(network) for network in networks]
        found.append(([[p.tolist() for p in network.parameters()] for network in networks], apart))
    return found


def test_all_processes_hold_the_same_networks_because_they_are_wrapped(tmp_path):
    (one, unwrapped), (other, other_unwrapped) = on_two_ranks(on_a_rank, tmp_path)
    assert one == other and one[1] == [0, 0, 0]
    (motion, *networks), apart = unwrapped
    assert networks == other_unwrapped[0][1:] and motion != other_unwrapped[0][0]
    assert apart[0] > 1e-3 and apart[1:] == [0, 0]


@pytest.mark.slow
def test_torchrun_runs_it():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", FOLDER / "ddp.py"]
    found = subprocess.run([*command, "--steps", "2"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    first, *steps, last = found.stdout.splitlines()[1:]  # what rank 0 says, and it alone
    assert first == "check_mixin: all is well (cycle)" and len(losses(found.stdout)) == len(steps) == 2
    assert last == "2 processes differ generator 0 discriminator 0 motion model 0"


@pytest.mark.slow
@EACH
def test_it_runs_as_a_program(name):
    found = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--steps", "2"], capture_output=True, text=True)
    assert found.returncode == 0 and not found.stderr, found.stderr
    assert len(losses(found.stdout)) == 2
