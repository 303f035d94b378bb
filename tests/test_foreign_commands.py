"""test.py and train.py with weights of other programs: the pictures are those of the same weights in our own layout."""
from pathlib import Path

import pytest
import torch

from tests import test_commands
from tests.models.test_networks import GENERATORS
from tests.training.helpers import write_data
from tests.training.test_foreign import (
    batch_norm,
    discriminator,
    generator,
    parallel,
    save,
    with_dropout,
    with_statistics,
)
from timecyclegan.models import default_options
from timecyclegan.training import checkpoint
from timecyclegan.util import weights

folder, script, refused, pictures = (
    test_commands.folder, test_commands.script, test_commands.refused, test_commands.pictures
)  # fmt: skip
FLAGS = {"generator_filters": 2, "image_height": 24, "image_width": 32, "gpu": -1, "threads": 0}


def as_flags(options):
    return [text for key, value in options.items() for text in (f"--{key}", value)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), (2, 1), 24, 32)


@pytest.fixture
def sources(data):
    return data[0]


def ours(networks, **options):
    """The run "ours" with these weights, as training leaves it."""
    folder = checkpoint.CHECKPOINTS / "ours"
    default_options(**{**FLAGS, **options}).save(folder / checkpoint.OPTIONS)
    weights.save(folder / checkpoint.LATEST, {"networks": networks})


def same_pictures(script, folders, networks, epoch=0, **options):
    """Whether "theirs", described by flags, makes what "ours" makes, whose options are saved."""
    ours(networks, **options)
    assert script("test", "ours", *folders, *as_flags({"gpu": -1, "threads": 0})) == 0
    assert script("test", "theirs", *folders, *as_flags({**FLAGS, **options, "test_init_epoch": epoch})) == 0
    expected = pictures("results/ours")
    assert len(expected) >= 3 and len(set(expected.values())) == len(expected)
    return pictures(f"results/theirs/epoch{epoch}" if epoch else "results/theirs") == expected


PAIRED = {
    "2020": ("generator.pth", lambda state: state),
    "2020, parallel": ("generator.pth", parallel),
    "2020, epoch": ("generator_5.pth", parallel),
    "pix2pix": ("latest_net_G.pth", lambda state: state),
    "pix2pix, epoch": ("5_net_G.pth", parallel),
    "pix2pix, statistics": ("latest_net_G.pth", lambda state: parallel(with_statistics(state))),
    "pix2pix, dropout": ("latest_net_G.pth", with_dropout),
}


@pytest.mark.parametrize("layout", PAIRED)
def test_paired(script, sources, capsys, layout):
    name, change = PAIRED[layout]
    save(name, change(generator()))
    save("generator_6.pth", {"not": "looked at"})
    assert same_pictures(script, [sources], {"generator": generator()}, 5 if "5" in name else 0, model_type="pix2pix")
    assert f"checkpoints/theirs/{name} -> generator\n" in capsys.readouterr().out


@pytest.mark.parametrize(("architecture", "height", "width"), [
    ("resnet_9blocks", 24, 32), ("unet_128", 128, 256), ("unet_256", 256, 256),
])  # fmt: skip
def test_architectures(script, sources, architecture, height, width):
    """Old files too: before 1.6, PyTorch did not write zip archives."""
    save("latest_net_G.pth", with_statistics(generator(architecture)), _use_new_zipfile_serialization=False)
    assert same_pictures(
        script, [sources], {"generator": generator(architecture)}, model_type="pix2pix", image_height=height,
        image_width=width, generator_architecture=architecture,
    )  # fmt: skip


def test_batch_norm(script, sources):
    """pytorch-CycleGAN-and-pix2pix's default for pix2pix."""
    state = batch_norm(GENERATORS["unet_128"])
    save("latest_net_G.pth", parallel(state))
    assert same_pictures(script, [sources], {"generator": state}, model_type="pix2pix", image_height=128,
                         image_width=128, generator_architecture="unet_128", norm="batch")  # fmt: skip


def test_recurrent(script, sources, capsys):
    """The whole folder of a 2020 training; testing needs the generator alone."""
    save("generator.pth", parallel(generator(inputs=9)))
    for name in ("discriminator", "discriminator_seq", "timecycle_target_motion_model_backward"):
        save(f"{name}.pth", {"not": "looked at"})
    assert same_pictures(
        script, [sources], {"generator": generator(inputs=9)}, model_type="timecycle", n_frames_generator=2
    )
    out = capsys.readouterr().out
    assert "checkpoints/theirs/generator.pth -> generator\n" in out
    assert "note: not used: checkpoints/theirs/discriminator.pth, checkpoints/theirs/discriminator_seq.pth, " in out


# --- what is refused

def test_flags_that_do_not_fit_are_named(refused, sources):
    save("latest_net_G.pth", generator("resnet_9blocks"))
    test = ["test", "theirs", sources, "-gpu", -1, "-ih", 24, "-iw", 32]
    assert "--generator_architecture resnet_9blocks --generator_filters 2" in refused(*test, "-m", "pix2pix")
    assert "--generator_filters 2" in refused(*test, "-m", "pix2pix", "-g", "resnet_9blocks")
    assert "use another --model_type" in refused(*test, "-g", "resnet_9blocks", "-gf", 2)  # timecycle is the default
    assert "did you mean pix2pix" in refused(*test, "-m", "pix2pixx")
    assert not Path("results").exists()


def test_options_rule_where_there_are_any(script, refused, sources):
    save("latest_net_G.pth", generator())
    options = default_options(**FLAGS, model_type="pix2pix")
    options.save("checkpoints/theirs/options.json")
    assert "--generator_filters 3" in refused("test", "theirs", sources, "-gf", 3)
    assert script("test", "theirs", sources, "-gpu", -1) == 0


def test_weights_that_cannot_be_used(refused, sources):
    flags = [sources, *as_flags({**FLAGS, "model_type": "pix2pix"})]
    save("latest_net_G.pth", batch_norm(GENERATORS["resnet_6blocks"]))
    assert "use --norm batch" in refused("test", "theirs", *flags)
    save("latest_net_G.pth", torch.nn.Conv2d(1, 1, 1))  # the network instead of its weights
    assert "state_dict" in refused("test", "theirs", *flags)
    Path("checkpoints/theirs/latest_net_G.pth").write_bytes(b"PK\x03\x04")
    assert "checkpoints/theirs/latest_net_G.pth" in refused("test", "theirs", *flags)
    assert "epoch 7" in refused("test", "theirs", *flags, "-tie", 7)
    Path("checkpoints/theirs/latest_net_G.pth").unlink()
    assert "checkpoints/theirs/options.json" in refused("test", "theirs", *flags)
    weights.save(Path("checkpoints/theirs/latest.pth"), {"networks": {"generator": generator()}})
    assert "checkpoints/theirs/options.json" in refused("test", "theirs", *flags)  # ours, and not whole
    assert not Path("results").exists()


# --- unpaired, both directions


@pytest.mark.parametrize("names", [
    ("latest_net_G_A", "latest_net_G_B"), ("generator_target", "generator_source"),
])
def test_unpaired(script, data, capsys, names):
    networks = {"generator_target": generator(seed=1), "generator_source": generator(seed=2)}
    for name, state in zip(names, networks.values(), strict=True):
        save(f"{name}.pth", parallel(state))
    save("latest_net_D_A.pth", discriminator(inputs=3))
    assert same_pictures(script, data, networks, model_type="cyclegan", generator_architecture="resnet_6blocks")
    assert {path.name for path in Path("results/theirs").iterdir()} == {"source_to_target", "target_to_source"}
    out = capsys.readouterr().out
    for name, network in zip(names, networks, strict=True):
        assert f"checkpoints/theirs/{name}.pth -> {network}\n" in out


def test_one_direction_of_a_cyclegan(script, refused, data, sources):
    """Its published weights are one generator each, for its own one-way test: they translate as pix2pix's do."""
    save("latest_net_G.pth", generator())
    test = ["test", "theirs", sources, *as_flags(FLAGS), "-g", "resnet_6blocks"]
    line = refused(*test, "-m", "cyclegan")
    assert "has no weights for generator_target; it has generator" in line and "choose the --model_type by it" in line
    Path("checkpoints/theirs/latest_net_G.pth").rename("checkpoints/theirs/latest_net_G_A.pth")
    line = refused("test", "theirs", *data, *test[3:], "-m", "cyclegan")
    assert "has no weights for generator_source; it has generator_target; " in line and "give - for its folder" in line
    assert "unpaired ones generator_target" in refused(*test, "-m", "pix2pix")
    assert not Path("results").exists()
    assert script(*test, "-m", "cyclegan") == 0
    one_way = pictures("results/theirs/source_to_target")
    assert pictures("results/theirs").keys() == {f"source_to_target/{name}" for name in one_way}
    Path("checkpoints/theirs/latest_net_G_A.pth").rename("checkpoints/theirs/latest_net_G.pth")
    assert script(*test, "-m", "pix2pix", "-to", "alone") == 0
    assert pictures("alone/theirs") == one_way != {}
