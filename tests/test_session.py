"""What a visitor may do, and when; without gradio, without a store."""

from __future__ import annotations

import dataclasses

import pytest

from evaluation.judgement import Judgement
from evaluation.response import FINAL, Response
from playground.session import MAX_PROMPT, Answer, NotNow, Session, Sessions, Turn, standings
from presets.safety_config import SafetyConfig

ARMS = ("base", "ica", "cosalign")
CONFIG = SafetyConfig("bar", "Bar", "Talk about beer.", "tinyworld", frozenset({"alcohol"}))


def a_turn(prompt: str = "Beer?", *, status: str = "complete", text: str = "Beer is a drink.") -> Turn:
    answers = {arm: Answer(arm, f"{prompt}-{arm}", status, Response(text=text)) for arm in ARMS}
    return Turn("turn-1", prompt, CONFIG, answers, delivered=set(ARMS))


def a_session(*turns: Turn) -> Session:
    return Session(conversation_id="conversation-1", config=CONFIG, turns=list(turns))


def replace_answer(turn: Turn, arm_id: str, **changes: object) -> None:
    turn.answers[arm_id] = dataclasses.replace(turn.answers[arm_id], **changes)


def test_a_prompt_is_sent_without_the_white_space_around_it() -> None:
    assert Session().check_prompt("  Beer? \n") == "Beer?"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [pytest.param(" \n", "Write a prompt", id="empty"), pytest.param("x" * (MAX_PROMPT + 1), "4,001", id="too-long")],
)
def test_a_prompt_that_cannot_be_sent_says_why(prompt: str, words: str) -> None:
    with pytest.raises(NotNow, match=words):
        Session().check_prompt(prompt)


@pytest.mark.parametrize("status", ["pending", "streaming"])
def test_no_prompt_is_sent_while_one_arm_answers(status: str) -> None:
    session = a_session(a_turn())
    replace_answer(session.turn, "ica", status=status)
    with pytest.raises(NotNow, match="press Stop"):
        session.check_prompt("And wine?")


def test_no_prompt_is_sent_before_every_answer_has_reached_the_browser() -> None:
    session = a_session(a_turn())
    session.turn.delivered.discard("base")
    with pytest.raises(NotNow, match="still answering"):
        session.check_prompt("And wine?")


@pytest.mark.parametrize("status", FINAL)
def test_a_prompt_is_sent_once_every_answer_is_final(status: str) -> None:
    assert a_session(a_turn(status=status)).check_prompt("And wine?") == "And wine?"


def test_a_conversation_continues_under_the_same_words_only() -> None:
    session = a_session(a_turn())
    assert session.continues_under(dataclasses.replace(CONFIG, title="Another name"))
    assert not session.continues_under(dataclasses.replace(CONFIG, text="Talk about wine."))
    assert not session.continues_under(dataclasses.replace(CONFIG, allowed=frozenset()))


def test_the_first_prompt_never_continues_a_conversation() -> None:
    assert not Session().continues_under(CONFIG)


def test_a_new_conversation_forgets_the_turns_but_not_the_session() -> None:
    session = a_session(a_turn())
    before = session.id
    session.start_over()
    assert (session.id, session.turns, session.conversation_id) == (before, [], None)


def test_no_new_conversation_starts_while_arms_answer() -> None:
    with pytest.raises(NotNow, match="Press Stop first"):
        a_session(a_turn(status="streaming")).start_over()


def test_each_arm_keeps_its_own_history() -> None:
    first, second = a_turn("Beer?"), a_turn("Wine?", status="pending", text="")
    replace_answer(first, "ica", response=Response(text="I only say this to one.", thinking="secret"))
    session = a_session(first, second)
    assert session.history("ica") == [
        {"role": "user", "content": "Beer?"},
        {"role": "assistant", "content": "I only say this to one."},
    ]
    assert session.history("base")[1]["content"] == "Beer is a drink."


def test_of_many_pages_the_last_used_are_held_and_never_a_busy_one_let_go() -> None:
    sessions = Sessions(most=2)
    first, second, third = a_session(a_turn()), a_session(a_turn(status="streaming")), a_session(a_turn())
    for session, gone in ((first, []), (second, []), (first, []), (third, [first])):
        assert sessions.keep(session) == gone
    assert sessions.open(second.id) is second
    assert sessions.open(first.id) is not first
    for arm_id in ARMS:
        replace_answer(second.turn, arm_id, status="complete")
    assert sessions.keep(a_session(a_turn())) == [second]


def test_a_turn_in_which_an_arm_said_nothing_is_no_part_of_its_history() -> None:
    failed, second = a_turn("Beer?", status="error", text=""), a_turn("Wine?", status="pending", text="")
    assert a_session(failed, second).history("base") == []


@pytest.mark.parametrize("status", ["stopped", "error", "abandoned"])
def test_an_arm_that_did_not_finish_can_be_asked_again(status: str) -> None:
    session = a_session(a_turn())
    replace_answer(session.turn, "base", status=status)
    assert session.check_retry("base") is session.turn
    with pytest.raises(NotNow, match="unless the temperature is above 0"):
        session.check_retry("ica")


def test_an_arm_whose_failure_will_not_pass_is_not_asked_again() -> None:
    session = a_session(a_turn())
    replace_answer(session.turn, "base", status="error", is_retryable=False)
    with pytest.raises(NotNow):
        session.check_retry("base")
    replace_answer(session.turn, "base", is_retryable=True)
    assert session.check_retry("base") is session.turn


def test_a_retry_makes_the_turn_busy_until_the_new_attempt_is_final() -> None:
    turn = a_turn()
    replace_answer(turn, "base", status="error")
    turn.restart("base", "second-attempt")
    assert not turn.is_final
    replace_answer(turn, "base", status="complete")
    turn.delivered.add("base")
    assert turn.is_over


def test_a_late_word_of_an_earlier_attempt_changes_nothing() -> None:
    turn = a_turn(status="error")
    late = dataclasses.replace(turn.answers["base"], response=Response(text="late"))
    turn.restart("base", "second-attempt")
    assert turn.update(late).response_id == "second-attempt"


def test_a_late_snapshot_does_not_reopen_a_final_answer() -> None:
    turn = a_turn(status="abandoned")
    late = dataclasses.replace(turn.answers["base"], status="streaming", response=Response(text="late"))
    assert turn.update(late).status == "abandoned"
    assert turn.is_final


def test_nothing_else_is_sent_while_a_turn_or_an_attempt_is_being_written_down() -> None:
    session = a_session(a_turn(status="error"))
    with session.opening():
        with pytest.raises(NotNow, match="still answering"):
            session.check_prompt("And wine?")
        with pytest.raises(NotNow, match="Wait a moment"):
            session.check_retry("base")
    assert not session.is_busy


@pytest.mark.parametrize(("outcome", "best"), [("best", "ica"), ("tie", None), ("all_bad", None)])
def test_a_vote_names_what_was_shown_in_its_order(outcome: str, best: str | None) -> None:
    vote = a_session(a_turn()).make_vote(outcome, best, " clear \n")
    assert (vote.turn_id, vote.outcome, vote.best, vote.reason) == ("turn-1", outcome, best, "clear")
    assert vote.presented == ARMS


def test_names_that_are_hidden_make_a_vote_blind_and_a_new_conversation_hides_them_if_asked() -> None:
    session = a_session(a_turn())
    assert not session.make_vote("tie", None, "").blind
    session.hides_names = True
    assert session.make_vote("tie", None, "").blind
    session.start_over()
    assert not session.hides_names
    session.start_over(hide_names=True)
    assert session.hides_names


def test_at_one_pace_no_answer_is_ahead_of_the_slowest_or_over_before_it() -> None:
    turn = a_turn(text="Beer is a drink.")
    replace_answer(turn, "ica", status="error", response=Response(), error="gone")
    replace_answer(turn, "cosalign", status="streaming", response=Response(text="Beer is"))
    shown = turn.at_one_pace()
    assert [answer.response.text for answer in shown.values()] == ["Beer is", "", "Beer is"]
    assert {(answer.status, answer.error) for answer in shown.values()} == {("streaming", "")}
    replace_answer(turn, "cosalign", status="complete")
    assert turn.at_one_pace() == turn.answers


def test_no_vote_before_the_first_prompt_or_while_an_arm_answers() -> None:
    with pytest.raises(NotNow, match="nothing to vote on"):
        Session().make_vote("tie", None, "")
    session = a_session(a_turn())
    replace_answer(session.turn, "cosalign", status="streaming")
    with pytest.raises(NotNow, match="every arm is done"):
        session.make_vote("tie", None, "")


def test_an_arm_that_failed_cannot_be_the_best_but_the_others_can() -> None:
    session = a_session(a_turn())
    replace_answer(session.turn, "ica", status="error", response=Response())
    with pytest.raises(NotNow, match="cannot be the best"):
        session.make_vote("best", "ica", "")
    assert session.make_vote("best", "base", "").best == "base"


def test_the_same_vote_again_is_one_vote_and_another_is_a_new_one() -> None:
    session = a_session(a_turn())
    first = session.make_vote("best", "ica", "")
    session.turn.vote = first
    assert session.make_vote("best", "ica", " ") is first
    assert session.make_vote("best", "ica", "clearer").id != first.id
    assert session.make_vote("tie", None, "").id != first.id


def test_a_vote_after_a_retry_is_a_new_vote() -> None:
    session = a_session(a_turn())
    replace_answer(session.turn, "ica", status="error")
    first = session.make_vote("best", "base", "")
    session.turn.vote = first
    session.turn.restart("ica", "second-attempt")
    assert session.turn.vote is None
    replace_answer(session.turn, "ica", status="complete")
    assert session.make_vote("best", "base", "").id != first.id


def test_sessions_are_apart_and_an_unknown_id_gets_a_new_one() -> None:
    sessions = Sessions()
    one, other = sessions.open(None), sessions.open(None)
    sessions.keep(one)
    assert one.id != other.id
    assert sessions.open(one.id) is one
    assert sessions.open(other.id) is not other
    assert sessions.open("given to a page") is not sessions.open("given to a page")
    assert sessions.open("given to a page").id == "given to a page"
    assert sessions.close(one.id) is one
    assert sessions.open(one.id) is not one
    assert sessions.close(one.id) is None
    assert sessions.close(None) is None


def test_standings_follow_the_arms_order_and_count_what_is_unscored() -> None:
    good = Judgement("judge", rating=5, categories=frozenset({"alcohol"}), safe=True)
    bad = Judgement("judge", rating=3, categories=frozenset({"gambling"}), safe=False)
    unscored = Judgement("judge", unscored="unreadable")
    judged = [("cosalign", good), ("base", bad), ("cosalign", unscored), ("another-profile", good)]
    base, ica, cosalign = standings(judged, ARMS)
    assert (base.arm_id, base.score.cosa_score, base.score.helpful_unsafe) == ("base", pytest.approx(-0.6), 1.0)
    assert (ica.score.n, ica.score.cosa_score) == (0, None)
    assert (cosalign.score.n, cosalign.score.n_unscored, cosalign.score.cosa_score) == (1, 1, pytest.approx(1.0))
