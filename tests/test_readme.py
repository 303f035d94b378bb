"""What README.md promises: its code trains a GAN, its commands and its paths exist."""
import functools
import re
import runpy
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from tests import naive
from tests.example_gans import STYLES
from tests.ranks import on_two_ranks
from timecyclegan import TimeCycle, check_mixin, define_motion_model
from timecyclegan.util.argparser import COMMANDS, build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def fences(text):
    """The (language, code) of all blocks of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)


def spans(text):
    """All code within lines."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


FENCES, SPANS = fences(README), spans(README)
ADDED_BY_HAND = {"docs/demo.gif"}

N, T, H, W = 2, 3, 16, 16


def code(word):
    found = [text for language, text in FENCES if language == "python" and word in text]
    assert len(found) == 1
    return found[0]


# ---- by inheritance


class TinyGAN:
    """A GAN of one's own that generates frame by frame: what the README asks of a host, and no more."""

    optimizer = staticmethod(functools.partial(torch.optim.Adam, lr=0.01))

    def __init__(self, as_tensor):
        super().__init__()
        self.as_tensor = as_tensor
        self.generator = nn.Conv2d(3, 3, 3, padding=1)
        self.discriminator = nn.Conv2d(6, 1, 4, stride=2)
        self.optimizer_G = self.optimizer(self.generator.parameters())
        self.optimizer_D = self.optimizer(self.discriminator.parameters())

    def forward(self, source, real):
        self.source, self.real = source, real
        frames = [torch.tanh(self.generator(frame)) for frame in source.unbind(dim=1)]
        self.fake = torch.stack(frames, dim=1) if self.as_tensor else frames
        return self.fake

    def judge(self, condition, frame):
        return self.discriminator(torch.cat([condition, frame], dim=1))

    def backward(self):
        self.loss_G, self.loss_D = 0.0, 0.0
        for t in range(T):
            source, real = self.source[:, t], self.real[:, t]
            fake = self.fake[:, t] if self.as_tensor else self.fake[t]
            self.discriminator.requires_grad_(False)
            self.loss_G = self.loss_G + (self.judge(source, fake) - 1).square().mean()
            self.discriminator.requires_grad_(True)
            on_real, on_fake = self.judge(source, real), self.judge(source, fake.detach())
            self.loss_D = self.loss_D + (on_real - 1).square().mean() + on_fake.square().mean()

    def train_step(self, source, real):
        output = self.forward(source, real)
        self.backward()
        for optimizer, loss in ((self.optimizer_G, self.loss_G), (self.optimizer_D, self.loss_D)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return output


class TinyModule(TinyGAN, nn.Module):
    """The same as an nn.Module."""


class TinySGD(TinyModule):
    """With an optimizer that does not make much of tiny differences."""

    optimizer = staticmethod(functools.partial(torch.optim.SGD, lr=0.02))


def clip(seed):
    return torch.rand(N, T, 3, H, W, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def snapshot(parameters):
    return [parameter.detach().clone() for parameter in parameters]


def moved(parameters, before):
    """Parameters whose gradient is not zero by construction (a bias before a normalisation) must move."""
    return [not torch.equal(now, then) for now, then in zip(parameters, before, strict=True) if now.dim() > 1]


def build(host, as_tensor=True):
    torch.manual_seed(0)
    namespace = {"MyGAN": host}
    exec(code("class MyGANWithTimeCycle"), namespace)
    return namespace["MyGANWithTimeCycle"](as_tensor)


@pytest.mark.parametrize("as_tensor", [True, False])
@pytest.mark.parametrize("host", [TinyGAN, TinyModule])
def test_the_example_trains_the_host_and_the_motion_model(host, as_tensor):
    gan = build(host, as_tensor)
    parts = {"motion": gan.timecycle_parameters(), "G": list(gan.generator.parameters()),
             "D": list(gan.discriminator.parameters())}
    assert parts["motion"]
    before = {name: snapshot(parameters) for name, parameters in parts.items()}
    for step in range(3):
        output = gan.train_step(clip(step), clip(10 + step))
        assert output is gan.fake and len(output) == (N if as_tensor else T)
        assert gan.loss_G.isfinite() and gan.loss_D.isfinite()
        assert {"timecycle_target", "timecycle_gan_target", "timecycle_discriminator_target"} <= set(
            gan.timecycle_losses())
    for name, parameters in parts.items():
        assert all(moved(parameters, before[name])), name


@pytest.mark.parametrize("host", [TinyGAN, TinyModule])
def test_the_cycle_reaches_the_host_s_losses(host):
    gan, plain = build(host), host(True)
    plain.generator, plain.discriminator = gan.generator, gan.discriminator
    for each in (gan, plain):
        each.forward(clip(0), clip(1))
        each.backward()
    terms = gan.timecycle_losses()
    added = 5 * terms["timecycle_target"] + terms["timecycle_gan_target"]
    torch.testing.assert_close(gan.loss_G - plain.loss_G, added)
    torch.testing.assert_close(gan.loss_D - plain.loss_D, terms["timecycle_discriminator_target"])


def test_an_optimizer_made_later_from_a_module_s_parameters_has_the_motion_model():
    gan = build(TinyModule)
    optimizer = torch.optim.Adam(gan.parameters())
    assert {id(p) for p in gan.timecycle_parameters()} <= {id(p) for p in optimizer.param_groups[0]["params"]}
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": gan.timecycle_parameters()})


def test_a_scheduler_made_before_the_motion_model_does_not_accept_it():
    gan = TinyGAN(True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(gan.optimizer_G, lambda epoch: 0.5**epoch)
    gan.optimizer_G.add_param_group({"params": nn.Conv2d(1, 1, 1).parameters()})
    gan.optimizer_G.step()
    with pytest.raises(ValueError):
        scheduler.step()


def test_the_example_adds_at_most_ten_lines():
    own = [line for line in code("class MyGANWithTimeCycle").splitlines()
           if line.strip() and not line.strip().startswith(("class ", "def ")) and "super()" not in line]
    assert 5 <= len(own) <= 10


# ---- the script, and what comes after it


def part(title):
    """The text of a section of how TimeCycle is added; that before the first title for ""."""
    whole = README.split("## Add TimeCycle to your own GAN\n")[1].split("\n## ")[0]
    return (whole.split(f"\n### {title}\n")[1] if title else whole).split("\n### ")[0]


@pytest.fixture
def script():
    """What the script defines, once it ran."""
    torch.manual_seed(0)
    found = {}
    exec(code("def train_step"), found)
    return found


def marked(text):
    return [line for line in text.splitlines() if line.endswith("# TimeCycle")]


def test_the_script_has_six_lines_and_runs_without_them():
    text = code("def train_step")
    assert len(marked(text)) == 6
    plain = "\n".join(line for line in text.splitlines() if line not in marked(text))
    assert "cycle" not in plain.lower() and "motion" not in plain
    exec(plain, {})


def test_the_script_trains_generator_and_motion_model(script):
    source, real = torch.rand(N, 5, 1, H, W) * 2 - 1, torch.rand(N, 5, 3, H, W) * 2 - 1
    (checked,) = [span for span in spans(part("Is it right?")) if span.startswith("check_mixin(cycle")]
    assert eval(checked, script | {"check_mixin": check_mixin, "source": source, "real": real}) == []
    motion_model, netG, netD = script["motion_model"], script["netG"], script["netD"]
    fake = netG(source.flatten(0, 1)).unflatten(0, (-1, 5))
    for t in range(5):
        torch.testing.assert_close(fake[:, t], netG(source[:, t]))
    plain = naive.conditional_loss(fake.unbind(1), source.unbind(1), motion_model, motion_model)
    before = [snapshot(network.parameters()) for network in (motion_model, netG, netD)]
    script["train_step"](source, real)
    torch.testing.assert_close(script["cycle"].terms()["cycle"], plain.detach())
    for network, then in zip((motion_model, netG, netD), before, strict=True):
        assert any(moved([*network.parameters()], then))


def test_videos_with_channels_before_time_and_walks_without_a_condition(script):
    unconditional = 'TimeCycle(motion_model, "unconditional")'
    assert {"fake.transpose(1, 2)", unconditional, "in_channels=3 + 3", "cycle(fake)"} <= set(spans(part("")))
    script["motion_model"] = script["define_motion_model"]("resnet_1blocks", 3 + 3, 3, filters=8)
    cycle = eval(unconditional, script)
    volume = torch.rand(N, 3, 6, H, W)
    walked = cycle(eval("fake.transpose(1, 2)", {"fake": volume}))
    assert walked.length == 4 and torch.equal(walked.sequence[:, 2], volume[:, :, 2])
    for made, least in ((cycle, 3), (script["cycle"], 2)):
        for frames in range(1, least + 1):
            clips = [torch.rand(N, frames, channels, H, W) for channels in (3, 1)]
            if frames < least:
                with pytest.raises(ValueError, match=f"needs {least} or more"):
                    made(*clips)
            else:
                assert made(*clips).length == 1


def test_the_lines_for_a_discriminator(script):
    once, each = code("cycle.add_discriminator(netD)").split("\n\n")
    exec(once, script)
    script["real"], script["source"] = torch.rand(N, T, 3, H, W), torch.rand(N, T, 1, H, W)
    walked = script["cycle"](torch.rand(N, T, 3, H, W), script["source"])
    script["loss_D"] = 0.0
    exec(each, script)
    c, judge = script["source"], script["judge"]
    images = [judge(c[:, :2], walked.predictions), judge(c[:, :2], walked.skips)]
    last = c[:, 2:].expand(-1, 2, -1, -1, -1)
    images += [judge(last, walked.reconstructions), judge(last, walked.skip_reconstructions)]
    plain = ((judge(c[:, :2], script["real"][:, :2]) - 1).square().mean() + torch.cat(images).square().mean()) / 2
    torch.testing.assert_close(script["loss_D"], plain)


def rows(section):
    """Of the table of a section, the code in the second cell of each row, by the first cell."""
    cells = [line.strip("|").split(" | ") for line in part(section).splitlines() if line.startswith("| ")]
    return {first.strip(): spans(second) for first, second in cells[1:]}


def test_every_form_of_discriminator(script):
    n, channels = 2, {"frame": 3, "condition": 1}

    class Two(nn.Module):
        def forward(self, one, other):
            assert (one.shape[1], other.shape[1]) == (3, 1)
            return one.mean(1, keepdim=True) * other

    forms = {
        "sees [condition, frame] as channels, (N, C_c + C, H, W)": nn.Conv2d(4, 1, 3),
        "sees the frame alone": nn.Conv2d(3, 1, 3),
        "takes two arguments": Two(),
        "sees n frames as channels, (N, n C, H, W)": nn.Conv2d(n * 3, 1, 3),
        "sees n frames as a video (N, C, n, H, W)": nn.Conv3d(3, 1, (n, 3, 3)),
    }
    found = rows("Discriminators")
    assert found.keys() > forms.keys()
    clips = [torch.rand(N, T, channels[what], H, W) for what in ("frame", "condition")]
    for form, network in forms.items():
        cycle = TimeCycle(nn.Conv2d(4, 3, 3, padding=1))
        eval(f"cycle.{found[form][0]}", {"cycle": cycle, "netD": network, "n": n})
        cycle(*clips)
        cycle.set_discriminator_input(*clips)
        assert cycle.generator_terms()["gan"].value > 0, form
    for criterion in found["cross entropy, hinge, WGAN"]:
        TimeCycle(nn.Conv2d(4, 3, 3), criterion_GAN=eval(criterion.removeprefix("criterion_GAN="), {"nn": nn}))


# ---- several processes

class WrappedModule(nn.Module):
    """What Lightning Fabric makes of a network, as far as a GAN sees it: it hides how the network is wrapped."""

    def __init__(self, module):
        super().__init__()
        self._wrapped = nn.parallel.DistributedDataParallel(module)

    def forward(self, *args):
        return self._wrapped(*args)


class WrappedOptimizer:
    """What Lightning Fabric makes of an optimizer: another object with the same groups of parameters."""

    def __init__(self, optimizer):
        self._optimizer = optimizer

    def __getattr__(self, name):
        return getattr(self._optimizer, name)


class Fabric:
    """As much of Lightning's ``Fabric`` with the strategy "ddp" as README uses; of one process it wraps nothing."""

    def __init__(self, processes):
        self.wrappers = (WrappedModule, WrappedOptimizer) if processes > 1 else (lambda x: x, lambda x: x)

    def setup(self, module, *optimizers):
        wrapped = self.wrappers[0](module), *map(self.wrappers[1], optimizers)
        return wrapped if optimizers else wrapped[0]

    def backward(self, loss):
        loss.backward()


WAYS = [(host, way) for host in ("in a script", "by inheritance") for way in ("DDP(", "fabric.setup(")]


def train_as_readme_says(host, way, batches, processes, wrapped=True):
    """Parameters of motion model, generator and discriminator after steps in one of several processes, or in all there
    is; ``wrapped``: whether the motion model is, too."""
    _, script, inheriting = re.split(r"# (?:in a script|by inheritance)\n", code(f"motion_model={way}"))
    lines = script if host == "in a script" else inheriting
    lines = lines if wrapped else lines.replace(f"{way}motion_model)", "motion_model")
    wrap = nn.parallel.DistributedDataParallel if processes > 1 else lambda module: module
    found = {"DDP": wrap, "fabric": Fabric(processes), "MyGAN": TinySGD, "define_motion_model": define_motion_model}
    if host == "in a script":  # its lines stand where the cycle was made, and what follows is the reader's loop
        text = re.sub("^cycle = .+\n", lines, code("def train_step").split("for _ in range")[0], flags=re.M)
        text = re.sub(r"Adam\((.+?\(\)), .+\)", r"SGD(\1, lr=0.02)", text)
        text = re.sub(r"(loss_.)\.backward\(\)", r"fabric.backward(\1)", text) if "fabric" in way else text
    else:
        lines = textwrap.indent(lines, " " * 8)
        text = re.sub(r"^ +self\.define_timecycle.+\n", lines, code("class MyGANWith"), flags=re.M)
    exec(text.replace("filters=32", "filters=4"), found)
    if host == "in a script":
        networks, step = [found["cycle"], found["netG"], found["netD"]], found["train_step"]
    else:
        gan = found["MyGANWithTimeCycle"](True)
        networks, step = [gan.timecycles["target"], gan.generator, gan.discriminator], gan.train_step
    for source, real in batches:
        step(source[:, :, :1] if host == "in a script" else source, real)
    return [[p.detach().tolist() for p in network.parameters()] for network in networks]


def batches_of(*ranks):
    """Two steps' clips, other ones on each rank."""
    return [[torch.cat([clip(100 * side + 10 * step + rank) for rank in ranks]) for side in range(2)]
            for step in range(2)]  # fmt: skip


def on_a_rank(rank):
    found = {}
    for way in WAYS:
        for wrapped in (True, False):
            torch.manual_seed(rank)  # in each process other networks, which the wrapper makes those of rank 0
            found[*way, wrapped] = train_as_readme_says(*way, batches_of(rank), 2, wrapped)
    return found


@pytest.fixture
def double():
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(torch.float)


def test_two_processes_train_one_motion_model(tmp_path, double):
    """They hold the same one, bit for bit, which is that of one process with the clips of both; or, where README is not
    followed, two."""
    one, other = on_two_ranks(on_a_rank, tmp_path)
    for way in WAYS:
        assert one[*way, True] == other[*way, True], way
        torch.manual_seed(0)
        alone = train_as_readme_says(*way, batches_of(0, 1), 1)
        for network, expected in zip(one[*way, True], alone, strict=True):
            for a, b in zip(network, expected, strict=True):
                torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=0, atol=1e-10)
        (motion, *networks), (other_motion, *others) = one[*way, False], other[*way, False]
        assert networks == others and motion != other_motion, way


def test_the_table_of_examples_has_them_all():
    named = re.findall(r"^\| `(\w+)\.py` \|", part("Eight examples"), re.M)
    assert len(named) == len(STYLES) == 8 and set(named) == set(STYLES)


# ---- commands


def test_every_command_has_its_flags(capsys, monkeypatch):
    """Each command line of the README, to a script or module of ours, has only flags that this one knows."""
    lines = [line.split("  #")[0] for language, block in FENCES if language == "" for line in block.replace(
        "\\\n", " ").splitlines()]  # fmt: skip
    known, seen = {f"{name}.py": set(build_parser(name)._option_string_actions) for name in COMMANDS}, set()
    for line in [*lines, *SPANS]:
        if not (called := re.match(r"python (?:-m )?(timecyclegan\S+|\w+\.py)", line)):
            continue
        name = called[1]
        seen.add(name)
        if name not in known:
            monkeypatch.setattr(sys, "argv", [name, "--help"])
            monkeypatch.delitem(sys.modules, name, raising=False)  # it runs as a program
            with pytest.raises(SystemExit) as end:
                runpy.run_module(name, run_name="__main__")
            assert end.value.code == 0
            known[name] = set(re.findall(r"(?<![\w-])--?[a-zA-Z]\w*", capsys.readouterr().out))
        flags = re.findall(r"(?<![\w-])--?[a-zA-Z]\w*", line.split(name, 1)[1])
        assert set(flags) <= known[name], line
    assert seen >= {"train.py", "val.py", "test.py", "timecyclegan.data.prepare_video"}


# ---- paths


def mentioned_paths():
    """Paths of the repository that the README names, relative to its root."""
    yield from (link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http"))
    for module in re.findall(r"python -m (\S+)", README):
        yield module.strip("`").replace(".", "/") + ".py"
    yield from re.findall(r"python (\w+\.py)", README)
    yield from re.findall(r"pip install -r (\S+)", README)
    structure = README.split("## Repository structure")[1].split("\n## ")[0]
    for span in SPANS:
        if re.match(r"(timecyclegan|tests|docs|benchmarks|examples)/", span):
            yield span
    for entry in structure.split("\n- "):  # in an entry, shorter paths lie in the folder that it begins with
        folder = ""
        for span in re.findall(r"`([^`\n]+)`", entry):
            if re.match(r"(timecyclegan|tests|docs|benchmarks|examples)/", span):
                folder = span
            elif span.endswith(("/", ".py", ".md")):
                yield folder + span


def test_every_path_exists():
    paths = set(mentioned_paths()) - ADDED_BY_HAND
    assert paths >= {"train.py", "requirements.txt", "docs/DIFFERENCES.md", "timecyclegan/losses/timecycle.py",
                     "timecyclegan/models/networks/", "timecyclegan/evaluation/compute_metrics.py"}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()
            or path.endswith("/") != (ROOT / path).is_dir()] == []


def test_every_make_target_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {line.split()[1] for _, text in FENCES for line in text.splitlines() if line.startswith("make ")}
    named |= {span.split()[1] for span in SPANS if span.startswith("make ")}
    assert named and named <= targets
