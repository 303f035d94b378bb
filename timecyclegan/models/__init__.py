"""All model types by name."""
import dataclasses
import difflib
import importlib

from timecyclegan.models.base_model import BaseModel
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

# --model_type: (module, class). Modules are imported on first use, since some need packages that others do not.
MODELS = {
    "pix2pix": ("baselines.pix2pix_model", "Pix2PixModel"),
    "seqpix2pix": ("sequential.sequential_pix2pix", "SequentialPix2Pix"),
    "timecycle": ("timecycle_pix2pix", "TimeCyclePix2Pix"),
}
LATER = (
    "dcgan", "cyclegan", "recyclegan", "vid2vid", "timecyclep2", "tricyclegan", "timecycledcgan", "timerecyclegan",
    "timerecycleganv2", "timecyclevid2vid", "flownet", "seqcyclegan", "seqrecyclegan", "seqdcgan",
)  # fmt: skip


def model_class(model_type: str) -> type[BaseModel]:
    """The class of a model type.

    Raises:
        UserError: there is none of this name; the nearest known name is suggested.
    """
    if model_type in LATER:
        raise UserError(f"--model_type {model_type} is not part of this version yet (there are {', '.join(MODELS)})")
    if model_type not in MODELS:
        near = difflib.get_close_matches(model_type, MODELS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"--model_type {model_type!r} is not known{hint} (known: {', '.join(MODELS)})")
    module, name = MODELS[model_type]
    return getattr(importlib.import_module(f"timecyclegan.models.{module}"), name)


def get_task(model_type: str) -> str:
    """"paired", "unpaired" or "unconditional": the data that a model type is trained on."""
    return model_class(model_type).task


def calculate_block_size(options: Options) -> int:
    """Frames of a training clip: ``--block_size``, or the model's default."""
    return options.block_size or model_class(options.model_type).default_block_size


def get_model(model_type: str, options: Options | None = None, training: bool = True) -> BaseModel:
    """Build a model, checked and initialised, on the CPU.

    Args:
        options: defaults where None; its ``model_type`` is replaced by the one given.
        training: False builds only what generates.

    Raises:
        UserError: options that contradict each other or name what does not exist.
    """
    options = dataclasses.replace(options or Options(), model_type=model_type)
    options = dataclasses.replace(options, block_size=calculate_block_size(options))
    kind = model_class(model_type)
    kind.check(options, training)
    return kind(options, training=training)
