"""The clusters of the catalog in the JSON API, over real HTTP."""

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.serving import catalog_clusters
from app.serving.cluster_schema import ClusterOptions
from app.serving.searcher import Searcher
from app.serving.server import build_app
from tests.helpers.clone import change_params
from tests.helpers.searchable import index_again
from tests.helpers.serving import client_of, open_client

MODELS = ("baseline", "finetuned")


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[httpx.Client]:
    with open_client(address) as opened:
        yield opened


def list_clusters(client: httpx.Client, **params: Any) -> Any:
    return client.get("/api/clusters", params=params).raise_for_status().json()


def show(client: httpx.Client, number: int, **params: Any) -> Any:
    return client.get(f"/api/clusters/{number}", params=params).raise_for_status().json()


@pytest.mark.parametrize("model", MODELS)
def test_every_image_is_in_exactly_one_cluster(
    client: httpx.Client, searcher: Searcher, model: str
) -> None:
    listed = list_clusters(client, model=model)
    assert listed["model"] == model
    assert listed["image_count"] == 40
    sizes = [each["image_count"] for each in listed["clusters"]]
    assert 2 <= len(sizes) <= 4  # the square root of 20
    assert sizes == sorted(sizes, reverse=True)
    found: list[str] = []
    for number, size in enumerate(sizes, start=1):
        images = show(client, number, model=model)["cluster"]["images"]
        assert [each["rank"] for each in images] == list(range(1, size + 1))
        scores = [each["score"] for each in images]
        assert scores == sorted(scores, reverse=True)
        found += [each["image_id"] for each in images]
    assert sorted(found) == sorted(searcher.model_indexes[model].ids)


def test_a_card_has_the_nearest_images_and_the_most_frequent_classes(
    client: httpx.Client, searcher: Searcher
) -> None:
    for card in list_clusters(client, k=3)["clusters"]:
        whole = show(client, card["number"], k=3)["cluster"]
        assert card["images"] == whole["images"][:6]
        assert card["classes"] == whole["classes"]
        counts = Counter(name for each in whole["images"] for name in each["classes"])
        most = sorted(counts, key=lambda name: (-counts[name], name))[:3]
        assert card["classes"] == [
            {"name": name, "share": pytest.approx(counts[name] / card["image_count"])}
            for name in most
        ]
        for each in card["images"]:
            assert each["classes"] == searcher.catalog.classes_of(each["image_id"])
            assert each["group"] == searcher.catalog.group_of(each["image_id"])


def test_a_score_is_that_of_the_image_with_the_centre(
    client: httpx.Client, searcher: Searcher
) -> None:
    index = searcher.model_indexes["finetuned"]
    images = show(client, 1, model="finetuned", k=2)["cluster"]["images"]
    vectors = np.stack([index.read_vector(each["image_id"]) for each in images])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centre = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    assert [each["score"] for each in images] == pytest.approx(vectors @ centre, abs=1e-4)


def test_pages_of_a_cluster_follow_each_other(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = show(client, 1)["cluster"]["images"]
    monkeypatch.setattr(catalog_clusters, "ON_A_PAGE", 5)
    pages = [show(client, 1, offset=offset) for offset in range(0, len(whole) + 10, 5)]
    assert [each for page in pages for each in page["cluster"]["images"]] == whole
    assert pages[1]["offset"] == pages[1]["page_size"] == 5
    assert pages[-1]["cluster"]["images"] == []
    assert show(client, 1, offset=10**30)["cluster"]["images"] == []


def test_the_first_model_is_grouped_where_none_is_named(client: httpx.Client) -> None:
    assert list_clusters(client) == list_clusters(client, model="baseline")


def test_the_clusters_are_made_once_and_the_same_for_everyone(searchable: Path) -> None:
    made = []
    for _ in range(2):
        clusters = Searcher(searchable, MODELS).clusters
        with ThreadPoolExecutor(4) as people:
            answers = list(people.map(lambda _: clusters.list_all(ClusterOptions()), range(8)))  # noqa: B023
        assert len(clusters._kept) == 1
        made.append(answers[0].model_dump(exclude={"version"}))
        assert all(each == answers[0] for each in answers)
    assert made[0] == made[1]


def test_few_groupings_are_kept(searchable: Path) -> None:
    clusters = Searcher(searchable, ["baseline"]).clusters
    for count in range(2, 20):
        clusters.list_all(ClusterOptions(k=count))
    assert len(clusters._kept) == 8
    assert ("baseline", 19) in clusters._kept


def test_more_clusters_than_images_are_as_many_as_images(client: httpx.Client) -> None:
    assert len(list_clusters(client, k=100)["clusters"]) == 40


def test_an_index_that_keeps_no_vectors_has_clusters(searchable: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable, project)
    change_params(project, {"index.factory": "PQ4x4fs"})
    index_again(project, "baseline")
    loaded = Searcher(project, ["baseline"])
    assert not loaded.choices.parts
    with client_of(build_app(lambda: loaded)) as client:
        assert sum(each["image_count"] for each in list_clusters(client)["clusters"]) == 40


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        (
            "/api/clusters?model=finetund",
            422,
            "model: found 'finetund'; allowed: baseline, finetuned; did you mean 'finetuned'?",
        ),
        ("/api/clusters/5?k=4", 404, "cluster: found 5; allowed: 1 to 4"),
        ("/api/clusters/0?k=4", 404, "cluster: found 0; allowed: 1 to 4"),
        ("/api/clusters/-1?k=4", 404, "cluster: found -1; allowed: 1 to 4"),
        (
            "/api/clusters/one",
            422,
            "number: found 'one'; input should be a valid integer, unable to parse string as an "
            "integer",
        ),
        ("/api/clusters?k=1", 422, "k: found '1'; input should be greater than or equal to 2"),
        ("/api/clusters?k=101", 422, "k: found '101'; input should be less than or equal to 100"),
        (
            "/api/clusters/1?offset=-1",
            422,
            "offset: found '-1'; input should be greater than or equal to 0",
        ),
        ("/api/clusters?x=1", 422, "x: found '1'; extra inputs are not permitted"),
    ],
)
def test_errors_are_one_line(client: httpx.Client, path: str, status: int, error: str) -> None:
    response = client.get(path)
    assert response.json() == {"error": error}
    assert response.status_code == status
