"""What the search page's server is asked and answers: the JSON, each field described."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Of a name: to look for one that is like a very long one would take long.
MOST_LETTERS = 255

Milliseconds = Annotated[float, Field(description="time it took", examples=[4.2])]
Names = Annotated[
    list[str], Field(description="the classes it has, by name", examples=[["ball 01"]])
]
Group = Annotated[
    str | None, Field(description="its group; null where the dataset has none", examples=["ball"])
]


class SearchOptions(BaseModel):
    """How to search: the options of both searches."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    k: int = Field(12, ge=1, le=100, description="how many images of each model")
    class_: str | None = Field(
        None,
        alias="class",
        min_length=1,
        max_length=MOST_LETTERS,
        description="find images of this class alone",
    )
    group: str | None = Field(
        None,
        min_length=1,
        max_length=MOST_LETTERS,
        description="find images of this group alone",
    )
    crop: Literal["center", "none"] = Field(
        "center",
        description="center: the models see the centre square; none: the whole image",
    )


class PhotoOptions(SearchOptions):
    """How to search by an own photo."""

    name: str = Field(
        "photo", min_length=1, max_length=MOST_LETTERS, description="begins an error's line"
    )
    preview: bool = Field(False, description="whether to answer with a small copy of the photo")


class Query(BaseModel):
    """What was asked by."""

    image_id: str | None = Field(description="null for an own photo")
    names: Names
    group: Group
    preview: str | None = Field(
        None, description="an own photo as the server understood it: a data URI of a small JPEG"
    )


class Hit(BaseModel):
    """One image that a model found."""

    rank: int = Field(description="from 1, nearest first")
    image_id: str
    names: Names
    group: Group
    score: float = Field(
        description="higher is nearer: the cosine similarity, or the distance below 0"
    )
    right: bool | None = Field(
        description="whether it shares a class with the query; null where that has none known"
    )


class ModelHits(BaseModel):
    """What one model found, and how long it took."""

    model: str = Field(examples=["finetuned"])
    distance: str = Field(description="what scores are of: cosine or euclidean")
    results: list[Hit]
    right: int | None = Field(description="how many are right; null where that is not known")
    embed_ms: Milliseconds
    search_ms: Milliseconds


class SearchResponse(BaseModel):
    """What each model found, in the order of `choices.models`."""

    query: Query
    models: list[ModelHits]
    read_ms: Milliseconds


class RandomImage(BaseModel):
    """A test image drawn at random: search from it by GET /api/search/{image_id}."""

    image_id: str


class Choices(BaseModel):
    """What there is to choose from, and the limits of an upload."""

    models: list[str]
    classes: list[str] = Field(description="those that a searched image has")
    groups: list[str] = Field(description="those that a searched image has")
    images: int = Field(description="how many are searched")
    queries: int = Field(description="how many test images a random one is drawn from")
    most_bytes: int = Field(description="of an upload")
    most_pixels: int = Field(description="of an upload")


class Failure(BaseModel):
    """What every request that fails is answered with."""

    error: str = Field(description="one line: what was found, what is allowed")
