#!/usr/bin/env python3
"""ResNet50 inference in PyTorch without torchvision, for `cargo run --example peer_case -- resnet50_infer S B`.

    python benches/pytorch/resnet50_infer.py SIDE BATCH [THREADS]

The network of torchvision (He et al., arXiv:1512.03385, stride in the 3x3 convolution), batch norms new, in eval mode. Weights: layer
i in torchvision's order (conv1, the blocks with the shortcut last, fc) is uniform in +-sqrt(6 / fan-in) by SplitMix64 of stream i; images are
stream 1000 in [0, 1). Prints one JSON line: times, and the first logit of three runs, which must agree with the engine's.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn


def unit(stream, n):
    with np.errstate(over="ignore"):
        x = (np.uint64(stream) << np.uint64(40)) + np.arange(n, dtype=np.uint64)
        z = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride, shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if shortcut:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet50():
    layers, channels = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
                        nn.MaxPool2d(3, 2, 1)], 64
    for blocks, width, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for i in range(blocks):
            layers.append(Bottleneck(channels, width, stride if i == 0 else 1, i == 0))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def main():
    side, batch = int(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        torch.set_num_threads(int(sys.argv[3]))
    model = resnet50().eval()
    with torch.no_grad():
        layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        for i, m in enumerate(layers):
            bound = np.float32(np.sqrt(6.0 / m.weight[0].numel()))
            values = (unit(i + 1, m.weight.numel()) * np.float32(2) - np.float32(1)) * bound
            m.weight.copy_(torch.from_numpy(values.reshape(tuple(m.weight.shape))))
            if m.bias is not None:
                m.bias.zero_()
        x = torch.from_numpy(unit(1000, batch * 3 * side * side).reshape(batch, 3, side, side))
        times, values = [], []
        for _ in range(9):
            start = time.perf_counter()
            values.append(float(model(x).flatten()[0]))
            times.append(time.perf_counter() - start)
    print(json.dumps({"peer": "torch-cpu", "version": torch.__version__, "case": "resnet50_infer", "S": side, "batch": batch,
                      "threads": torch.get_num_threads(), "first_s": times[0], "median_s": statistics.median(times[2:]),
                      "min_s": min(times), "vals": values[:3]}))


main()
