"""TimeCycle on vid2vid."""
from timecyclegan.models.baselines.vid2vid_model import Vid2VidModel
from timecyclegan.models.mixins.timecycle_model import TimeCycleModel


class TimeCycleVid2Vid(TimeCycleModel, Vid2VidModel):
    """vid2vid with a TimeCycle that its frame discriminator judges; the others ask for flow, which a walk has not."""

    sequences_judge_walk = False
