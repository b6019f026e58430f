from pathlib import Path

from pipeline.data.fingerprint import fingerprint


def test_a_fingerprint_changes_with_settings_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("one")
    first = fingerprint("lr 1", [folder])
    assert fingerprint("lr 1", [folder]) == first
    assert fingerprint("lr 2", [folder]) != first
    (folder / "a").write_text("two")
    second = fingerprint("lr 1", [folder])
    assert second != first
    (folder / "a").rename(folder / "b")
    assert fingerprint("lr 1", [folder]) not in {first, second}
