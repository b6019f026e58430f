"""Print a digest of each kind of arithmetic that a stage does, in a process set up like a stage.

Run as `python -m tests.helpers.arithmetic`, from the root.
"""

import stages  # noqa: F401, I001 - first: it tells the libraries which bits to compute

import hashlib
import io
import json
from collections.abc import Iterator
from functools import partial

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pipeline.config.load import read_yaml
from pipeline.index.distances import prepare_vectors, score_pairs
from pipeline.index.reranking import rerank_places
from pipeline.models.embed_images import batches_of, embed_batch, embed_by_threads
from pipeline.models.embedder import build_baseline
from pipeline.training.distances import EuclideanDistance
from pipeline.training.losses import LOSSES, EmbeddingSpace, TripletLoss
from pipeline.training.miners import MINERS
from tests.helpers.paths import ROOT

PARAMS = read_yaml(ROOT / "params.yaml")
Array = NDArray[np.float32]


def digest(*arrays: Tensor | NDArray[np.generic] | bytes) -> str:
    """Return 8 hex digits of the bytes of `arrays`."""
    sha256 = hashlib.sha256()
    for each in arrays:
        values = each.detach().numpy() if isinstance(each, Tensor) else each
        sha256.update(values if isinstance(values, bytes) else np.ascontiguousarray(values))
    return sha256.hexdigest()[:8]


def sample(*shape: int) -> Array:
    """Return normal float32 of `shape`, the same each time."""
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def products() -> Iterator[Tensor]:
    for rows, inner, columns in ((64, 512, 128), (7, 33, 5), (256, 2048, 512)):
        a, b = torch.from_numpy(sample(rows, inner)), torch.from_numpy(sample(inner, columns))
        yield a @ b
        yield functional.linear(a, b.T.contiguous(), torch.from_numpy(sample(columns)))


def convolutions() -> Iterator[Tensor]:
    """The results and the gradients of layers like those of a ResNet and of a MobileNet."""
    for channels, filters, side, kernel, stride, groups in (
        (3, 16, 32, 7, 2, 1),
        (16, 32, 16, 3, 1, 1),
        (32, 32, 8, 1, 1, 1),
        (32, 32, 16, 3, 1, 32),
        (64, 64, 8, 3, 2, 1),
    ):
        images = torch.from_numpy(sample(8, channels, side, side))
        images = images.to(memory_format=torch.channels_last).requires_grad_()
        weights = torch.from_numpy(sample(filters, channels // groups, kernel, kernel))
        weights.requires_grad_()
        norm = torch.nn.BatchNorm2d(filters)
        result = norm(functional.conv2d(images, weights, None, stride, kernel // 2, 1, groups))
        functional.adaptive_avg_pool2d(result.relu(), 1).square().sum().backward()
        yield from (result, images.grad, weights.grad, norm.weight.grad)  # type: ignore[misc]


def elementwise() -> Iterator[Tensor]:
    x = torch.from_numpy(sample(100, 1000))
    for function in (torch.exp, torch.sin, torch.tanh, torch.sigmoid, functional.gelu):
        yield function(x)
    yield x.abs().log()
    yield x.abs().pow(1.7)
    yield from (x.softmax(1), torch.logsumexp(x, 1), x.sum(), x.mean(0), functional.normalize(x))


def losses() -> Iterator[Tensor]:
    """The value and the gradient of each loss, for embeddings of any length."""
    embeddings = torch.from_numpy(sample(24, 16)).requires_grad_()
    labels = torch.arange(24) % 6
    space = EmbeddingSpace(dim=16, classes=6, normalize=False)
    for name, options in LOSSES.items():
        torch.manual_seed(3)  # for weights
        loss = options(**PARAMS["loss"][name]).build(space)(embeddings, labels)
        yield from (loss, torch.autograd.grad(loss, embeddings)[0])
    graded = TripletLoss(**PARAMS["loss"]["triplet"]).build_graded(space)
    loss = graded(embeddings, (labels[:, None] == labels).float().fill_diagonal_(0))
    yield from (loss, torch.autograd.grad(loss, embeddings)[0])


def miners() -> Iterator[Tensor]:
    embeddings, labels = torch.from_numpy(sample(24, 16)), torch.arange(24) % 6
    for name, options in MINERS.items():
        torch.manual_seed(3)  # for chance
        if miner := options(**(PARAMS["miner"][name] or {})).build(normalize=False):
            yield from miner(embeddings, labels)


def random_weights() -> Iterator[Tensor]:
    torch.manual_seed(3)
    yield torch.randn(1000)
    yield torch.nn.init.kaiming_normal_(torch.empty(64, 64, 3, 3))
    yield torch.nn.init.trunc_normal_(torch.empty(64, 64))
    yield torch.nn.init.orthogonal_(torch.empty(16, 16))


def numbers() -> Iterator[NDArray[np.generic]]:
    x = sample(300, 200)
    yield from (x @ x.T, x.astype(np.float64) @ x.T, np.exp(x), np.sin(x), np.log(np.abs(x)))
    yield from (x.sum(axis=1), np.linalg.norm(x, axis=1), np.linalg.svd(x.astype(np.float64))[1])
    # numpy has code of its own for these on processors with AVX-512, and other orders of ties.
    wide = x.astype(np.float64)
    yield from (function(wide) for function in (np.exp, np.tanh, np.arctan, np.sin, np.cbrt))
    yield from (np.log(np.abs(wide)), np.abs(wide) ** 1.7, np.arctan2(wide, wide[::-1]))
    tied = np.random.default_rng(5).integers(0, 9, 10_000)
    yield from (np.argsort(values) for values in (tied, tied.astype(np.float32), tied / 2))


def search() -> Iterator[NDArray[np.generic]]:
    x = sample(1000, 32)
    for factory in ("Flat", "IVF8,PQ8x4", "HNSW16"):
        index = faiss.index_factory(32, factory)
        index.train(x)
        index.add(x)
        yield from index.search(x[:50], 10)
    rows = np.arange(500, dtype=np.int64).reshape(50, 10)
    yield score_pairs(x[:50], x, rows, distance="cosine")


def reranking() -> NDArray[np.generic]:
    x = prepare_vectors(sample(400, 32), distance="cosine")
    rows = np.tile(np.arange(300, dtype=np.int64), (20, 1))
    return rerank_places(rows, x[300:320], x, 8)


def embeddings() -> Iterator[Array]:
    """Those of 40 images, each batch by one of two threads."""
    model = build_baseline("mobilenet_v2", image_size=64, pooling="avg", weights=None, seed=3)
    model.eval()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    embed = partial(embed_batch, model, 16, torch.float32, False)
    yield from embed_by_threads(embed, list(pixels), batches_of([40], 16), 2, "embed")


def images() -> Iterator[bytes]:
    pixels = (np.arange(96 * 96 * 3) * 7919 % 251).reshape(96, 96, 3).astype(np.uint8)
    image = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
    for kind in ("PNG", "JPEG", "WEBP"):
        stored = io.BytesIO()
        image.save(stored, kind)
        yield stored.getvalue()


def main() -> None:
    torch.use_deterministic_algorithms(True)
    euclidean = EuclideanDistance(normalize_embeddings=False)(torch.from_numpy(sample(64, 128)))
    print(
        json.dumps(
            {
                "threads": torch.get_num_threads(),
                "products": digest(*products()),
                "convolutions": digest(*convolutions()),
                "embeddings": digest(*embeddings()),
                "elementwise": digest(*elementwise()),
                "random weights": digest(*random_weights()),
                "euclidean distances": digest(euclidean),
                "losses": digest(*losses()),
                "miners": digest(*miners()),
                "numpy": digest(*numbers()),
                "search": digest(*search()),
                "reranking": digest(reranking()),
                "images": digest(*images()),
            }
        )
    )


if __name__ == "__main__":
    main()
