"""The GANs of examples/ for tests: small, and with mistakes planted into their source."""
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timecyclegan import TimeCycle

FOLDER = Path(__file__).parents[1] / "examples"
FRAMES = 4


class Style(NamedTuple):
    """How an example is used: its class (none in a script) and with and without TimeCycle, and how it makes a step."""

    step: Callable[[Any, Any], Any] | None  # of the GAN and a batch; a script has a function train_step
    classes: tuple[str, ...] = ("GAN",)
    batch: Callable[[Tensor, Tensor], Any] = lambda maps, video: (maps, video)
    guessed: bool = True  # whether check_mixin can tell how to make a step
    conditional: bool = True
    size: int = 16
    frames: int = FRAMES
    generator: str = "generator"
    discriminators: tuple[str, ...] = ("discriminator",)
    smaller: tuple[tuple[str, str], ...] = ()  # changes of the source of one whose class takes no ``filters``


STYLES = {
    "plain_class": Style(lambda gan, batch: gan.train_step(*batch), ("GANWithTimeCycle", "GAN")),
    "separate_steps": Style(
        lambda gan, batch: [step(*(list(video.unbind(1)) for video in batch))
                            for step in (gan.generator_step, gan.discriminator_step)], guessed=False),
    "dcgan_script": Style(
        None, (), lambda maps, video: video, guessed=False, conditional=False, size=32, generator="netG",
        discriminators=("netD",), smaller=(("= 4, 5, 50, 32, 8", f"= 2, {FRAMES}, 4, 2, 2"),)),
    "pix2pix_style": Style(
        lambda gan, batch: (gan.set_input(batch), gan.optimize_parameters()), ("Pix2PixWithTimeCycle", "Pix2Pix"),
        lambda maps, video: {"A": maps, "B": video}, generator="netG", discriminators=("netD",)),
    "lightning_style": Style(lambda gan, batch: gan.training_step(batch, 0)),
    "wgan_gp_class": Style(
        lambda gan, batch: gan.train([batch]), ("WGAN",), guessed=False, discriminators=("critic",)),
    "multiscale_hinge": Style(
        lambda gan, batch: gan.train_step(*batch), ("Trainer",), generator="netG", discriminators=("netD",)),
    "video_gan": Style(
        lambda gan, batch: gan.training_step(batch), ("VideoGAN",), lambda maps, video: video.transpose(1, 2),
        conditional=False, size=32, frames=8, discriminators=("video_discriminator", "image_discriminator")),
}  # fmt: skip
EXAMPLES = tuple(STYLES)[:5]  # those into which tests of check_mixin plant mistakes


class Example(NamedTuple):
    """A GAN of one of the examples: what to give to check_mixin, and its one cycle."""

    module: types.ModuleType
    gan: Any  # of a script the cycle
    step: Callable[[Any], Any] | None  # of a batch; None where check_mixin can tell how to make a step
    make_step: Callable[[Any], Any]  # of a batch, always
    cycle: TimeCycle | None  # None without TimeCycle
    style: Style

    def batch(self, frames=None):
        return self.style.batch(*self.module.moving_shapes(2, frames or self.style.frames, self.style.size))

    def networks(self, *names):
        holder = self.gan if self.style.classes else self.module
        return [getattr(holder, name) for name in names]


def source(name):
    return (FOLDER / f"{name}.py").read_text("utf-8")


def module(name, text):
    """What the ``text`` of an example defines."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # for what they share
    made = types.ModuleType(name)
    torch.manual_seed(0)
    exec(compile(text, str(FOLDER / f"{name}.py"), "exec"), made.__dict__)
    return made


def example(name, *changes, text=None):
    """The example called ``name``, small, with ``changes`` (old, new) of its source, each made exactly once."""
    text, style = text or source(name), STYLES[name]
    for old, new in [*style.smaller, *changes]:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        text = text.replace(old, new)
    made = module(name, text)
    if not style.classes:
        cycle = vars(made).get("cycle")
        return Example(made, cycle, made.train_step, made.train_step, cycle, style)
    gan = next(vars(made)[cls] for cls in style.classes if cls in vars(made))(filters=4)
    cycle = gan.timecycles["target"] if hasattr(gan, "timecycles") else getattr(gan, "cycle", None)

    def make_step(batch):
        return style.step(gan, batch)

    return Example(made, gan, None if style.guessed else make_step, make_step, cycle, style)
