"""A model as an ONNX file, for programs without this project: pixels in, vectors of the index out.

What a program has to do before, to cut the middle square and to resize it, is in the file's
metadata; all else is in the graph: the scale of pixels, the network, its head, the mean with the
horizontal flip, and the map that the index has applied.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.index.postprocessing import Postprocessing
from pipeline.models.embed_images import embed_pixels
from pipeline.models.embedder import Embedder

INPUT, OUTPUT = "pixels", "vectors"
PREPROCESSING_KEY = "lookalike.preprocessing"  # in the metadata: JSON
OPSET = 18  # of 2022, which all runtimes know that are kept up


class IndexedVectors(nn.Module):
    """Pixels, uint8 [B, S, S, 3] -> float32 [B, d], as they are in the index."""

    def __init__(self, model: Embedder, postprocessing: Postprocessing, *, hflip: bool) -> None:
        super().__init__()
        self.model, self._hflip = model, hflip
        self._prefix = postprocessing.steps.prefix
        self._to_unit = postprocessing.map is not None and postprocessing.distance == "cosine"
        of_map = postprocessing.map
        self.register_buffer("mean", None if of_map is None else torch.from_numpy(of_map.mean))
        weight = (
            None if of_map is None or of_map.weight is None else torch.from_numpy(of_map.weight)
        )
        self.register_buffer("weight", weight)

    def forward(self, pixels: Tensor) -> Tensor:
        vectors = embed_pixels(self.model, pixels, hflip=self._hflip)
        if self._prefix is not None:
            vectors = vectors[:, : self._prefix]
        if self._to_unit:
            vectors = nn.functional.normalize(vectors, dim=1)
        if isinstance(self.mean, Tensor):
            vectors = vectors - self.mean
        return vectors @ self.weight if isinstance(self.weight, Tensor) else vectors


def write_onnx(path: Path, model: Embedder, postprocessing: Postprocessing, *, hflip: bool) -> None:
    """Write a model, on the CPU and in eval mode, with what its index does, to an ONNX file.

    Raises:
        UserError: a package that writes such files is missing.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise UserError(
            "--format: onnx needs the packages onnx and onnxscript; allowed: parquet, or install "
            "them: uv pip install onnx onnxscript"
        ) from None
    side, spec = model.spec.image_size, model.spec
    whole = IndexedVectors(model, postprocessing, hflip=hflip).eval()
    # Two images: with one, the exporter would take the size of a batch for a constant.
    program: Any = torch.onnx.export(
        whole,
        (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    described = {
        "image_size": side,
        "crop": "the square in the middle",
        "interpolation": spec.interpolation,
        "colors": "RGB, uint8, height x width x 3",
        "distance": postprocessing.distance,
    }
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {PREPROCESSING_KEY: json.dumps(described)})
    onnx.save_model(proto, path)
