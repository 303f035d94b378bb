"""VGG19 features for the perceptual loss; the pretrained weights come from the torch hub cache."""
import torch
from torch import Tensor, nn

from timecyclegan.models.networks import at_least
from timecyclegan.util.errors import UserError
from timecyclegan.util.hub import hub_file, load_published

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
# After relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of torchvision's `features`, as pix2pixHD has them.
TAPS = (1, 6, 11, 20, 29)
size_error = at_least(16, "VGG19")  # four poolings halve the sides, and a pixel must be left


class VGG19Features(nn.Module):
    """(N, 3, H, W) in [-1, 1] to the five feature tensors of relu1_1 ... relu5_1; frozen.

    The weights are torchvision's, trained on ImageNet (Simonyan and Zisserman 2015), so the input is normalised by
    ImageNet's mean and standard deviation. They are looked for in the torch hub cache and fetched if not there.

    Raises:
        UserError: no weights in the cache and none could be fetched, or the file is not VGG19's.
    """

    def __init__(self):
        super().__init__()
        from torchvision.models import vgg19

        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        with torch.device("meta"):  # no time is spent on drawing 143 million numbers that the file replaces
            self.layers = vgg19(weights=None).features[: TAPS[-1] + 1]
        names = {f"features.{name}": name for name in self.layers.state_dict()}
        weights = load_published(URL, "the perceptual loss (VGG19)", "use --perceptual_loss_weight 0")
        try:
            state = {names[name]: value for name, value in weights.items() if name in names}
            self.layers.load_state_dict(state, assign=True)
        except (AttributeError, RuntimeError) as error:  # no dictionary, or not of these names and shapes
            raise UserError(f"{hub_file(URL)} does not hold VGG19's weights; fetch it again from {URL}") from error
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (0.5 * x + 0.5 - self.mean) / self.std
        features = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in TAPS:
                features.append(x)
        return features
