"""The JSON API of the search page: options and responses, each field described."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# Looking for a name that is like a very long one would take long.
MAX_NAME_LENGTH = 255
MAX_PARTS = 20  # images beside the query, of each kind

Words = Annotated[str, StringConstraints(strip_whitespace=True)]
Milliseconds = Annotated[float, Field(description="time in milliseconds", examples=[4.2])]
Version = Annotated[
    str, Field(description="another one when a new index was taken up, or the server started anew")
]
Classes = Annotated[
    list[str], Field(description="names of the image's classes", examples=[["ball 01"]])
]
Group = Annotated[
    str | None,
    Field(description="the image's group; null where it has none", examples=["ball"]),
]


class SearchOptions(BaseModel):
    """Options of every search."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    k: int = Field(12, ge=1, le=100, description="number of neighbors of each model")
    class_: str | None = Field(
        None,
        alias="class",
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="search only images of this class",
    )
    group: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="search only images of this group",
    )
    gallery: bool = Field(
        False, description="search only the gallery, the images that evaluation searches"
    )
    crop: Literal["center", "none"] = Field(
        "center",
        description="what the models see of the query: center: the square in the middle; "
        "none: the whole image",
    )

    text: Words | None = Field(
        None,
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="words for what is looked for, beside the image if there is one; for models "
        "that understand text",
    )
    without: Words | None = Field(
        None,
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="words for what results are not to be like",
    )
    like: list[str] = Field(
        [], max_length=MAX_PARTS, description="image_ids of images that are looked for too"
    )
    unlike: list[str] = Field(
        [],
        max_length=MAX_PARTS,
        description="image_ids of images that results are not to be like",
    )

    @property
    def has_texts(self) -> bool:
        """Whether a model has to understand text."""
        return self.text is not None or self.without is not None


class PhotoSearchOptions(SearchOptions):
    """Options of a search by photo."""

    name: str = Field(
        "photo",
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        description="the photo's name, used in error messages",
    )
    preview: bool = Field(False, description="whether to return a small copy of the photo")


class QueryImage(BaseModel):
    """The image whose neighbors were searched."""

    image_id: str | None = Field(description="null for a photo, and for words alone")
    classes: Classes
    group: Group
    preview: str | None = Field(
        None, description="a small copy of the photo, as a data URI; null unless asked for"
    )


class NeighborImage(BaseModel):
    """An image that a model found."""

    rank: int = Field(description="1 for the first result")
    image_id: str
    classes: Classes
    group: Group
    score: float = Field(
        description="higher is nearer: the cosine similarity, or minus the Euclidean distance"
    )
    trained_on: bool = Field(description="whether this model was trained on it")
    relevant: bool | None = Field(
        description="whether it shares a class with the query; null for a photo, whose class is "
        "not known, for a query of several parts, and where all images have one class"
    )


class ModelNeighbors(BaseModel):
    """The neighbors that one model found, and the time it took."""

    model: str = Field(examples=["finetuned"])
    distance: str = Field(description="the distance of the index: cosine or euclidean")
    postprocessing: str | None = Field(
        description="what is done between embeddings and results, in words; null for nothing"
    )
    neighbors: list[NeighborImage] = Field(
        description="nearest first; where the index re-ranks, a score may be above the one before"
    )
    match: bool | None = Field(
        description="whether the nearest image of all, whatever the filters, is similar enough to "
        "be a match; false: the photo is perhaps not in the catalog; null for an image of the "
        "catalog, and where no threshold was chosen"
    )
    relevant_count: int | None = Field(
        description="number of relevant neighbors; null where the relevance of all of them is"
    )
    embed_ms: Milliseconds
    search_ms: Milliseconds


class SearchResponse(BaseModel):
    """The neighbors that each model found."""

    query: QueryImage
    models: list[ModelNeighbors] = Field(
        description="in the order of `Choices.models`; with words, those of `Choices.text`"
    )
    read_ms: Milliseconds
    version: Version


class RandomQuery(BaseModel):
    """A random query image of the test split; search with GET /api/search/{image_id}."""

    image_id: str


class BestModel(BaseModel):
    """The model that people get unless they name one."""

    model: str = Field(examples=["finetuned"])
    because: str = Field(description="why, in one line")


class Choices(BaseModel):
    """What a search can choose from, and the limits of an upload."""

    models: list[str]
    text: list[str] = Field(description="those of the models that understand text")
    parts: bool = Field(
        description="whether a query may have several parts: the indexes keep their vectors"
    )
    best: BestModel | None = Field(description="the better model on validation; null without one")
    trained: list[str] = Field(description="models that are of an epoch of training")
    classes: list[str] = Field(description="names of the classes that have images")
    groups: list[str] = Field(description="names of the groups that have images")
    image_count: int = Field(description="number of images that are searched")
    query_count: int = Field(description="number of query images in the test split")
    version: Version
    overrides: bool = Field(description="whether POST /api/overrides is served: on this machine")
    max_bytes: int = Field(description="most bytes of an uploaded photo")
    max_pixels: dict[str, int] = Field(
        description="most pixels of an uploaded photo, for each kind of image"
    )


class Override(BaseModel):
    """A correction of the dataset, a row of overrides.csv."""

    model_config = ConfigDict(extra="forbid")

    image_id: str
    action: Literal["drop", "relabel"] = Field(
        description="drop: leave the image out; relabel: `label` is its only class"
    )
    label: str = Field("", max_length=MAX_NAME_LENGTH, description="a class; empty with drop")


class ErrorResponse(BaseModel):
    """The response to every request that fails."""

    error: str = Field(description="one line: what was found, and what is allowed")
