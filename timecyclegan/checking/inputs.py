"""Whether what a GAN gives to its TimeCycle fits: the faults in videos and channels that ``check_mixin`` finds."""
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from timecyclegan.models.mixins.host import Video, as_video
from timecyclegan.models.mixins.timecycle import TimeCycle

Find = Callable[[str, str], None]  # notes a fault: its name, what was seen and what to do
TOLERANCE = 1e-3  # of the range of values: rounding is no fault


def look_at(find: Find, videos: Mapping[str, Video], ignored: int) -> dict[str, Tensor]:
    """Note what is wrong with the values and the sizes of ``videos``; returns those that are videos, by name."""
    good = {}
    for name, given in videos.items():
        try:
            good[name] = as_video(given)[:, ignored:].detach()
        except (RuntimeError, TypeError, ValueError) as error:
            find("sequence of the wrong shape", f"the {name} cannot be read ({error}): give a tensor (N, T, C, H, W) "
                 "or a list of T tensors (N, C, H, W), all of one size")  # fmt: skip
            continue
        _look_at_values(find, name, good[name])
    if len(good) > 1:
        (one, first), (other, second) = good.items()
        if first.shape[:2] != second.shape[:2] or first.shape[3:] != second.shape[3:]:
            find(
                "sequence and condition differ",
                f"the {one} has {_size(first)}, the {other} {_size(second)}: frame t of the one must belong to "
                "frame t of the other, so give both with the same N, T, H and W (and leave the same frames out)",
            )
    return good


def _look_at_values(find: Find, name: str, video: Tensor) -> None:
    if not video.numel():
        return
    if not video.isfinite().all():
        find("not a number", f"the {name} has values that are infinite or not a number: look for the cause in the "
             "step before TimeCycle (a division by 0, a learning rate that is too high)")  # fmt: skip
        return
    low, high = video.min().item(), video.max().item()
    if low < -1 - TOLERANCE or high > 1 + TOLERANCE:
        find("values outside [-1, 1]", f"the {name} goes from {low:.4g} to {high:.4g}, motion models make [-1, 1]: "
             "scale the data (x / 127.5 - 1 for bytes), and let the generator end in tanh")  # fmt: skip


def look_at_length(find: Find, core: TimeCycle, sequence: Tensor, ignored: int) -> None:
    """Note a ``sequence``, without its ignored frames, in which there is nothing to walk."""
    frames, needed = sequence.shape[1], core.type.history + 1
    if frames < needed:
        without = f" ({ignored} of them ignored)" if ignored else ""
        find("cycle of length 0", f"in a sequence of {frames + ignored} frame(s){without} there is nothing to walk, "
             f"so there is no loss: give at least {needed + ignored} frames")  # fmt: skip


def _size(video: Tensor) -> str:
    batch, frames, _, height, width = video.shape
    return f"N = {batch}, T = {frames}, {height}x{width}"


class Call(NamedTuple):
    """A network at work."""

    name: str
    network: nn.Module
    shown: Tensor

    def expected(self) -> int | None:
        """Channels that its first layer takes, as far as that can be told."""
        layers = (getattr(layer, "in_channels", None) for layer in self.network.modules())
        return next((channels for channels in layers if channels), None)


@contextlib.contextmanager
def calls(networks: Mapping[str, Any], done: Callable[[Call, Tensor], None]) -> Iterator[list[Call]]:
    """Watch the calls of ``networks``; yields those that have begun and not ended: after an error, the one at fault."""
    running: list[Call] = []
    with contextlib.ExitStack() as hooks:
        for name, network in networks.items():
            if isinstance(network, nn.Module):
                before = network.register_forward_pre_hook(lambda m, args, n=name: running.append(Call(n, m, args[0])))
                after = network.register_forward_hook(lambda m, args, result: done(running.pop(), result))
                hooks.callback(before.remove)
                hooks.callback(after.remove)
        yield running


@contextlib.contextmanager
def motion_models(find: Find, core: TimeCycle, sequence: Tensor, condition: Tensor | None) -> Iterator[None]:
    """Note motion models that cannot take what they are shown, or do not make frames."""
    frame = sequence.shape[2:]
    frames = f"{core.type.history * frame[0]} of {core.type.history} frame{'s' * (core.type.history > 1)}"
    what = frames if condition is None else f"{condition.shape[2]} of the condition and {frames}"

    def made(call: Call, result: Tensor) -> None:
        if result.shape[1:] != frame:
            find("wrong channel count", f"the {call.name} makes {_picture(result.shape[1:])}, a frame is "
                 f"{_picture(frame)}: define_timecycle(input_channels={call.shown.shape[1]}, "
                 f"output_channels={frame[0]}), or mend your own motion model")  # fmt: skip

    backward, forward = core._walkers
    with calls({"motion model": backward, "forward motion model": forward}, made) as running:
        try:
            yield
        except Exception as error:
            if not running:
                raise
            call = running[0]
            given, expected = call.shown.shape[1], call.expected()
            if expected in (None, given):
                find("motion model fails", f"shown {_picture(call.shown.shape[1:])} ({what}) it raised "
                     f"{type(error).__name__}: {error}")  # fmt: skip
            else:
                find("wrong channel count", f"the {call.name} is shown {given} channels ({what}), its first layer "
                     f"takes {expected}: define_timecycle(input_channels={given}, output_channels={frame[0]})")
            raise


def _picture(shape: torch.Size) -> str:
    return f"{shape[0]} channels of {'x'.join(str(side) for side in shape[1:])}"


@contextlib.contextmanager
def discriminators(find: Find, core: TimeCycle) -> Iterator[None]:
    """Note discriminators that cannot take what they are shown, or are shown nothing."""
    judges = {judge.name: judge for judge in core.judges}
    shown: set[str] = set()
    networks = {name: judge.network for name, judge in judges.items()}
    with calls(networks, lambda call, _: shown.add(call.name)) as running:
        try:
            yield
        except Exception as error:
            if running:
                find("discriminator with the wrong input", _misfit(core, judges[running[0].name], running[0], error))
            raise
    for name in judges.keys() - shown if core.cycle else ():
        find("discriminator sees nothing", f"{name} wants {judges[name].n_frames} frames, the walk has "
             f"{core.cycle.sequence.shape[1]}: give longer clips, or add it with a smaller n_frames")  # fmt: skip


def _misfit(core: TimeCycle, judge: Any, call: Call, error: Exception) -> str:
    given, expected, n = call.shown.shape[1], call.expected(), judge.n_frames
    channels = core.step.sequence.shape[2]
    of_condition = given // n - channels
    what = f"{channels} of the image" if n == 1 else f"{n} frames of {channels}"
    if of_condition:
        what += f", {of_condition} of the condition{' of each' * (n > 1)}"
    if expected in (None, given):
        return f"{judge.name}, shown {_picture(call.shown.shape[1:])} ({what}), raised {type(error).__name__}: {error}"
    condition = 0 if core.step.condition is None else core.step.condition.shape[2]
    if of_condition and expected == n * channels:
        remedy = "if it sees no condition, add it with conditional=False"
    elif not of_condition and expected == n * (channels + condition):
        remedy = ("it sees the condition too: give the conditioning sequence together with the real one, and do not "
                  "add it with conditional=False")  # fmt: skip
    elif expected % (given // n) == 0:
        count = expected // (given // n)
        remedy = f"if it sees {count} frames at once, add it with n_frames={count}"
    else:
        remedy = f"build it for {given} channels, or add it with the n_frames and conditional that it was built for"
    return f"{judge.name} is shown {given} channels ({what}), its first layer takes {expected}: {remedy}"


def unlike(core: TimeCycle) -> str | None:
    """How the real sequence or its condition does not fit the walk, in words; None where they do."""
    walked, shown = getattr(core.step, "sequence", None), core._shown
    if walked is None or not hasattr(shown, "real"):
        return None
    known, kept = shown.condition, "the real sequence and its condition"
    if known is None:
        known, kept = shown.real, "the real sequence"
    known = known[:, shown.first :]
    if _size(walked) == _size(known):
        return None
    if walked.shape[1] != known.shape[1]:
        return (f"{known.shape[1]} frames of {kept} are used, {walked.shape[1]} of the walked one: give clips of one "
                "length and the same ignore_first_n to both")  # fmt: skip
    return f"{kept}: {_size(known)}; the walked sequence: {_size(walked)}. Give those of the same clip"


def kept_videos(core: TimeCycle) -> dict[str, list[Tensor]]:
    """What the cycle has of this step, walked and real: conditions and images, (N, T, C, H, W) each."""
    kinds = {"condition": [getattr(core.step, "condition", None), getattr(core._shown, "condition", None)],
             "image": [getattr(core.step, "sequence", None), getattr(core._shown, "real", None)]}  # fmt: skip
    return {kind: [video.detach() for video in some if video is not None] for kind, some in kinds.items()}


def look_at_order(
    find: Find, core: TimeCycle, shown: Mapping[str, Tensor], videos: Mapping[str, list[Tensor]], conditional: bool
) -> None:
    """Note discriminators to which the host shows other things than the cycle does, or in another order.

    Args:
        shown: by discriminator, pictures that the host gave to it in this step.
        videos: see :func:`kept_videos`.
        conditional: whether the real sequence came with a condition.
    """
    for judge in core.judges:
        if judge.name not in shown:
            continue
        ours = ("condition" if conditional and judge.conditional is not False else "image", "image")
        theirs = [tuple(_depicted(picture, videos, last) for last in (False, True)) for picture in shown[judge.name]]
        known = [ends for ends in theirs if None not in ends]
        if known and ours not in known:
            find("discriminator with the wrong input", f"your GAN shows {judge.name} pictures that begin with "
                 f"the {known[0][0]} and end with the {known[0][1]}, the cycle ones that begin with the {ours[0]} and "
                 f"end with the {ours[1]}: see conditional and n_frames of add_timecycle_discriminator, or let "
                 "the network that you add there reorder the channels")  # fmt: skip


def _depicted(picture: Tensor, videos: Mapping[str, list[Tensor]], last: bool) -> str | None:
    """Of which kind of ``videos`` the first or last channels of a ``picture`` (C, H, W) are a frame, if that is clear.
    """
    for kind, some in videos.items():
        for video in some:
            if video.shape[3:] == picture.shape[1:]:
                channels = video.shape[2]
                part = picture[-channels:] if last else picture[:channels]
                if len(part) == channels and (video == part).flatten(2).all(dim=2).any():
                    return kind
    return None
