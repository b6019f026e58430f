"""Archives unpack whole, and nothing of them lands outside their folder."""

import errno
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.packing.archives import unpack


def tar_member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        unpack(archive, folder)
    return str(caught.value)


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz")])
def test_tar_unpacks_whole(tmp_path: Path, suffix: str, mode: str) -> None:
    members = [(tar_member("a/x.jpg"), b"x"), (tar_member("./a/b/y.jpg"), b"yy" * 99999)]
    archive = make_tar(tmp_path / f"p.{suffix}", *members, mode=mode)
    unpack(archive, tmp_path / "out")
    assert files_below(tmp_path / "out") == {"a/x.jpg": b"x", "a/b/y.jpg": b"yy" * 99999}


def test_zip_unpacks_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
        zipped.mkdir("a")
        zipped.writestr("a/x.jpg", b"x")
    unpack(tmp_path / "p.zip", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"a/x.jpg": b"x"}


SOFT, HARD = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}


def zip_link(name: str) -> zipfile.ZipInfo:
    link = zipfile.ZipInfo(name)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return link


def test_links_of_a_tar_lead_to_files_and_folders_of_it(tmp_path: Path) -> None:
    archive = make_tar(
        tmp_path / "p.tar",
        (tar_member("a/first", linkname="../b", **SOFT), b""),
        (tar_member("a/x.jpg"), b"x"),
        (tar_member("b/soft.jpg", linkname="../a/x.jpg", **SOFT), b""),
        (tar_member("b/hard.jpg", linkname="a/x.jpg", **HARD), b""),
        (tar_member("up", linkname=".", **SOFT), b""),
    )
    out = tmp_path / "out"
    unpack(archive, out)
    names = ["a/x.jpg", "a/first/soft.jpg", "b/soft.jpg", "b/hard.jpg", "up/a/x.jpg"]
    assert [(out / name).read_bytes() for name in names] == [b"x"] * 5
    links = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink()}
    assert links == {"a/first", "b/soft.jpg", "up"}


def test_links_of_a_zip_lead_to_files_and_folders_of_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
        zipped.writestr(zip_link("b"), "a")
        zipped.writestr(zip_link("c/y.jpg"), "../a/x.jpg")
        zipped.writestr("a/x.jpg", b"x")
    unpack(tmp_path / "p.zip", tmp_path / "out")
    for name in ("a/x.jpg", "b/x.jpg", "c/y.jpg"):
        assert (tmp_path / "out" / name).read_bytes() == b"x"


@pytest.mark.parametrize(
    ("links", "found"),
    [
        # By the names alone, 'b' is inside: 'e/d/..' is e, but through the link d it is above all.
        (
            {"e/d": "..", "b": "e/d/../out-of-it", "e/f": "../up"},
            "'b' is a link to a path outside, 'e/d/../out-of-it'",
        ),
        ({"a": "e", "a/x": "e"}, "'a/x' is in a folder that is a link"),
        ({"a": "b", "b": "a"}, "'a' is a link to no file, 'b'"),
    ],
)
def test_links_that_lead_out_through_links_are_refused_and_removed(
    tmp_path: Path, links: dict[str, str], found: str
) -> None:
    archive = make_tar(
        tmp_path / "p.tar",
        (tar_member("e/x.jpg"), b"x"),
        *((tar_member(name, linkname=target, **SOFT), b"") for name, target in links.items()),
    )
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: member {found}; allowed: files and folders inside the archive; make a new "
        "archive without it"
    )
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


# Finder and Info-ZIP write UTF-8 and do not say so; only the flag 0x800 would.
@pytest.mark.parametrize("name", ["caf\u00e9", "cafe\u0301", "犬", "🐝"])
def test_a_zip_with_names_in_utf8_that_does_not_say_so(tmp_path: Path, name: str) -> None:
    raw = name.encode()
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
        zipped.writestr("?" * len(raw) + "/x.jpg", b"x")
    content = (tmp_path / "p.zip").read_bytes().replace(b"?" * len(raw), raw)
    (tmp_path / "p.zip").write_bytes(content)
    unpack(tmp_path / "p.zip", tmp_path / "out")
    assert files_below(tmp_path / "out") == {f"{name}/x.jpg": b"x"}


@pytest.mark.parametrize("name", ["café/x.jpg", "犬/x.jpg"])
def test_a_zip_that_says_utf8_is_read_so(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
        zipped.writestr(name, b"x")
    unpack(tmp_path / "p.zip", tmp_path / "out")
    assert files_below(tmp_path / "out") == {name: b"x"}


def test_a_zip_in_the_code_page_of_ms_dos_is_read_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
        zipped.writestr("caf?/x.jpg", b"x")
    content = (tmp_path / "p.zip").read_bytes().replace(b"?", "é".encode("cp437"))
    (tmp_path / "p.zip").write_bytes(content)
    unpack(tmp_path / "p.zip", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"café/x.jpg": b"x"}


def test_a_zip_of_windows_may_have_backslashes(tmp_path: Path) -> None:
    def member(name: str) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name)
        info.create_system = 0
        return info

    with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
        zipped.writestr(member("photos\\cat\\"), b"")
        zipped.writestr(member("photos\\cat\\1.jpg"), b"x")
    unpack(tmp_path / "p.zip", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"photos/cat/1.jpg": b"x"}
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as zipped:
        zipped.writestr(member("..\\evil.jpg"), b"x")
    assert "has '..' in its path" in refused(tmp_path / "evil.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("info", "found"),
    [
        (tar_member("../evil.jpg"), "has '..' in its path"),
        (tar_member("a/../../evil.jpg"), "has '..' in its path"),
        (tar_member("/tmp/evil.jpg"), "has an absolute path"),  # noqa: S108 - what it tests
        (
            tar_member("a/l.jpg", type=tarfile.SYMTYPE, linkname="../../evil.jpg"),
            "is a link to a path outside, '../../evil.jpg'",
        ),
        (
            tar_member("l.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            "is a link to a path outside, '/etc/passwd'",
        ),
        (
            tar_member("l.jpg", type=tarfile.LNKTYPE, linkname="../evil.jpg"),
            "is a link to a path outside, '../evil.jpg'",
        ),
        (
            tar_member("l.jpg", type=tarfile.SYMTYPE, linkname="l.jpg"),
            "is a link to no file, 'l.jpg'",
        ),
        (tar_member("a", type=tarfile.SYMTYPE, linkname="b"), "is a link to no file, 'b'"),
        (tar_member("pipe", type=tarfile.FIFOTYPE), "is a device or a pipe"),
        (tar_member("null", type=tarfile.CHRTYPE), "is a device or a pipe"),
    ],
)
def test_tar_member_that_leads_out_is_refused(
    tmp_path: Path, info: tarfile.TarInfo, found: str
) -> None:
    archive = make_tar(tmp_path / "p.tar", (info, b""))
    assert refused(archive, tmp_path / "in" / "out") == (
        f"{archive}: member '{info.name}' {found}; allowed: files and folders inside the archive; "
        "make a new archive without it"
    )
    assert files_below(tmp_path) == {"p.tar": archive.read_bytes()}


def test_zip_member_that_leads_out_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("../evil.jpg", b"x")
    assert refused(archive, tmp_path / "in" / "out") == (
        f"{archive}: member '../evil.jpg' has '..' in its path; allowed: files and folders inside "
        "the archive; make a new archive without it"
    )
    assert files_below(tmp_path) == {"p.zip": archive.read_bytes()}


def test_zip_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(zip_link("l.jpg"), "/etc/passwd")
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: member 'l.jpg' is a link to a path outside, '/etc/passwd'; allowed: files and "
        "folders inside the archive; make a new archive without it"
    )


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("x.jpg", b"x")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert refused(archive, tmp_path / "out").startswith(
        f"{archive}: member 'x.jpg' is encrypted; allowed:"
    )


def test_name_that_is_file_and_folder_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "p.tar", (tar_member("a"), b"x"), (tar_member("a/b"), b"x"))
    assert refused(archive, tmp_path / "out").startswith(
        f"{archive}: member 'a/b' is both a file and a folder; allowed:"
    )


def test_more_than_the_disk_takes_is_refused_before_it_is_written(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "p.tar", (tar_member("a"), b"x"), (tar_member("b"), b"x" * 2000))
    with pytest.raises(UserError) as caught:
        unpack(archive, tmp_path / "out", free_bytes=2000)
    assert str(caught.value) == (
        f"{archive}: unpacks to more than the 2,000 bytes that are free for {tmp_path / 'out'} (at "
        "'b'); free some space, or unpack it elsewhere and set data.source to that folder"
    )
    assert files_below(tmp_path / "out") == {"a": b"x"}


def test_sparse_member_of_absurd_size_is_refused(tmp_path: Path) -> None:
    info = tar_member("bomb.bin")
    info.size = 2**50
    (tmp_path / "p.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    assert "unpacks to more than the" in refused(tmp_path / "p.tar", tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def test_a_tar_with_a_broken_header_is_damaged(tmp_path: Path) -> None:
    members = [(tar_member(f"{n}.jpg"), b"x") for n in range(3)]
    archive = make_tar(tmp_path / "p.tar", *members)
    content = bytearray(archive.read_bytes())
    content[content.index(b"1.jpg")] ^= 1
    archive.write_bytes(content)
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: damaged archive (bad checksum); get a whole copy of it"
    )


@pytest.mark.parametrize("left", [1024, 1024 + 100, 1024 + 512, 1024 + 513])
def test_a_tar_cut_before_its_end_block_is_damaged(tmp_path: Path, left: int) -> None:
    archive = make_tar(tmp_path / "p.tar", *[(tar_member(f"{n}.jpg"), b"x") for n in range(3)])
    archive.write_bytes(archive.read_bytes()[:left])
    text = refused(archive, tmp_path / "out")
    assert text.startswith(f"{archive}: damaged archive (")
    assert text.endswith("); get a whole copy of it")


# The last bytes hold the checksum of the whole, which tarfile never reads by itself.
@pytest.mark.parametrize("place", [0.7, -6])
@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_with_a_flipped_byte_is_damaged(
    tmp_path: Path, kind: str, place: float
) -> None:
    members = [(tar_member(f"{n}.jpg"), os.urandom(500_000)) for n in range(5)]
    archive = make_tar(tmp_path / f"p.tar.{kind}", *members, mode=f"w:{kind}")
    content = bytearray(archive.read_bytes())
    content[int(place * len(content)) if place > 0 else int(place)] ^= 0xFF
    archive.write_bytes(content)
    text = refused(archive, tmp_path / "out")
    assert text.startswith(f"{archive}: damaged archive (")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_without_its_last_bytes_is_damaged(tmp_path: Path, kind: str) -> None:
    archive = make_tar(tmp_path / f"p.tar.{kind}", (tar_member("x.jpg"), b"x"), mode=f"w:{kind}")
    archive.write_bytes(archive.read_bytes()[:-4])
    assert refused(archive, tmp_path / "out").startswith(f"{archive}: damaged archive (")


def test_an_empty_tar_is_whole(tmp_path: Path) -> None:
    unpack(make_tar(tmp_path / "p.tar.gz", mode="w:gz"), tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def test_a_zip_of_an_unknown_method_names_the_member(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("x.jpg", b"x")
    content = bytearray(archive.read_bytes())
    for header, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(header) + method] = 97
    archive.write_bytes(content)
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: member 'x.jpg' cannot be read (That compression method is not supported); "
        "allowed: files and folders inside the archive; make a new archive without it"
    )


def test_a_name_too_long_for_the_disk_is_refused(tmp_path: Path) -> None:
    name = "x" * 300 + ".jpg"
    archive = make_tar(tmp_path / "p.tar", (tar_member(name), b"x"))
    assert refused(archive, tmp_path / "out").startswith(
        f"{archive}: member '{name}' has a name too long for this disk; allowed:"
    )


def test_a_full_disk_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    archive = make_tar(tmp_path / "p.tar", (tar_member("x.jpg"), b"x"))
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz")])
def test_archive_cut_short_is_damaged(tmp_path: Path, suffix: str, mode: str) -> None:
    archive = tmp_path / f"p.{suffix}"
    make_tar(archive, (tar_member("x.jpg"), os.urandom(100_000)), mode=mode)
    archive.write_bytes(archive.read_bytes()[:50_000])
    text = refused(archive, tmp_path / "out")
    assert text.startswith(f"{archive}: damaged archive (")
    assert text.endswith("); get a whole copy of it")


def test_zip_with_wrong_checksum_is_damaged(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("x.jpg", b"sunset")
    archive.write_bytes(archive.read_bytes().replace(b"sunset", b"sunrise"[:6]))
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: damaged archive ('x.jpg': Bad CRC-32 for file 'x.jpg'); get a whole copy of it"
    )


def test_other_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "p.rar").write_bytes(b"Rar!")
    assert refused(tmp_path / "p.rar", tmp_path / "out") == (
        f"{tmp_path / 'p.rar'}: neither a folder nor an archive; allowed: a folder, .tar, .tar.gz, "
        ".tar.bz2, .tar.xz, .zip; set data.source to one of these"
    )


MANY = 48 * 2**20


def zip_bomb(path: Path, member: zipfile.ZipInfo, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as zipped:
        zipped.writestr(member, b"a" * MANY, method, compresslevel=1)
    return path


def link_bomb(path: Path) -> Path:
    return zip_bomb(path, zip_link("link"), zipfile.ZIP_DEFLATED)


def tar_bomb(path: Path, **fields: object) -> Path:
    """Write a tar.gz of one member, a header of which has MANY bytes."""
    info = tar_member(**{"name": "x.jpg"} | fields)  # type: ignore[arg-type]
    format_ = tarfile.PAX_FORMAT if info.pax_headers else tarfile.GNU_FORMAT
    with tarfile.open(path, "w:gz", format=format_, compresslevel=1) as tar:
        tar.addfile(info)
    return path


def sparse_bomb(path: Path) -> Path:
    """Write a tar.gz whose member is the map of a sparse file, of MANY bytes."""
    about = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
    info = tar_member("x.jpg", pax_headers=about, size=MANY + 9)
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as tar:
        tar.addfile(info, io.BytesIO(b"99999999\n" + b"1\n".zfill(128) * (MANY // 128)))
    return path


LONG_HEADER = "damaged archive (a header has more than 1,048,576 bytes); get a whole copy of it"


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (
            link_bomb,
            "member 'link' is a link with a target of more than 4,096 bytes; allowed: files and "
            "folders inside the archive; make a new archive without it",
        ),
        (lambda path: tar_bomb(path, pax_headers={"comment": "a" * MANY}), LONG_HEADER),
        (lambda path: tar_bomb(path, name="a" * MANY), LONG_HEADER),
        (lambda path: tar_bomb(path, linkname="a" * MANY, **SOFT), LONG_HEADER),
        (sparse_bomb, LONG_HEADER),
    ],
    ids=["link of a zip", "attribute", "name", "link of a tar", "sparse map"],
)
def test_what_is_read_into_memory_has_a_limit(
    tmp_path: Path, make: Callable[[Path], Path], found: str
) -> None:
    archive = make(tmp_path / "bomb")
    assert archive.stat().st_size < 2**20
    tracemalloc.start()
    try:
        assert refused(archive, tmp_path / "out") == f"{archive}: {found}"
        assert tracemalloc.get_traced_memory()[1] < MANY / 4
    finally:
        tracemalloc.stop()
    assert files_below(tmp_path / "out") == {}


def test_a_member_that_unpacks_to_much_takes_little_memory(tmp_path: Path) -> None:
    archive = zip_bomb(tmp_path / "p.zip", zipfile.ZipInfo("x.jpg"), zipfile.ZIP_LZMA)
    tracemalloc.start()
    try:
        unpack(archive, tmp_path / "out")
        # Of LZMA 4 KiB may unpack to 28 MiB. To unpack the member at once took twice its size.
        assert tracemalloc.get_traced_memory()[1] < 1.5 * MANY
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out/x.jpg").stat().st_size == MANY


def test_a_long_link_of_a_tar_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "p.tar", (tar_member("a", linkname="b" * 4097, **SOFT), b""))
    assert refused(archive, tmp_path / "out").startswith(
        f"{archive}: member 'a' is a link with a target of more than 4,096 bytes; allowed: "
    )


def test_a_sparse_map_that_is_none_is_damage(tmp_path: Path) -> None:
    about = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
    archive = make_tar(tmp_path / "p.tar", (tar_member("x", pax_headers=about), b"no\n"))
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: damaged archive (invalid literal for int() with base 10: b'no'); get a whole "
        "copy of it"
    )


def test_a_tar_of_headers_before_headers_is_damaged(tmp_path: Path) -> None:
    header = tar_member("a", type=tarfile.XHDTYPE).tobuf()
    (tmp_path / "p.tar").write_bytes(header * 2000)
    assert refused(tmp_path / "p.tar", tmp_path / "out").startswith(
        f"{tmp_path / 'p.tar'}: damaged archive (maximum recursion depth exceeded"
    )


def empty_members(path: Path) -> Path:
    return make_tar(path, *((tar_member(f"{n}"), b"") for n in range(150)), mode="w:gz")


def zeros(path: Path) -> Path:
    return make_tar(path, (tar_member("x"), bytes(2**20)), mode="w:gz")


def hard_links(path: Path) -> Path:
    links = [(tar_member(f"{n}", linkname="x", **HARD), b"") for n in range(20)]
    return make_tar(path, (tar_member("x"), os.urandom(50_000)), *links)


def long_links(path: Path) -> Path:
    links = [(tar_member(f"{n}", linkname="x" * 4000, **SOFT), b"") for n in range(20)]
    return make_tar(path, (tar_member("x"), b""), *links)


def zeros_after_the_end(path: Path) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.addfile(tar_member("x"))
        tar.fileobj.write(bytes(2**17))  # type: ignore[union-attr]
    return path


def long_headers(path: Path) -> Path:
    headers = {"comment": "a" * 50_000}
    return make_tar(path, *((tar_member(f"{n}", pax_headers=headers), b"") for n in range(3)))


@pytest.mark.parametrize(
    ("make", "found", "allowed"),
    [
        (empty_members, "{more} members", lambda size: 100 + size // 64),
        (zeros, "1,048,576 bytes of unpacked files", lambda size: 900_000 + 2 * size),
        (hard_links, "1,050,000 bytes of unpacked files", lambda size: 900_000 + 2 * size),
        (long_links, "32,008 bytes of symbolic links", lambda _: 32_000),
        (zeros_after_the_end, "141,312 bytes beside its files", lambda _: 100_010),
        (long_headers, "102,400 bytes beside its files", lambda _: 100_020),
    ],
)
def test_work_out_of_proportion_to_the_archive_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path],
    found: str,
    allowed: Callable[[int], int],
) -> None:
    limits = {
        "FREE_MEMBERS": 100,
        "FREE_CONTENT": 900_000,
        "TIMES_ITS_SIZE": 2,
        "LINKS_BYTES": 32_000,
        "FREE_OVERHEAD": 100_000,
        "OVERHEAD_PER_MEMBER": 10,
    }
    archive = make(tmp_path / "p")
    for name, value in limits.items():
        monkeypatch.setattr(f"pipeline.packing.archive_work.{name}", value)
    size = archive.stat().st_size
    found = found.format(more=allowed(size) + 1)
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: has {found} or more; allowed for an archive of {size:,} bytes: "
        f"{allowed(size):,}; if you trust it, unpack it yourself and set data.source to that folder"
    )


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (1, "'041' is a link through more than 40 links, '040'"),
        (-1, "'2000' is a link through more than 40 links, '1999'"),
    ],
)
def test_a_chain_of_links_is_as_long_as_linux_follows(
    tmp_path: Path, step: int, found: str
) -> None:
    def chain(length: int) -> Path:
        links = [
            (tar_member(f"{n + 1:03}", linkname=f"{n:03}", **SOFT), b"") for n in range(length)
        ]
        return make_tar(tmp_path / f"{length}.tar", (tar_member("000"), b"x"), *links[::step])

    unpack(chain(40), tmp_path / "out")
    assert (tmp_path / "out/040").read_bytes() == b"x"
    archive = chain(2000)  # more than Python's recursion limit
    assert refused(archive, tmp_path / "in") == (
        f"{archive}: member {found}; allowed: files and folders "
        "inside the archive; make a new archive without it"
    )


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ({"m": "here/.."}, "'m' is a link through a link of another archive, 'here/..'"),
        ({"here/m": ".."}, "'here/m' is in a folder that is a link"),
    ],
)
def test_links_of_two_archives_do_not_lead_out_together(
    tmp_path: Path, link: dict[str, str], found: str
) -> None:
    first, second = (
        make_tar(
            tmp_path / f"{place}.tar",
            *((tar_member(name, linkname=target, **SOFT), b"") for name, target in links.items()),
        )
        for place, links in enumerate([{"here": "."}, link])
    )
    unpack(first, tmp_path / "out")
    assert refused(second, tmp_path / "out") == (
        f"{second}: member {found}; allowed: files and folders inside the archive; make a new "
        "archive without it"
    )


def test_a_hard_link_is_of_a_file_before_it(tmp_path: Path) -> None:
    file, link = (tar_member("x"), b"x"), (tar_member("y", linkname="x", **HARD), b"")
    itself = tar_member("x", linkname="./x", **HARD)
    for members, name in (
        ((link, file), "y' is a link to no file, 'x"),
        ((file, (itself, b"")), "x' is a link to no file, './x"),
    ):
        archive = make_tar(tmp_path / "p.tar", *members)
        assert f"member '{name}'; allowed" in refused(archive, tmp_path / "out")


def test_a_zip_whose_files_share_bytes_is_damaged(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.jpg", b"x" * 1000)
        zipped.writestr("b.jpg", b"x" * 1000)
        zipped.filelist[1].header_offset = 0
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: damaged archive ('b.jpg' overlaps another file); get a whole copy of it"
    )


def test_a_file_in_too_many_folders_is_refused(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "p.tar", (tar_member("a/" * 65 + "x"), b"x"))
    assert "' is in more than 64 folders; allowed: " in refused(archive, tmp_path / "out")
    unpack(make_tar(tmp_path / "q.tar", (tar_member("a/" * 64 + "x"), b"x")), tmp_path / "out")


def test_a_zip_of_a_version_that_is_none_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a.txt", "a" * 100)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 6] = 255  # the version that is needed to unpack it
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: damaged archive \(zip file version 25\.5\); get"):
        unpack(path, tmp_path / "out")


def test_a_zip_whose_members_are_before_its_start_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a.txt", "a" * 100)
    content = bytearray(path.read_bytes())
    content[-6:-2] = (10_000).to_bytes(4, "little")  # where the list of members begins
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: damaged archive \('a\.txt' overlaps"):
        unpack(path, tmp_path / "out")
