"""A model of MLflow: encoded images in, their neighbors and vectors out."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from app.searching.catalog import Catalog
from app.searching.matching import find_matches, read_match_threshold
from app.searching.model_index import ModelIndex
from app.searching.untrusted_images import decode_photo
from pipeline.errors import UserError

PROJECT = "project"  # the artifact: what a search needs of the project's folders
DEFAULT_K = 10
MOST = 1000


class ServedNeighbors(PythonModel):  # type: ignore[misc]
    """Searches the index that was logged with it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model and its index."""
        root, name = Path(context.artifacts[PROJECT]), context.model_config["model"]
        self._index = ModelIndex(root, name)
        self._threshold = read_match_threshold(root, name)
        self._catalog = Catalog(root, with_images=False)

    def predict(
        self,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return a row for each encoded image in the column `image`, at most 32 MiB each.

        image_ids, scores, classes: of its `k` nearest images, best first. match: whether the
        nearest is similar enough; None where no threshold was chosen. vector: of the image.

        Raises:
            MlflowException: an image cannot be decoded, or k is none of 1 to MOST.
        """
        k = int((params or {}).get("k", DEFAULT_K))
        try:
            if not 1 <= k <= MOST:
                raise UserError(f"k: found {k}; allowed: 1 to {MOST}")
            rows = [
                self._search(encoded, k, name=f"image {row}")
                for row, encoded in enumerate(model_input["image"])
            ]
        except UserError as error:
            # Of another one its server would send the whole traceback.
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame(rows, index=model_input.index)

    def _search(self, encoded: bytes, k: int, *, name: str) -> dict[str, Any]:
        photo = decode_photo(encoded, name=name, side=self._index.least_side)
        vector = self._index.embed(photo)
        found = find_matches(self._index, vector, k, threshold=self._threshold)
        ids = [neighbor.image_id for neighbor in found.neighbors]
        return {
            "image_ids": ids,
            "scores": [neighbor.score for neighbor in found.neighbors],
            "classes": [self._catalog.classes_of(image_id) for image_id in ids],
            "match": found.match,
            "vector": vector.tolist(),
        }
