"""What generated clips are compared with, which depends on the task, and what follows from it for each metric."""
from dataclasses import dataclass, replace

from timecyclegan.evaluation.metric import CLOSER_TO_REAL, CLOSER_TO_SOURCE, PER_PAIR, Spec
from timecyclegan.evaluation.settings import Settings


@dataclass(frozen=True)
class Kind:
    """One way of comparing.

    reference: what tables call the clips that are compared with. closer: what is best where likeness to their own
    value is. suffix: of the definitions of temporal metrics, which differ from kind to kind. shares_moments: whether
    the reference shows, frame for frame, what the generated clip should. shares_motion: whether it at least moves so.
    """
    reference: str
    closer: str = CLOSER_TO_REAL
    suffix: str = ""
    shares_moments: bool = True
    shares_motion: bool = True

    def missing(self, spec: Spec) -> str | None:
        """Why a metric has no value in this kind; None if it has one."""
        if spec.same_moment and not self.shares_moments:
            return "no real frame shows the same moment"
        if spec.same_motion and not self.shares_motion:
            return "no real flow belongs to a generated clip"
        return None

    def spec(self, spec: Spec, settings: Settings) -> Spec:
        """The metric's spec, by which its values cannot be mistaken for those of another kind, flow or network."""
        spec = replace(spec, definition=spec.definition.format(flow=settings.flow.name, dims=settings.fid_dims))
        if spec.over == PER_PAIR:
            spec = replace(spec, definition=spec.definition + self.suffix)
        return replace(spec, better=self.closer) if spec.better == CLOSER_TO_REAL else spec


# By the task of the model that generated the clips.
KINDS = {
    "paired": Kind("real clip"),
    "unpaired": Kind("source clip", CLOSER_TO_SOURCE, "-source", shares_moments=False),
    "unconditional": Kind("real clips", suffix="-means", shares_moments=False, shares_motion=False),
}
