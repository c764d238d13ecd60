"""MM-MIMO3: one trunk and several heads for several pictures of a cell.

Several independent subnetworks share one trunk (Havasi et al., "Training independent subnetworks
for robust prediction", ICLR 2021). Each input is a picture of another modality: fluorescence, and
bright field in green, purple and red light. In training the four streams are shuffled
independently and each head learns the label of its own stream, the loss being the sum of four
cross-entropies; in use all pictures show one cell and the heads' softmaxes are averaged.

The trunk is ResNet-34 as in :mod:`wbcq.models.resnet`. Which head goes with which stream, and that
the heads are plain linear layers on shared features, is our choice, as it is not published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq.models.resnet import BasicBlock, ResNet

__all__ = ["MmMimo3", "mm_mimo3"]


class MmMimo3(nn.Module):
    """Four pictures to four sets of logits.

    Args:
        num_classes: Size of each head's output.
        in_channels: Channels of each picture.
    """

    MODALITIES = ("fluor", "green", "purple", "red")
    """The order of inputs and heads."""

    def __init__(self, *, num_classes: int = 5, in_channels: int = 3) -> None:
        super().__init__()
        count = len(self.MODALITIES)
        self.trunk = ResNet(BasicBlock, (3, 4, 6, 3), in_channels=count * in_channels)
        features = self.trunk.fc.in_features
        self.trunk.fc = nn.Identity()  # type: ignore[assignment]
        self.heads = nn.ModuleList(nn.Linear(features, num_classes) for _ in range(count))

    def forward(
        self, fluor: Tensor, green: Tensor, purple: Tensor, red: Tensor
    ) -> tuple[Tensor, ...]:
        """Four pictures [N, in_channels, H, W] to four logits [N, num_classes]."""
        features = self.trunk(torch.cat((fluor, green, purple, red), dim=1))
        return tuple(head(features) for head in self.heads)

    def training_loss(
        self,
        pictures: Sequence[Tensor],
        labels: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The sum of the heads' cross-entropies, each stream in an order of its own.

        Args:
            pictures: Four batches [N, in_channels, H, W] of the same N cells.
            labels: Classes of the cells, int64 [N].
            generator: Draws the four orders.

        Returns:
            A scalar.

        Raises:
            ValueError: There are not as many batches as modalities.

        Example:
            >>> model = mm_mimo3(num_classes=5)
            >>> pictures = [torch.rand(2, 3, 64, 64) for _ in range(4)]
            >>> model.training_loss(pictures, torch.tensor([0, 3])).backward()
        """
        if len(pictures) != len(self.MODALITIES):
            raise ValueError(
                f"{len(pictures)} batches of pictures, must be {len(self.MODALITIES)}: one for "
                f"each of {', '.join(self.MODALITIES)}"
            )
        orders = [torch.randperm(len(labels), generator=generator) for _ in pictures]
        orders = [order.to(labels.device) for order in orders]
        streams = (x[order] for x, order in zip(pictures, orders, strict=True))
        losses = (
            F.cross_entropy(logits, labels[order])
            for logits, order in zip(self(*streams), orders, strict=True)
        )
        return torch.stack(tuple(losses)).sum()

    @torch.no_grad()
    def predict(self, fluor: Tensor, green: Tensor, purple: Tensor, red: Tensor) -> Tensor:
        """Class probabilities [N, num_classes] of cells that all four pictures show.

        The mean of the heads' softmaxes.

        Example:
            >>> model = mm_mimo3(num_classes=5).eval()
            >>> pictures = [torch.rand(1, 3, 64, 64) for _ in range(4)]
            >>> round(model.predict(*pictures).sum().item(), 4)
            1.0
        """
        logits = torch.stack(self(fluor, green, purple, red))
        return logits.softmax(dim=-1).mean(dim=0)


def mm_mimo3(*, num_classes: int = 5, in_channels: int = 3) -> MmMimo3:
    """MM-MIMO3: 21,323,156 parameters at 5 classes."""
    return MmMimo3(num_classes=num_classes, in_channels=in_channels)
