"""What a query is made of: images and texts that are wanted, and others that are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipeline.data.arrays import Vectors

if TYPE_CHECKING:  # it imports torch, which `serve` does later
    from app.searching.model_index import ModelIndex


@dataclass(frozen=True)
class QueryParts:
    """Images from outside, images of the catalog by their image_id, and texts."""

    images: Sequence[Image.Image] = ()
    image_ids: Sequence[str] = ()
    texts: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.images) + len(self.image_ids) + len(self.texts)

    def vectors(self, model_index: "ModelIndex", *, crop: str) -> Vectors | None:
        """Return float32 [P, D], the vector of each part; None where there is none.

        Raises:
            UserError: as `ModelIndex.embed`, `read_vector` and `embed_text`.
        """
        if not len(self):
            return None
        return np.stack(
            [
                *(model_index.embed(image, crop=crop) for image in self.images),
                *(model_index.read_vector(image_id) for image_id in self.image_ids),
                *(model_index.embed_text(text) for text in self.texts),
            ]
        )


NO_PARTS = QueryParts()


@dataclass(frozen=True)
class Query:
    """What is looked for. One image alone is the usual query."""

    wanted: QueryParts
    unwanted: QueryParts = NO_PARTS

    @property
    def is_one_image(self) -> bool:
        """Whether its scores are those of one image with others, as a match threshold needs."""
        return len(self.wanted) == 1 and not self.wanted.texts and not len(self.unwanted)

    @property
    def has_texts(self) -> bool:
        """Whether a model has to understand text."""
        return bool(self.wanted.texts or self.unwanted.texts)

    def vectors(self, model_index: "ModelIndex", *, crop: str) -> tuple[Vectors, Vectors | None]:
        """Return the vectors of the wanted parts and of the unwanted, as `QueryParts.vectors`."""
        wanted = self.wanted.vectors(model_index, crop=crop)
        if wanted is None:
            raise ValueError("a query without parts")
        return wanted, self.unwanted.vectors(model_index, crop=crop)
