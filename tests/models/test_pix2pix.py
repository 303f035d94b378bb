"""pix2pix: blocks of frames, and the training step that all models share."""
import pytest
import torch

from tests.seeded import uniform
from timecyclegan.models import get_model
from timecyclegan.models.base_model import NonFiniteLoss
from timecyclegan.training.log import Means
from timecyclegan.util.options import Options

N, H, W = 2, 24, 28


def build(model_type="pix2pix", training=True, **changes):
    torch.manual_seed(0)
    options = Options(
        **{"image_height": H, "image_width": W, "generator_architecture": "resnet_1blocks", "generator_filters": 2,
           "discriminator_architecture": "2_layers", "discriminator_filters": 2, **changes}
    )  # fmt: skip
    return get_model(model_type, options, training)


def clip(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(N, length, 3, H, W, dtype=torch.double, generator=generator) * 2 - 1


def close(ours, plain):
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9)


# ---- losses: see also tests.models.test_first_step


def test_targets_and_discriminator_gradients():
    model = build(l1_loss_weight=1.0, feature_matching_loss_weight=1.0).double()
    model(clip(1), clip(1, 1))
    sum(term.value for term in model.discriminator_losses().values()).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.discriminator.parameters())


# ---- what is built


def test_block_channels():
    for block in (1, 3):
        model = build(block_size=block)
        parameters = list(model.generator.parameters())
        assert parameters[0].shape[1] == 3 * block and parameters[-1].shape == (3 * block,)
        assert next(model.discriminator.parameters()).shape[1] == 2 * 3 * block
    assert build().options.block_size == 1


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5])
def test_testing_keeps_the_middle_frame(block):
    """The frame to translate is number ``context`` of 2 * context + 1; its own translation comes back."""
    model = build(block_size=block, training=False).double()
    context = model.context()
    assert context == block // 2
    assert model.initial_state([torch.Generator()] * N, clip(1)[:, 0]) is None
    source = clip(2 * context + 1)
    frame, state = model.translate_frame(source, None)
    assert state is None and frame.shape == (N, 3, H, W)
    made = model.generator(torch.cat([source[:, t] for t in range(block)], dim=1))
    close(frame, made[:, 3 * context : 3 * context + 3])

    class Copy(torch.nn.Module):
        def forward(self, x):
            return x

    model.generator = Copy()
    close(model.translate_frame(source, None)[0], source[:, context])


def test_optimizers():
    """Adam(2e-4, 0.5, 0.999); each parameter once and in one of the two."""
    for model in (build(), build("timecycle", timecycle_loss_weight=1.0)):
        model.make_optimizers()
        listed = {role: [id(p) for g in o.param_groups for p in g["params"]] for role, o in model.optimizers.items()}
        assert len(listed["G"]) == len(set(listed["G"])) and len(listed["D"]) == len(set(listed["D"]))
        assert not set(listed["G"]) & set(listed["D"])
        assert set(listed["G"]) | set(listed["D"]) == {id(p) for p in model.parameters()}
        assert {id(p) for p in model.discriminator.parameters()} <= set(listed["D"])
        for optimizer in model.optimizers.values():
            assert isinstance(optimizer, torch.optim.Adam)
            assert optimizer.defaults["lr"] == 2e-4 and optimizer.defaults["betas"] == (0.5, 0.999)


# ---- one training step


def prepared(model_type="pix2pix", length=1, **changes):
    model = build(model_type, l1_loss_weight=10.0, **changes).double()
    model.make_optimizers()
    return model, {"source": clip(length), "target": clip(length, 1), "name": ["ignored"]}


def step(model, batch):
    return model.training_step(batch, torch.amp.GradScaler("cpu", enabled=False))


def looked_at(losses):
    means = Means()
    means.add(losses)
    return means.values()


def weights(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


def same(module, before):
    return all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


def test_step_equals_plain_step():
    """Forward once; D is updated first, so G is judged by the new D; each with its own Adam."""
    model, batch = prepared()
    twin, _ = prepared()
    optimizers = [torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999)) for m in (twin.discriminator, twin.generator)]
    for _ in range(3):
        logs = step(model, batch)
        source, target = batch["source"][:, 0], batch["target"][:, 0]
        fake = twin.generator(source)
        D = twin.discriminator
        on_real, on_fake = (D(torch.cat([source, x], 1)) for x in (target, fake.detach()))
        loss_D = ((on_real - 1).square().mean() + on_fake.square().mean()) / 2
        optimizers[0].zero_grad()
        loss_D.backward()
        optimizers[0].step()
        gan, l1 = (D(torch.cat([source, fake], 1)) - 1).square().mean(), (fake - target).abs().mean()
        optimizers[1].zero_grad()
        (gan + 10 * l1).backward()
        optimizers[1].step()
        expected = {"Discriminator/gan": loss_D, "Discriminator/total": loss_D, "Generator/gan": gan,
                    "Generator/l1": l1, "Generator/total": gan + 10 * l1}  # fmt: skip
        assert logs == {name: pytest.approx(value.item(), rel=1e-5) for name, value in expected.items()}
    for mine, theirs in zip(weights(model.generator, model.discriminator),
                            weights(twin.generator, twin.discriminator), strict=True):  # fmt: skip
        close(mine, theirs)


@pytest.mark.parametrize(("model_type", "length"), [("pix2pix", 1), ("timecycle", 4)])
def test_order_of_a_step(model_type, length, monkeypatch):
    changes = {"timecycle_loss_weight": 1.0, "timecycle_motion_model_filters": 2} if model_type == "timecycle" else {}
    model, batch = prepared(model_type, length, block_size=length, **changes)
    D, G = (torch.nn.ModuleList(model.networks(role).values()) for role in "DG")
    before_D, before_G = weights(D), weights(G)
    made, judged = [], []
    run, losses_D, losses_G = model.run, model.discriminator_losses, model.generator_losses

    def watch_D():
        assert same(D, before_D) and same(G, before_G)
        return losses_D()

    def watch_G():
        assert not same(D, before_D) and same(G, before_G)
        judged.extend(weights(D))
        return losses_G()

    monkeypatch.setattr(model, "run", lambda *source, **given: made.append(1) or run(*source, **given))
    monkeypatch.setattr(model, "discriminator_losses", watch_D)
    monkeypatch.setattr(model, "generator_losses", watch_G)
    step(model, batch)
    assert made == [1]
    assert same(D, judged), "the generator's update moved the discriminators"
    assert not same(G, before_G)
    assert all(p.requires_grad for p in model.parameters())
    # every kernel takes part; biases before an instance norm need not
    assert all(not torch.equal(p, b) for p, b in zip(G.parameters(), before_G, strict=True) if p.dim() > 1)
    assert all(not torch.equal(p, b) for p, b in zip(D.parameters(), before_D, strict=True) if p.dim() > 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_term_stops_before_any_update(value):
    model, batch = prepared()
    before = weights(model)
    batch["target"] = batch["target"].clone()
    batch["target"][0, 0, 0, 0, 0] = value
    with pytest.raises(NonFiniteLoss, match=r"Discriminator/gan became (nan|inf)"):
        looked_at(step(model, batch))
    assert same(model, before)


def test_non_finite_generator_term_leaves_the_generator(monkeypatch):
    model, batch = prepared()
    step(model, batch)
    first = next(model.generator.parameters())
    state = {key: value.clone() for key, value in model.optimizers["G"].state[first].items()}
    before = weights(model.generator)
    losses = model.generator_losses

    def broken():
        terms = losses()
        return {**terms, "l1": terms["l1"]._replace(value=terms["l1"].value / 0)}

    monkeypatch.setattr(model, "generator_losses", broken)
    with pytest.raises(NonFiniteLoss, match="Generator/l1 became inf"):
        looked_at(step(model, batch))
    assert same(model.generator, before)
    after = model.optimizers["G"].state[first]
    assert all(torch.equal(state[key], after[key]) for key in state)
    assert all(p.requires_grad for p in model.parameters())


def test_an_infinite_gradient_of_a_finite_term_leaves_the_generator(monkeypatch):
    """sqrt(x) at 0: the value is 0, the slope is not finite."""
    model, batch = prepared()
    step(model, batch)
    before, losses = weights(model.generator), model.generator_losses

    def steep():
        terms = losses()
        return {**terms, "l1": terms["l1"]._replace(value=(terms["l1"].value * 0).sqrt())}

    monkeypatch.setattr(model, "generator_losses", steep)
    found = step(model, batch)
    with pytest.raises(NonFiniteLoss, match="gradient of Generator/total"):
        looked_at(found)
    assert found["Generator/l1"] == 0 and found["Generator/total"].isnan() and found["Discriminator/total"].isfinite()
    assert same(model.generator, before)


def test_seeded_numbers_are_uniform():
    """The helper that makes weights without a download."""
    numbers = uniform("features.0.weight", 20000)
    assert numbers.min() >= -1 and numbers.max() < 1
    assert abs(numbers.mean()) < 0.02 and abs(numbers.square().mean() - 1 / 3) < 0.02
