"""A person's own images are read in each of the layouts that images/README.md names."""

import pickle
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.data.decoding import SUFFIXES
from pipeline.datasets import DATASETS
from pipeline.datasets.class_folders import describe_unread
from pipeline.datasets.folder import count_unread, read_images
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from pipeline.packing.sources import open_source
from tests.helpers.encoded_images import encode
from tests.helpers.options import dataset_options
from tests.helpers.paths import SHARED

CASES = SHARED / "cases"


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def read(root: Path) -> list[SourceImage]:
    return list(read_images(root, dataset_options("folder"), 0))


def error_line(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(root)
    (line,) = str(caught.value).splitlines()
    return line


def roles(found: list[SourceImage]) -> dict[str, tuple[str | None, str | None]]:
    return {image.path: ((*image.labels, None)[0], image.source_split) for image in found}


def sorted_by_path(found: list[SourceImage]) -> list[SourceImage]:
    return sorted(found, key=lambda image: image.path)


LOOSE = "{} in no class folder ('0.jpg' is the first) and 3 in class folders (cat, dog); "


@pytest.mark.parametrize("name", ["folder", "mit_split"])
def test_images_in_no_class_folder_are_told(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "0.jpg", "cat/1.jpg", "cat/2.jpg", "dog/3.jpg")
    DATASETS[name].tell_unlabelled(read(tmp_path), "images")
    assert caplog.messages == [
        f"images: found {LOOSE.format('1 image')}left out what is in none; to keep it, move it "
        "into class folders"
    ]
    assert caplog.records[0].levelname == "WARNING"


@pytest.mark.parametrize("more", [0, 57])
def test_as_many_images_in_no_class_folder_stop_before_packing(tmp_path: Path, more: int) -> None:
    put(tmp_path, *(f"{number}.jpg" for number in range(3 + more)))
    put(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/3.jpg")
    with pytest.raises(UserError) as caught:
        DATASETS["folder"].tell_unlabelled(read(tmp_path), "images")
    assert str(caught.value) == (
        f"images: found {LOOSE.format(f'{3 + more} images')}allowed: fewer in none, which are left "
        "out; move them into class folders, or set data.source to a folder of images without "
        "subfolders"
    )


@pytest.mark.parametrize("names", [("0.jpg", "1.jpg"), ("cat/0.jpg", "dog/1.jpg")])
def test_images_that_are_all_loose_or_all_in_folders_are_told_nothing_of(
    tmp_path: Path, names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, *names)
    DATASETS["folder"].tell_unlabelled(read(tmp_path), "images")
    assert caplog.messages == []


def test_class_folders_are_labels_without_roles(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/old/2.PNG", "dog/3.JPEG", "dog/4.webp", "dog/5.bmp")
    put(tmp_path, "dog/6.HEIC")
    assert roles(read(tmp_path)) == {
        "cat/1.jpg": ("cat", None),
        "cat/old/2.PNG": ("cat", None),
        "dog/3.JPEG": ("dog", None),
        "dog/4.webp": ("dog", None),
        "dog/5.bmp": ("dog", None),
        "dog/6.HEIC": ("dog", None),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_of_a_format_is_read(suffix: str, tmp_path: Path) -> None:
    put(tmp_path, f"cat/1{suffix}", f"cat/2{suffix.upper()}")
    assert list(roles(read(tmp_path))) == [f"cat/1{suffix}", f"cat/2{suffix.upper()}"]


def test_a_file_without_a_suffix_is_read_if_it_holds_an_image(tmp_path: Path) -> None:
    put(tmp_path, "cat/1", "cat/2.jpg")
    (tmp_path / "cat/3").write_bytes(encode("JPEG"))
    assert list(roles(read(tmp_path))) == ["cat/2.jpg", "cat/3"]


def test_class_folders_without_images_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "cat/1.jpg", "dog/1.psd", "emu/notes.txt", ".hidden/1.txt")
    assert list(roles(read(tmp_path))) == ["cat/1.jpg"]
    assert caplog.messages == ["found no images in the folders dog, emu"]
    put(tmp_path / "split", "train/cat/1.jpg", "train/dog/a.psd", "test/cat/1.jpg")
    read(tmp_path / "split")
    assert caplog.messages[1:] == ["found no images in the folders train/dog"]


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "README.md", ".DS_Store", "cat/1.jpg", "cat/.2.jpg", "cat/.thumbs/3.jpg")
    put(tmp_path, "cat/notes.txt", ".git/4.jpg", "cat/movie.mp4", ".5.jpg")
    assert list(roles(read(tmp_path))) == ["cat/1.jpg"]


def test_an_image_pickles_and_reads_its_bytes(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg")
    (image,) = pickle.loads(pickle.dumps(read(tmp_path)))  # noqa: S301 - of our own
    assert image.read() == b"cat/1.jpg"


def test_train_and_test_folders_are_roles(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "test/dog/3.jpg", "val/cat/4.jpg")
    assert roles(read(tmp_path)) == {
        "train/cat/1.jpg": ("cat", "train"),
        "val/cat/4.jpg": ("cat", "val"),
        "test/cat/2.jpg": ("cat", "query+gallery"),
        "test/dog/3.jpg": ("dog", "query+gallery"),
    }


@pytest.mark.parametrize("around", ["photos", "archive/photos", "a/b/c/d"])
@pytest.mark.parametrize("split", ["", "train/"])
def test_folders_around_everything_are_stepped_into(
    tmp_path: Path, around: str, split: str
) -> None:
    names = [f"{split}cat/1.jpg", f"{split}dog/2.jpg", "test/cat/1.jpg"][: 3 if split else 2]
    put(tmp_path, *(f"{around}/{name}" for name in names))
    put(tmp_path, "__MACOSX/photos/cat/1.jpg", "docs/README.txt", f"{around}/notes/1.txt")
    found = read(tmp_path)
    assert [image.path for image in found] == names
    assert [image.labels[0] for image in found] == ["cat", "dog", "cat"][: len(names)]


def test_the_first_folders_are_the_classes_of_all_below_them(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/old/2.jpg", "cat/old/dog/3.jpg", "dog/new/4.jpg")
    assert [image.labels for image in read(tmp_path)] == [("cat",), ("cat",), ("cat",), ("dog",)]


# What each system leaves: macOS in zips, Windows, Synology, QNAP, notebooks.
@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/photos/cat/x.jpg",
        "__MACOSX/x.jpg",
        "cat/._x.jpg",
        ".DS_Store",
        "cat/.AppleDouble/x.jpg",
        "Temporary Items/x.jpg",
        "$RECYCLE.BIN/S-1-5-21/x.jpg",
        "$Recycle.Bin/x.jpg",
        "System Volume Information/x.jpg",
        "cat/Thumbs.db",
        "cat/desktop.ini",
        "@eaDir/cat/x.jpg",
        "cat/@eaDir/x.jpg/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/x.jpg",
        "#snapshot/cat/x.jpg",
        "@Recycle/x.jpg",
        ".@__thumb/x.jpg",
        "cat/.@__thumb/s100x.jpg",
        "lost+found/x.jpg",
        ".ipynb_checkpoints/x.jpg",
        ".Trash-1000/files/x.jpg",
    ],
)
@pytest.mark.parametrize("below", ["", "photos/", "train/"])
def test_what_systems_add_is_ignored(tmp_path: Path, name: str, below: str) -> None:
    put(tmp_path, f"{below}cat/1.jpg", f"{below}dog/2.jpg", f"{below}{name}", name)
    if below == "train/":
        put(tmp_path, "test/cat/3.jpg", f"test/{name}")
    found = [image for image in read(tmp_path) if not image.path.startswith("test")]
    assert [image.labels for image in found] == [("cat",), ("dog",)]
    assert count_unread(tmp_path, dataset_options("folder")) == {}


@pytest.mark.parametrize("split", ["", "train/"])
def test_one_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path, split: str) -> None:
    put(tmp_path, f"{split}caf\u00e9/1.jpg", f"{split}cafe\u0301/1.jpg", f"{split}tea/1.jpg")
    if split:
        put(tmp_path, "test/cafe\u0301/1.jpg")
    found = [image for image in read(tmp_path) if not image.path.startswith("test")]
    assert [image.labels for image in found] == [("caf\u00e9",), ("caf\u00e9",), ("tea",)]
    # The files are two, so their paths stay as they are.
    assert len({image.path for image in found}) == 3
    assert [image.read() for image in found] == [image.path.encode() for image in found]


def make_zip(path: Path, *names: str) -> Path:
    """Write a zip of files that hold their names, in UTF-8 without saying so, as macOS does."""
    raw = [name.encode() for name in names]
    places = [chr(ord("A") + place) * len(name) for place, name in enumerate(raw)]
    with zipfile.ZipFile(path, "w") as zipped:
        for place, name in zip(places, raw, strict=True):
            zipped.writestr(place, name)
    content = path.read_bytes()
    for place, name in zip(places, raw, strict=True):
        content = content.replace(place.encode(), name)
    path.write_bytes(content)
    return path


def read_zip(archive: Path, downloads: Path) -> list[SourceImage]:
    with open_source(archive, {}, downloads=downloads) as folder:
        return sorted_by_path(read(folder))


def test_a_zip_of_macos_is_read_without_what_macos_adds(tmp_path: Path) -> None:
    names = [f"photos/{label}/{n}.jpg" for label in ("ant", "bee") for n in range(2)]
    added = [f"__MACOSX/{name[:-5]}._{name[-5:]}" for name in names]
    added += ["__MACOSX/._photos", "photos/.DS_Store", "photos/ant/.DS_Store"]
    archive = make_zip(tmp_path / "finder.zip", *names, *added)
    assert roles(read_zip(archive, tmp_path)) == {
        "ant/0.jpg": ("ant", None),
        "ant/1.jpg": ("ant", None),
        "bee/0.jpg": ("bee", None),
        "bee/1.jpg": ("bee", None),
    }


def test_a_zip_may_have_train_and_test_in_capitals_in_a_folder(tmp_path: Path) -> None:
    names = ["capitals/Test/bee/0.jpg", "capitals/Train/ant/0.jpg", "capitals/Train/bee/1.jpg"]
    assert roles(read_zip(make_zip(tmp_path / "capitals.zip", *names), tmp_path)) == {
        "Test/bee/0.jpg": ("bee", "query+gallery"),
        "Train/ant/0.jpg": ("ant", "train"),
        "Train/bee/1.jpg": ("bee", "train"),
    }


def test_a_zip_may_have_one_name_in_two_forms_of_unicode(tmp_path: Path) -> None:
    names = ["u/cafe\u0301/0.jpg", "u/caf\u00e9/0.jpg", "u/tea/0.jpg"]
    found = read_zip(make_zip(tmp_path / "nfc-nfd.zip", *names), tmp_path)
    assert [image.labels for image in found] == [("caf\u00e9",), ("caf\u00e9",), ("tea",)]
    assert [image.path for image in found] == [name[2:] for name in names]


@pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not there")
def test_zips_that_people_made_are_read_right(tmp_path: Path) -> None:
    def counts(name: str) -> dict[tuple[str | None, str | None], int]:
        return Counter(roles(read_zip(CASES / name, tmp_path)).values())

    animals = ("ant", "bee", "cat")
    assert counts("finder.zip") == dict.fromkeys(((each, None) for each in (*animals, "dog")), 4)
    assert counts("capitals.zip") == {
        **{(each, "train"): 3 for each in animals},
        **{(each, "query+gallery"): 3 for each in animals},
    }
    assert counts("nfc-nfd.zip") == {("caf\u00e9", None): 6, ("tea", None): 3}


def test_a_lone_class_stays_a_class(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/2.jpg", "cat/notes/3.txt", "dog/4.txt")
    assert roles(read(tmp_path)) == {"cat/1.jpg": ("cat", None), "cat/2.jpg": ("cat", None)}


def test_no_images_names_the_layouts(tmp_path: Path) -> None:
    put(tmp_path, "README.md", "cat/notes.txt")
    assert error_line(tmp_path) == (
        f"{tmp_path}: found no images; allowed: <class>/*.jpg, or train/<class>/*.jpg and "
        "test/<class>/*.jpg, or a table (data.folder.table), of JPEG, PNG, WebP, BMP, GIF, TIFF, "
        "AVIF, HEIC; put some there (see images/README.md)"
    )


@pytest.mark.parametrize("below", ["", "photos/"])
def test_an_image_in_no_class_has_no_label(tmp_path: Path, below: str) -> None:
    put(tmp_path, *(f"{below}{name}" for name in ("cat/1.jpg", "dog/2.jpg", "stray.jpg")))
    assert roles(read(tmp_path)) == {
        "stray.jpg": (None, None),
        "cat/1.jpg": ("cat", None),
        "dog/2.jpg": ("dog", None),
    }


def test_images_without_any_classes_have_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "2.PNG", "notes/3.txt")
    assert roles(read(tmp_path)) == {"1.jpg": (None, None), "2.PNG": (None, None)}


def test_images_around_and_beside_splits_have_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "0.jpg", "data/1.jpg", "data/train/2.jpg", "data/test/3.jpg")
    put(tmp_path, "data/train/cat/4.jpg")
    assert roles(read(tmp_path)) == {
        "0.jpg": (None, None),
        "1.jpg": (None, None),
        "train/2.jpg": (None, "train"),
        "train/cat/4.jpg": ("cat", "train"),
        "test/3.jpg": (None, "query+gallery"),
    }


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("training", "validation", "testing"),
        ("Training", "Valid", "Testing"),
    ],
)
def test_splits_are_known_by_their_usual_names(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    put(tmp_path, f"{train}/cat/1.jpg", f"{val}/cat/2.jpg", f"{test}/cat/3.jpg")
    assert roles(read(tmp_path)) == {
        f"{train}/cat/1.jpg": ("cat", "train"),
        f"{val}/cat/2.jpg": ("cat", "val"),
        f"{test}/cat/3.jpg": ("cat", "query+gallery"),
    }


def test_two_folders_of_one_split_are_one_split(tmp_path: Path) -> None:
    put(tmp_path, "Train/cat/1.jpg", "training/cat/1.jpg", "test/cat/1.jpg")
    assert [image.source_split for image in read(tmp_path)] == ["train", "train", "query+gallery"]


def test_without_test_val_is_measured(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "Val/cat/2.jpg")
    assert roles(read(tmp_path)) == {
        "train/cat/1.jpg": ("cat", "train"),
        "Val/cat/2.jpg": ("cat", "query+gallery"),
    }


@pytest.mark.parametrize("lone", ["train", "Training", "val", "validation"])
def test_one_split_beside_classes_is_a_class(tmp_path: Path, lone: str) -> None:
    put(tmp_path, f"{lone}/1.jpg", "plane/2.jpg")
    assert [image.labels for image in sorted_by_path(read(tmp_path))] == sorted(
        [("plane",), (lone,)]
    )


def test_test_without_train_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "test/cat/1.jpg", "val/cat/1.jpg")
    assert error_line(tmp_path) == (
        f"{tmp_path}: found test and val but no train; allowed: train and test (or val, or both), "
        "each with one folder for each class, or class folders alone; add train"
    )


def test_folders_beside_train_and_test_are_an_error(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "Test/cat/1.jpg", *(f"{n:02}/2.jpg" for n in range(12)))
    assert error_line(tmp_path) == (
        f"{tmp_path}: found '00', '01', '02', '03', '04', '05', '06', '07', '08', '09' and 2 more "
        "beside Test and train; allowed: folders of train, val and test alone; move what is beside "
        "them out, or into them"
    )


def test_a_folder_without_images_beside_train_and_test_is_none(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "test/cat/1.jpg", "docs/notes.txt", "labels/cat/1.xml")
    assert len(read(tmp_path)) == 2


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "1.jpg").rename(tmp_path / "cat" / "\udcff.jpg")
    assert error_line(tmp_path) == "cat/\\udcff.jpg: the name is not UTF-8; rename the file"


def test_images_of_a_suffix_that_is_not_read_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/2.PSD", "a/b/3.psd", "b/4.dng", "b/.5.dng", ".c/6.psd", "b/7.txt")
    assert count_unread(tmp_path, dataset_options("folder")) == {".psd": 2, ".dng": 1}
    assert count_unread(tmp_path, dataset_options("folder", table="t.csv")) == {}


def test_what_has_a_strange_suffix_is_read_if_it_is_an_image_and_else_counted(
    tmp_path: Path,
) -> None:
    put(tmp_path, "a/1.jpg", "a/2.xyz", "a/notes.1", "a/LICENSE", "a/data.pkl")
    (tmp_path / "a/scan 12.03.2021").write_bytes(encode("JPEG"))
    assert sorted(roles(read(tmp_path))) == ["a/1.jpg", "a/scan 12.03.2021"]
    assert count_unread(tmp_path, dataset_options("folder")) == {".xyz": 1, ".1": 1}


def test_of_many_suffixes_the_most_frequent_are_named() -> None:
    numbers = {f".{number:02}": number for number in range(1, 13)}
    assert describe_unread(numbers).startswith(
        "left out 3 .03, 4 .04, 5 .05, 6 .06, 7 .07, 8 .08, 9 .09, 10 .10, 11 .11, 12 .12, "
        "3 of 2 other suffixes; allowed: "
    )
