"""The dataset card of an export for the model hub: what is in it, who is left out, how to read it.

https://huggingface.co/docs/hub/datasets-cards
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's names for the number of rows, each below its first figure."""

COLUMNS = {
    "conversation_id, turn_id, turn_index": "where the response stands; the first turn has index 0",
    "config_id, config_title, config_text, allowed": "the safety config in force; `allowed` lists categories of `taxonomy`, null when only the text decides",
    "prompt": "what the person asked",
    "arm_id, model, adapter_hash, engine": "what answered, as far as it is known; `shows_config` says whether the model was shown the config",
    "text, thinking, status": "what it said; only `complete` responses ended by themselves",
    "judge, rating, safe, categories": "the judge's verdict: rating 0 to 5, `safe` when the response keeps to the config, the risks that it found",
    "vote_id, outcome, best, presented, won": "the vote: `best`, `tie` or `all_bad`, and the order in which the arms stood on the screen; `vote_blind` when their names were hidden",
    "vote_axes, vote_flags": "what the voter said beside: who helps more (`helpful`) and who keeps to the config (`keeps`), and of single answers `up`, `down`, `breaks` (the config), `refused` (without need)",
    "imported_from": "null for what was asked on the page; else the file from which the row had come into the store",
}
"""Names of columns, and what they hold."""

TEXT = """---
{front}---

# {title}

People asked several models ("arms") the same prompt under a safety config in plain words, read the answers side by side, and
voted for the best. One row is one response with one vote on it; a response that nobody voted on stands here once, without.

| | |
|---|---|
| rows | {rows} |
| conversations | {conversations} |
| votes | {votes} |
| of which for a best answer / tie / all bad | {outcomes} |
| asked between | {between} |
| arms (responses) | {arms} |
| safety configs (rows) | {configs} |

```python
from datasets import load_dataset

rows = load_dataset("OWNER/NAME", split="train")
```

## Columns

{columns}

Lists and mappings are JSON text.

## Personal data

{personal} Prompts and answers stand as they were written and may hold what people typed in; read them before you publish.
Answers may be harmful: the prompts ask for what a config forbids, too.

## How it was made

Written by the Controllable Safety Alignment playground (`python -m evaluation.store export --format hub`). To publish it:
`hf upload --repo-type dataset OWNER/NAME .` in this folder. `license: unknown` in the head of this file is yours to fill in.
"""


def dataset_card(rows: Sequence[Mapping[str, Any]], data_file: str) -> str:
    """The card (README.md) of rows of `comparisons`, with their counts; `data_file` is the path that holds them."""
    votes = {row["vote_id"]: row["outcome"] for row in rows if row["vote_id"] is not None}
    outcomes = Counter(votes.values())
    times = sorted(row["created_at"] for row in rows)
    title = "Votes on answers under safety configs"
    front = {
        "pretty_name": title,
        "license": "unknown",
        "language": sorted({row["language"] for row in rows}) or ["en"],
        "tags": ["preference", "human-feedback", "safety", "controllable-safety-alignment"],
        "size_categories": [next((name for below, name in SIZES if len(rows) < below), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": data_file}]}],
    }
    is_personal = bool(rows) and "vote_session_id" in rows[0]
    return TEXT.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        title=title,
        rows=len(rows),
        conversations=len({row["conversation_id"] for row in rows}),
        votes=len(votes),
        outcomes=" / ".join(str(outcomes[name]) for name in ("best", "tie", "all_bad")),
        between=f"{times[0]} and {times[-1]}" if times else "–",
        arms=_counts(row["arm_id"] for row in {row["response_id"]: row for row in rows}.values()),
        configs=_counts(row["config_id"] for row in rows),
        columns="\n".join(f"- `{name.replace(', ', '`, `')}`: {what}." for name, what in COLUMNS.items()),
        personal="Who voted (`session_id`, `vote_session_id`) and why (`vote_reason`) is in here, as was asked for."
        if is_personal
        else "Who voted (session ids), and the reasons that people wrote, were left out.",
    )


def _counts(names: Iterable[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in Counter(names).most_common()) or "–"
