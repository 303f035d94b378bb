"""vid2vid's generator by hand: blending, heads, what is recorded, and frames one by one; float64."""
import pytest
import torch
from torch import nn

from timecyclegan.models import default_options, get_model
from timecyclegan.models.networks import define_generator
from timecyclegan.models.networks.vid2vid import FLOW_SCALE, HEADS, Heads, Vid2VidGenerator

N, T, H, W = 2, 4, 8, 12
VID2VID = ["vid2vid", "timecyclevid2vid"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def constant(*values, size=(H, W)):
    return torch.tensor(values, dtype=torch.double).view(1, -1, 1, 1).expand(N, -1, *size)


def clip(length=T):
    return torch.rand(N, length, 3, H, W, dtype=torch.double) * 2 - 1


def build(model_type="vid2vid", training=True, **changes):
    options = {"image_height": H, "image_width": W, "generator_architecture": "resnet_1blocks", "generator_filters": 2,
               "discriminator_architecture": "pixel", "discriminator_filters": 2, "timecycle_motion_model_filters": 2,
               "block_size": T, "flow_backend": "farneback", "discriminator_temporal_scales": 0, **changes}  # fmt: skip
    model = get_model(model_type, default_options(model_type, **options), training).double()
    for parameter in model.parameters():  # every head far from its middle
        nn.init.normal_(parameter, std=0.3)
    return model


# ---- blending

class Given(nn.Module):
    """A network that gives the same heads whatever it sees."""

    def __init__(self, picture, flow, mask):
        super().__init__()
        self.heads = torch.cat([picture, flow, mask], dim=1)

    def forward(self, x):
        return self.heads


def blended(picture, flow, mask, x):
    return Vid2VidGenerator(Given(picture, flow, mask))(x)


@pytest.fixture
def seen():
    """[source, older frame, last frame]."""
    return torch.rand(N, 9, H, W, dtype=torch.double) * 2 - 1


def test_nothing_shows_of_the_noise_before_the_first_frame(seen):
    """Sample by sample: where the last frame is no picture, the new one stands alone."""
    picture = torch.randn(N, 3, H, W, dtype=torch.double)
    seen[0, 6:] = torch.randn(3, H, W)
    seen[0, 6, 0, 0] = 1.6
    made = blended(picture, constant(0, 0), constant(0), seen)
    assert torch.equal(made[0], picture[0]) and torch.equal(made[1:], seen[1:, 6:])


@pytest.mark.parametrize("name", ["resnet_1blocks", "unet_128", "dcgan_enc"])
def test_the_flow_begins_at_zero(name):
    size = {"unet_128": (128, 128), "dcgan_enc": (64, 64)}.get(name, (H, W))
    options = default_options("vid2vid", image_height=size[0], image_width=size[1], generator_architecture=name,
                              generator_filters=2)  # fmt: skip
    generator = get_model("vid2vid", options, training=False).generator
    parts = generator.parts(torch.rand(N, 6, *size) * 2 - 1)
    assert not parts.flow.any() and parts.frame.std() > 0
    assert (parts.mask - 0.5).abs().max() > 0  # the other heads begin as all networks do


def test_mask_1_is_the_new_picture(seen):
    picture = torch.randn(N, 3, H, W, dtype=torch.double)
    assert torch.equal(blended(picture, 3 * torch.randn(N, 2, H, W).double(), constant(1), seen), picture)


def test_mask_0_without_flow_is_the_last_frame(seen):
    picture = torch.randn(N, 3, H, W, dtype=torch.double)
    assert torch.equal(blended(picture, constant(0, 0), constant(0), seen), seen[:, 6:])


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, -3), (-1, 1)])
def test_mask_0_is_exactly_the_last_frame_moved(seen, dx, dy):
    """The flow leads back: what a pixel shows was at the pixel plus the flow; beyond the border there is the border."""
    made = blended(torch.randn(N, 3, H, W).double(), constant(dx, dy), constant(0), seen)
    for y in range(H):
        for x in range(W):
            was = seen[:, 6:, min(max(y + dy, 0), H - 1), min(max(x + dx, 0), W - 1)]
            assert torch.equal(made[:, :, y, x], was)


def test_masks_in_between_blend_pixel_by_pixel(seen):
    picture, mask = torch.randn(N, 3, H, W).double(), torch.rand(N, 1, H, W).double()
    made = blended(picture, constant(0, 0), mask, seen)
    torch.testing.assert_close(made, mask * picture + (1 - mask) * seen[:, 6:])
    mask = (mask > 0.5).double()
    assert torch.equal(blended(picture, constant(0, 0), mask, seen), torch.where(mask > 0, picture, seen[:, 6:]))


# ---- heads

def test_heads_of_known_values():
    raw = torch.randn(N, HEADS, H, W, dtype=torch.double) * 3
    picture, flow, mask = Heads()(raw).split([3, 2, 1], dim=1)
    torch.testing.assert_close(picture, (raw[:, :3].exp() - (-raw[:, :3]).exp())
                               / (raw[:, :3].exp() + (-raw[:, :3]).exp()))  # fmt: skip
    torch.testing.assert_close(flow, 20 * raw[:, 3:5])
    torch.testing.assert_close(mask, 1 / (1 + (-raw[:, 5:]).exp()))
    assert FLOW_SCALE == 20


@pytest.mark.parametrize(("name", "size"), [("resnet_1blocks", (8, 12)), ("unet_128", (128, 256)),
                                            ("dcgan_enc", (64, 64))])  # fmt: skip
def test_heads_of_every_architecture(name, size):
    """A constant last layer gives its heads: they come after it, once, and nothing comes after them."""
    network = define_generator(name, 6, HEADS, 1, size=size[0], output=Heads()).double()
    last = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) and HEADS in
            (m.out_channels, m.weight.shape[0])][-1]  # fmt: skip
    nn.init.zeros_(last.weight)
    raw = torch.tensor([-30.0, 0, 30, 0.5, -1.5, 30], dtype=torch.double)
    if last.bias is not None:
        with torch.no_grad():
            last.bias.copy_(raw)
    else:  # DCGAN's have none
        raw.zero_()
    x = torch.rand(N, 6, *size, dtype=torch.double) * 2 - 1
    parts = Vid2VidGenerator(network).parts(x)
    torch.testing.assert_close(parts.flow, 20 * raw[3:5].view(1, 2, 1, 1).expand(N, -1, *size))
    torch.testing.assert_close(parts.mask, raw[5:].sigmoid().view(1, 1, 1, 1).expand(N, -1, *size))
    if last.bias is not None:
        torch.testing.assert_close(parts.frame, constant(-1, 0, 1, size=size), rtol=0, atol=1e-9)
    else:
        torch.testing.assert_close(parts.frame, x[:, 3:] / 2)


def test_ranges():
    """However large what is below the heads, a frame stays in [-1, 1] while the last one was; a flow may be large."""
    network = define_generator("resnet_1blocks", 6, HEADS, 2, output=Heads()).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=3)
    parts = Vid2VidGenerator(network).parts(torch.rand(N, 6, 40, 40, dtype=torch.double) * 2 - 1)
    assert parts.frame.abs().max() <= 1 and 0 <= parts.mask.min() < 0.01 and 0.99 < parts.mask.max() <= 1
    assert parts.flow.abs().max() > 40
    assert (parts.frame.shape, parts.flow.shape, parts.mask.shape) == ((N, 3, 40, 40), (N, 2, 40, 40), (N, 1, 40, 40))


# ---- what is recorded

@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("model_type", VID2VID)
def test_flow_and_mask_of_every_frame_are_kept(model_type, n):
    """In order, of the clip alone: a walk that the generator takes afterwards leaves nothing."""
    kind = {"timecycle_type": "pingpong", "timecycle_loss_weight": 1.0} if n == 1 and "time" in model_type else {}
    model, source, target = build(model_type, n_frames_generator=n, **kind), clip(), clip()
    torch.manual_seed(4)
    fake = model(source, target)
    assert fake is model.step.fake
    assert model.step.flow.shape == (N, T, 2, H, W) and model.step.mask.shape == (N, T, 1, H, W)
    torch.manual_seed(4)
    frames = list(torch.randn(N, n, 3, H, W).double().unbind(1))
    for t in range(T):
        parts = model.generator.parts(torch.cat([source[:, t], *frames[-n:]], dim=1))
        for kept, made in ((model.step.flow, parts.flow), (model.step.mask, parts.mask), (fake, parts.frame)):
            torch.testing.assert_close(kept[:, t], made)
        frames.append(parts.frame)
    flow = model.step.flow
    model.generator_losses()
    assert model.step.flow is flow
    assert kind == {} or "timecycle_target" in model.generator_losses()


def test_nothing_is_recorded_outside():
    """Nor after an error; gradients' graphs would pile up."""
    generator, made = build().generator, []
    x = torch.zeros(N, 6, H, W, dtype=torch.double)
    generator(x)
    with generator.recording(made):
        generator(x)
        generator(x)
    with pytest.raises(RuntimeError), generator.recording(made):
        generator(x[:, :5])
    generator(x)
    assert len(made) == 2


# ---- testing

@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("model_type", VID2VID)
def test_frames_one_by_one_equal_the_whole_clip(model_type, n):
    """And a frame is the new picture and the last one, moved pixel by pixel, as the mask has it."""
    model, source = build(model_type, training=False, n_frames_generator=n), clip()
    assert model.networks().keys() == {"generator"} and model.context() == 0
    torch.manual_seed(6)
    whole = model(source)
    torch.manual_seed(6)
    state = torch.randn(N, n, 3, H, W).double()
    for t in range(T):
        picture, flow, mask = model.generator.network(torch.cat([source[:, t], *state.unbind(1)], dim=1)).split(
            [3, 2, 1], dim=1
        )
        mask = torch.ones_like(mask) if t == 0 else mask  # noise, of which nothing shows
        blend = mask * picture + (1 - mask) * moved(state[:, -1], flow)
        frame, state = model.translate_frame(source[:, t : t + 1], state)
        torch.testing.assert_close(frame, whole[:, t])
        torch.testing.assert_close(frame, blend)


def moved(image, flow):
    """One pixel at a time."""
    made = torch.empty_like(image)
    for n in range(N):
        for y in range(H):
            for x in range(W):
                made[n, :, y, x] = at(image[n], x + flow[n, 0, y, x].item(), y + flow[n, 1, y, x].item())
    return made


def at(image, x, y):
    """Bilinear, (C, H, W) to (C,); outside, the border's pixels."""
    x, y = min(max(x, 0), W - 1), min(max(y, 0), H - 1)
    i, j = min(int(x), W - 2), min(int(y), H - 2)
    a, b = x - i, y - j
    upper = (1 - a) * image[:, j, i] + a * image[:, j, i + 1]
    lower = (1 - a) * image[:, j + 1, i] + a * image[:, j + 1, i + 1]
    return (1 - b) * upper + b * lower


# ---- flow of the real clip

@pytest.mark.parametrize("model_type", VID2VID)
def test_what_flow_is_asked_for(model_type):
    """Of each pair of frames once, at the strides of the discriminators that have a window."""
    asked = []

    def flow(frame, previous):
        asked.append((frame, previous))
        return torch.zeros(len(frame), 2, H, W).double(), torch.ones(len(frame), 1, H, W).double()

    for changes, strides in (({}, []), ({"warp_loss_weight": 1.0}, [1]), ({"flow_loss_weight": 1.0}, [1]),
                             ({"mask_loss_weight": 1.0}, [1]),
                             ({"discriminator_temporal_scales": 2, "n_frames_discriminator": 2, "block_size": 6,
                               "flow_loss_weight": 1.0}, [1, 2])):  # fmt: skip
        model = build(model_type, **changes)
        model.warp_flow_backend = flow
        target = clip(model.options.block_size)
        model(clip(model.options.block_size), target)
        model.discriminator_losses()
        model.generator_losses()
        judged = target[:, 1:]  # the first frame is made of noise
        pairs = {tuple(part.shape[0] for part in pair): pair for pair in asked}
        assert sorted(pairs) == sorted((N * (judged.shape[1] - s),) * 2 for s in strides) and len(asked) == len(strides)
        for stride in strides:
            frame, previous = pairs[(N * (judged.shape[1] - stride),) * 2]
            assert torch.equal(frame, judged[:, stride:].flatten(0, 1))
            assert torch.equal(previous, judged[:, :-stride].flatten(0, 1))
        asked.clear()


@pytest.mark.parametrize("weight", ["flow_loss_weight", "mask_loss_weight", "warp_loss_weight"])
def test_each_flow_weight_asks_the_data_for_flow(weight):
    assert build(flow_cache="folder").inputs == ("source", "target")
    assert build(flow_cache="folder", **{weight: 1.0}).inputs == ("source", "target", "flow_1", "confidence_1")


def test_flow_that_comes_with_the_data_is_not_computed():
    """It is of the whole clip, frame 0 included."""
    model = build(flow_cache="folder", flow_loss_weight=1.0, mask_loss_weight=1.0, warp_loss_weight=1.0,
                  discriminator_temporal_scales=1, n_frames_discriminator=3)  # fmt: skip
    assert model.inputs == ("source", "target", "flow_1", "confidence_1")
    other = build(flow_loss_weight=1.0, mask_loss_weight=1.0, warp_loss_weight=1.0, discriminator_temporal_scales=1,
                  n_frames_discriminator=3)  # fmt: skip
    other.load_state_dict(model.state_dict())
    source, target = clip(), clip()
    flow, confidence = torch.randn(N, T - 1, 2, H, W).double(), torch.rand(N, T - 1, 1, H, W).double()
    other.warp_flow_backend = lambda *_: (flow[:, 1:].flatten(0, 1), confidence[:, 1:].flatten(0, 1))
    found = []
    for built, given in ((model, {"flow_1": flow, "confidence_1": confidence}), (other, {})):
        torch.manual_seed(2)
        built(source, target, **given)
        found.append({**built.discriminator_losses(), **built.generator_losses()})
    assert {"flow", "flow_warp", "mask", "warp", "gan_sequence_0"} <= found[0].keys() == found[1].keys()
    for name in found[0]:
        assert found[0][name].value == found[1][name].value
