"""Options: one dataclass per concern, from which the command line, the logs and the checkpoint's options follow.

Names, short forms and defaults are those of the 2020 release; what it did not have is marked as new in
``docs/DIFFERENCES.md``.
"""
import dataclasses
import json
import os
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timecyclegan.util.choices import CUDA_GRAPH, CYCLE_TYPES, DISTANCES, GAN_MODES, NORMS, PIXELS, PRECISIONS
from timecyclegan.util.errors import failed, suggestion
from timecyclegan.util.files import write_json
from timecyclegan.util.names import user_path

Check = tuple[Callable[[Any], bool], str]

POSITIVE: Check = (lambda v: 0 < v < float("inf"), "above 0")
NON_NEGATIVE: Check = (lambda v: 0 <= v < float("inf"), "0 or more")
SEED: Check = (lambda v: 0 <= v < 2**63, "0 or more, and below 2**63")
SCALE: Check = (lambda v: 0 < v <= 1, "above 0 and at most 1")


def option(
    default: Any, short: str | None, help: str, check: Check | None = None, choices: tuple = (), before: Any = None,
    path: bool = False, testing: str = "",
) -> Any:
    """A dataclass field that knows its flag: short form, help text, allowed values.

    A tuple as the default makes a flag that takes several values; ``check`` then applies to each. ``before`` is what
    runs did before there was this option, if that is not the default. With ``path`` it is one that a user writes, see
    :class:`UserPaths`. ``testing``: what the flag means to test.py and val.py, as a switch, where it is one to them.
    """
    metadata = {"short": short, "help": help, "check": check, "choices": choices, "path": path, "testing": testing,
                "before": default if before is None else before}  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


class UserPaths:
    """A base of dataclasses of options: those that are paths are read as ``util.names.user_path`` reads them."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata["path"]:
                object.__setattr__(self, field.name, path_text(getattr(self, field.name)))  # some are frozen


def path_text(path: str | os.PathLike) -> str:
    """A user's path as text, as it was written where it needs no conversion; "" is none."""
    text = os.fsdecode(path)
    return text if not text or (found := user_path(text)) == Path(text) else str(found)


def _weight(short: str, help: str) -> Any:
    return option(0.0, short, f"weight of {help}; 0 neither builds nor computes it", NON_NEGATIVE)


_PIXELS = ("what the pixels of the {} are: pictures; labels (label maps, which are resized to the nearest pixel); flow "
           "(motion in colours, which is turned round in a mirror); auto finds out when training begins")  # fmt: skip


@dataclasses.dataclass
class ModelOptions:
    """What a trained generator is: fixed once the training began."""

    model_type: str = option(
        "timecycle", "-m",
        "paired: pix2pix, vid2vid, seqpix2pix, timecycle, timecyclep2, timecyclevid2vid; unpaired: cyclegan, "
        "recyclegan, seqcyclegan, seqrecyclegan, tricyclegan, timerecyclegan, timerecycleganv2; unconditional: dcgan, "
        "seqdcgan, timecycledcgan; to be tested alone: flownet, which draws optical flow",
    )  # fmt: skip
    block_size: int = option(0, "-b", "frames of a training clip; 0 is the model's default", NON_NEGATIVE)
    generator_architecture: str = option("resnet_6blocks", "-g", "resnet_Nblocks, unet_128 or unet_256; dcgan is "
                                         "dcgan's, dcgan_enc recurrent DCGANs'")  # fmt: skip
    generator_filters: int = option(64, "-gf", "channels of the generator's first layer", POSITIVE)
    n_frames_generator: int = option(1, "-gn", "how many of its last outputs a recurrent generator sees", POSITIVE)
    norm: str = option("instance", None, "of the generator's and the discriminators' layers; batch as in weights of "
                       "pytorch-CycleGAN-and-pix2pix's pix2pix", choices=NORMS)  # fmt: skip
    source_pixels: str = option("auto", None, _PIXELS.format("source"), choices=PIXELS)
    target_pixels: str = option("auto", None, _PIXELS.format("target"), choices=PIXELS)
    upsample: str = option("transposed", None, "how a ResNet generator enlarges; resize has no checkerboard, but old "
                           "weights do not fit", choices=("transposed", "resize"))  # fmt: skip


@dataclasses.dataclass
class RunOptions:
    """What may change whenever a model is run."""

    gpu: int = option(0, "-gpu", "number of the GPU, which must be there if given; -1 is the CPU, which is also used "
                      "where there is no GPU and none is asked for",
                      (lambda v: v >= -1, "-1 or more"))
    image_height: int = option(256, "-ih", "height of the pictures", POSITIVE)
    image_width: int = option(256, "-iw", "width of the pictures", POSITIVE)
    amp: str = option("off", None, "mixed precision, of training; test.py and val.py translate with what is given to "
                      "them, however the run was trained", choices=PRECISIONS)
    cuda_graph: str = option("auto", None, "on a GPU, launch a step, of training or of translating, as one CUDA graph: "
                             "auto, where it can be; on, or else stop; off", choices=CUDA_GRAPH)  # fmt: skip
    ema: float = option(0.0, None, "keep the average of the generators' weights beside them, which forgets as much of "
                        "itself in every step as is lacking to 1 (0.999, say); 0 keeps none",
                        (lambda v: 0 <= v < 1, "from 0 to below 1"),
                        testing="translate with the averaged weights, which a run with --ema keeps")  # fmt: skip
    threads: int = option(-1, "-t", "processes that load data; 0 loads in the main process, -1 is by the machine's "
                          "processors", (lambda v: v >= -1, "-1 or more"))  # fmt: skip


@dataclasses.dataclass
class DiscriminatorOptions:
    """The discriminators."""

    discriminator_architecture: str = option("basic", "-d", "basic (3 layers), N_layers, pixel or dcgan")
    discriminator_filters: int = option(64, "-df", "channels of a discriminator's first layer", POSITIVE)
    n_frames_discriminator: int = option(0, "-dn", "frames that a sequence discriminator sees; 0 is every frame of the "
                                         "clip that is judged", NON_NEGATIVE)  # fmt: skip
    discriminator_temporal_scales: int = option(1, "-dts", "number of sequence discriminators; number i sees every "
                                                "(-dn)**i-th frame", NON_NEGATIVE)  # fmt: skip


@dataclasses.dataclass
class LossOptions:
    """The objective and the weights of its terms."""

    gan_mode: str = option("lsgan", "-gan", "adversarial objective", choices=GAN_MODES)
    gan_loss_weight: float = option(1.0, "-glw", "weight of the generator's adversarial losses on frames",
                                    NON_NEGATIVE)
    sequence_gan_loss_weight: float = option(1.0, "-sglw", "weight of those on sequences (models with sequence "
                                             "discriminators)", NON_NEGATIVE)  # fmt: skip
    cycle_loss_weight: float = _weight("-clw", "the cycle loss, and half of it of the identity loss (CycleGAN models)")
    feature_matching_loss_weight: float = _weight("-fmlw", "feature matching in the discriminators (paired models)")
    flow_loss_weight: float = _weight("-flw", "the flow losses (vid2vid models)")
    l1_loss_weight: float = _weight("-llw", "the L1 distance to the target (paired models)")
    mask_loss_weight: float = _weight("-mlw", "the mask loss (vid2vid models)")
    perceptual_loss_weight: float = _weight("-plw", "the VGG19 perceptual distance to the target (paired models)")
    recycle_loss_weight: float = _weight("-rclw", "the recycle and predictor losses (RecycleGAN models); -clw too")
    flow_backend: str = option(
        "auto", None, "what computes optical flow (models with flow, flownet): farneback, dis, raft, raft_small, "
        "flownet2, or auto: flownet2 if its weights are found, else farneback")  # fmt: skip
    flow_weights: str = option("", None, "weight file of the flow back end; else it is looked for in torch hub's cache",
                               path=True)  # fmt: skip
    flow_cache: str = option("", None, "folder that keeps the flow of training frames, computed before cropping",
                             path=True)  # fmt: skip
    warp_loss_weight: float = _weight("-wlw", "the warp loss by optical flow (models with flow)")
    recycle_predictor_architecture: str = option("resnet_6blocks", "-rcp", "of the predictor (RecycleGAN models)")
    recycle_predictor_filters: int = option(64, "-rcpf", "channels of the predictor's first layer", POSITIVE)
    recycle_predictor_gan: bool = option(False, None, "also judge what the predictor makes of real frames (RecycleGAN "
                                         "models): its code did not")  # fmt: skip
    pool_size: int = option(50, None, "pictures shown to the discriminators again (CycleGAN models)", NON_NEGATIVE)


@dataclasses.dataclass
class TimeCycleOptions:
    """The TimeCycle loss (TimeCycle models)."""

    timecycle_loss: str = option("l1", "-tcl", "distance of the TimeCycle loss", choices=DISTANCES)
    timecycle_loss_weight: float = _weight("-tclw", "the TimeCycle loss")
    timecycle_sharpness: float = option(0.0, "-tcs", "how strongly the TimeCycle loss asks for detail, because blur "
                                        "would lower it; 0: as in the thesis, 1: balances the blur",
                                        NON_NEGATIVE)  # fmt: skip
    timecycle_gan_loss_weight: float = option(1.0, "-tcglw", "weight of the generator's adversarial losses on the "
                                              "walk's images; 0 shows them to no discriminator",
                                              NON_NEGATIVE)  # fmt: skip
    timecycle_motion_model_architecture: str = option("resnet_1blocks", "-tcmm", "of the motion model, named as for -g")
    timecycle_motion_model_filters: int = option(64, "-tcmmf", "channels of the motion model's first layer", POSITIVE)
    timecycle_motion_model_residual: bool = option(True, None, "the motion model predicts the change since the nearest "
                                                   "known frame; else the frame, as the 2020 release's",
                                                   before=False)  # fmt: skip
    timecycle_separate_motion_models: bool = option(False, "-tcsmm", "one motion model for each direction of time")
    timecycle_type: str = option("conditional", "-tct", "how the walk predicts a frame", choices=tuple(CYCLE_TYPES))
    timecycle_warp_loss_weight: float = _weight("-tcwlw", "the motion warp loss")
    max_return: int = option(0, None, "from how many frames the walk returns, others in every step; 0 is all of them",
                             NON_NEGATIVE)  # fmt: skip


@dataclasses.dataclass
class TrainingOptions:
    """The course of a training run."""

    batch_size: int = option(1, "-bs", "clips in a batch, of all processes together", POSITIVE)
    accumulate: int = option(1, None, "batches whose gradients are added up for an update, one after the other: as a "
                             "batch so many times larger, in the memory of one", POSITIVE)  # fmt: skip
    num_epochs: int = option(10, "-ne", "epochs (of every growth stage)", POSITIVE)
    learning_rate: float = option(0.0002, "-lr", "of Adam; after half of the epochs it falls linearly to 0", POSITIVE)
    init_epoch: int = option(0, "-ie", "begin with the weights of this epoch; 0 is the newest", NON_NEGATIVE)
    init_checkpoint_dir: str = option("", "-i", "begin with the weights in this folder", path=True)
    load_height: int = option(0, "-lh", "resize frames to this height, then crop; 0 is the image height", NON_NEGATIVE)
    load_width: int = option(0, "-lw", "resize frames to this width, then crop; 0 is the image width", NON_NEGATIVE)
    cache: str = option("auto", None, "keep training frames decoded: ram; disk, in cache/, for further runs too; off; "
                        "auto is ram where they take at most half of what is free",
                        choices=("auto", "ram", "disk", "off"))  # fmt: skip
    flip: bool = option(True, None, "mirror every other clip at random")
    spatial_scaling: tuple[float, ...] = option((1.0,), "-ss", "grow in space: fractions of the size, by stage", SCALE)
    temporal_scaling: tuple[float, ...] = option((1.0,), "-ts", "then in time: fractions of -b, by stage", SCALE)
    grow_batch: bool = option(True, None, "while clips are shorter, put more of them into a batch: as much memory, and "
                              "fewer steps; else a stage of short clips has more steps")  # fmt: skip
    log_every: int = option(100, "-le", "steps between two entries in the loss logs", POSITIVE)
    log_images_every: int = option(0, "-lie", "steps between two logged pictures; 0 is once an epoch", NON_NEGATIVE)
    save_every: int = option(1, "-se", "epochs between two sets of weight files", POSITIVE)
    save_minutes: float = option(10.0, None, "minutes between two checkpoints within an epoch", NON_NEGATIVE)
    seed: int = option(0, None, "of every random choice", SEED)
    checkpointing: bool = option(False, None, "compute generator and walk again in the backward pass, and keep "
                                 "little of them: far less memory, the same gradients")  # fmt: skip
    bptt: int = option(0, None, "frames after which gradients through a recurrent generator are cut; 0 never cuts them",
                       NON_NEGATIVE)  # fmt: skip
    channels_last: bool = option(False, None, "on a GPU, lay pictures out as tensor cores want them")
    compile: bool = option(False, None, "compile the networks, which takes minutes in the first step")


@dataclasses.dataclass
class Options(
    UserPaths, ModelOptions, RunOptions, DiscriminatorOptions, LossOptions, TimeCycleOptions, TrainingOptions
):
    """Everything that makes a training run; saved with its checkpoints."""

    def label_maps(self, domain: str) -> bool:
        """Whether the frames of ``domain`` are label maps. What a run that began before there was a choice has, "auto",
        means pictures."""
        return getattr(self, f"{domain}_pixels") == "labels"

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON, checkpoints and the hparams log."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Options":
        """The inverse of :meth:`to_dict`; options that are missing (older runs) are what these runs did."""
        if not isinstance(values, dict):
            raise TypeError("it is no table of options")
        taken = {}
        for field in dataclasses.fields(cls):
            value = values.get(field.name, field.metadata["before"])
            if wrong := check_value(field, value):
                raise ValueError(f"{field.name} {wrong}")
            taken[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**taken)

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        write_json(path, self.to_dict(), sync=True)

    @classmethod
    def load(cls, path: str | Path) -> "Options":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: no such file, or it is not what :meth:`save` writes.
        """
        try:
            return cls.from_dict(json.loads(user_path(path).read_text("utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            what = f"cannot read the run's options from {path}"
            raise failed(what, error, f"{what}: {error}") from error


@dataclasses.dataclass
class TestOptions(UserPaths):
    """Testing and validating."""

    __test__ = False  # pytest takes classes of this name for tests

    test_batch_size: int = option(1, "-tbs", "sequences translated side by side", POSITIVE)
    test_init_epoch: int = option(0, "-tie", "use the weights of this epoch; 0 is the newest", NON_NEGATIVE)
    test_output_dir: str = option("results", "-to", "where results/NAME goes", path=True)
    test_unpaired_target_to_source: bool = option(False, "-tts", "translate only from target to source (unpaired "
                                                  "models); one folder is then the target")  # fmt: skip
    test_seed: int = option(0, None, "of the noise before a sequence's first frame", SEED)
    n_sequences: int = option(0, None, "sequences to generate (unconditional models); 0 is as many as the target "
                              "folder has", NON_NEGATIVE)  # fmt: skip
    n_frames: int = option(0, None, "frames of each of the --n_sequences", NON_NEGATIVE)
    save_flow: str = option("off", None, "also write the flow itself (flownet): flo, the Middlebury benchmark's form, "
                            "or npz, which the metrics read", choices=("off", "flo", "npz"))  # fmt: skip
    metric_flow_backend: str = option("farneback", None, "what computes the flow of tOF and E_warp, named as for "
                                      "--flow_backend; other flow, other numbers")  # fmt: skip
    metric_flow_weights: str = option("", None, "its weight file; else it is looked for in torch hub's cache",
                                      path=True)  # fmt: skip
    also: tuple[str, ...] = option((), None, "further metrics: fvd, tof-tecogan, ewarp-lai, ...; a name that is none "
                                   "lists all")  # fmt: skip
    require: tuple[str, ...] = option((), None, "metrics whose absence is an error: fid, lpips, ...")
    fid_dims: int = option(2048, None, "which of Inception's features FID compares", choices=(64, 192, 768, 2048))
    beside: str = option("", None, "a run that was validated on the same folders, to be shown beside this one in the "
                         "report and in the videos")  # fmt: skip
    per_frame: bool = option(False, None, "also write the metrics of each frame, to per_frame.csv")
    fps: float = option(20.0, None, "frames per second of the side-by-side videos", POSITIVE)


@dataclasses.dataclass
class VideoOptions(UserPaths):
    """Translating one video file, given as the source, into another (test)."""

    video: str = option("", None, "the file to write: .mp4, .webm, .mov, .mkv or .avi; it gets the size of the source "
                                  "unless -ih or -iw is given, and its times and sound", path=True)  # fmt: skip
    source: str = option("", None, "what the model translates from, if prepare_video made it: edges, gray, lowres or "
                                   "flow; it is made of the video, too")  # fmt: skip
    side_by_side: bool = option(False, None, "show the source beside what is generated")
    scene_cuts: str = option("auto", None, "begin anew at scene cuts, or take the video for one scene",
                             choices=("auto", "off"))  # fmt: skip
    sound: bool = option(True, None, "copy the sound as it is")


@dataclasses.dataclass
class ControlOptions:
    """How a training run begins; not a property of the run, so not saved with it."""

    preset: str = option("", None, "flags that worked on the synthetic street: p, p-warping, p++, up or u, after the "
                         "TimeCycleGANs of these names; flags that are given count more")  # fmt: skip
    resume: bool = option(False, None, "go on where the run of this name was interrupted")
    overwrite: bool = option(False, None, "begin anew although there are checkpoints of this name; they are lost")
    dry_run: bool = option(False, None, "print every loss, its weight, the networks that it reaches, and what a step "
                           "and an epoch take; write nothing")  # fmt: skip


def value_type(field: dataclasses.Field) -> type:
    """The type of one value of an option (of an element, for one that takes several)."""
    return typing.get_args(field.type)[0] if typing.get_args(field.type) else field.type


def check_value(field: dataclasses.Field, value: Any) -> str | None:
    """What is wrong with ``value`` for this option, or None."""
    check, choices, kind = field.metadata["check"], field.metadata["choices"], value_type(field)
    for item in value if isinstance(value, (tuple, list)) else (value,):
        if type(item) is not kind and not (kind is float and type(item) is int):
            return f"must be of type {kind.__name__}, not {item!r}"
        if choices and item not in choices:
            known = [str(choice) for choice in choices]
            return f"must be one of {', '.join(known)}, not {item!r}{suggestion(str(item), known)}"
        if check and not check[0](item):
            return f"must be {check[1]}, not {item}"
    return None
