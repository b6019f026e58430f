"""Classification by one linear layer, as a loss."""

from typing import Any

from torch import Tensor, nn


class CrossEntropy(nn.Module):
    """Softmax cross-entropy of (W e + b) / temperature; W [classes, dim] and b are trained too."""

    def __init__(
        self, *, dim: int, classes: int, temperature: float, label_smoothing: float
    ) -> None:
        super().__init__()
        self.temperature, self.label_smoothing = temperature, label_smoothing
        self.classifier = nn.Linear(dim, classes)

    def forward(self, embeddings: Tensor, labels: Tensor, _: Any = None) -> Tensor:
        """Return the loss, scalar, of embeddings [B, dim] and labels int64 [B]."""
        logits = self.classifier(embeddings) / self.temperature  # (B, classes)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
