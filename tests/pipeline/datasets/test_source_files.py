"""A source is walked through its links, without loops, and a table's names find its files."""

import os
from pathlib import Path
from unicodedata import normalize

import pytest

from pipeline.datasets.folder import read_images
from pipeline.datasets.source_files import NamedFiles, is_hidden, subfolders, walk_files
from pipeline.errors import UserError
from tests.helpers.options import dataset_options


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def link(root: Path, **targets: str) -> None:
    """Make links in `root`: their names, with __ for a slash, and what they point to."""
    for name, target in targets.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.format(root=root.parent))


def walked(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk_files(folder)]


def labels(source: Path) -> dict[str, tuple[str, ...]]:
    return {image.path: image.labels for image in read_images(source, dataset_options("folder"), 0)}


def test_files_come_before_folders_and_both_by_name(tmp_path: Path) -> None:
    put(tmp_path, "b/2.jpg", "a/b/1.jpg", "z.jpg", "a/z.jpg", "B/1.jpg", ".c/1.jpg")
    assert walked(tmp_path) == ["z.jpg", "B/1.jpg", "a/z.jpg", "a/b/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_links_to_files_and_folders_are_followed_at_every_depth(tmp_path: Path, depth: int) -> None:
    put(tmp_path / "pool", "cat/1.jpg", "cat/deep/2.jpg", "3.jpg")
    below = "cat" + "/sub" * depth
    (tmp_path / "in" / below).mkdir(parents=True)
    (tmp_path / "in" / below / "folder").symlink_to(tmp_path / "pool/cat")
    (tmp_path / "in" / below / "file.jpg").symlink_to(tmp_path / "pool/3.jpg")
    put(tmp_path / "in", "dog/4.jpg")
    assert labels(tmp_path / "in") == {
        f"{below}/file.jpg": ("cat",),
        f"{below}/folder/1.jpg": ("cat",),
        f"{below}/folder/deep/2.jpg": ("cat",),
        "dog/4.jpg": ("dog",),
    }


@pytest.mark.parametrize("link_classes", [True, False])
def test_classes_splits_and_the_source_itself_may_be_links(
    tmp_path: Path, link_classes: bool
) -> None:
    put(tmp_path / "pool", "cat/1.jpg", "dog/2.jpg")
    if link_classes:
        link(tmp_path / "in", train__cat="{root}/pool/cat", train__dog="{root}/pool/dog")
        link(tmp_path / "in", test__cat="{root}/pool/cat")
    else:
        link(tmp_path / "in", train="{root}/pool", test="../pool")
    (tmp_path / "source").symlink_to("in")
    found = labels(tmp_path / "source")
    assert found["train/cat/1.jpg"] == found["test/cat/1.jpg"] == ("cat",)
    assert found["train/dog/2.jpg"] == ("dog",)


@pytest.mark.parametrize(
    "links",
    [
        {"cat__loop": "."},
        {"cat__up": ".."},
        {"cat__up": "{root}"},
        {"cat__up": "/"},
        {"cat__sub__up": "../.."},
        {"loop": "."},
        {"up": ".."},
        {"cat__self": "self"},
        {"cat__one": "two", "cat__two": "one"},
        {"cat__more": "sub", "cat__sub__back": "../sub"},
        {"cat__to": "../dog", "dog__to": "../cat"},
    ],
)
def test_links_in_a_circle_end(tmp_path: Path, links: dict[str, str]) -> None:
    root = tmp_path / "in"
    put(root, "cat/1.jpg", "cat/sub/2.jpg", "dog/3.jpg")
    link(root, **links)
    found = labels(root)
    assert {"cat/1.jpg", "cat/sub/2.jpg", "dog/3.jpg"} <= found.keys()
    crossed = {"cat/to/3.jpg", "dog/to/1.jpg", "dog/to/sub/2.jpg"} if "dog__to" in links else set()
    assert found.keys() - {"cat/1.jpg", "cat/sub/2.jpg", "dog/3.jpg"} == crossed


def test_a_link_to_what_holds_its_own_target_ends(tmp_path: Path) -> None:
    put(tmp_path / "pool", "cat/1.jpg", "dog/2.jpg")
    (tmp_path / "pool/cat/up").symlink_to(tmp_path / "pool")
    link(tmp_path / "in", cat="{root}/pool/cat", dog="{root}/pool/dog")
    assert labels(tmp_path / "in") == {"cat/1.jpg": ("cat",), "dog/2.jpg": ("dog",)}


def test_a_link_inside_a_linked_folder_to_what_is_around_it_ends(tmp_path: Path) -> None:
    put(tmp_path / "pool", "old/1.jpg", "dog/2.jpg")
    (tmp_path / "pool/old/up").symlink_to(tmp_path / "pool")
    put(tmp_path / "in", "cat/3.jpg", "dog/4.jpg")
    link(tmp_path / "in", cat__old="{root}/pool/old")
    assert labels(tmp_path / "in") == {
        "cat/3.jpg": ("cat",),
        "cat/old/1.jpg": ("cat",),
        "dog/4.jpg": ("dog",),
    }


def test_a_link_in_a_linked_class_to_the_source_ends(tmp_path: Path) -> None:
    put(tmp_path / "pool", "cat/1.jpg")
    put(tmp_path / "in", "dog/2.jpg")
    link(tmp_path / "in", cat="{root}/pool/cat")
    (tmp_path / "pool/cat/up").symlink_to(tmp_path / "in")
    assert labels(tmp_path / "in") == {"cat/1.jpg": ("cat",), "dog/2.jpg": ("dog",)}


def test_a_folder_reached_twice_is_read_once_and_by_its_own_name(tmp_path: Path) -> None:
    put(tmp_path, "z/1.jpg")
    link(tmp_path, a="z", b="z")
    assert walked(tmp_path) == ["z/1.jpg"]


def test_many_folders_that_link_to_each_other_take_no_longer_than_they_are(tmp_path: Path) -> None:
    # By every path there are more than 12! of them.
    for here in range(12):
        put(tmp_path, f"{here}/x.jpg")
        for there in range(12):
            (tmp_path / f"{here}/to{there}").symlink_to(f"../{there}")
    assert len(walked(tmp_path)) == 12


def test_a_link_to_nothing_is_a_file(tmp_path: Path) -> None:
    link(tmp_path, **{"cat__1.jpg": "gone.jpg", "cat__2.jpg": "2.jpg"})
    assert walked(tmp_path) == ["cat/1.jpg", "cat/2.jpg"]


def test_a_folder_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError) as caught:
        subfolders(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: the folder cannot be read (Permission denied); allowed: folders that you may "
        "read; change its permissions, or move it elsewhere"
    )


@pytest.mark.parametrize("name", ["$recycle.bin", "THUMBS.DB", "@EADIR", "__MacOSX", ".hidden"])
def test_names_that_systems_add_are_known_in_any_case(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden(f"my{name}")


@pytest.mark.parametrize("name", ["caf\u00e9/\u00fc.jpg", "cafe\u0301/\u00fc.jpg"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_by_either_form_of_its_name(tmp_path: Path, name: str, form: str) -> None:
    put(tmp_path, name, "other.jpg")
    assert NamedFiles(tmp_path).find(normalize(form, name)) == tmp_path / name


def test_of_two_files_with_one_name_in_two_forms_each_is_found_by_its_own(tmp_path: Path) -> None:
    names = ["caf\u00e9.jpg", "cafe\u0301.jpg"]
    put(tmp_path, *names)
    assert [NamedFiles(tmp_path).find(name) for name in names] == [tmp_path / n for n in names]


@pytest.mark.parametrize(
    "name",
    [
        "cat/1.jpg",
        "./cat/1.jpg",
        "cat//1.jpg",
        "cat/../cat/1.jpg",
        "dog/../cat/./1.jpg",
        "gone/../cat/1.jpg",
        "../in/cat/1.jpg",
        "{root}/cat/1.jpg",
        "{root}/../in/cat/1.jpg",
        "{real}/cat/1.jpg",
        r"cat\1.jpg",
        r".\cat\1.jpg",
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_a_name_may_be_absolute_or_not_tidy_or_of_windows(
    tmp_path: Path, name: str, relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "real", "cat/1.jpg")
    (tmp_path / "in").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    root = Path("in") if relative else tmp_path / "in"
    found = NamedFiles(root).find(name.format(root=tmp_path / "in", real=tmp_path / "real"))
    assert found == root / "cat/1.jpg"


@pytest.mark.parametrize("name", ["../out.jpg", "{root}/out.jpg", "a/../../out.jpg", "/etc/hosts"])
def test_a_name_that_leads_out_finds_nothing(tmp_path: Path, name: str) -> None:
    put(tmp_path, "out.jpg", "in/1.jpg")
    files = NamedFiles(tmp_path / "in")
    name = name.format(root=tmp_path)
    assert (files.find(name), files.inside(name)) == (None, None)


@pytest.mark.parametrize("name", ["", ".", "cat", "gone.jpg", "a\0b", "x" * 5000])
def test_a_name_of_no_file_finds_nothing(tmp_path: Path, name: str) -> None:
    put(tmp_path, "cat/1.jpg")
    assert NamedFiles(tmp_path).find(name) is None
