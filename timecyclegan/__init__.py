"""TimeCycleGAN: temporally consistent video from any GAN.

Public names are imported on first use, so that ``import timecyclegan`` costs little.
"""
import importlib

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
