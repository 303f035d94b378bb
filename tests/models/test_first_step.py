"""The first step of every model against a plain computation, frame by frame, from the formulae; float64."""
import pytest
import torch

from tests.naive_models import STEPS, weight
from timecyclegan.models import MODELS, default_options, get_model, get_task
from timecyclegan.models.networks import vgg19

N, H, W = 2, 16, 18
WEIGHTS = {
    "l1_loss_weight": 10.0, "feature_matching_loss_weight": 5.0, "perceptual_loss_weight": 2.5,
    "cycle_loss_weight": 4.0, "timecycle_loss_weight": 7.0, "timecycle_warp_loss_weight": 3.0, "warp_loss_weight": 1.5,
    "flow_loss_weight": 0.5, "mask_loss_weight": 0.75, "gan_loss_weight": 1.25, "sequence_gan_loss_weight": 0.8,
    "timecycle_gan_loss_weight": 0.6, "timecycle_sharpness": 0.7,
}  # fmt: skip
# docs/MODELS.md; the first is the default
TYPES = {
    "timecycle": ("conditional", "unconditional", "pingpong"),
    "timecyclep2": ("conditional", "unconditional", "pingpong"),
    "tricyclegan": ("conditional", "unconditional", "pingpong"),
    "timecyclevid2vid": ("conditional", "unconditional", "pingpong"),
    "timecycledcgan": ("unconditional",),
    "timerecyclegan": ("conditional", "unconditional", "timerecycle"),
    "timerecycleganv2": ("timerecycle", "conditional", "unconditional", "pingpong"),
}
WALKS = [(model_type, kind) for model_type, kinds in TYPES.items() for kind in kinds]
BUILT = [walk for walk in WALKS if walk[1] in ("conditional", "unconditional")]  # with motion models of their own

CASES = [(model_type, {}) for model_type in STEPS if model_type not in TYPES]
CASES += [(model_type, {"timecycle_type": kind}) for model_type, kind in WALKS]
CASES += [(m, {"timecycle_type": kind, "timecycle_separate_motion_models": True}) for m, kind in BUILT]
CASES += [
    (model_type, {"timecycle_type": kind, "n_frames_generator": 2, "timecycle_loss": "l2"})
    for model_type, kind in WALKS if kind != "pingpong" and model_type != "timerecyclegan"
]  # fmt: skip
CASES += [(model_type, {"n_frames_generator": 2, "block_size": 3}) for model_type in STEPS
          if model_type.startswith("seq")]  # fmt: skip
CASES += [(model_type, {"block_size": 3}) for model_type in ("dcgan", "pix2pix", "cyclegan")]
CASES += [
    (model_type, {"block_size": block, "recycle_predictor_gan": True})
    for model_type in ("recyclegan", "seqrecyclegan", "timerecyclegan", "timerecycleganv2") for block in (3, 5, 6)
    if (model_type, block) != ("timerecycleganv2", 3)
]  # fmt: skip
CASES += [(model_type, {"gan_mode": mode}) for mode in ("vanilla", "wgangp", "hinge") for model_type in
          ("dcgan", "pix2pix", "seqcyclegan", "recyclegan", "timecycle", "tricyclegan", "timerecyclegan")]  # fmt: skip
CASES += [(model_type, {"n_frames_discriminator": n, "discriminator_temporal_scales": 2, "block_size": block,
                        "gan_mode": mode})
          for model_type, n, block, mode in (("timecycle", 3, 8, "lsgan"), ("timerecyclegan", 2, 6, "wgangp"),
                                             ("vid2vid", 2, 6, "lsgan"), ("vid2vid", 3, 8, "lsgan"),
                                             ("timecyclevid2vid", 2, 4, "wgangp"), ("timecyclep2", 2, 5, "hinge"))
]  # fmt: skip
CASES += [("vid2vid", {"n_frames_generator": 2, "n_frames_discriminator": n}) for n in (2, 3)]
CASES += [("tricyclegan", {"discriminator_temporal_scales": 0}), ("recyclegan", {"recycle_loss_weight": 6.0}),
          ("timecycledcgan", {"generator_architecture": "resnet_1blocks"}),
          ("timecycle", {"timecycle_loss_weight": 0.0}),
          ("timecycle", {"timecycle_warp_loss_weight": 0.0})]  # fmt: skip


class SmallFeatures(torch.nn.Module):
    """In place of VGG19: five layers of products."""

    def forward(self, x):
        return [x, x * x, x[:, :1] * x, x.mean(dim=1), x**3]


def small_flow(frame, previous):
    """In place of an estimated flow: up to a few pixels, also out of the picture."""
    return 4 * (frame[:, :2] - 0.5 * previous[:, 1:]), (frame[:, :1] * previous[:, 2:]).abs()


def build(model_type, changes):
    """With weights large enough for every layer to matter."""
    side = {"image_height": 64, "image_width": 64} if get_task(model_type) == "unconditional" else {
        "image_height": H, "image_width": W, "generator_architecture": "resnet_1blocks",
        "discriminator_architecture": "1_layers"}  # fmt: skip
    given = {"generator_filters": 2, "discriminator_filters": 2, "timecycle_motion_model_filters": 2,
             "recycle_predictor_architecture": "resnet_1blocks", "recycle_predictor_filters": 2,
             "flow_backend": "farneback", **side, **WEIGHTS, **changes}  # fmt: skip
    if "recycle_loss_weight" in given:
        del given["cycle_loss_weight"]
    torch.manual_seed(0)
    model = get_model(model_type, default_options(model_type, **given)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if "vid2vid" in model_type:  # flow of a few pixels and soft pictures: else rounding grows from frame to frame
        for parameter in list(model.generator.parameters())[-2:]:
            parameter.data *= torch.tensor([0.2] * 3 + [0.02] * 2 + [0.2]).view(-1, *[1] * (parameter.dim() - 1))
    return model


def named(name):
    return lambda message: f"{name}: {message}"


def gradients(losses, parameters):
    return torch.autograd.grad(losses, parameters, retain_graph=True)


@pytest.mark.parametrize(
    ("model_type", "changes"), CASES, ids=[f"{m}-{'-'.join(map(str, changes.values()))}" for m, changes in CASES]
)
def test_first_step_equals_plain_computation(model_type, changes, monkeypatch):
    """The named losses, their weights, and the gradients of both objectives."""
    monkeypatch.setattr(vgg19, "VGG19Features", SmallFeatures)
    model = build(model_type, changes)
    model.warp_flow_backend = small_flow
    size = model.options.image_height, model.options.image_width
    batch = torch.rand(2, N, model.options.block_size, 3, *size, dtype=torch.double) * 2 - 1
    batch = dict(zip(("source", "target"), batch, strict=True))

    torch.manual_seed(1)
    model(**{name: batch[name] for name in model.inputs})
    ours = {"D": model.discriminator_losses(), "G": model.generator_losses()}
    torch.manual_seed(1)
    step = STEPS[model_type](model.networks(), model.options, *(list(clip.unbind(1)) for clip in batch.values()),
                             SmallFeatures(), small_flow)  # fmt: skip
    plain = {"D": step.discriminator_losses(), "G": step.generator_losses()}
    for role in "DG":
        assert ours[role].keys() == plain[role].keys()
        for name, term in ours[role].items():
            torch.testing.assert_close(term.value, plain[role][name], rtol=0, atol=1e-9, msg=named(name))
            assert term.weight == weight(role, name, model.options), name
        names, parameters = zip(*[(f"{network}.{name}", p) for network, module in model.networks(role).items()
                                  for name, p in module.named_parameters()], strict=True)  # fmt: skip
        mine = gradients(sum(term.weight * term.value for term in ours[role].values()), parameters)
        theirs = gradients(sum(weight(role, name, model.options) * v for name, v in plain[role].items()), parameters)
        rounding = 1e-11 * max(gradient.abs().max().item() for gradient in mine)
        for name, a, b in zip(names, mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 + rounding, msg=named(name))
            assert a.abs().max() > 1e-6 or not name.endswith("weight"), f"{name} is not trained"
    made_by = [p for network in model.networks("G").values() for p in network.parameters()]
    judged = sum(term.value for term in ours["D"].values())
    assert not any(g is not None for g in torch.autograd.grad(judged, made_by, allow_unused=True))


def test_every_model_has_a_plain_computation():
    assert {model_type for model_type, _ in CASES} == STEPS.keys() == MODELS.keys()
