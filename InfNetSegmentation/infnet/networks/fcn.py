"""FCN-8s: a classifier made fully convolutional (Long et al., "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015). torchvision has only later relatives of it, on ResNet."""

import torch
from torch import nn
from torch.nn import functional

from infnet.networks.encoders import VGG16Encoder
from infnet.networks.layers import resize_like


class FCN8s(nn.Module):
    """(N, inputs, H, W) to logits (N, classes, H, W), from VGG-16's third, fourth and fifth pooling.

    H and W of 32 or more. Two departures from the paper: convolutions keep the size by their own padding instead of
    100 pixels around the image, and scores are enlarged bilinearly, where the paper's learnt enlargement starts.
    ``hidden`` is the width of the two layers that were VGG-16's fully connected ones.
    """

    def __init__(self, inputs: int = 3, classes: int = 3, hidden: int = 4096) -> None:
        super().__init__()
        self.encoder = VGG16Encoder(inputs)
        _, pool3, pool4, pool5 = self.encoder.channels
        self.classifier = nn.Sequential(
            nn.Conv2d(pool5, hidden, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(hidden, classes, 1),
        )
        self.score4 = nn.Conv2d(pool4, classes, 1)
        self.score3 = nn.Conv2d(pool3, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pool3, pool4, pool5 = (functional.max_pool2d(f, 2) for f in self.encoder(x)[1:])
        score = self.classifier(pool5)
        for finer in (self.score4(pool4), self.score3(pool3)):
            score = resize_like(score, finer) + finer
        return resize_like(score, x)
