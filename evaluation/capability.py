"""What does control cost in general capability? A spot check of a profile's arms by EleutherAI's lm-evaluation-harness.

    python -m evaluation.capability --profile llama-8b --arms base,cosalign --tasks gsm8k,ifeval --limit 100 --out runs/capability

Every arm is asked at its server's chat endpoint, so tasks must be generative. Without `--config` no arm gets a system prompt
(the paper's Table 6: what is left of the model where nobody configures it); with it, those get it that show one. Needs the
package lm-eval. Source: https://github.com/EleutherAI/lm-evaluation-harness
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.endpoint import NO_KEY
from evaluation.measuring import UsageError, listed, running_servers
from evaluation.provenance import arm_facts
from evaluation.report import console
from evaluation.run import narrow
from evaluation.serving import Serving, ServingError
from presets.arm import Arm
from presets.profile import Profile, load_profile
from presets.safety_config import SafetyConfig, find_safety_config, render_system_prompt
from presets.yaml_file import PresetError

TASKS = "gsm8k,ifeval"
CONCURRENCY = 16
RESULT = "capability.json"
NORMAL_95 = 1.96
"""Standard errors on either side of a 95 % interval; the harness gives standard errors."""


class HarnessError(RuntimeError):
    """The harness did not finish. The message says where its own words are."""


@dataclass(frozen=True)
class Finding:
    """One metric of one task, on the task's own scale, with its standard error (None where the harness gives none)."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int


def check(profile: Profile, options: argparse.Namespace) -> dict[str, list[Finding]]:
    """The findings of each arm; what an earlier call found under the same conditions is not asked again.

    Raises `UsageError`, `PresetError`, `ServingError` and `HarnessError`.
    """
    config = find_safety_config(options.config, profile.taxonomy) if options.config else None
    for arm in profile.arms:
        if arm.filter is not None or (config is not None and arm.demos is not None):
            raise UsageError(f"arm {arm.id!r} has a filter or demos, which the harness cannot ask for; leave it out")
    asked = {arm.id: _conditions(profile, arm, config, options) for arm in profile.arms}
    found = {arm: _earlier(options.out / arm / RESULT, asked[arm]) for arm in asked}
    if None in found.values():
        if find_spec("lm_eval") is None:
            raise UsageError("lm-eval is not installed; run `.venv/bin/python -m pip install 'lm-eval[api]'`")
        with running_servers(profile, options.out / "logs") as serving:
            for arm in profile.arms:
                if found[arm.id] is None:
                    found[arm.id] = _measure(arm, serving, asked[arm.id], options)
    return {arm: each for arm, each in found.items() if each is not None}


def _conditions(profile: Profile, arm: Arm, config: SafetyConfig | None, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "arm": arm_facts(arm, profile.server(arm.server)),
        "tasks": listed(options.tasks, "--tasks"),
        "limit": options.limit,
        "system_prompt": render_system_prompt(config) if config is not None and arm.shows_config else None,
    }


def _earlier(path: Path, asked: Mapping[str, Any]) -> list[Finding] | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [Finding(**each) for each in kept["findings"]] if kept["asked"] == asked else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _measure(arm: Arm, serving: Serving, asked: Mapping[str, Any], options: argparse.Namespace) -> list[Finding]:
    folder = options.out / arm.id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "harness.log"
    print(f"evaluation.capability: arm {arm.id}; the harness writes to {path}", file=sys.stderr)
    raw = folder / "results.json"
    raw_before = set(folder.glob("results_*.json"))
    command = harness_command(arm.model, serving.base_url(arm.server), asked, raw, options.include_path)
    key = serving.profile.server(arm.server).api_key or NO_KEY
    # The key goes by the environment, where no list of processes shows it; a proxy must not come between us and our server.
    environment = {**os.environ, "OPENAI_API_KEY": key, "NO_PROXY": "127.0.0.1,localhost"}
    with path.open("w", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    written = set(folder.glob("results_*.json")) - raw_before
    if code or not written:
        last = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise HarnessError(f"arm {arm.id!r}: the harness ended with exit code {code}: {''.join(last)} (all in {path})")
    found = read_results(max(written))
    content = {"asked": asked, "findings": [asdict(each) for each in found]}
    (folder / RESULT).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return found


def harness_command(
    model: str, base_url: str, asked: Mapping[str, Any], out: Path, include_path: Path | None
) -> list[str]:
    """The harness's command line for one arm. `out` is a file's name, to which the harness adds the date."""
    served = f"model={model},base_url={base_url}/chat/completions,num_concurrent={CONCURRENCY},tokenizer_backend=none"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions", "--model_args", served]
    command += ["--tasks", ",".join(asked["tasks"]), "--apply_chat_template", "--output_path", str(out)]
    if asked["limit"] is not None:
        command += ["--limit", str(asked["limit"])]
    if asked["system_prompt"] is not None:
        command += ["--system_instruction", asked["system_prompt"]]
    return command if include_path is None else [*command, "--include_path", str(include_path)]


def read_results(path: Path) -> list[Finding]:
    """The findings in a results file of the harness. Raises `HarnessError` when it holds none."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for task, metrics in content["results"].items():
        n = content.get("n-samples", {}).get(task, {}).get("effective", 0)
        for name, value in metrics.items():
            metric, _, filtered = name.partition(",")
            if not isinstance(value, int | float) or not filtered or metric.endswith("_stderr"):
                continue
            stderr = metrics.get(f"{metric}_stderr,{filtered}")
            known = isinstance(stderr, int | float) and math.isfinite(stderr)
            shown = metric if filtered == "none" else f"{metric} ({filtered})"
            found.append(Finding(task, shown, float(value), float(stderr) if known else None, n))
    if not found:
        raise HarnessError(f"{path}: holds no metric; do the tasks have any?")
    return found


def print_findings(found: Mapping[str, Sequence[Finding]], where: Console) -> None:
    """Print one row per metric, one column per arm."""
    table = Table(title="Capability [95 % interval]", title_justify="left")
    table.add_column("task")
    table.add_column("metric")
    for arm in found:
        table.add_column(arm, justify="right")
    cells = {arm: {(each.task, each.metric): _shown(each) for each in mine} for arm, mine in found.items()}
    for task, metric in dict.fromkeys(place for mine in cells.values() for place in mine):
        table.add_row(task, metric, *(mine.get((task, metric), "–") for mine in cells.values()))
    where.print(table)


def _shown(found: Finding) -> str:
    spread = "–" if found.stderr is None else f"±{NORMAL_95 * found.stderr:.3f}"
    return f"{found.value:.3f} {spread}, n {found.n}"


def main(argv: Sequence[str] | None = None) -> int:
    """Check arms; returns the exit code: 2 for a wrong command, 1 where a server or the harness failed."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.capability", description="What does control cost?")
    parser.add_argument("--profile", required=True, help="a profile's id, or a YAML file")
    parser.add_argument("--arms", required=True, help="arms' ids, with commas between them")
    parser.add_argument("--tasks", default=TASKS, help="the harness's generative tasks (default: %(default)s)")
    parser.add_argument("--include-path", type=Path, help="a folder with tasks of one's own")
    parser.add_argument("--limit", type=int, help="at most so many questions a task")
    parser.add_argument("--config", help="a ready-made config's id, or a .yaml or .txt file (default: none is shown)")
    parser.add_argument("--out", required=True, type=Path, help="folder for the results; arms that are there stay")
    options = parser.parse_args(argv)
    try:
        if options.limit is not None and options.limit < 1:
            raise UsageError(f"--limit is {options.limit}; at least 1 question is needed")
        profile = narrow(load_profile(options.profile), listed(options.arms, "--arms"))
        found = check(profile, options)
    except (UsageError, PresetError) as error:
        print(f"evaluation.capability: {error}", file=sys.stderr)
        return 2
    except (ServingError, HarnessError, OSError) as error:
        print(f"evaluation.capability: {error}", file=sys.stderr)
        return 1
    print_findings(found, console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
