"""A batch that passes through the network in chunks, so that memory holds one chunk's graph.

Cached gradients (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", RepL4NLP 2021): embed all chunks without a graph, take the loss's gradient with respect to
the embeddings, then embed each chunk again and backpropagate its share of that gradient. The sum is
the gradient of the whole batch. Batch norm that is trained sees the statistics of a chunk.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

RandomState = tuple[Tensor, ...]


class GradientCache:
    """The images of one batch in chunks: call `embed`, the loss's backward, then `backward`.

    network: takes the output of `scale` for a chunk and returns embeddings [b, D]. A single chunk
    is embedded once, with its graph.
    """

    def __init__(
        self, network: nn.Module, scale: Callable[[Tensor], Tensor], chunks: Sequence[Tensor]
    ) -> None:
        self.network, self.scale, self.chunks = network, scale, chunks
        self.states: list[RandomState] = []

    def embed(self) -> Tensor:
        """Return the embeddings of the batch, float32 [B, D]."""
        if len(self.chunks) == 1:
            return self._forward(self.chunks[0])
        parts = []
        with torch.no_grad(), _unchanged_buffers(self.network):
            for chunk in self.chunks:
                self.states.append(_random_state())
                parts.append(self._forward(chunk))
        return torch.cat(parts).requires_grad_()

    def backward(self, embeddings: Tensor) -> None:
        """Backpropagate the gradient of what `embed` returned to the network's weights."""
        if len(self.chunks) == 1:
            return  # the loss's backward reached the weights
        if embeddings.grad is None:
            raise ValueError("the loss was not backpropagated to the embeddings")
        gradients = torch.split(embeddings.grad, [len(chunk) for chunk in self.chunks])
        for place, (chunk, gradient) in enumerate(zip(self.chunks, gradients, strict=True)):
            last = place == len(self.chunks) - 1
            with self._synchronized(last), _random_from(self.states[place]):
                torch.autograd.backward(self._forward(chunk), gradient)

    def _forward(self, chunk: Tensor) -> Tensor:
        embeddings: Tensor = self.network(self.scale(chunk))
        return embeddings

    def _synchronized(self, last: bool) -> AbstractContextManager[None]:
        """Where several processes train, they sum their gradients once, with the last chunk."""
        if last or not isinstance(self.network, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self.network.no_sync()


@contextmanager
def _unchanged_buffers(network: nn.Module) -> Iterator[None]:
    """Restore running statistics: they count each image once, in the second pass."""
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    yield
    for buffer, value in before:
        buffer.copy_(value)


def _random_state() -> RandomState:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return tuple(states)


@contextmanager
def _random_from(state: RandomState) -> Iterator[None]:
    """Repeat the random choices made from `state`, so that dropout drops the same units."""
    after = _random_state()
    _set_random_state(state)
    yield
    _set_random_state(after)


def _set_random_state(state: RandomState) -> None:
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1])
