"""Residual networks for small colour images, as the literature on adversarial training uses them."""

from __future__ import annotations

from torch import Tensor, nn

from ironbound.core.rng import forked


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385, figure 2)."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(given, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        same = given == width and stride == 1
        projection = (nn.Conv2d(given, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))
        self.shortcut = nn.Identity() if same else nn.Sequential(*projection)

    def forward(self, x: Tensor) -> Tensor:
        """(n, given, h, w) -> (n, width, h / stride, w / stride)."""
        out = self.second_norm(self.second(self.first_norm(self.first(x)).relu()))
        return (out + self.shortcut(x)).relu()


class WideBlock(nn.Module):
    """Normalisation and ReLU before each of two 3x3 convolutions (Zagoruyko, Komodakis 2016, arXiv 1605.07146)."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(given)
        self.first = nn.Conv2d(given, width, 3, stride=stride, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same = given == width and stride == 1
        self.shortcut = None if same else nn.Conv2d(given, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, given, h, w) -> (n, width, h / stride, w / stride)."""
        active = self.first_norm(x).relu()
        out = self.second(self.second_norm(self.first(active)).relu())
        return out + (x if self.shortcut is None else self.shortcut(active))


def cifar_resnet18(seed: int = 0, classes: int = 10, width: int = 64) -> nn.Sequential:
    """For images (n, 3, 32, 32): ResNet-18 with a 3x3 stem and no pooling in front; 11.2 million weights at width 64.

    Smaller widths are for machines without a GPU: 16 has 0.7 million weights.
    """
    with forked(seed):
        blocks: list[nn.Module] = []
        given = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            for at in (stride, 1):
                blocks.append(BasicBlock(given, width << stage, at))
                given = width << stage
        return nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), *blocks,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, classes),
        )  # fmt: skip


def cifar_wide_resnet(seed: int = 0, classes: int = 10, depth: int = 34, width: int = 10) -> nn.Sequential:
    """For images (n, 3, 32, 32): WRN-34-10 by default, 46 million weights; the depth is 6 k + 4."""
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"the depth of a wide ResNet is 10, 16, 22, 28, 34, ...; got {depth}.")
    with forked(seed):
        blocks: list[nn.Module] = []
        given = 16
        for stage, stride in enumerate((1, 2, 2)):
            for at in (stride, *[1] * ((depth - 4) // 6 - 1)):
                blocks.append(WideBlock(given, (16 * width) << stage, at))
                given = (16 * width) << stage
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), *blocks, nn.BatchNorm2d(given), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, classes),
        )  # fmt: skip
