"""Archives unpack whole, and nothing of them lands outside their folder."""

import io
import os
import stat
import tarfile
import zipfile
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


def test_links_inside_become_copies(tmp_path: Path) -> None:
    archive = make_tar(
        tmp_path / "p.tar",
        (tar_member("a/x.jpg"), b"x"),
        (tar_member("b/soft.jpg", type=tarfile.SYMTYPE, linkname="../a/x.jpg"), b""),
        (tar_member("b/hard.jpg", type=tarfile.LNKTYPE, linkname="a/x.jpg"), b""),
    )
    unpack(archive, tmp_path / "out")
    assert files_below(tmp_path / "out") == dict.fromkeys(
        ["a/x.jpg", "b/soft.jpg", "b/hard.jpg"], b"x"
    )
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize(
    ("info", "found"),
    [
        (tar_member("../evil.jpg"), "has '..' in its path"),
        (tar_member("a/../../evil.jpg"), "has '..' in its path"),
        (tar_member("/tmp/evil.jpg"), "has an absolute path"),
        (
            tar_member("a/l.jpg", type=tarfile.SYMTYPE, linkname="../../evil.jpg"),
            "is a link that leads out, to '../../evil.jpg'",
        ),
        (
            tar_member("l.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            "is a link that leads out, to '/etc/passwd'",
        ),
        (
            tar_member("l.jpg", type=tarfile.LNKTYPE, linkname="../evil.jpg"),
            "is a link that leads out, to '../evil.jpg'",
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
        "make the archive again without it"
    )
    assert files_below(tmp_path) == {"p.tar": archive.read_bytes()}


def test_zip_member_that_leads_out_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("../evil.jpg", b"x")
    assert refused(archive, tmp_path / "in" / "out") == (
        f"{archive}: member '../evil.jpg' has '..' in its path; allowed: files and folders inside "
        "the archive; make the archive again without it"
    )
    assert files_below(tmp_path) == {"p.zip": archive.read_bytes()}


def test_zip_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    link = zipfile.ZipInfo("l.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(link, "/etc/passwd")
    assert refused(archive, tmp_path / "out") == (
        f"{archive}: member 'l.jpg' is a link, which a zip cannot resolve; allowed: files and "
        "folders inside the archive; make the archive again without it"
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
        f"{archive}: unpacks to more than the 2,000 bytes that the disk of {tmp_path / 'out'} can "
        "take (at 'b'); free some space or unpack it elsewhere and name that folder as data.source"
    )
    assert files_below(tmp_path / "out") == {"a": b"x"}


def test_sparse_member_of_absurd_size_is_refused(tmp_path: Path) -> None:
    info = tar_member("bomb.bin")
    info.size = 2**50
    (tmp_path / "p.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    assert "unpacks to more than the" in refused(tmp_path / "p.tar", tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


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
        f"{archive}: damaged archive (Bad CRC-32 for file 'x.jpg'); get a whole copy of it"
    )


def test_other_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "p.rar").write_bytes(b"Rar!")
    assert refused(tmp_path / "p.rar", tmp_path / "out") == (
        f"{tmp_path / 'p.rar'}: neither a folder nor an archive; allowed: a folder, .tar, .tar.gz, "
        ".tar.bz2, .tar.xz, .zip; set data.source to one of these"
    )
