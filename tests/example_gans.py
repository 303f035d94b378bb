"""The GANs of examples/ for tests: small, and with mistakes planted into their source."""
import sys
import types
from pathlib import Path
from typing import NamedTuple

import torch

from timecyclegan import TimeCycle

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = ("plain_class", "separate_steps", "dcgan_script", "pix2pix_style", "lightning_style")
FRAMES = 4
SMALLER = {"dcgan_script": [("= 4, 5, 50, 32, 8", f"= 2, {FRAMES}, 4, 2, 2")]}  # the others take arguments


class Example(NamedTuple):
    """A GAN of one of the examples: what to give to check_mixin, and its one cycle."""

    module: types.ModuleType
    gan: object
    step: object  # a function of a batch, or None where check_mixin can tell how to make a step
    make_step: object  # always a function of a batch
    cycle: TimeCycle | None  # None without TimeCycle

    def batch(self, frames=FRAMES):
        maps, video = self.module.moving_shapes(2, frames, 32 if self.module.__name__ == "dcgan_script" else 16)
        return {"dcgan_script": video, "pix2pix_style": {"A": maps, "B": video}}.get(self.module.__name__,
                                                                                    (maps, video))  # fmt: skip


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
    text = text or source(name)
    for old, new in [*SMALLER.get(name, []), *changes]:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        text = text.replace(old, new)
    made = module(name, text)
    if name == "dcgan_script":
        return Example(made, vars(made).get("cycle"), made.train_step, made.train_step, vars(made).get("cycle"))
    names = ("GANWithTimeCycle", "Pix2PixWithTimeCycle", "GAN", "Pix2Pix")
    gan = next(vars(made)[cls] for cls in names if cls in vars(made))(filters=4)
    step = (lambda batch: made.train_step(gan, batch)) if name == "separate_steps" else None
    make_step = {
        "plain_class": lambda batch: gan.train_step(*batch),
        "pix2pix_style": lambda batch: (gan.set_input(batch), gan.optimize_parameters()),
        "lightning_style": lambda batch: gan.training_step(batch, 0),
    }.get(name, step)
    return Example(made, gan, step, make_step, gan.timecycles["target"] if hasattr(gan, "timecycles") else None)
