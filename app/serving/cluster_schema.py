"""The clusters in the JSON API: options and responses, each field described."""

from pydantic import BaseModel, ConfigDict, Field

from app.searching.clustering import MAX_CLUSTERS, MIN_CLUSTERS
from app.serving.api_schema import MAX_NAME_LENGTH, Classes, Group, Version


class ClusterOptions(BaseModel):
    """How the images are grouped."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        max_length=MAX_NAME_LENGTH,
        description="whose embeddings are grouped; the first of `Choices.models` without one",
    )
    k: int | None = Field(
        None,
        ge=MIN_CLUSTERS,
        le=MAX_CLUSTERS,
        description="number of clusters, at most; without one, the square root of half of the "
        "number of images",
    )


class ClusterPageOptions(ClusterOptions):
    """Which of the images of a cluster."""

    offset: int = Field(0, ge=0, description="how many of the nearest images are left out")


class ClassShare(BaseModel):
    """A class of the images of a cluster."""

    name: str = Field(examples=["ball 01"])
    share: float = Field(description="of the cluster's images, from 0 to 1")


class ClusterImage(BaseModel):
    """An image of a cluster."""

    rank: int = Field(description="1 for the image that is nearest to the cluster's centre")
    image_id: str
    classes: Classes
    group: Group
    score: float = Field(
        description="of the image with the centre, as `NeighborImage.score`; higher is nearer"
    )


class Cluster(BaseModel):
    """Images that a model finds similar."""

    number: int = Field(description="1 for the cluster of the most images")
    image_count: int
    classes: list[ClassShare] = Field(
        description="the most frequent classes, at most three; none where no image has a class"
    )
    images: list[ClusterImage] = Field(description="the nearest to its centre first, not all")


class ClustersResponse(BaseModel):
    """All images, grouped by what one model finds similar. An image is in one cluster."""

    model: str = Field(examples=["finetuned"])
    image_count: int = Field(description="number of images in all clusters together")
    clusters: list[Cluster] = Field(description="the largest first, each with its nearest images")
    version: Version


class ClusterResponse(BaseModel):
    """One cluster, and a page of its images."""

    model: str = Field(examples=["finetuned"])
    cluster: Cluster
    offset: int = Field(description="how many images come before those of this page")
    page_size: int = Field(description="number of images of a full page")
    version: Version
