"""What the tab does when gradio lets a closed page's session go."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from evaluation.judge import open_judge
from playground.page import build_page
from playground.session import Session
from presets.safety_config import find_safety_config
from tests.stage import Stage, answers, stage


def test_a_closed_page_is_forgotten_and_its_unfinished_answers_are_abandoned(tmp_path: Path) -> None:
    async def close_early(parts: Stage) -> None:
        compare = build_page(
            parts.profile, parts.serving, partial(open_judge, parts.profile, parts.serving), parts.store
        ).compare
        session = Session()
        await compare.answering.begin(session, "How do I play poker?", find_safety_config("casino", "tinyworld"))
        compare.sessions.keep(session)
        for closed in (session.id, session.id, None):
            compare.session.delete_callback(closed)
        await compare.answering.close()
        assert compare.sessions.open(session.id) is not session
        assert [row["status"] for row in parts.store.comparisons()] == ["abandoned"] * len(compare.panes.all)

    with stage(answers(), tmp_path) as parts:
        asyncio.run(close_early(parts))
