"""Ask pip-audit for known vulnerabilities of the versions in requirements.lock: `make audit`.

Where no advisories are served, pip-audit says "no known vulnerabilities" of everything: a mirror of
PyPI may answer each question without them. So a source is asked first about a release that has
some. Status: 0: none is known; 1: some are; 3: no source answers.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.helpers.paths import ROOT

SOURCES = ("pypi", "osv")
KNOWN_TO_BE_VULNERABLE = "jinja2==2.4.1"
VULNERABLE, UNANSWERED = 1, 3


def main() -> None:
    source = next((source for source in SOURCES if _has_advisories(source)), None)
    found = None if source is None else _ask(source, ROOT / "requirements.lock", "--require-hashes")
    if found is None or all("skip_reason" in package for package in found):
        print(
            "audit: not done: no source of advisories answers "
            f"({', '.join(SOURCES)}); run it where one can be reached",
            file=sys.stderr,
        )
        sys.exit(UNANSWERED)
    lines = [
        f"{package['name']} {package['version']}: {each['id']}, fixed in "
        f"{', '.join(each['fix_versions']) or 'no release'}"
        for package in found
        for each in package.get("vulns", [])
    ]
    unknown = [package["name"] for package in found if "skip_reason" in package]
    print(*lines, sep="\n", end="\n" if lines else "")
    print(
        f"audit: {len(lines)} known vulnerabilities in {len(found) - len(unknown)} packages, by "
        f"{source}; not known there: {', '.join(unknown) or 'none'}"
    )
    sys.exit(VULNERABLE if lines else 0)


def _has_advisories(source: str) -> bool:
    with TemporaryDirectory() as folder:
        path = Path(folder, "requirements.txt")
        path.write_text(KNOWN_TO_BE_VULNERABLE)
        found = _ask(source, path, "--no-deps")
    return any(package.get("vulns") for package in found or [])


def _ask(source: str, requirements: Path, *options: str) -> list[dict[str, Any]] | None:
    """Return pip-audit's answer, one entry a package; None if it has none."""
    uv = shutil.which("uv") or "uv"
    command = [uv, "tool", "run", "pip-audit", "--vulnerability-service", source, *options]
    command += ["--disable-pip", "--progress-spinner=off", "--format=json"]
    done = subprocess.run(
        [*command, "--requirement", str(requirements)], capture_output=True, text=True, check=False
    )
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return packages


if __name__ == "__main__":
    main()
