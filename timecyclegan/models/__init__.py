"""All model types by name."""
import dataclasses
import importlib
from typing import Any

from torch import nn

from timecyclegan.models.presets import PRESETS
from timecyclegan.util.errors import UserError, unknown
from timecyclegan.util.options import Options, check_value

# --model_type: (module, class). Modules are imported on first use, since some need packages that others do not.
MODELS = {
    "dcgan": ("baselines.dcgan_model", "DCGANModel"),
    "pix2pix": ("baselines.pix2pix_model", "Pix2PixModel"),
    "cyclegan": ("baselines.cyclegan_model", "CycleGANModel"),
    "recyclegan": ("baselines.recyclegan_model", "RecycleGANModel"),
    "vid2vid": ("baselines.vid2vid_model", "Vid2VidModel"),
    "seqdcgan": ("sequential.sequential_dcgan", "SequentialDCGAN"),
    "seqpix2pix": ("sequential.sequential_pix2pix", "SequentialPix2Pix"),
    "seqcyclegan": ("sequential.sequential_cyclegan", "SequentialCycleGAN"),
    "seqrecyclegan": ("sequential.sequential_recyclegan", "SequentialRecycleGAN"),
    "timecycle": ("timecycle_pix2pix", "TimeCyclePix2Pix"),
    "timecyclep2": ("timecycle_pix2pix", "TimeCyclePix2PixWarp"),
    "tricyclegan": ("timecycle_cyclegan", "TimeCycleCycleGAN"),
    "timecycledcgan": ("timecycle_dcgan", "TimeCycleDCGAN"),
    "timecyclevid2vid": ("timecycle_vid2vid", "TimeCycleVid2Vid"),
    "timerecyclegan": ("timecycle_recyclegan", "TimeCycleRecycleGAN"),
    "timerecycleganv2": ("timecycle_recyclegan", "TimeCycleRecycleGANv2"),
}
# Those that are not trained.
UNTRAINED = {"flownet": ("flownet2_model", "Flownet2Model")}


def model_class(model_type: str) -> type[nn.Module]:
    """The class of a model type: a :class:`BaseModel` where it is one of :data:`MODELS`.

    Raises:
        UserError: there is none of this name; the nearest known name is suggested.
    """
    known = MODELS | UNTRAINED
    if model_type not in known:
        raise unknown("--model_type", model_type, known)
    module, name = known[model_type]
    return getattr(importlib.import_module(f"timecyclegan.models.{module}"), name)


def get_task(model_type: str) -> str:
    """"paired", "unpaired" or "unconditional": the data that a model type is trained on; "other": it is not trained."""
    return model_class(model_type).task


def calculate_block_size(options: Options) -> int:
    """Frames of a training clip: ``--block_size``, or the model's default."""
    return options.block_size or model_class(options.model_type).default_block_size


def default_options(model_type: str | None = None, preset: str | None = None, **given: Any) -> Options:
    """Options for a model type: the general defaults, changed by the model's own, the preset's, and those ``given``.

    Args:
        model_type: where None, the preset's, else the general default.
        preset: a key of :data:`PRESETS`.

    Raises:
        UserError: an unknown model type or preset, or a preset of another model type.
    """
    if preset and preset not in PRESETS:
        raise unknown("--preset", preset, PRESETS)
    chosen = dict(PRESETS[preset]) if preset else {}
    preset_type = chosen.pop("model_type", None)
    if model_type and preset_type and model_type != preset_type:
        raise UserError(f"--preset {preset} is for --model_type {preset_type}, not {model_type}")
    model_type = model_type or preset_type or Options().model_type
    return Options(**{"model_type": model_type, **model_class(model_type).defaults, **chosen, **given})


def check(options: Options, training: bool = True) -> None:
    """Refuse options that are out of range or contradict each other, before anything is built or any data is read.

    Raises:
        UserError: the first mistake.
    """
    for field in dataclasses.fields(options):
        if wrong := check_value(field, getattr(options, field.name)):
            raise UserError(f"--{field.name} {wrong}")
    model_class(options.model_type).check(options, training)


def get_model(model_type: str, options: Options | None = None, training: bool = True) -> nn.Module:
    """Build a model, checked and initialised, on the CPU: a :class:`BaseModel` where it is one of :data:`MODELS`.

    Args:
        options: :func:`default_options` where None; its ``model_type`` is replaced by the one given.
        training: False builds only what generates.

    Raises:
        UserError: options that contradict each other or name what does not exist.
    """
    options = dataclasses.replace(options or default_options(model_type), model_type=model_type)
    options = dataclasses.replace(options, block_size=calculate_block_size(options))
    check(options, training)
    return model_class(model_type)(options, training=training)
