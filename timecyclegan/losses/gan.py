"""Adversarial objectives: ours by name, and anybody's criterion as its generator's and its discriminator's side."""
import functools
import inspect
import re
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timecyclegan.util.choices import GAN_MODES
from timecyclegan.util.errors import UserError, unknown

GRADIENT_PENALTY_WEIGHT = 10.0  # Gulrajani et al. 2017


def gan_loss(prediction: Tensor, is_real: bool, mode: str = "lsgan", for_discriminator: bool = True) -> Tensor:
    """How far a discriminator's ``prediction`` (any shape, no sigmoid) is from calling its input real or fake.

    ``lsgan``: mean (D - 1)^2 or mean D^2 (Mao et al. 2017). ``vanilla``: binary cross entropy on logits (Goodfellow
    et al. 2014; the generator uses the non-saturating form, that is ``is_real=True``). ``wgangp``: -mean D or mean D
    (Arjovsky et al. 2017), which needs :func:`gradient_penalty` beside it. ``hinge``: mean max(0, 1 - D) or
    mean max(0, 1 + D) for the discriminator, -mean D for the generator (Lim and Ye 2017).

    Args:
        for_discriminator: whether the discriminator is trained by it; only the sides of ``hinge`` differ.

    Returns:
        A scalar, the mean over all elements.
    """
    if mode == "wgangp" or (mode == "hinge" and not for_discriminator):
        return -prediction.mean() if is_real else prediction.mean()
    if mode == "hinge":
        return F.relu(1 - prediction if is_real else 1 + prediction).mean()
    target = torch.full_like(prediction, float(is_real))
    if mode == "lsgan":
        return F.mse_loss(prediction, target)
    if mode == "vanilla":
        return F.binary_cross_entropy_with_logits(prediction, target)
    raise ValueError(f"gan mode must be one of {', '.join(GAN_MODES)}, not {mode!r}")


# ---- criteria

_OURS = {mode: functools.partial(gan_loss, mode=mode) for mode in GAN_MODES}


class Objective(NamedTuple):
    """The two sides of a criterion.

    Attributes:
        generator: of a prediction on generated pictures, a scalar.
        discriminator: of one on real pictures and one on generated pictures, a scalar.
        takes_lists: whether the criterion may be made for all that a discriminator returns, in a list.
    """

    generator: Callable[[Any], Tensor]
    discriminator: Callable[[Any, Any], Tensor]
    takes_lists: bool = False


# Of torch's own losses, those between a prediction and a target of 1 or 0.
_ON_TARGETS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)
_FUNCTIONS_ON_TARGETS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy,
                         F.binary_cross_entropy_with_logits)  # fmt: skip
_KNOWN = (f"one of {', '.join(GAN_MODES)}, a function (prediction, is_real), with for_discriminator= where the sides "
          f"differ, a pair (generator's, discriminator's), or one of torch's losses on targets "
          f"({', '.join(kind.__name__ for kind in _ON_TARGETS)})")  # fmt: skip
# How criteria are told whose side they are: true for the discriminator's, or for the generator's.
_SIDES = {"for_discriminator": True, "is_discriminator": True, "is_disc": True, "dis_update": True,
          "for_generator": False, "is_generator": False}  # fmt: skip


def objective(criterion: Any) -> Objective:
    """The sides of a criterion as people have them; where it returns a value for each sample, their mean is taken.

    * A name, see :func:`gan_loss`.
    * ``(prediction, is_real)``: the discriminator's loss is (real + fake) / 2, the generator's that of calling
      generated pictures real. Where it takes ``for_discriminator=`` (also ``is_disc=``, ``dis_update=``,
      ``for_generator=`` and the like) it is told whose loss it is. Torch's losses on targets, and what cannot take
      True and False, are given tensors of 1 and 0 of the prediction's shape.
    * A pair ``(generator's, discriminator's)``. The first takes ``(prediction)`` or ``(prediction, is_real)``, the
      second ``(prediction, is_real)`` or, where its arguments are called so (``real_pred``, ``d_fake``, ``c_r``), the
      predictions on real and on fake pictures in either order: what it then returns is the whole loss, or parts of it
      to be added.

    Raises:
        UserError: it is nothing of that, or relativistic, whose generator's side needs predictions on real pictures.
        WrongSide: on first use, it is the hinge of the discriminator for both sides.
    """
    if isinstance(criterion, str):
        if criterion not in GAN_MODES:
            raise unknown("criterion_GAN", criterion, GAN_MODES)
        criterion = _OURS[criterion]
    single = not isinstance(criterion, (tuple, list))
    pair = (criterion, criterion) if single else criterion
    if len(pair) != 2 or not all(map(callable, pair)):
        raise UserError(f"criterion_GAN {criterion!r} is no criterion: give {_KNOWN}")
    for one in pair:
        if isinstance(one, type):
            raise UserError(f"criterion_GAN {one.__name__} is a class: give what it makes, {one.__name__}(...)")
        if _is_torchs(one) and not (isinstance(one, _ON_TARGETS) or _inner(one) in _FUNCTIONS_ON_TARGETS):
            raise UserError(f"criterion_GAN {_called(one)} does not compare predictions with 1 and 0: give {_KNOWN}")
    generator, discriminator = pair
    # Only the generator's can take one prediction, only the discriminator's those on both kinds of pictures.
    if len(required(generator)) == 2 and (len(required(discriminator)) == 1 or _both(generator)):
        generator, discriminator = discriminator, generator
    order, alone = _both(discriminator), _takes_one(generator, whatever_else=single)
    if single and (alone or (order and not _side(generator, True))):
        raise UserError(f"criterion_GAN {_called(generator)} is one side of a criterion: give a pair (generator's, "
                        "discriminator's)")  # fmt: skip
    if _both(generator):
        raise UserError(f"criterion_GAN {_called(generator)} is given predictions on real pictures too, as "
                        "relativistic losses are, and a generator's term has those on generated ones alone: give a "
                        "loss of (prediction) or (prediction, is_real), or a name such as \"lsgan\"")  # fmt: skip
    one_for_all = single and not _is_torchs(generator) and not _side(generator, True)

    def of_generator(fake: Any) -> Tensor:
        value = _mean(generator, generator(fake)) if alone else _says(generator, fake, True, False)
        if one_for_all:
            _check_sides(generator, fake, value.detach())
        return value

    def of_discriminator(real: Any, fake: Any) -> Tensor:
        if order:
            made = discriminator(*((real, fake) if order > 0 else (fake, real)))
            return sum(_mean(discriminator, part) for part in (made if isinstance(made, (tuple, list)) else [made]))
        return (_says(discriminator, real, True, True) + _says(discriminator, fake, False, True)) / 2

    ours = _inner(generator) is gan_loss or _is_torchs(generator)
    return Objective(of_generator, of_discriminator, takes_lists=not ours)


def _says(criterion: Callable[..., Any], prediction: Any, is_real: bool, for_discriminator: bool) -> Tensor:
    """How far, by ``criterion``, a prediction is from this."""
    side, target = _side(criterion, for_discriminator), None
    if isinstance(prediction, Tensor):
        target = torch.full_like(prediction, float(is_real))
    if _is_torchs(criterion):
        return _mean(criterion, criterion(prediction, target))
    try:
        made = criterion(prediction, is_real, **side)
    except (TypeError, AttributeError, RuntimeError) as error:  # torch does not subtract True
        if target is None:
            raise
        try:
            made = criterion(prediction, target, **side)
        except Exception:  # it was not that
            raise error from None
    return _mean(criterion, made)


def _mean(criterion: Any, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"criterion_GAN {_called(criterion)} returned {kind}, not a loss: let it return a tensor, a "
                        "scalar or a value for each sample")  # fmt: skip
    return value.mean()


class WrongSide(UserError):
    """The discriminator's side of a criterion is given for the generator's as well."""


_checked: weakref.WeakSet[Any] = weakref.WeakSet()


def _check_sides(criterion: Any, fake: Any, value: Tensor) -> None:
    """Refuse the discriminator's hinge as the generator's loss: with it, a generator learns nothing more from pictures
    beyond the margin, and its own side is another function. Looked at once for each criterion.

    Args:
        fake: a prediction, or a list of those of scales, each alone or the last of a list.
        value: what it said of it.
    """
    owner = getattr(criterion, "__self__", criterion)  # a bound method is made anew each time
    try:
        if owner in _checked:
            return
        _checked.add(owner)
    except TypeError:  # cannot be remembered, and is not looked at in every step
        return
    scales = [one[-1] if isinstance(one, (tuple, list)) else one
              for one in (fake if isinstance(fake, (tuple, list)) else [fake])]  # fmt: skip
    if not all(isinstance(one, Tensor) for one in scales):
        return
    tolerance = 1e-3 if scales[0].dtype in (torch.half, torch.bfloat16) else 1e-5

    def is_hinge(said: Tensor, is_real: bool) -> bool:
        parts = torch.stack([gan_loss(one.detach(), is_real, "hinge").double() for one in scales])
        return any(torch.allclose(said.double(), whole, rtol=tolerance, atol=tolerance)
                   for whole in (parts.sum(), parts.mean()))  # fmt: skip

    if is_hinge(value, True):
        with torch.no_grad():
            other = _says(criterion, fake, False, True)
        if is_hinge(other, False):
            _checked.discard(owner)
            raise WrongSide(
                f"criterion_GAN {_called(criterion)} is the discriminator's side of the hinge loss, the generator's is "
                "-D: give \"hinge\" (criterion_GAN= of TimeCycle, timecycle_gan_mode= and seq_D_gan_mode= of the "
                "mixins) or a pair (generator's, discriminator's), or let it take for_discriminator=; a generator that "
                "does minimise max(0, 1 - D) is given it twice, as a pair"
            )


# ---- what a criterion takes


def _inner(criterion: Any) -> Any:
    return criterion.func if isinstance(criterion, functools.partial) else criterion


def _called(criterion: Any) -> str:
    """What an error calls it."""
    inner = _inner(criterion)
    return getattr(inner, "__qualname__", type(inner).__name__)


def _is_torchs(criterion: Any) -> bool:
    """Whether it computes a loss of torch's, in the way of a module or of a function."""
    where = inner = _inner(criterion)
    if isinstance(inner, nn.Module):
        where = type(inner).forward if _has_forward(inner) else type(inner).__call__
    return (getattr(where, "__module__", None) or "").startswith(("torch.nn.", "torch._C"))


def _has_forward(module: nn.Module) -> bool:
    """Whether it is called by way of ``forward``; pix2pixHD's and SPADE's criteria have a ``__call__`` of their own."""
    return type(module).__call__ is nn.Module.__call__


_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


# By function, the arguments of it and of its bound methods: every step asks for those of all criteria and judges.
_signatures: weakref.WeakKeyDictionary[Any, dict[bool, dict[str, inspect.Parameter]]] = weakref.WeakKeyDictionary()


def _parameters(call: Any) -> dict[str, inspect.Parameter]:
    """The arguments of a function or a module, by name; none where Python cannot tell."""
    while isinstance(call, nn.Module) and (hasattr(call, "_orig_mod") or isinstance(call, _WRAPPERS)):
        call = call.module if isinstance(call, _WRAPPERS) else call._orig_mod  # a compiled one
    if isinstance(call, nn.Module) and _has_forward(call):
        call = call.forward
    function = call.__func__ if inspect.ismethod(call) else call  # the method is made anew each time
    if not inspect.isfunction(function) and not isinstance(function, functools.partial):
        return _signature(call)  # that of an object may change, or the object cannot be remembered
    known = _signatures.setdefault(function, {})
    if (bound := function is not call) not in known:
        known[bound] = _signature(call)
    return known[bound]


def _signature(call: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(call).parameters)
    except (TypeError, ValueError):
        return {}


def required(call: Any) -> list[str]:
    """The names of the positional arguments that a function or a module has to be given."""
    return [name for name, one in _parameters(call).items()
            if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]  # fmt: skip


def _side(criterion: Any, for_discriminator: bool) -> dict[str, bool]:
    """How it is told whose loss it computes; empty where it does not ask."""
    known = _parameters(criterion)
    return {name: for_discriminator is positive for name, positive in _SIDES.items() if name in known}


def _takes_one(criterion: Any, whatever_else: bool) -> bool:
    """Whether it is a generator's loss of the prediction alone, which may take anything beside it; or, with
    ``whatever_else``, whatever it takes beside it tells real from fake."""
    known = _parameters(criterion)
    others = [name for name, one in list(known.items())[1:] if one.kind is not one.KEYWORD_ONLY]
    tells = others if whatever_else else [name for name in others if "real" in name or "target" in name]
    variadic = any(one.kind is one.VAR_POSITIONAL for one in known.values())
    return len(required(criterion)) == 1 and not variadic and not tells


def _both(criterion: Any) -> int:
    """1 for what takes the predictions on (real, fake) pictures, -1 for (fake, real), 0 for (prediction, is_real)."""
    kinds = []
    for name in required(criterion):
        name, words = name.lower(), set(re.split(r"[_\d]+", name.lower()))
        if name not in _SIDES:
            fake = "fake" in name or "generated" in name or words & {"gen", "g", "f"}
            told = words & {"is", "target", "label", "t"}  # is_real, of one prediction
            kinds.append(0 if told else -1 if fake else 1 if "real" in name or "r" in words else 0)
    return kinds[0] if kinds in ([1, -1], [-1, 1]) else 0


# ---- the gradient penalty


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, mix: Tensor | None = None) -> Tensor:
    """E[(|grad_z D(z)|_2 - 1)^2] at points z between ``real`` and ``fake`` (N, C, H, W); Gulrajani et al. 2017, eq. 3.

    D(z) is the mean of all that the discriminator says of a sample: so does ``gan_loss`` weigh patches, and it is that
    critic whose slope is to be 1. The norm is taken over each whole sample, the points are uniform on the line between
    the two. Where one side has fewer pictures, the others of the other side have no partner and are left out.
    """
    pairs = min(len(real), len(fake))
    real, fake = real[:pairs], fake[:pairs]
    if mix is None:
        mix = torch.rand(pairs, dtype=real.dtype)
    mix = mix[:pairs].to(real).view(-1, 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    critic = discriminator(between).reshape(pairs, -1).mean(dim=1)  # (N, 1, h, w) to (N,)
    (gradient,) = torch.autograd.grad(critic.sum(), between, create_graph=True)  # samples do not mix
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
