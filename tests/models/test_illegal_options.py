"""Every setting that a model cannot work with is one clear line before any data is read; what it can is let through."""
import dataclasses

import pytest

from tests.models.test_first_step import TYPES
from timecyclegan import commands
from timecyclegan.models import MODELS, check, default_options, get_model, get_task, model_class
from timecyclegan.util.argparser import parse
from timecyclegan.util.choices import CYCLE_TYPES
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import DiscriminatorOptions, LossOptions, Options, TimeCycleOptions

RECYCLE = [model_type for model_type in MODELS if "recycle" in model_type]
STILL = ("dcgan", "pix2pix", "cyclegan", "recyclegan", "timerecyclegan")  # the others are recurrent
WEIGHTS = [field.name for field in dataclasses.fields(Options) if field.name.endswith("_weight")]


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What ``train.py`` says to flags, its data being nowhere, so that it ends in any case; nothing is written."""
    monkeypatch.chdir(tmp_path)

    def say(model_type, *flags):
        size = ["-ih", "64", "-iw", "64", "-gpu", "-1"]
        with pytest.raises(UserError) as caught:
            commands.train(parse("train", ["run", "/nowhere", "/nowhere", "-m", model_type, *size, *flags]))
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
        return str(caught.value)

    return say


def is_legal(message):
    """Nothing but the data was amiss."""
    return message.startswith("folder /nowhere does not exist")


@pytest.mark.parametrize("model_type", MODELS)
def test_defaults_are_legal_with_every_weight(said, model_type):
    assert is_legal(said(model_type))
    known = sorted(set(WEIGHTS) & model_class(model_type).uses - {"cycle_loss_weight" if model_type in RECYCLE else ""})
    assert is_legal(said(model_type, *(part for name in known for part in (f"--{name}", "0.5"))))


# ---- values that no model knows


@pytest.mark.parametrize("model_type", MODELS)
@pytest.mark.parametrize(("flags", "parts"), [
    (("-gn", "0"), ("--n_frames_generator", "above 0", "not 0")),
    (("-b", "-1"), ("--block_size", "0 or more", "not -1")),
    (("-g", "resnet_6block"), ("--generator_architecture 'resnet_6block'", "did you mean resnet_6blocks?")),
    (("-d", "pixels"), ("--discriminator_architecture 'pixels'", "did you mean pixel?")),
    (("-tct", "conditionl"), ("--timecycle_type", "'conditionl'", "did you mean conditional?", "pingpong")),
    (("-tct", "pingpon"), ("--timecycle_type", "did you mean pingpong?")),
    (("-gan", "lsgam"), ("--gan_mode", "'lsgam'", "did you mean lsgan?", "vanilla, wgangp")),
    (("-tcl", "L1"), ("--timecycle_loss", "one of l1, l2", "'L1'")),
    (("--upsample", "resized"), ("--upsample", "did you mean resize?")),
    (("--amp", "float15"), ("--amp", "did you mean float16?")),
    (("--preset", "pp"), ("--preset 'pp'", "did you mean")),
    (("--timecycle_typ", "conditional"), ("--timecycle_typ ", "did you mean --timecycle_type?")),
])  # fmt: skip
def test_values_that_are_never_legal(said, model_type, flags, parts):
    message = said(model_type, *flags)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("value", ["-1", "-0.5", "nan", "inf"])
def test_weights_are_0_or_more(said, name, value):
    for model_type in MODELS:
        assert f"--{name} must be 0 or more, not {float(value)}" in said(model_type, f"--{name}", value)


def test_model_types_get_a_suggestion(said):
    assert "did you mean timerecycleganv2?" in said("timerecycleganv3")
    assert "did you mean" not in said("xyzzy")


@pytest.mark.parametrize(("model_types", "flag", "more"), [
    (RECYCLE, "--recycle_predictor_architecture", ()),
    ([*TYPES], "--timecycle_motion_model_architecture", ("-tclw", "1")),
    ([*TYPES], "--timecycle_motion_model_architecture", ("-tcwlw", "1")),
])  # fmt: skip
def test_architectures_of_further_networks(said, model_types, flag, more):
    for model_type in set(model_types) & MODELS.keys():
        types = ("-tct", "unconditional") if flag.startswith("--timecycle") else ()
        if get_task(model_type) != "unconditional":
            small = said(model_type, *more, *types, flag, "unet_256", "-ih", "24", "-iw", "28")
            assert small.startswith(f"{flag}: unet_256 ") and "not 24x28" in small
        message = said(model_type, *more, *types, flag, "resnet_block")
        assert message.startswith(f"{flag} 'resnet_block' is not known; did you mean resnet_"), message
        assert "from a code" in said(model_type, *more, *types, flag, "dcgan")


@pytest.mark.parametrize("changes", [
    {"n_frames_generator": 0}, {"l1_loss_weight": -1.0}, {"timecycle_type": "ping"}, {"gan_mode": "gan"},
    {"block_size": -3}, {"batch_size": 0}, {"image_height": 0}, {"spatial_scaling": (2.0,)},
])  # fmt: skip
def test_ranges_count_without_a_command_line_too(changes):
    for model_type in MODELS:
        (name,) = changes
        with pytest.raises(UserError, match=f"^--{name} must be"):
            check(default_options(model_type, **changes))
        with pytest.raises(UserError, match=f"^--{name} must be"):
            get_model(model_type, default_options(model_type, **changes))


# ---- kinds of walks


@pytest.mark.parametrize("kind", CYCLE_TYPES)
@pytest.mark.parametrize("model_type", TYPES)
def test_types_of_timecycle(said, model_type, kind):
    for weight in ("0", "1"):
        message = said(model_type, "-tct", kind, "-tclw", weight)
        if kind in TYPES[model_type]:
            assert is_legal(message)
        else:
            assert f"--timecycle_type {kind} " in message and f"--model_type {model_type}" in message
            assert all(known in message for known in TYPES[model_type])  # what to use


def test_a_cycle_without_source_says_so(said):
    for kind in ("conditional", "pingpong"):
        assert "needs a source" in said("timecycledcgan", "-tct", kind)


@pytest.mark.parametrize("model_type", [name for name, kinds in TYPES.items() if "pingpong" in kinds])
def test_pingpong_has_one_frame_of_history(said, model_type):
    message = said(model_type, "-tct", "pingpong", "-gn", "2")
    assert "--timecycle_type pingpong" in message and "use --n_frames_generator 1, not 2" in message
    assert is_legal(said(model_type, "-tct", TYPES[model_type][0], "-gn", "2"))


def test_a_walk_that_would_not_be_taken_may_be_of_any_kind(said):
    for model_type in MODELS.keys() - TYPES.keys():
        for kind in CYCLE_TYPES:
            assert is_legal(said(model_type, "-tct", kind, "-tclw", "1"))


# ---- clips that are too short


@pytest.mark.parametrize("weight", ["--timecycle_loss_weight", "--timecycle_warp_loss_weight"])
@pytest.mark.parametrize(("model_type", "kind"), [(name, kind) for name, kinds in TYPES.items() for kind in kinds])
def test_clips_too_short_to_walk(said, model_type, kind, weight):
    """Two frames with one of history, three with two; and the one that is made of noise."""
    needed = (2 if kind in ("conditional", "pingpong") else 3) + (model_type not in STILL)
    for block in range(1, needed):
        message = said(model_type, "-tct", kind, weight, "1", "-dts", "0", "-b", str(block))
        assert f"--block_size is {block}" in message or f"--block_size {block}: RecycleGAN" in message
        assert f"--timecycle_type {kind} needs clips of {needed} frames" in message or block < 3
    if model_type in RECYCLE:
        needed = max(needed, 3)
    assert is_legal(said(model_type, "-tct", kind, weight, "1", "-dts", "0", "-b", str(needed)))
    if model_type not in RECYCLE:  # without weight there is no walk
        assert is_legal(said(model_type, "-tct", kind, "-dts", "0", "-b", "1"))


@pytest.mark.parametrize("model_type", RECYCLE)
def test_clips_too_short_to_predict(said, model_type):
    for block in ("1", "2"):
        assert f"--block_size {block}: RecycleGAN predicts a frame from two, use 3" in said(model_type, "-b", block)
    grown = said(model_type, "-b", "6", "-ts", "0.3", "1", "-dts", "0")
    assert "--block_size 2: " in grown and "--temporal_scaling" in grown


@pytest.mark.parametrize("model_type", [*TYPES, "vid2vid"])
def test_clips_too_short_for_sequence_discriminators(said, model_type):
    ignored = model_type not in STILL
    assert "--n_frames_discriminator 1 is no sequence" in said(model_type, "-dn", "1")
    for n, scales, frames in ((3, 1, 3), (4, 1, 4), (2, 3, 5), (3, 2, 7)):
        flags = ["-dn", str(n), "-dts", str(scales), "-b"]
        message = said(model_type, *flags, str(frames + ignored - 1))
        assert f"--n_frames_discriminator {n} with --discriminator_temporal_scales {scales} needs clips of" in message \
            or "RecycleGAN predicts" in message  # fmt: skip
        assert is_legal(said(model_type, *flags, str(frames + ignored)))


@pytest.mark.parametrize(("model_type", "weight"), [
    ("timecyclep2", "--warp_loss_weight"), ("vid2vid", "--warp_loss_weight"), ("vid2vid", "--flow_loss_weight"),
    ("vid2vid", "--mask_loss_weight"), ("timecyclevid2vid", "--flow_loss_weight"),
])  # fmt: skip
def test_clips_too_short_to_move(said, model_type, weight):
    assert f"{weight} needs clips of 3 frames" in said(model_type, weight, "1", "-dts", "0", "-b", "2")
    assert is_legal(said(model_type, weight, "1", "-dts", "0", "-b", "3"))


def test_flow_back_ends_get_a_suggestion(said):
    assert "--flow_backend 'farnebak' is not known; did you mean farneback?" in said("timecyclep2", "--flow_backend",
                                                                                    "farnebak")  # fmt: skip


def test_a_run_that_grows_needs_long_clips_in_the_end(said):
    """Its first stages may be too short for the walk, but not all of them."""
    walk = ["-tclw", "1", "-dts", "0"]
    assert is_legal(said("timecycle", *walk, "-b", "4", "-ts", "0.5", "1"))
    assert "needs clips of 3 frames" in said("timecycle", *walk, "-b", "2", "-ts", "0.5", "1")
    assert "needs clips of 3 frames" in said("timecycle", *walk, "-b", "4", "-ts", "0.25", "0.5")


# ---- networks and pictures


@pytest.mark.parametrize("model_type", MODELS)
def test_generators_from_codes_and_from_pictures(said, model_type):
    coded = model_type == "dcgan"
    assert is_legal(said(model_type, "-g", "resnet_2blocks")) is not coded
    assert is_legal(said(model_type, "-g", "dcgan_enc")) is not coded
    message = said(model_type, "-g", "dcgan")
    assert is_legal(message) is coded
    assert coded or message.startswith("--generator_architecture dcgan makes pictures from a code")


@pytest.mark.parametrize("model_type", MODELS)
def test_pictures_that_networks_cannot_take(said, model_type):
    size = f"not 30x{48 if get_task(model_type) == 'unconditional' else 31}"
    flags = ["-ih", "30", "-iw", size.rpartition("x")[2]]
    message = said(model_type, *flags)
    if get_task(model_type) == "unconditional":
        assert message.startswith("--generator_architecture: DCGAN networks need square") and size in message
        assert "not 48x48" in said(model_type, "-ih", "48", "-iw", "48")
        assert is_legal(said(model_type, "-ih", "128", "-iw", "128"))
        message = said(model_type, "-ss", "0.5", "1")
        assert "not 32x32 (--image_height, --image_width, --spatial_scaling)" in message
    else:
        assert is_legal(message)
        assert "--generator_architecture: unet_128 " in said(model_type, "-g", "unet_128")
        assert "--generator_architecture: " in said(model_type, "-ih", "4", "-d", "pixel")
        assert "--discriminator_architecture: " in said(model_type, "-ih", "23")
        assert "--discriminator_architecture: DCGAN" in said(model_type, "-d", "dcgan", *flags)
    if get_task(model_type) == "paired":
        message = said(model_type, "-plw", "1", "-ih", "15", "-d", "pixel")
        assert "--perceptual_loss_weight: VGG19 needs at least 16x16 pixels, not 15x64" in message


# ---- what has no effect


@pytest.mark.parametrize("model_type", MODELS)
def test_flags_of_other_models_are_noted(model_type, capsys, said):
    """Each flag of a discriminator, a loss, the walk and the recurrence is known or noted."""
    values = {int: "3", float: "1.0", str: "x"}
    known_by_all = {"gan_mode", "gan_loss_weight", "discriminator_architecture", "discriminator_filters"}
    fields = [field for kind in (DiscriminatorOptions, LossOptions, TimeCycleOptions)
              for field in dataclasses.fields(kind)]  # fmt: skip
    given = {"n_frames_generator": "2", "bptt": "2"} | {
        field.name: field.default if field.default and field.type is str else values.get(field.type) for field in fields
    }
    given["max_return"] = "1"
    flags = [part for name, value in given.items() for part in ([f"--{name}"] + ([value] if value else []))]
    said(model_type, *flags)
    noted = {line.split()[1].removeprefix("--") for line in capsys.readouterr().out.splitlines() if "no effect" in line}
    recurrent, walks, vid2vid = model_type not in STILL, model_type in TYPES, "vid2vid" in model_type
    temporal, flow = walks or vid2vid, vid2vid or model_type == "timecyclep2"
    expected = {
        "n_frames_generator": recurrent, "bptt": recurrent, "max_return": walks,
        "n_frames_discriminator": temporal, "discriminator_temporal_scales": temporal,
        "sequence_gan_loss_weight": temporal,
        "cycle_loss_weight": get_task(model_type) == "unpaired", "pool_size": "cyclegan" in model_type
        and model_type not in RECYCLE, "warp_loss_weight": flow, "flow_backend": flow, "flow_weights": flow,
        "flow_cache": flow, "flow_loss_weight": vid2vid, "mask_loss_weight": vid2vid,
    }  # fmt: skip
    paired = get_task(model_type) == "paired"
    expected |= {f"{name}_loss_weight": paired for name in ("l1", "feature_matching", "perceptual")}
    expected |= {name: model_type in RECYCLE for name in given if name.startswith("recycle_")}
    expected |= {name: walks for name in given if name.startswith("timecycle_")}
    assert expected.keys() == given.keys() - known_by_all
    assert noted == {name for name, known in expected.items() if not known}
