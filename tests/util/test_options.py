"""Options: the table of the specification, saving and loading."""
import dataclasses
import json

import pytest

from timecyclegan.util.errors import UserError
from timecyclegan.util.options import ControlOptions, Options, TestOptions, check_value, value_type

# SPEC 5: flag, short form, default; but --threads, which was 1, is by the machine.
COMMON = """
block_size -b 0 | generator_architecture -g resnet_6blocks | generator_filters -gf 64 | n_frames_generator -gn 1
gpu -gpu 0 | image_height -ih 256 | image_width -iw 256 | model_type -m timecycle | threads -t -1
"""
TRAINING = """
batch_size -bs 1 | cycle_loss_weight -clw 0.0 | discriminator_architecture -d basic | discriminator_filters -df 64
n_frames_discriminator -dn 0 | discriminator_temporal_scales -dts 1 | feature_matching_loss_weight -fmlw 0.0
flow_loss_weight -flw 0.0 | gan_mode -gan lsgan | init_epoch -ie 0 | init_checkpoint_dir -i | log_every -le 100
log_images_every -lie 0 | load_height -lh 0 | load_width -lw 0 | l1_loss_weight -llw 0.0 | learning_rate -lr 0.0002
mask_loss_weight -mlw 0.0 | num_epochs -ne 10 | perceptual_loss_weight -plw 0.0 | recycle_loss_weight -rclw 0.0
recycle_predictor_architecture -rcp resnet_6blocks | recycle_predictor_filters -rcpf 64 | save_every -se 1
spatial_scaling -ss 1.0 | temporal_scaling -ts 1.0 | timecycle_loss -tcl l1 | timecycle_loss_weight -tclw 0.0
timecycle_motion_model_architecture -tcmm resnet_1blocks | timecycle_motion_model_filters -tcmmf 64
timecycle_separate_motion_models -tcsmm False | timecycle_type -tct conditional | timecycle_warp_loss_weight -tcwlw 0.0
warp_loss_weight -wlw 0.0
"""
TESTING = """
test_batch_size -tbs 1 | test_init_epoch -tie 0 | test_output_dir -to results
test_unpaired_target_to_source -tts False
"""


def table(text):
    rows = [entry.split() for line in text.split("\n") if line for entry in line.split("|")]
    return [(row[0], row[1], row[2] if len(row) > 2 else "") for row in rows]


def fields(kind):
    return {field.name: field for field in dataclasses.fields(kind)}


def test_flags_of_the_specification():
    for kind, rows in ((Options, table(COMMON + TRAINING)), (TestOptions, table(TESTING))):
        for name, short, default in rows:
            field = fields(kind)[name]
            shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
            assert (field.metadata["short"], shown) == (short, default), name
            assert field.metadata["help"], name


def test_no_flag_stands_for_two():
    names = [*fields(Options), *fields(TestOptions), *fields(ControlOptions)]
    shorts = [field.metadata["short"] for kind in (Options, TestOptions, ControlOptions)
              for field in dataclasses.fields(kind) if field.metadata["short"]]  # fmt: skip
    assert len(names) == len(set(names)) and len(shorts) == len(set(shorts))


def test_weights_are_floats():
    """SPEC 7 item 7."""
    weights = [field for field in dataclasses.fields(Options) if field.name.endswith("_weight")]
    assert len(weights) == 13 and all(value_type(field) is float for field in weights)


def test_defaults_are_valid():
    for kind in (Options, TestOptions, ControlOptions):
        for field in dataclasses.fields(kind):
            assert check_value(field, field.default) is None


def test_values_out_of_range():
    for name, value, complaint in (
        ("batch_size", -1, "must be above 0, not -1"), ("num_epochs", 0, "above 0, not 0"),
        ("learning_rate", 0.0, "above 0"), ("learning_rate", float("nan"), "above 0, not nan"),
        ("learning_rate", float("inf"), "above 0, not inf"), ("l1_loss_weight", -0.1, "0 or more, not -0.1"),
        ("l1_loss_weight", float("nan"), "0 or more"), ("l1_loss_weight", float("inf"), "0 or more"),
        ("gpu", -2, "-1 or more"), ("threads", -2, "-1 or more"), ("seed", -1, "0 or more"), ("seed", 2**63, "2**63"),
        ("spatial_scaling", (0.5, 0.0), "above 0 and at most 1, not 0.0"), ("temporal_scaling", (1.5,), "not 1.5"),
        ("gan_mode", "lsgam", "one of lsgan, vanilla, wgangp, hinge, not 'lsgam'; did you mean lsgan"),
        ("timecycle_type", "ping", "one of conditional"), ("batch_size", 1.5, "must be of type int, not 1.5"),
    ):  # fmt: skip
        assert complaint in check_value(fields(Options)[name], value), (name, value)


def test_options_come_back_from_a_file(tmp_path):
    options = Options(spatial_scaling=(0.25, 1.0), learning_rate=1 / 3, flip=False, init_checkpoint_dir='a "b" ü')
    options.save(tmp_path / "o.json")
    assert Options.load(tmp_path / "o.json") == options


def test_files_of_other_versions_load(tmp_path):
    values = Options(seed=7).to_dict()
    del values["amp"], values["timecycle_motion_model_residual"]
    (tmp_path / "o.json").write_text(json.dumps({**values, "of_the_future": 1}))
    # Before there was a choice of motion models, they predicted frames.
    assert Options.load(tmp_path / "o.json") == Options(seed=7, timecycle_motion_model_residual=False)


@pytest.mark.parametrize("content", [None, "", "[1]", "3", '{"a": ', "\udcff"])
def test_a_file_that_is_no_options(tmp_path, content):
    path = tmp_path / "o.json"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="cannot read the run's options") as caught:
        Options.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
