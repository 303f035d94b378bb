"""FlowNet2, optical flow between two pictures; ``install.sh`` beside this file builds faster kernels for it."""
from timecyclegan.models.networks.flownet2_pytorch.checkpoint import load_checkpoint
from timecyclegan.models.networks.flownet2_pytorch.flownet2 import FlowNet2

__all__ = ["FlowNet2", "load_checkpoint"]
