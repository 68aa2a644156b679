"""Light-DehazeNet (Ullah et al., IEEE TIP 30, 2021): a light CNN for single image dehazing.

30,187 parameters; the state dict has the published names.
"""

import torch
from torch import Tensor, nn


class LightDehazeNet(nn.Module):
    """Eight convolutions estimate K of AOD-Net's equation 6; three of them see earlier maps.

    hazy (B,3,H,W) in [0,1] -> restored = ReLU(K * hazy - K + 1), same shape, at least 0.
    """

    def __init__(self):
        super().__init__()
        self.e_conv_layer1 = nn.Conv2d(3, 8, 1)
        self.e_conv_layer2 = nn.Conv2d(8, 8, 3, padding=1)
        self.e_conv_layer3 = nn.Conv2d(8, 8, 5, padding=2)
        self.e_conv_layer4 = nn.Conv2d(16, 16, 7, padding=3)
        self.e_conv_layer5 = nn.Conv2d(16, 16, 3, padding=1)
        self.e_conv_layer6 = nn.Conv2d(16, 16, 3, padding=1)
        self.e_conv_layer7 = nn.Conv2d(32, 32, 3, padding=1)
        self.e_conv_layer8 = nn.Conv2d(56, 3, 3, padding=1)

    def forward(self, hazy: Tensor) -> Tensor:
        maps1 = torch.relu(self.e_conv_layer1(hazy))
        maps2 = torch.relu(self.e_conv_layer2(maps1))
        maps3 = torch.relu(self.e_conv_layer3(maps2))
        maps4 = torch.relu(self.e_conv_layer4(torch.cat([maps1, maps3], 1)))
        maps5 = torch.relu(self.e_conv_layer5(maps4))
        maps6 = torch.relu(self.e_conv_layer6(maps5))
        maps7 = torch.relu(self.e_conv_layer7(torch.cat([maps4, maps6], 1)))
        gain = torch.relu(self.e_conv_layer8(torch.cat([maps2, maps5, maps7], 1)))
        return torch.relu(gain * hazy - gain + 1)
