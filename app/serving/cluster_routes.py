"""The clusters of the images in the JSON API."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import FastAPI, Query

from app.serving.cluster_schema import (
    ClusterOptions,
    ClusterPageOptions,
    ClusterResponse,
    ClustersResponse,
)
from app.serving.request_queue import RequestQueue
from app.serving.searcher import Searcher


def serve_clusters(app: FastAPI, current: Callable[[], Searcher], *, max_admitted: int) -> None:
    """Add what lists the clusters and what shows one; `current` as of `build_app`.

    max_admitted: requests that run and wait; further ones are refused.
    """
    # In a line of their own: to make clusters takes seconds, which searches do not wait for.
    queue = RequestQueue(max_running=1, max_admitted=max_admitted)

    @app.get("/api/clusters", tags=["clusters"])
    async def list_clusters(options: Annotated[ClusterOptions, Query()]) -> ClustersResponse:
        """All images, grouped by what a model finds similar; the first time takes seconds."""
        with queue.admit():
            return await queue.run(partial(current().clusters.list_all, options))

    @app.get("/api/clusters/{number}", tags=["clusters"])
    async def show_cluster(
        number: int, options: Annotated[ClusterPageOptions, Query()]
    ) -> ClusterResponse:
        """One cluster, with a page of its images: the nearest to its centre first."""
        with queue.admit():
            return await queue.run(partial(current().clusters.show, number, options))
