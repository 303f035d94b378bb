"""Weights of the 2020 release and of pytorch-CycleGAN-and-pix2pix: which file is which network, and what is refused.

The files are made from the published parameters' names and shapes, which ``tests.models.test_networks`` writes out.
"""
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.models.test_networks import DISCRIMINATORS, GENERATORS
from tests.seeded import seeded_weights
from tests.training.helpers import killed, latest, message, same, stored, train, trainer, write_data
from timecyclegan.inference.trained import load_model
from timecyclegan.models.networks import define_discriminator
from timecyclegan.training import checkpoint, foreign
from timecyclegan.util import weights
from timecyclegan.util.options import Options

FOLDER = Path("checkpoints/theirs")


def narrow(layout, filters=2, inputs=3, outputs=3):
    """The shapes of a published network, but narrow: 64 filters become ``filters``; and with other channels."""
    shapes = {key: tuple(n // 64 * filters if n >= 64 else n for n in shape) for key, shape in layout.items()}
    first, *_, last = (key.removesuffix(".weight") for key in shapes if key.endswith(".weight"))
    last = "model.model.3" if first == "model.model.0" else last
    out, _, *kernel = shapes[f"{first}.weight"]
    shapes[f"{first}.weight"] = (out, inputs, *kernel)
    if outputs != 3:
        shapes[f"{last}.weight"] = (outputs, *shapes[f"{last}.weight"][1:])
        shapes[f"{last}.bias"] = (outputs,)
    return shapes


def published(layout, **channels):
    return OrderedDict(seeded_weights(narrow(layout, **channels)))


def generator(name="resnet_6blocks", seed=0, **channels):
    return OrderedDict((key, value.roll(seed)) for key, value in published(GENERATORS[name], **channels).items())


def discriminator(name="basic", inputs=6):
    return published(DISCRIMINATORS[name], inputs=inputs)


def parallel(state):
    return OrderedDict((f"module.{key}", value) for key, value in state.items())


def norms(kernels):
    """By convolution, the norm layer behind it. There is none behind the last one, a discriminator's first one, a
    U-Net's first, last and innermost one."""
    unet = "model.model.0" in kernels
    innermost = max((key for key in kernels if key.endswith("model.1")), key=len, default="")
    bare = {"model.0", "net.0", *(("model.model.0", "model.model.3", innermost) if unet else kernels[-1:])}
    behind = {}
    for name in kernels:
        prefix, index = name.rpartition(".")[::2]
        if name not in bare:
            behind[name] = f"{prefix}.{int(index) + 1}"
    return behind


def kernels_of(state):
    return [key.removesuffix(".weight") for key in state if key.endswith(".weight")]


def with_statistics(state):
    """As PyTorch 0.3 saved networks with InstanceNorm: statistics of the norm layers."""
    for name, norm in norms(kernels_of(state)).items():
        state[f"{norm}.running_mean"] = torch.ones_like(state[f"{name}.bias"])
        state[f"{norm}.running_var"] = torch.ones_like(state[f"{name}.bias"])
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


def with_dropout(state):
    """pytorch-CycleGAN-and-pix2pix's residual blocks with dropout: pad, conv 1, norm, relu, dropout, pad, conv 6."""
    return OrderedDict((key.replace("conv_block.5.", "conv_block.6."), value) for key, value in state.items())


def batch_norm(layout, **channels):
    """pytorch-CycleGAN-and-pix2pix's networks with --norm batch, its default for pix2pix: norm layers with weights and
    statistics, and no biases but in the layer that ends a generator or a PatchGAN, and in a discriminator's first."""
    shapes = narrow(layout, **channels)
    kernels = kernels_of(shapes)
    biased = {"model.0", "net.0", "model.model.3", *(name for name in kernels[-1:] if name.startswith("model."))}
    if "model.model.0" in kernels:
        biased = {"model.model.3"}
    for name, norm in norms(kernels).items():
        parts = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"{norm}.{part}": shapes[f"{name}.bias"] for part in parts} | {f"{norm}.num_batches_tracked": ()}
    for name in {*kernels} - biased:
        del shapes[f"{name}.bias"]
    return OrderedDict(seeded_weights(shapes))


def with_batch_dropout(state):
    """As :func:`with_dropout`, with norm layers that have parameters: 6 becomes 7."""
    moved = {".conv_block.5.": ".conv_block.6.", ".conv_block.6.": ".conv_block.7."}
    return OrderedDict((next((key.replace(a, b) for a, b in moved.items() if a in key), key), value)
                       for key, value in state.items())  # fmt: skip


def without_count(state):
    """As before PyTorch 0.4.1."""
    return OrderedDict((key, value) for key, value in state.items() if not key.endswith("num_batches_tracked"))


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
        assert foreign.identify(stem) == (*expected, ""), stem


@pytest.mark.parametrize(("stem", "others", "expected"), [
    ("discriminator_seq", (), (0, "sequence_discriminator_0")),
    ("discriminator_target_seq_12_5", (), (5, "sequence_discriminator_11_target")),
    ("discriminator_source_seq", (), (0, "sequence_discriminator_0_source")),
    # Alone, a number is that of a discriminator; where others have this epoch, it is an epoch,
    ("discriminator_seq_2", (), (0, "sequence_discriminator_1")),
    ("discriminator_seq_2", ("generator_2",), (2, "sequence_discriminator_0")),
    ("discriminator_seq_10", ("generator_10", "generator_5"), (10, "sequence_discriminator_0")),
    ("discriminator_seq_1", (), (1, "sequence_discriminator_0")),
    # but not where that discriminator has epochs: its newest weights were written last.
    ("discriminator_seq_2", ("generator_2", "discriminator_seq_2_2"), (0, "sequence_discriminator_1")),
])  # fmt: skip
def test_sequence_discriminators_of_2020(stem, others, expected):
    assert foreign.identify(stem, (stem, *others)) == (*expected, "")


def test_motion_models_of_2020(tmp_path):
    """A shared one was written twice; two are two."""
    for name in ("timecycle_source_motion_model_forward", "timecycle_source_motion_model_backward"):
        save(f"{name}_3.pth", parallel(generator()), tmp_path)
    shared = {f"backward_model.{key}": value for key, value in generator().items()}
    assert same(stored(tmp_path, "timecycles_source", 3), shared)
    save("timecycle_source_motion_model_forward_3.pth", generator(seed=1), tmp_path)
    forward = {f"forward_model.{key}": value for key, value in generator(seed=1).items()}
    assert same(stored(tmp_path, "timecycles_source", 3), shared | forward)


def test_an_encoder_of_2020(tmp_path):
    """The recurrent DCGAN's stood apart from what it calls the generator."""
    save("encoder_4.pth", generator(), tmp_path)
    save("generator_4.pth", generator(seed=1), tmp_path)
    expected = {f"encoder.{key}": value for key, value in generator().items()}
    expected |= {f"decoder.{key}": value for key, value in generator(seed=1).items()}
    assert same(stored(tmp_path, epoch=4), expected)


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


@pytest.mark.parametrize("wrap", [
    "_orig_mod.{}", "module.{}", "_orig_mod.module.{}", "module._orig_mod.{}", "module.module.{}",
    "model._orig_mod.{rest}", "_orig_mod.model.module._orig_mod.{rest}", "{}._orig_mod",
])  # fmt: skip
def test_what_wrappers_put_into_names_is_taken_away(tmp_path, wrap):
    state = generator("resnet_9blocks")
    names = {key: wrap.format(key, rest=key.removeprefix("model.")) for key in state}
    if wrap.startswith("{}"):  # amid the name, a layer alone compiled
        names = {key: ".".join([*key.split(".")[:-1], "_orig_mod", key.split(".")[-1]]) for key in state}
    save("latest_net_G.pth", OrderedDict((names[key], value) for key, value in state.items()), tmp_path)
    assert same(stored(tmp_path), dict(state))
    weights.save(tmp_path / checkpoint.LATEST, {"networks": {"generator": {names[key]: state[key] for key in state}}})
    assert same(stored(tmp_path), dict(state))  # a host that saved what it had compiled


def test_two_names_for_one_parameter_are_refused(tmp_path):
    save("latest_net_G.pth", generator() | {"module.model.1.bias": torch.zeros(2)}, tmp_path)
    found = message(stored, tmp_path)
    assert "model.1.bias and module.model.1.bias" in found


# --- BatchNorm

def normed(state, name, x):
    """As a norm layer does when it tests (Ioffe and Szegedy 2015): with running statistics."""
    mean, var, weight, bias = (state[f"{name}.{part}"].view(1, -1, 1, 1)
                               for part in ("running_mean", "running_var", "weight", "bias"))  # fmt: skip
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def convolved(state, name, x, call=F.conv2d, **how):
    return call(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **how)


def resnet(state, x, blocks):
    def pad(x, n):
        return F.pad(x, (n, n, n, n), mode="reflect")

    x = normed(state, "model.2", convolved(state, "model.1", pad(x, 3))).relu()
    for layer in (4, 7):
        x = normed(state, f"model.{layer + 1}", convolved(state, f"model.{layer}", x, stride=2, padding=1)).relu()
    for block in (f"model.{10 + i}.conv_block" for i in range(blocks)):
        y = normed(state, f"{block}.2", convolved(state, f"{block}.1", pad(x, 1))).relu()
        x = x + normed(state, f"{block}.6", convolved(state, f"{block}.5", pad(y, 1)))
    up = {"call": F.conv_transpose2d, "stride": 2, "padding": 1, "output_padding": 1}
    for layer in (10 + blocks, 13 + blocks):
        x = normed(state, f"model.{layer + 1}", convolved(state, f"model.{layer}", x, **up)).relu()
    return convolved(state, f"model.{17 + blocks}", pad(x, 3)).tanh()


def unet(state, x):
    down, up = {"stride": 2, "padding": 1}, {"call": F.conv_transpose2d, "stride": 2, "padding": 1}

    def block(name, x):
        y = convolved(state, f"{name}.1", F.leaky_relu(x, 0.2), **down)
        last = 3
        if f"{name}.5.weight" in state:
            y, last = block(f"{name}.3.model", normed(state, f"{name}.2", y)), 5
        y = normed(state, f"{name}.{last + 1}", convolved(state, f"{name}.{last}", y.relu(), **up))
        return torch.cat([x, y], dim=1)

    x = block("model.model.1.model", convolved(state, "model.model.0", x, **down))
    return convolved(state, "model.model.3", x.relu(), **up).tanh()


@pytest.mark.parametrize(("name", "oracle", "change"), [
    ("resnet_6blocks", lambda state, x: resnet(state, x, 6), lambda state: state),
    ("resnet_9blocks", lambda state, x: resnet(state, x, 9), with_batch_dropout),
    ("unet_128", unet, lambda state: parallel(without_count(state))),
])  # fmt: skip
def test_batch_norm_generates_with_its_running_statistics(name, oracle, change):
    """As published: what a picture becomes does not depend on those beside it."""
    side = 128 if name == "unet_128" else 32
    state = batch_norm(GENERATORS[name])
    save("latest_net_G.pth", change(state))
    flags = {"model_type": "pix2pix", "generator_architecture": name, "generator_filters": 2, "gpu": -1,
             "image_height": side, "image_width": side, "block_size": 1}  # fmt: skip
    model = load_model("theirs", Options(**flags, norm="batch")).double()
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    expected = oracle({key: value.double() for key, value in state.items()}, x)
    assert expected.std() > 0.05
    with torch.no_grad():
        torch.testing.assert_close(model.generator(x), expected)
        torch.testing.assert_close(model.generator(x[:1]), expected[:1])
    found = message(load_model, "theirs", Options(**flags))
    assert str(FOLDER / "latest_net_G.pth") in found and "use --norm batch" in found


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_batch_norm_of_a_discriminator_has_the_published_parameters(name):
    network = define_discriminator(name, 6, 2, norm="batch")
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == {
        key: tuple(value.shape) for key, value in batch_norm(DISCRIMINATORS[name], inputs=6).items()}  # fmt: skip


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
    save("latest_net_G.pth", batch_norm(GENERATORS["resnet_6blocks"]))
    assert "generator has batch norm; use --norm batch" in message(begin, data, **options)
    assert begin(data, norm="batch", **options).model.generator.model[2].weight.shape == (2,)
    save("latest_net_G.pth", generator())
    assert "use --norm instance" in message(begin, data, norm="batch", **options)


def test_batch_norm_trains_and_goes_on(data, monkeypatch):
    """From published weights; killed and resumed it ends in the same bytes, running statistics included."""
    save("latest_net_G.pth", batch_norm(GENERATORS["resnet_6blocks"]))
    save("latest_net_D.pth", batch_norm(DISCRIMINATORS["basic"], inputs=6))
    options = {**NARROW, "model_type": "pix2pix", "init_checkpoint_dir": str(FOLDER), "norm": "batch",
               "num_epochs": 2}  # fmt: skip
    begun = begin(data, norm="batch")
    for name, state in (("generator", batch_norm(GENERATORS["resnet_6blocks"])),
                        ("discriminator", batch_norm(DISCRIMINATORS["basic"], inputs=6))):  # fmt: skip
        assert same(dict(begun.model.networks()[name].state_dict()), dict(state))
    train(data, "through", **options)
    killed(monkeypatch, data, 6, name="again", save_minutes=0.0, **options)
    train(data, "again", resume=True, save_minutes=0.0, **options)
    ended = latest("through")["networks"]["generator"]
    assert ended["model.2.num_batches_tracked"] == 8 and not same(ended["model.2.running_mean"],
                                                                  batch_norm(GENERATORS["resnet_6blocks"])[
                                                                      "model.2.running_mean"])  # fmt: skip
    assert same(latest("again")["networks"], latest("through")["networks"])


@pytest.mark.parametrize(("option", "value"), [("gan_mode", "wgangp"), ("amp", "float16")])
def test_what_batch_norm_does_not_go_with(data, option, value):
    found = message(trainer, data, "new", **{**NARROW, "model_type": "pix2pix", "norm": "batch", option: value})
    assert f"--norm batch does not go with --{option} {value}" in found


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


@pytest.mark.parametrize("separate", [False, True])
def test_a_folder_of_2020_begins_every_network(data, separate, capsys):
    """Its files for P, with two sequence discriminators."""
    options = {"model_type": "timecycle", "timecycle_loss_weight": 5.0, "block_size": 4, "n_frames_discriminator": 2,
               "discriminator_temporal_scales": 2, "timecycle_motion_model_architecture": "resnet_6blocks",
               "timecycle_motion_model_residual": False, "timecycle_separate_motion_models": separate}  # fmt: skip
    files = {"generator": generator(inputs=6), "discriminator": discriminator(), "discriminator_seq": discriminator(),
             "discriminator_seq_2": parallel(discriminator()),
             "timecycle_target_motion_model_backward": generator(inputs=6, seed=1),
             "timecycle_target_motion_model_forward": generator(inputs=6, seed=2 if separate else 1)}  # fmt: skip
    for name, state in files.items():
        save(f"{name}.pth", state)
    model = begin(data, **options).model
    out = capsys.readouterr().out
    assert "begun anew" not in out and "not used" not in out and out.count(" -> ") == len(files)
    assert same(dict(model.sequence_discriminator_1.state_dict()), dict(discriminator()))
    walk = model.timecycles["target"]
    assert same(dict(walk.backward_model.state_dict()), dict(generator(inputs=6, seed=1)))
    assert hasattr(walk, "forward_model") is separate
    if separate:
        found = message(begin, data, **{**options, "timecycle_separate_motion_models": False})
        assert "forward_model" in found and "use --timecycle_separate_motion_models" in found


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
    (batch_norm(GENERATORS["unet_256"]), {}, ["use --generator_architecture unet_256 --norm batch"]),
    (generator(), {"norm": "batch"}, ["use --norm instance"]),
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
