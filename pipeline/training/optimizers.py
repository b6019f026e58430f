"""Optimizers and learning-rate schedules by name."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pipeline.options import AutoPositive, Factor, NonNegative, Positive, Section, Share

if TYPE_CHECKING:
    from torch import nn, optim


class Optimizer(Section):
    """An optimizer with its options. torch_class: its class in torch.optim.

    auto_lr: what `auto` is for lr and head_lr of a network with trained weights, and for both of
    one with random weights.
    """

    torch_class: ClassVar[str]
    auto_lr: ClassVar[tuple[float, float, float]]
    lr: AutoPositive
    layer_decay: Factor
    head_lr: AutoPositive | None
    loss_lr: Positive | None
    weight_decay: NonNegative

    def fit(self, *, pretrained: bool) -> Self:
        """Return these options with numbers instead of `auto`.

        pretrained: whether the backbone has trained weights, which a high rate would destroy.
        """
        lr, head_lr, random_lr = self.auto_lr
        chosen = {"lr": lr if pretrained else random_lr}
        chosen["head_lr"] = head_lr if pretrained else random_lr
        return self.model_copy(update={key: chosen[key] for key in self.auto_keys()})

    def build(
        self, *, backbone: "nn.Module", head: "nn.Module", loss: "nn.Module"
    ) -> "optim.Optimizer":
        """Return the optimizer over groups, each with its own learning rate: backbone, head, loss.

        With layer_decay d, layer i of the backbone's n has the rate lr d^(n - 1 - i) (Howard &
        Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018; they have
        d = 1 / 2.6). Its last layer is the first group.

        A loss's own weights (proxies, centers, a classifier) are not decayed: their length has a
        meaning, or none at all where the loss normalizes them.
        """
        from torch import optim

        rate = float(self.lr)
        groups = [
            *self._of_layers(backbone, rate),
            _group(head.parameters(), float(self.head_lr or rate)),
            _group(loss.parameters(), self.loss_lr or rate) | {"weight_decay": 0.0},
        ]
        used = [group for group in groups if group["params"]]
        others = self.model_dump(exclude={"layer_decay", "head_lr", "loss_lr"})
        # fused: one pass over each weight instead of one an operation; half the time of a step on
        # a CPU.
        built: optim.Optimizer = getattr(optim, self.torch_class)(used, fused=True, **others)
        return built

    def _of_layers(self, backbone: "nn.Module", rate: float) -> list[dict[str, Any]]:
        from pipeline.models.layers import list_layers

        if self.layer_decay == 1:
            return [_group(backbone.parameters(), rate)]
        return [
            _group(layer, rate * self.layer_decay**depth)
            for depth, layer in enumerate(reversed(list_layers(backbone)))
        ]


class SGD(Optimizer):
    torch_class = "SGD"
    auto_lr = (0.003, 0.01, 0.03)
    momentum: Share


class Adam(Optimizer):
    torch_class = "Adam"
    auto_lr = (0.0005, 0.001, 0.002)


class AdamW(Optimizer):
    torch_class = "AdamW"
    auto_lr = (0.0005, 0.001, 0.002)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def _group(weights: Iterable["nn.Parameter"], rate: float) -> dict[str, Any]:
    return {"params": [weight for weight in weights if weight.requires_grad], "lr": rate}


@dataclass(frozen=True)
class Span:
    """How many batches warm-up (a share of one is possible), an epoch and all of training have."""

    warmup: float
    epoch: int
    all: int


class Scheduler(Section):
    """A learning-rate schedule with its options. warmup: epochs of linear rise before it."""

    warmup: NonNegative

    def factor_at(self, *, epochs: int, steps: int) -> Callable[[int], float]:
        """Return batch t -> the factor on every learning rate, for `epochs` epochs of `steps`.

        With w batches of warm-up: (t + 1) / w while t < w, then `after_warmup`.
        """
        span = Span(warmup=self.warmup * steps, epoch=steps, all=epochs * steps)

        def factor(step: int) -> float:
            if step < span.warmup:
                return min(1.0, (step + 1) / span.warmup)
            return self.after_warmup(step, span)

        return factor

    def after_warmup(self, step: int, span: Span, /) -> float:
        """Return the factor at batch t = `step`, where warm-up has w batches and training T."""
        raise NotImplementedError


class Constant(Scheduler):
    """1 at all times."""

    def after_warmup(self, _step: int, _span: Span, /) -> float:
        return 1.0


class Cosine(Scheduler):
    """(1 + cos(pi (t - w) / (T - w))) / 2 (Loshchilov & Hutter, SGDR, 2017, without restarts)."""

    def after_warmup(self, step: int, span: Span, /) -> float:
        falling = max(1.0, span.all - span.warmup)
        return (1 + math.cos(math.pi * (step - span.warmup) / falling)) / 2


class Step(Scheduler):
    """gamma ** floor(t / step_size); step_size is in epochs."""

    step_size: Positive
    gamma: Positive

    def after_warmup(self, step: int, span: Span, /) -> float:
        return math.pow(self.gamma, math.floor(step / (self.step_size * span.epoch)))


SCHEDULERS: dict[str, type[Scheduler]] = {"constant": Constant, "cosine": Cosine, "step": Step}
