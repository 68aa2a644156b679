"""AOD-Net: All-in-One Dehazing Network (Li, Peng, Wang, Xu, Feng, ICCV 2017).

arXiv:1707.06543. Reproduces: SOTS indoor 19.06 dB / 0.8504 (AECR-Net's Table 1 has 19.82 / 0.8178),
1,761 parameters.
"""

import torch
from torch import Tensor, nn


class AODNet(nn.Module):
    """Five small convolutions estimate K, which merges transmission and airlight (equation 6).

    hazy (B,3,H,W) in [0,1] -> restored = ReLU(K * hazy - K + 1), same shape, at least 0.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv3 = nn.Conv2d(6, 3, 5, padding=2)
        self.conv4 = nn.Conv2d(6, 3, 7, padding=3)
        self.conv5 = nn.Conv2d(12, 3, 3, padding=1)
        # Differs: the PyTorch port initialises weights from N(0, 0.02).

    def forward(self, hazy: Tensor) -> Tensor:
        maps1 = torch.relu(self.conv1(hazy))
        maps2 = torch.relu(self.conv2(maps1))
        maps3 = torch.relu(self.conv3(torch.cat([maps1, maps2], 1)))
        maps4 = torch.relu(self.conv4(torch.cat([maps2, maps3], 1)))
        gain = torch.relu(self.conv5(torch.cat([maps1, maps2, maps3, maps4], 1)))
        return torch.relu(gain * hazy - gain + 1)
