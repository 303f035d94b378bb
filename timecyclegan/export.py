"""Write a trained generator into a file that runs without this package: python -m timecyclegan.export NAME OUT

OUT.onnx is for ONNX Runtime and its like (needs the packages onnx and onnxscript), OUT.pt2 for torch.export.load. The
file makes one frame a call, from the source frame and its state, and gives the next state. Any number of sequences may
stand side by side, of any size: what the network cannot take is padded inside, and cropped again. DCGAN's networks
alone have the size that they were trained at. The file says itself what it wants and gives, see docs/MODELS.md,
"Exported". Weights of other programs need the flags that describe their model, as for test.py.
"""
import dataclasses
import importlib.util
import itertools
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental import _config as tracing

from timecyclegan import __version__
from timecyclegan.datasets.prepared import kept_settings
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.models import check, get_task, model_class, networks
from timecyclegan.models.base_model import OTHER, BaseModel
from timecyclegan.models.networks.dcgan import CODE
from timecyclegan.models.networks.resnet import ResnetGenerator
from timecyclegan.models.networks.unet import UnetGenerator
from timecyclegan.training.checkpoint import CHECKPOINTS
from timecyclegan.util.argparser import Parser, add_option, checked, parse_words, run_name
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import check_writable, replacing
from timecyclegan.util.names import present, user_path
from timecyclegan.util.options import ModelOptions, Options, RunOptions, TestOptions

FACTS = "timecyclegan"  # where an ONNX file has its metadata; a .pt2 file has it in FACTS.json
# How ``inference.streaming`` draws the state before the first frame. Any other N(0, 1) noise will do as well.
SEED_RULE = (
    "seed, and the sequence's name as bytes: torch.randn(state's shape without batch, "
    "generator=torch.Generator().manual_seed(int(numpy.random.SeedSequence([seed, zlib.crc32(name)])"
    ".generate_state(1, numpy.uint64)[0]) >> 1))"
)
ON_PACKAGES = ("onnx", "onnxscript")  # what torch.onnx asks for
# By class, the multiple that a network's height and width must be. A ResNet pads itself, but in a branch that a tracer
# would have to decide for all sizes.
MULTIPLES: dict[type[nn.Module], Callable[[Any], int]] = {
    ResnetGenerator: lambda network: 4,
    UnetGenerator: lambda network: 2**network.downsamplings,
}


class Padded(nn.Module):
    """A network for pictures of any size: repeats their border up to a ``multiple``, and crops what is made."""

    def __init__(self, network: nn.Module, multiple: int):
        super().__init__()
        self.network, self.multiple = network, multiple

    def whole(self, side: int) -> int:
        """The padded side. Written as a multiple, so that a tracer knows that of a side that it does not know."""
        return (side + self.multiple - 1) // self.multiple * self.multiple

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        made = self.network(
            F.pad(x, (0, self.whole(width) - width, 0, self.whole(height) - height), mode="replicate")
        )
        return made.narrow(-2, 0, height).narrow(-1, 0, width)


class Frame(nn.Module):
    """What a file holds: one frame of each of N sequences.

    Args:
        model: of which ``translate_frame`` is taken; its networks are made to take any size, where they can.
    """

    def __init__(self, model: BaseModel, domain: str):
        super().__init__()
        self.model, self.domain = model, domain
        for other in {*model.domains} - {domain}:
            delattr(model, model.name_in(other, "generator"))
        self.padded: Padded | None = None  # None: the size is fixed
        for name, network in list(model.named_modules()):
            if multiple := next((of(network) for kind, of in MULTIPLES.items() if isinstance(network, kind)), None):
                self.padded = Padded(network, multiple)
                model.set_submodule(name, self.padded)

    def forward(
        self, source: Tensor | None = None, state: Tensor | None = None, code: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The frame (N, 3, H, W), and with a ``state`` the next one.

        Args:
            source: (N, 2k + 1, 3, H, W), the frame to translate amid those around it; a model of noise has none.
            state: (N, n, 3, H, W), the last n frames that were made, oldest first; a recurrent model's.
            code: (N, 100, 1, 1), N(0, 1) noise, of which a DCGAN without recurrence makes a frame.
        """
        if code is not None:
            return self.model.network("generator", self.domain)(code)
        if source is None:  # it has no channels, see ``UnconditionalModel``
            source = state[:, :1, :0]
        frame, following = self.model.translate_frame(source, state, self.domain)
        return frame if state is None else (frame, following)


class Interface(NamedTuple):
    """By name, what a file takes and gives: sizes, and names ("batch", "height", "width") of those that are free."""

    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    smallest: int | None  # of a free height and width

    def free(self) -> dict[str, dict[int, torch.export.Dim]]:
        """By input, its free dimensions as PyTorch wants to know of them."""
        least = {"batch": 1, "height": self.smallest, "width": self.smallest}
        return {name: {place: torch.export.Dim(side, min=least[side]) for place, side in enumerate(shape)
                       if isinstance(side, str)} for name, shape in self.inputs.items()}  # fmt: skip


def interface(frame: Frame, options: Options) -> Interface:
    """What ``frame`` takes and gives."""
    model, smallest = frame.model, None
    size: list[int | str] = [options.image_height, options.image_width]
    if frame.padded:
        size, refuses = ["height", "width"], networks.generator(options.generator_architecture).size_error
        smallest = next(side for side in itertools.count(1) if not refuses(*[frame.padded.whole(side)] * 2))
    state = ["batch", getattr(model, "n_frames_generator", 0), model.channels, *size]
    outputs = {"frame": ["batch", model.channels, *size]}
    if model.takes_code:
        return Interface({"code": ["batch", CODE, 1, 1]}, outputs, smallest)
    inputs = {}
    if model.condition_channels:
        inputs["source"] = ["batch", 2 * model.context() + 1, model.condition_channels, *size]
    if model.recurrent:
        inputs["state"], outputs["next_state"] = state, state
    return Interface(inputs, outputs, smallest)


def trace(frame: Frame, shapes: Interface) -> torch.export.ExportedProgram:
    """``frame`` as a graph, with free sizes as ``shapes`` has them."""
    multiple = frame.padded.multiple if frame.padded else 1
    # Examples of several multiples each, and of none exactly, so that neither is taken for a rule.
    example = {"batch": 2, "height": 3 * multiple - 1, "width": 4 * multiple - 1}
    given = {name: torch.zeros([example.get(side, side) for side in shape]) for name, shape in shapes.inputs.items()}
    # Without the setting a graph is bound to how memory is laid out at the example's size: whether a feature map may
    # have one pixel, say, as a U-Net's smallest has.
    with torch.no_grad(), tracing.patch(backed_size_oblivious=True):
        program = torch.export.export(
            frame, (), given, dynamic_shapes=shapes.free(), prefer_deferred_runtime_asserts_over_guards=True
        )
    program.example_inputs = None  # a file would hold them
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where this package lies on this machine is nobody's business
    return program


def describe(name: str, options: Options, epoch: int, domain: str, model: BaseModel, shapes: Interface) -> dict:
    """The metadata: JSON-ready facts on what the file wants and gives."""
    facts: dict[str, Any] = {
        "made_by": f"timecyclegan {__version__}", "run": name, "epoch": epoch or "newest",
        "model_type": options.model_type, "task": model.task, "domain": domain,
        "generator_architecture": options.generator_architecture,
        "inputs": shapes.inputs, "outputs": shapes.outputs, "smallest_size": shapes.smallest,
        "size": [options.image_height, options.image_width],
        "frames_per_call": model.frames_per_call, "context": 0, "channel_order": "RGB", "value_range": [-1, 1],
        "source_pixels": None,
    }  # fmt: skip
    if "source" in shapes.inputs:
        pixels = getattr(options, f"{OTHER[domain]}_pixels")
        prepared = kept_settings(present(CHECKPOINTS / name)) if domain == "target" else {}
        facts |= {"context": model.context(), "beyond_the_ends": "the first or the last frame",
                  "source_pixels": "pictures" if pixels == "auto" else pixels,  # see ``Options.label_maps``
                  "prepare_video": prepared or None}  # fmt: skip
    if "state" in shapes.inputs:
        facts["state_start"] = {"noise": "N(0, 1)", "seed_rule": SEED_RULE,
                                "when": "at the beginning of a video and at scene cuts"}  # fmt: skip
    if "code" in shapes.inputs:
        facts["code"] = {"noise": "N(0, 1)", "when": "for every frame"}
    return facts


def write_onnx(program: torch.export.ExportedProgram, shapes: Interface, facts: str, path: Path) -> None:
    """Write the graph for ONNX Runtime, in one file, with its metadata."""
    made = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=list(shapes.inputs), output_names=list(shapes.outputs),
        dynamic_shapes=shapes.free(),
    )  # fmt: skip
    made.model.metadata_props[FACTS] = facts
    made.save(path, external_data=False)


def write_pt2(program: torch.export.ExportedProgram, shapes: Interface, facts: str, path: Path) -> None:
    """Write the graph for ``torch.export.load``, which gives the metadata where ``extra_files`` has its name."""
    with open(path, "wb") as file:  # of a name, the temporary one, the archive would be called after it
        torch.export.save(program, file, extra_files={f"{FACTS}.json": facts})


FORMATS = {".onnx": write_onnx, ".pt2": write_pt2}


def export(name: str, output: str | Path, epoch: int = 0, domain: str = "target", **given: Any) -> dict[str, Any]:
    """Write the generator of the run ``name`` to a file, see the docstring of this module.

    Args:
        output: ends in .onnx or .pt2.
        epoch: whose weights; 0 is the newest.
        domain: what to generate; "source" for the way back of an unpaired model.
        given: options as :func:`inference.trained.load_options` takes them.

    Returns:
        The metadata that the file holds, see :func:`describe`.

    Raises:
        UserError: no such run, epoch or direction; a model that generates nothing; another ending; a package that is
            missing; a file that cannot be written. Then there is no new ``output``.
    """
    output = user_path(output)
    ending = output.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"{output} ends in {output.suffix or 'nothing'}: a model is exported to a file that ends in "
                        f"{' or '.join(FORMATS)}")
    missing = [package for package in ON_PACKAGES if importlib.util.find_spec(package) is None]
    if ending == ".onnx" and missing:
        are = "is" if len(missing) == 1 else "are"
        raise UserError(f"{output}: writing ONNX needs {' and '.join(missing)}, which {are} not installed: pip install "
                        f"{' '.join(missing)}, or write a .pt2 file")
    check_writable(output)
    options = load_options(name, {**given, "gpu": -1})
    check(options, training=False)
    model_type, task = options.model_type, get_task(options.model_type)
    if task == "other":
        raise UserError(f"--model_type {model_type} is not trained and generates nothing: there is nothing to export")
    if domain not in model_class(model_type).domains:
        raise UserError(f"--test_unpaired_target_to_source is for unpaired models, --model_type {model_type} is {task}")
    frame = Frame(load_model(name, options, epoch, {domain}), domain).eval()
    shapes = interface(frame, options)
    facts = describe(name, options, epoch, domain, frame.model, shapes)
    with replacing(output) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PyTorch will change in itself
        FORMATS[ending](trace(frame, shapes), shapes, json.dumps(facts), temporary)
    return facts


@command
def main(arguments: list[str] | None = None) -> None:
    head, _, more = __doc__.partition("\n\n")
    parser = Parser("python -m timecyclegan.export", description=head, epilog=more, allow_abbrev=False)
    parser.add_argument("name", metavar="NAME", help="name of the run, in checkpoints/NAME")
    parser.add_argument("output", metavar="OUT", help="the file to write: .onnx or .pt2")
    which = {"image_height", "image_width", "test_init_epoch", "test_unpaired_target_to_source", "ema"}
    fields = [field for kind in (TestOptions, RunOptions, ModelOptions) for field in dataclasses.fields(kind)
              if field.name in which or kind is ModelOptions]  # fmt: skip
    for field in fields:
        add_option(parser, field, testing=True)
    words = parse_words(parser, arguments)
    given = checked(words, fields)
    epoch, back = given.pop("test_init_epoch", 0), given.pop("test_unpaired_target_to_source", False)
    output = user_path(words["output"])
    facts = export(run_name(words["name"]), output, epoch, "source" if back else "target", **given)
    print(f"{output}: {facts['model_type']}, takes {_told(facts['inputs'])}, gives {_told(facts['outputs'])}")


def _told(shapes: dict[str, list[int | str]]) -> str:
    return ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in shapes.items())


if __name__ == "__main__":
    sys.exit(main())
