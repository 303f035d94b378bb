"""Weights of the 2020 release and of pytorch-CycleGAN-and-pix2pix: which file is which network, and what is refused.

The files are made from the published parameters' names and shapes, which ``tests.models.test_networks`` writes out.
"""
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.models.test_networks import DISCRIMINATORS, GENERATORS
from tests.seeded import seeded_weights
from tests.training.helpers import message, same, stored, trainer, write_data
from timecyclegan.training import checkpoint, foreign
from timecyclegan.util import weights

FOLDER = Path("checkpoints/theirs")


def published(layout, filters=2, inputs=3, outputs=3):
    """The weights of a published network, but narrow: 64 filters become ``filters``; and with other channels."""
    shapes = {key: tuple(n // 64 * filters if n >= 64 else n for n in shape) for key, shape in layout.items()}
    first, *_, last = (key.removesuffix(".weight") for key in shapes if key.endswith(".weight"))
    last = "model.model.3" if first == "model.model.0" else last
    out, _, *kernel = shapes[f"{first}.weight"]
    shapes[f"{first}.weight"] = (out, inputs, *kernel)
    if outputs != 3:
        shapes[f"{last}.weight"] = (outputs, *shapes[f"{last}.weight"][1:])
        shapes[f"{last}.bias"] = (outputs,)
    return OrderedDict(seeded_weights(shapes))


def generator(name="resnet_6blocks", seed=0, **channels):
    return OrderedDict((key, value.roll(seed)) for key, value in published(GENERATORS[name], **channels).items())


def discriminator(name="basic", inputs=6):
    return published(DISCRIMINATORS[name], inputs=inputs)


def parallel(state):
    return OrderedDict((f"module.{key}", value) for key, value in state.items())


def with_statistics(state):
    """As PyTorch 0.3 saved networks with InstanceNorm: statistics of the layer after each convolution that has one.

    Those that have none: the last one, a discriminator's first one, a U-Net's first, last and innermost one.
    """
    kernels = [key.removesuffix(".weight") for key in state if key.endswith(".weight")]
    unet = "model.model.0" in kernels
    innermost = max((key for key in kernels if key.endswith("model.1")), key=len, default="")
    bare = {"model.0", "net.0", *(("model.model.0", "model.model.3", innermost) if unet else kernels[-1:])}
    for name in kernels:
        if name in bare:
            continue
        prefix, index = name.rpartition(".")[::2]
        norm = f"{prefix}.{int(index) + 1}"
        state[f"{norm}.running_mean"] = torch.ones_like(state[f"{name}.bias"])
        state[f"{norm}.running_var"] = torch.ones_like(state[f"{name}.bias"])
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


def with_dropout(state):
    """pytorch-CycleGAN-and-pix2pix's residual blocks with dropout: pad, conv 1, norm, relu, dropout, pad, conv 6."""
    return OrderedDict((key.replace("conv_block.5.", "conv_block.6."), value) for key, value in state.items())


def with_batch_norm(state):
    """Its networks with --norm batch: no biases before the norm layers, which have weights and statistics."""
    state = with_statistics(state)
    for key in [key for key in state if key.endswith("running_mean")]:
        norm = key.removesuffix(".running_mean")
        state[f"{norm}.weight"] = state[f"{norm}.bias"] = state[key]
    return OrderedDict((key, value) for key, value in state.items() if not (key.endswith("bias") and value.min() < 0))


def save(name, state, folder=FOLDER, **kwargs):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / name, **kwargs)


# --- which file is which network

def test_names():
    found = {
        "generator": (0, "generator"), "generator_5": (5, "generator"), "generator_15": (15, "generator"),
        "discriminator_source_5": (5, "discriminator_source"), "predictor_target": (0, "predictor_target"),
        "generator_0": (0, "generator_0"),
        # Our own
        "sequence_discriminator_1": (0, "sequence_discriminator_1"),
        "sequence_discriminator_0_12": (12, "sequence_discriminator_0"),
        "sequence_discriminator_1_target_2": (2, "sequence_discriminator_1_target"),
        "timecycles_source_3": (3, "timecycles_source"),
        # pytorch-CycleGAN-and-pix2pix's. G_A makes B of A, D_A judges it; A is the source.
        "latest_net_G": (0, "generator"), "latest_net_D": (0, "discriminator"), "5_net_G": (5, "generator"),
        "200_net_D_B": (200, "discriminator_source"), "latest_net_G_A": (0, "generator_target"),
        "latest_net_G_B": (0, "generator_source"), "latest_net_D_A": (0, "discriminator_target"),
        "latest_net_F": (0, "F"), "iter_500_net_G": (0, "iter_500_net_G"),
    }  # fmt: skip
    for stem, expected in found.items():
        assert foreign.identify(stem) == expected, stem


@pytest.mark.parametrize("change", [
    lambda state: state, parallel, with_statistics, lambda state: parallel(with_statistics(state)), with_dropout,
    lambda state: with_statistics(parallel(with_dropout(state))), lambda state: OrderedDict(reversed(state.items())),
    lambda state: {key: nn.Parameter(value) for key, value in state.items()},
])  # fmt: skip
def test_parameters_come_under_their_names_here(change, tmp_path):
    save("latest_net_G.pth", change(generator("resnet_9blocks")), tmp_path)
    assert same(stored(tmp_path), dict(generator("resnet_9blocks")))


def test_what_is_not_a_statistic_of_a_norm_layer_stays(tmp_path):
    """Whatever else there is, the network refuses."""
    further = {"model.1.running_mean": torch.zeros(2), "model.99.bias": torch.zeros(2),
               "model.10.conv_block.6.weight": torch.zeros(2, 2, 3, 3)}  # fmt: skip
    save("generator.pth", {**generator(), **further}, tmp_path)
    assert same(stored(tmp_path), {**generator(), **further})


def test_a_file_is_read_and_announced_when_it_is_needed(tmp_path, capsys):
    save("5_net_G_A.pth", generator(), tmp_path)
    (tmp_path / "5_net_D_A.pth").write_bytes(b"damaged")
    assert sorted(checkpoint.read_networks(tmp_path, 5)) == ["discriminator_target", "generator_target"]
    assert capsys.readouterr().out == ""
    stored(tmp_path, "generator_target", 5)
    assert capsys.readouterr().out == f"{tmp_path / '5_net_G_A.pth'} -> generator_target\n"
    damaged = message(stored, tmp_path, "discriminator_target", 5)
    assert f"{tmp_path / '5_net_D_A.pth'} was refused: it is damaged" in damaged


def test_two_files_for_one_network_are_refused(tmp_path):
    for epoch, names in ((0, ("generator.pth", "latest_net_G.pth")), (2, ("generator_target_2.pth", "2_net_G_A.pth"))):
        for name in names:
            save(name, generator(), tmp_path)
        found = message(checkpoint.read_networks, tmp_path, epoch)
        assert all(str(tmp_path / name) in found for name in names)


def test_our_own_checkpoint_counts_first(tmp_path, capsys):
    for name, seed in (("generator.pth", 1), ("latest_net_G.pth", 2), ("generator_5.pth", 4)):
        save(name, generator(seed=seed), tmp_path)
    weights.save(tmp_path / checkpoint.LATEST, {"networks": {"generator": generator(seed=5)}})
    assert same(stored(tmp_path), dict(generator(seed=5)))
    assert same(stored(tmp_path, epoch=5), dict(generator(seed=4)))
    assert capsys.readouterr().out == ""


def test_epochs_that_are_not_there(tmp_path):
    for name in ("generator_5.pth", "10_net_G.pth"):
        save(name, generator(), tmp_path)
    assert "there are epochs 5, 10" in message(checkpoint.read_networks, tmp_path)
    save("generator.pth", generator(), tmp_path)
    found = message(checkpoint.read_networks, tmp_path, 3)
    assert "no weights of epoch 3" in found and "there are epochs 5, 10, ask for one" in found
    assert "train first" in message(checkpoint.read_networks, tmp_path / "nowhere")


class Whole(nn.Module):
    pass


@pytest.mark.parametrize(("content", "part"), [
    (Whole(), "state_dict"), ([1, 2], "no weights"), ({}, "no weights"), ({"epoch": 3}, "'epoch' is no tensor"),
    ({1: torch.zeros(1)}, "1 is no tensor"), (None, "no weights"),
])  # fmt: skip
def test_files_without_weights_are_one_clear_line(tmp_path, content, part):
    save("latest_net_G.pth", content, tmp_path)
    found = message(stored, tmp_path)
    assert str(tmp_path / "latest_net_G.pth") in found and part in found


@pytest.mark.parametrize("dropout", [False, True])
def test_batch_norm_is_refused(tmp_path, dropout):
    state = with_batch_norm(with_dropout(generator()) if dropout else generator())
    assert "model.1.bias" not in state and "model.2.weight" in state
    save("latest_net_G.pth", state, tmp_path)
    found = message(stored, tmp_path)
    assert str(tmp_path / "latest_net_G.pth") in found and "model.2.weight" in found and "--norm instance" in found


# --- training from them

NARROW = {"generator_filters": 2, "discriminator_filters": 2, "image_height": 48, "image_width": 48, "block_size": 1,
          "generator_architecture": "resnet_6blocks", "discriminator_architecture": "basic"}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), (4,), 32, 32)


def begin(data, **options):
    options = {"model_type": "pix2pix", "init_checkpoint_dir": str(FOLDER), **options}
    return trainer(data, "new", **{**NARROW, **options})


@pytest.mark.parametrize("files", [
    ("generator.pth", "discriminator.pth"), ("latest_net_G.pth", "latest_net_D.pth"),
    ("generator_3.pth", "discriminator_3.pth"), ("3_net_G.pth", "3_net_D.pth"),
])  # fmt: skip
@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_a_training_begins_with_them(data, capsys, files, architecture):
    save(files[0], generator())
    save(files[1], parallel(discriminator(architecture)))
    save("vgg.pth" if "3" not in files[0] else "vgg_3.pth", generator())
    begun = begin(data, discriminator_architecture=architecture, init_epoch=3 if "3" in files[0] else 0)
    assert same(dict(begun.model.generator.state_dict()), dict(generator()))
    assert same(dict(begun.model.discriminator.state_dict()), dict(discriminator(architecture)))
    *lines, note = capsys.readouterr().out.splitlines()
    assert lines == [f"{FOLDER / files[0]} -> generator", f"{FOLDER / files[1]} -> discriminator"]
    assert note.startswith("note: not used: checkpoints/theirs/vgg") and "net" not in note


def test_a_generator_alone_begins_a_training(data, capsys):
    save("latest_net_G.pth", generator())
    begin(data)
    assert f"note: {FOLDER} has no weights for discriminator: begun anew" in capsys.readouterr().out


@pytest.mark.parametrize("resume", [False, True])
def test_their_folder_is_not_written_to(data, resume):
    """Going on there would replace their generator_1.pth."""
    save("generator_1.pth", generator())
    found = message(trainer, data, "theirs", resume=resume, model_type="pix2pix", **NARROW)
    assert f"--init_checkpoint_dir {FOLDER}" in found and "another name" in found


def test_a_run_that_grows_begins_with_them(data, capsys):
    """Its first stage keeps what fits; BatchNorm's kernels would fit, but not do what they did."""
    options = {"spatial_scaling": (0.5, 1.0)}
    save("latest_net_G.pth", parallel(generator()))
    save("latest_net_F.pth", generator())
    begun = begin(data, **options)
    assert same(dict(begun.model.generator.state_dict()), dict(generator()))
    out = capsys.readouterr().out
    assert "latest_net_G.pth -> generator\n" in out and f"note: not used: {FOLDER / 'latest_net_F.pth'}\n" in out
    assert "begun anew in this stage: discriminator: all of it" in out
    save("latest_net_G.pth", with_batch_norm(generator()))
    assert "--norm instance" in message(begin, data, **options)


def test_weights_of_every_network_of_timecyclegan(data):
    """Also of our own files, without the rest of the checkpoint."""
    options = {"model_type": "timecycle", "timecycle_loss_weight": 5.0, "block_size": 3,
               "timecycle_motion_model_architecture": "resnet_6blocks",
               "timecycle_motion_model_residual": False}  # fmt: skip
    expected = {"generator": generator(inputs=6), "discriminator": discriminator(),
                "sequence_discriminator_0": discriminator(inputs=6), "timecycles_target": generator(inputs=6, seed=3)}
    expected["timecycles_target"] = {f"backward_model.{k}": v for k, v in expected["timecycles_target"].items()}
    for name, state in expected.items():
        save(f"{name}_7.pth", parallel(state))
    networks = begin(data, init_epoch=7, **options).model.networks()
    assert networks.keys() == expected.keys()
    for name, network in networks.items():
        assert same(dict(network.state_dict()), dict(expected[name])), name


# --- what does not fit

@pytest.mark.parametrize(("state", "options", "parts"), [
    (generator(filters=3), {}, ["(3, 3, 7, 7)", "(2, 3, 7, 7)", "use --generator_filters 3"]),
    (generator("resnet_9blocks"), {}, ["model.16.weight", "use --generator_architecture resnet_9blocks"]),
    (generator("unet_256", filters=4), {}, ["--generator_architecture unet_256 --generator_filters 4"]),
    (generator(), {"generator_architecture": "unet_128", "image_height": 128, "image_width": 128},
     ["model.model.0.weight", "--generator_architecture resnet_6blocks"]),
    # A still generator where a recurrent one is, and of blocks of frames.
    (generator("resnet_9blocks"), {"model_type": "seqpix2pix"},
     ["(2, 3, 7, 7)", "(2, 6, 7, 7)", "resnet_9blocks; it sees 3 channels and makes 3, the model's sees 6 and makes 3",
      "use another --model_type, --n_frames_generator or --block_size"]),
    (generator(inputs=9, outputs=9), {}, ["it sees 9 channels and makes 9, the model's sees 3 and makes 3"]),
    (generator(), {"upsample": "resize"}, ["--upsample transposed"]),
    ({"weight": torch.zeros(2)}, {}, ["lacks the parameter model.1.weight", "the options that it was trained with"]),
    ({**generator(), "model.99.bias": torch.zeros(1)}, {}, ["model.99.bias that the model does not know", "damaged"]),
])  # fmt: skip
def test_a_generator_that_does_not_fit(data, state, options, parts):
    save("latest_net_G.pth", state)
    found = message(begin, data, **options)
    assert f"{FOLDER / 'latest_net_G.pth'}: generator " in found
    assert all(part in found for part in parts), found
    assert not Path("checkpoints/new").exists()


@pytest.mark.parametrize(("state", "part"), [
    (discriminator("4_layers"), "use --discriminator_architecture 4_layers"),
    (discriminator("pixel"), "use --discriminator_architecture pixel"),
    (published(DISCRIMINATORS["basic"], filters=4, inputs=6), "use --discriminator_filters 4"),
    (discriminator(inputs=3), "sees 3 channels"),
])  # fmt: skip
def test_a_discriminator_that_does_not_fit(data, state, part):
    save("generator.pth", generator())
    save("discriminator.pth", state)
    found = message(begin, data)
    assert "checkpoints/theirs/discriminator.pth: discriminator" in found and part in found, found


def test_a_sequence_discriminator_that_does_not_fit(data):
    save("generator.pth", generator(inputs=6))
    save("sequence_discriminator_0.pth", discriminator(inputs=9))
    found = message(begin, data, model_type="timecycle", block_size=3)
    assert "(2, 9, 4, 4)" in found and "(2, 6, 4, 4)" in found
    assert "sees 9 channels" in found and "use another --n_frames_discriminator" in found


def test_a_motion_model_that_does_not_fit(data):
    save("timecycles_target.pth", {f"backward_model.{k}": v for k, v in generator(inputs=6, filters=3).items()})
    options = {"model_type": "timecycle", "timecycle_loss_weight": 1.0, "block_size": 3,
               "timecycle_motion_model_residual": False}  # fmt: skip
    found = message(begin, data, **options)
    assert "theirs/timecycles_target.pth: timecycles_target does not fit" in found and "(3, 6, 7, 7)" in found
    assert "--timecycle_motion_model_architecture resnet_6blocks --timecycle_motion_model_filters 3" in found


def test_a_file_where_a_folder_is_meant_and_a_name_that_looks_like_another(tmp_path):
    weights.save(tmp_path / "run/generator.pth", {})
    assert message(foreign.find, tmp_path / "run/generator.pth") == (
        f"{tmp_path}/run/generator.pth is a file; give the folder that holds the weights")
    assert "; 'Run' and 'run' differ in case" in message(foreign.find, tmp_path / "Run")
