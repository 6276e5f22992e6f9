"""Make the folder that a Hugging Face Space runs: `python -m deploy.space --out space`. docs/deploy.md tells the rest."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

from presets.profile import ROOT

CONTENTS = ("app.py", "evaluation", "models/tinyworld", "playground", "presets")
"""What of the repository runs the page; a Space neither trains nor tests."""

PYTHON = "3.11"
"""The Python that the tests run with."""

CPU, GPU = "cpu-basic", "l40sx1"
"""The hub's names for 2 cores with 16 GB, and for one GPU of 48 GB, which `llama-8b` needs."""

DEBIAN = "g++\nlibnuma1\n"
"""Debian's packages that vLLM loads (libnuma) and that PyTorch and Triton compile with."""

CANNOT_MAKE = 2


class CannotMake(Exception):
    """Why there is no folder, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the folder; 0 then, 2 when it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m deploy.space", description="Make the folder of a Space.")
    parser.add_argument("--out", type=Path, default=ROOT / "space", help="the folder to make (default: space)")
    parser.add_argument("--gpu", action="store_true", help="for GPU hardware: vLLM's CUDA wheel, and a 48 GB GPU")
    parser.add_argument("--force", action="store_true", help="replace a folder that this command made before")
    options = parser.parse_args(arguments)
    try:
        made = make(options.out, gpu=options.gpu, force=options.force)
    except (CannotMake, OSError) as error:
        print(f"No Space folder was made: {error}", file=sys.stderr)
        return CANNOT_MAKE
    if left_out := _listed("--others", "--exclude-standard"):
        names = ", ".join(map(str, left_out))
        print(
            f"Left out, since git does not know them (git add what belongs to the repository): {names}", file=sys.stderr
        )
    size = sum(file.stat().st_size for file in made) / 1e6
    print(f"{options.out}: {len(made)} files, {size:.0f} MB; docs/deploy.md says how it becomes a Space")
    return 0


def make(out: Path, *, gpu: bool, force: bool) -> list[Path]:
    """Write the folder and return its files. Raises `CannotMake`, and `OSError` when it cannot be written."""
    _make_room(out, force)
    made = []
    for file in _sources():
        place = out / file
        place.parent.mkdir(parents=True, exist_ok=True)
        made.append(Path(shutil.copyfile(ROOT / file, place)))
    written = {"requirements.txt": requirements(gpu=gpu), "packages.txt": DEBIAN, "README.md": _readme(gpu)}
    for name, text in written.items():
        (out / name).write_text(text, encoding="utf-8")
        made.append(out / name)
    return made


def requirements(*, gpu: bool) -> str:
    """The pinned packages that the Space installs, as one file."""
    cpu = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    if not gpu:
        return cpu
    pins = {line.partition("==")[0]: line for line in cpu.splitlines() if "==" in line}
    names = (ROOT / "requirements-gpu.txt").read_text(encoding="utf-8").splitlines()
    return "".join(f"{pins.get(name, name)}\n" for name in names if not name.startswith("#"))


def _readme(gpu: bool) -> str:
    gradio = next(line for line in requirements(gpu=gpu).splitlines() if line.startswith("gradio=="))
    facts = {"gradio": gradio.partition("==")[2], "python": PYTHON, "hardware": GPU if gpu else CPU}
    return Template((ROOT / "deploy" / "space.md").read_text(encoding="utf-8")).substitute(facts)


def _make_room(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise CannotMake(f"{out} is there already and was left as it is; choose another --out, or give --force")
    if not {"app.py", "README.md", "requirements.txt"} <= {path.name for path in out.glob("*")}:
        raise CannotMake(f"{out} is no Space folder and was left as it is; choose another --out")
    for old in out.iterdir():
        if old.name != ".git":  # a clone of the Space keeps its history
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def _sources() -> list[Path]:
    """The files to copy, from the root. What git does not know (a profile with a key in it) stays at home."""
    if (ROOT / ".git").exists():
        return _listed("--cached")
    found = [file for name in CONTENTS for file in [ROOT / name, *(ROOT / name).rglob("*")] if file.is_file()]
    return [file.relative_to(ROOT) for file in found if "__pycache__" not in file.parts]


def _listed(*which: str) -> list[Path]:
    """The files under `CONTENTS` that git lists so; none where there is no git. Raises `CannotMake`."""
    if not (ROOT / ".git").exists():
        return []
    try:
        command = ["git", "ls-files", "-z", *which, "--", *CONTENTS]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        words = str(getattr(error, "stderr", None) or error).strip()
        raise CannotMake(f"git does not tell which files belong to the repository ({words})") from error
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


if __name__ == "__main__":
    sys.exit(main())
