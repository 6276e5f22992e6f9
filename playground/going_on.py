"""An earlier conversation on show again, so that the next prompt goes on from it."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.store import StoredResponse, StoredTurn
from playground.session import Answer, Turn
from presets.safety_config import SafetyConfig


def turns_of(stored: Sequence[StoredTurn], config: SafetyConfig) -> list[Turn]:
    """Stored turns, oldest first, as a page holds them: answered, judged, and without a vote of its visitor."""
    turns: list[Turn] = []
    for each in stored:
        is_drawn = each.sampling.temperature > 0
        answers = {said.arm.arm_id: _answer(said, is_drawn=is_drawn) for said in each.responses}
        earlier = tuple(before.prompt for before in turns)
        turn = Turn(each.id, each.prompt, config, answers, earlier, sampling=each.sampling)
        turn.delivered.update(answers)
        turns.append(turn)
    return turns


def _answer(said: StoredResponse, *, is_drawn: bool) -> Answer:
    arm_id = said.arm.arm_id
    return Answer(
        arm_id,
        said.id,
        said.status,
        said.response,
        said.error,
        judgement=said.judgement,
        attempt=said.attempt,
        is_drawn=is_drawn,
    )
