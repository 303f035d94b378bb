"""TimeCycleGAN: temporally consistent video from any GAN.

Public names are imported on first use, so that ``import timecyclegan`` costs little.
"""
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for who checks types, which cannot follow __getattr__
    from timecyclegan.checking.check_mixin import check_mixin as check_mixin
    from timecyclegan.inference.translator import load as load
    from timecyclegan.models import get_model as get_model
    from timecyclegan.models import get_task as get_task
    from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin as SeqDMixin
    from timecyclegan.models.mixins.timecycle import TimeCycle as TimeCycle
    from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin as TimeCycleMixin
    from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin as WarpLossMixin
    from timecyclegan.models.networks import define_motion_model as define_motion_model
    from timecyclegan.models.sequential.sequential_mixin import SequentialMixin as SequentialMixin

__version__ = "1.0.0"

_PUBLIC = {
    "SeqDMixin": "timecyclegan.models.mixins.seq_d_mixin",
    "SequentialMixin": "timecyclegan.models.sequential.sequential_mixin",
    "TimeCycle": "timecyclegan.models.mixins.timecycle",
    "TimeCycleMixin": "timecyclegan.models.mixins.timecycle_mixin",
    "WarpLossMixin": "timecyclegan.models.mixins.warp_loss_mixin",
    "check_mixin": "timecyclegan.checking.check_mixin",
    "define_motion_model": "timecyclegan.models.networks",
    "get_model": "timecyclegan.models",
    "get_task": "timecyclegan.models",
    "load": "timecyclegan.inference.translator",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
