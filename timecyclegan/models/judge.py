"""A discriminator with the frames and the condition that it sees, and the predictions among what it returns.

The same for discriminators of frames and of sequences, for generated clips and for the images of a walk, in our models
and beside a user's GAN.
"""
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from timecyclegan.losses.gan import required
from timecyclegan.models.mixins.host import find
from timecyclegan.util.errors import UserError


class Exhibit(NamedTuple):
    """Pictures for a discriminator, each some frames of one video as channels: [their conditions, the frames].

    Attributes:
        video: (N, T, C, H, W).
        condition: (N, T, C_c, H, W), or None. What lies between two frames, such as flow, is (N, T - stride, C_c, H,
            W): a picture then has one condition less than frames.
        frames: of each of the W pictures, which frames of the video.
    """

    video: Tensor
    condition: Tensor | None
    frames: tuple[range, ...]

    def parts(self) -> list[Tensor]:
        """The conditions, where there are any, and the frames of each picture: (W, N, T_p * C, H, W) each."""
        if len(self.frames[0]) == 1:  # a range of single frames, in one go
            place = slice(self.frames[0].start, self.frames[-1].stop)
            return [part[:, place].transpose(0, 1) for part in (self.condition, self.video) if part is not None]
        folded = []
        for part in (self.condition, self.video):
            if part is not None:
                fewer = self.video.shape[1] - part.shape[1]
                windows = [part[:, frames.start : frames.stop - fewer : frames.step] for frames in self.frames]
                folded.append(torch.stack(windows).flatten(2, 3))  # (W, N, T_p, C, ..) to (W, N, T_p * C, ..)
        return folded

    def channels(self) -> list[int]:
        """T_p * C of the :meth:`parts`."""
        picture, found = self.frames[0], [len(self.frames[0]) * self.video.shape[2]]
        if self.condition is not None:
            fewer = self.video.shape[1] - self.condition.shape[1]
            seen = len(range(picture.start, picture.stop - fewer, picture.step)) if len(picture) > 1 else 1
            found.insert(0, seen * self.condition.shape[2])
        return found

    def pictures(self) -> Tensor:
        """(W * N, C', H, W), [conditions, frames], the first picture of every sample first."""
        return torch.cat(self.parts(), dim=2).flatten(0, 1)

    def by_sample(self) -> Tensor:
        """The pictures, those of the first sample first where they are single frames."""
        pictures = self.pictures()
        if len(self.frames[0]) > 1:
            return pictures
        return pictures.unflatten(0, (len(self.frames), -1)).transpose(0, 1).flatten(0, 1)


class Judge:
    """A discriminator and what it sees; the network is its owner's, who trains it.

    Args:
        network: maps (N, n_frames * ([C_c +] C), H, W) to predictions: a module, a function, a bound method; or the
            ``host.Place`` where one lives.
        n_frames: 1 for a discriminator of frames, more for one of sequences.
        stride: from one of the frames that it sees to the next.
        conditional: whether it sees the condition; None: where there is one.
        name: how error messages call it.
        inputs: ``("condition", "frame")`` or ``("frame", "condition")`` for one that takes two arguments, (N,
            n_frames * C_c, H, W) and (N, n_frames * C, H, W), instead of one picture. None finds out only what is
            certain: that it has to be given two, of which one's name begins with ``cond``.
        prediction: which of what it returns is judged: an index, a key or an attribute, or a function of all that it
            returns, to a tensor or to a list of tensors. None: see :func:`predictions`.

    Raises:
        UserError: ``inputs`` or ``prediction`` is nothing of that, or the network cannot be called.
    """

    def __init__(self, network: Any, n_frames: int = 1, stride: int = 1, conditional: bool | None = None,
                 name: str = "discriminator", inputs: Sequence[str] | None = None,
                 prediction: Callable[[Any], Any] | int | str | None = None):  # fmt: skip
        self.place, self.n_frames, self.stride = network, n_frames, stride
        self.conditional, self.name = conditional, name
        self.inputs, self.prediction = None if inputs is None else tuple(inputs), prediction
        if network is not None and (
                not callable(self.network) or isinstance(self.network, (nn.ModuleList, nn.ModuleDict))):
            raise UserError(f"{name} is of type {type(self.network).__name__}, which cannot be called: give a module "
                            "or a function of a picture; several are added one by one")  # fmt: skip
        if inputs is not None and sorted(self.inputs) != ["condition", "frame"]:
            raise UserError(f"inputs of {name} are ('condition', 'frame') or ('frame', 'condition'), as it takes them, "
                            f"not {inputs!r}")  # fmt: skip
        if prediction is not None and not callable(prediction) and not isinstance(prediction, (int, str)):
            raise UserError(f"prediction of {name} is an index, a key or an attribute of what it returns, or a "
                            f"function of it, not {prediction!r}")  # fmt: skip

    @property
    def network(self) -> Any:
        """The network, the one that is at its place now."""
        return find(self.place)

    @property
    def called(self) -> str:
        """What it is, for error messages."""
        network = self.network
        return f"{self.name} ({getattr(network, '__qualname__', type(network).__name__)})"

    def show(self, video: Tensor, condition: Tensor | None = None, first: int = 0, stop: int | None = None
             ) -> list[Exhibit]:  # fmt: skip
        """What it sees of frames ``first`` to ``stop`` (not included) of a video (N, T, C, H, W) and its condition.

        Windows of several frames share their end frames: each begins where the last one ended.

        Returns:
            One exhibit; none where there are too few frames for one picture.
        """
        span = (self.n_frames - 1) * self.stride  # from the first to the last frame of a picture
        starts = range(first, (video.shape[1] if stop is None else stop) - span, max(span, 1))
        frames = tuple(range(start, start + span + 1, self.stride) for start in starts)
        return [Exhibit(video, None if self.conditional is False else condition, frames)] if frames else []

    def arguments(self, exhibits: Sequence[Exhibit]) -> list[Tensor]:
        """What it is called with: all pictures, or their frames and conditions, (W * N, C', H, W) each."""
        return self.arguments_of(torch.cat([one.pictures() for one in exhibits]), exhibits[0].channels())

    def arguments_of(self, pictures: Tensor, channels: Sequence[int]) -> list[Tensor]:
        """The same from pictures and the ``channels`` of their parts."""
        order = self.order(len(channels) == 2)
        if order == ("picture",):
            return [pictures]
        parts = dict(zip(("condition", "frame"), pictures.split(list(channels), dim=1), strict=True))
        return [parts[one].contiguous() for one in order]

    def order(self, conditions: bool) -> tuple[str, ...]:
        """What it takes, ``("picture",)`` or frame and condition, where there are ``conditions`` or are none.

        Raises:
            UserError: it takes two, and it is not clear which is which, or there are not two.
        """
        order, names = self.inputs, self.inputs
        if order is None:
            names = required(self.network)
            if len(names) != 2:
                return ("picture",)
            # A call with one picture would fail: it takes two. Which is which is certain where one says so.
            about = [name.lower().startswith("cond") for name in names]
            if sum(about) == 1:
                order = ("condition", "frame") if about[0] else ("frame", "condition")
            elif conditions:
                raise UserError(f"{self.called} takes two arguments, {' and '.join(names)}, and it is not clear which "
                                "is the condition: add it with inputs=('frame', 'condition') or inputs=('condition', "
                                "'frame')")  # fmt: skip
        if not conditions:
            raise UserError(f"{self.called} takes two arguments, {' and '.join(names)}, and there is no condition: "
                            "give one with the real sequence, and add the discriminator without conditional=False; or, "
                            "if it takes something else, add a function of a picture that calls it")  # fmt: skip
        return order

    def ask(self, arguments: Sequence[Tensor]) -> Any:
        """All that it returns.

        Raises:
            UserError: it cannot take this.
        """
        try:
            return self.network(*arguments)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, RuntimeError) as error:
            shapes = " and ".join(str(tuple(one.shape)) for one in arguments)
            seen = f"{self.n_frames} frame(s)" if self.conditional is False else (
                f"the conditions, where there are any, and {self.n_frames} frame(s)")
            raise UserError(
                f"{self.called} was called with {shapes}, {seen}, and raised {in_short(error)}. Look at how it is "
                "added: n_frames, conditional (False: it sees no condition), and inputs (('frame', 'condition') or "
                "('condition', 'frame'): it takes two arguments)"
            ) from error

    def predictions(self, output: Any) -> list[Tensor]:
        """The tensors in ``output``, of :meth:`ask`, that say how real the pictures are.

        Raises:
            UserError: it is not clear which they are.
        """
        if self.prediction is None:
            try:
                return predictions(output)
            except ValueError as error:
                remedy = ("add it with prediction=, the index, key or attribute of the prediction or a function of all "
                          "that it returns, such as prediction=lambda output: output[0]")  # fmt: skip
                raise UserError(f"{self.called} returned {described(output)}: {error}; {remedy}") from None
        try:
            if callable(self.prediction):
                picked = self.prediction(output)
            elif isinstance(output, Tensor):
                raise TypeError("it is a tensor, of which that would be a sample")
            else:
                named = isinstance(self.prediction, str) and not isinstance(output, Mapping)
                picked = getattr(output, self.prediction) if named else output[self.prediction]
                if not isinstance(picked, Tensor):
                    raise TypeError(f"that is {described(picked)}, not a tensor: give a function")
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise UserError(f"{self.called} returned {described(output)}, where prediction={self.prediction!r} does "
                            f"not work: {in_short(error)}") from error  # fmt: skip
        found = list(tensors(picked))
        if not found:
            raise UserError(f"{self.called} returned {described(output)}, of which prediction= makes "
                            f"{described(picked)}: let it make a tensor or a list of tensors")  # fmt: skip
        return found

    def features(self, arguments: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
        """Its features and all that it returns: by a method ``features`` (a list that ends in the prediction), or
        what it returns beside predictions (always where one picks them).

        Raises:
            UserError: it shows no features.
        """
        method = getattr(self.network, "features", None)
        if inspect.ismethod(method) and self.prediction is None:
            made = method(*arguments)
            if isinstance(made, (tuple, list)) and made and _judged(made[-1]):  # else it means something else by it
                return list(made[:-1]), made[-1]
        output = self.ask(arguments)
        judged = {id(one) for one in self.predictions(output)}
        features = [one for one in tensors(output) if id(one) not in judged and one.dim() > 1]
        if not features:
            raise UserError(f"feature matching needs features, and {self.called} has neither a method features nor "
                            f"returned any, but {described(output)}: give it one, or set the weight to 0")  # fmt: skip
        return features, output


# ---- what a discriminator returned


def predictions(output: Any) -> list[Tensor]:
    """The predictions among what a discriminator returned; each of them is judged.

    A lone tensor is one, whatever its shape. Among several, predictions are those with one channel, (N,) or (N, 1,
    ..), and others are features; None is nothing. Beside features, in the same list, there is one prediction; a list
    without any is one of features. Several predictions are those of several scales: a list of tensors of one channel,
    or of lists that are alike (as many entries, of the same kinds).

    Raises:
        ValueError: says why it is not clear.
    """
    known = list(tensors(output))
    if len(known) == 1:
        return known
    found = _judged(output)
    if not found:
        raise ValueError("no tensor in it has one channel, as predictions have" if known else "no tensor is in it")
    return found


def _judged(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        one_channel = output.dim() == 1 or (output.dim() > 1 and output.shape[1] == 1)
        return [output] if one_channel and output.is_floating_point() else []
    entries = [entry for entry in _entries(output) if entry is not None]
    found = [some for some in map(_judged, entries) if some]
    scales = len(found) == len(entries) and not isinstance(output, Mapping) and len(set(map(_form, entries))) == 1
    if len(found) > 1 and not scales:
        raise ValueError("several tensors in it have one channel, and they are not those of equal scales")
    return [one for some in found for one in some]


def _entries(output: Any) -> list[Any]:
    if isinstance(output, Mapping):
        return list(output.values())
    return list(output) if isinstance(output, (tuple, list)) else []


def tensors(output: Any) -> Iterator[Tensor]:
    """All tensors of numbers in it."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    else:
        for entry in _entries(output):
            yield from tensors(entry)


def _form(output: Any) -> Any:
    """How it is nested, whatever the shapes."""
    return None if isinstance(output, Tensor) else (type(output), *map(_form, _entries(output)))


def described(output: Any) -> str:
    """Its kinds and shapes, in short."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    if isinstance(output, Mapping):
        return "{" + ", ".join(f"{key!r}: {described(value)}" for key, value in output.items()) + "}"
    if isinstance(output, (tuple, list)):
        return f"{type(output).__name__}[{', '.join(map(described, output))}]"
    return "None" if output is None else type(output).__name__


def in_short(error: Exception) -> str:
    """Its kind and what it says, in one line: PyTorch's may have many, of which the first tells what is wrong."""
    said = str(error).strip().split("\n")[0].rstrip(".:")
    return f"{type(error).__name__}: {said}"
