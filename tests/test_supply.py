"""What is installed is what was locked; an audit without advisories does not say all is well."""

import json
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import audit
from tests.helpers.paths import ROOT

REQUIREMENT = re.compile(
    r"[\w.-]+(\[[\w,-]+\])?==[^\s;/@]+( ; [^/@]+)?( --hash=sha256:[0-9a-f]{64})+"
)
CLEAN = [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not there"}]
BAD = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3", "4"]}]}
UNFIXED = {"name": "d", "version": "5", "vulns": [{"id": "CVE-2", "fix_versions": []}]}


def test_every_locked_requirement_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    lines = re.sub(r"#.*", "", text).replace("\\\n", " ").splitlines()
    requirements = [" ".join(line.split()) for line in lines if line.strip()]
    assert len(requirements) > 100
    assert [line for line in requirements if not REQUIREMENT.fullmatch(line)] == []


def write_uv(folder: Path, answers: dict[str, list[Any] | None]) -> None:
    """Write a program `uv` that gives `answers`, by "source canary" and "source lock"."""
    (folder / "answers.json").write_text(json.dumps(answers))
    program = folder / "uv"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "source = sys.argv[sys.argv.index('--vulnerability-service') + 1]\n"
        "what = 'lock' if '--require-hashes' in sys.argv else 'canary'\n"
        f"answer = json.load(open({str(folder / 'answers.json')!r})).get(f'{{source}} {{what}}')\n"
        "print('Traceback' if answer is None else json.dumps({'dependencies': answer}))\n"
        "sys.exit(1)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("answers", "status", "lines"),
    [
        (
            {"pypi canary": [BAD], "pypi lock": CLEAN},
            0,
            ["audit: 0 known vulnerabilities in 1 packages, by pypi; not known there: b"],
        ),
        (
            {"osv canary": [BAD], "osv lock": [BAD, UNFIXED], "pypi lock": CLEAN},
            1,
            [
                "c 2: CVE-1, fixed in 3, 4",
                "d 5: CVE-2, fixed in no release",
                "audit: 2 known vulnerabilities in 2 packages, by osv; not known there: none",
            ],
        ),
        # A mirror that serves no advisories finds nothing in anything.
        ({"pypi canary": CLEAN, "pypi lock": CLEAN, "osv lock": CLEAN}, 3, []),
        ({"pypi canary": [BAD]}, 3, []),
        ({"pypi canary": [BAD], "pypi lock": CLEAN[1:]}, 3, []),
    ],
)
def test_an_audit_without_advisories_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, list[Any] | None],
    status: int,
    lines: list[str],
) -> None:
    write_uv(tmp_path, answers)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        audit.main()
    said = capsys.readouterr()
    assert ended.value.code == status
    assert said.out.splitlines() == lines
    assert said.err == (
        "audit: not done: no source of advisories answers (pypi, osv); run it where one can be "
        "reached\n"
        if status == 3
        else ""
    )
