"""Back ends on known motion; confidence from its definition."""
import cv2
import numpy as np
import pytest
import torch

from timecyclegan.flow import BACKENDS, flow_backend, photometric_confidence
from timecyclegan.losses.warp import warp
from timecyclegan.util.errors import UserError


def texture(height=64, width=96, seed=0):
    """(1, 3, H, W) in [-1, 1], smooth enough to follow."""
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    image = (image - image.min()) / (image.max() - image.min()) * 2 - 1
    return torch.from_numpy(image).movedim(-1, 0)[None]


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, 2), (-2, 1)])
def test_flow_leads_back_to_the_frame_before(name, dx, dy):
    """What was at p in the frame before is at p + (dx, dy) now."""
    previous = torch.cat([texture(), texture(seed=1)])
    frame = previous.roll((dy, dx), dims=(2, 3))
    flow, confidence = flow_backend(name)(frame, previous)
    assert flow.shape == (2, 2, 64, 96) and confidence.shape == (2, 1, 64, 96)
    assert flow.dtype == frame.dtype
    inside = flow[:, :, 12:-12, 12:-12]
    expected = torch.tensor([-dx, -dy], dtype=torch.float32).view(1, 2, 1, 1).expand_as(inside)
    assert (inside - expected).norm(dim=1).mean() < 0.2
    assert confidence[:, :, 12:-12, 12:-12].mean() > 0.95


def test_confidence_by_hand():
    frame, previous = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    previous[0, :, 0, 1] = 0.08  # 3 * 0.0064 = 0.0192
    previous[0, :, 1, 0] = 0.09  # 3 * 0.0081 = 0.0243
    found = photometric_confidence(frame, previous, torch.zeros(1, 2, 2, 2))
    assert found.flatten().tolist() == [1, 1, 0, 1]
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, 0, 1, 0] = 1  # look beside it
    assert photometric_confidence(frame, previous, flow).all() and warp(previous, flow)[0, 0, 1, 0] == 0


def test_unknown_back_end_gets_a_suggestion():
    with pytest.raises(UserError, match=r"--flow_backend 'farnebak' is not known; did you mean farneback\?"):
        flow_backend("farnebak")
