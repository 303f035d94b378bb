"""How networks start: the DCGAN initialisation that pix2pix and CycleGAN share."""
from torch import nn


def init_weights(network: nn.Module, std: float = 0.02) -> nn.Module:
    """Draw convolution and linear weights from N(0, std), norm scales from N(1, std); biases are 0.

    Radford et al. 2016, section 3. Changes ``network`` in place and returns it.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return network
