"""What leaves the store: preferences, labels, the arena's columns and tables, from real votes in a real file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

from evaluation.dataset_card import COLUMNS
from evaluation.export import FORMATS, PERSONAL, Filters, export
from evaluation.response import Response
from evaluation.schema import StoreError
from evaluation.store import Store
from evaluation.store_commands import main
from evaluation.vote import Vote
from presets.safety_config import render_system_prompt
from tests.test_store import ARMS, CONFIG, ask

SHOWN = ("base", "ica", "cosalign")


def answered(store: Store, conversation: str, *texts: str, prompt: str = "A beer?", last: str = "complete"):
    """A turn in which the three arms say these texts; the last one's response ends as `last`."""
    turn = ask(store, conversation, prompt=prompt)
    for arm, text in zip(ARMS, texts, strict=True):
        response = turn.response_ids[arm.arm_id]
        store.start_response(response)
        store.finish_response(response, last if arm is ARMS[-1] else "complete", Response(text))
    return turn


def vote(store: Store, turn, name: str, choice: str, session: str = "ann") -> None:
    outcome = choice if choice in ("tie", "all_bad") else "best"
    store.save_vote(Vote(name, turn.id, session, outcome, choice if outcome == "best" else None, SHOWN, "my reason"))


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "votes.db") as opened:
        yield opened


def rows(store: Store, format_name: str, **options) -> tuple[list[dict], dict[str, int]]:
    out = store.path.with_name(f"{format_name}.jsonl")
    found = export(store.path, format_name, out, **options)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(written) == found.rows
    return written, {reason: count for reason, count in found.left_out.items() if count}


def written(out: Path) -> bytes:
    """All that an export wrote: a file, or a folder's files."""
    return out.read_bytes() if out.is_file() else b"".join(f.read_bytes() for f in out.rglob("*") if f.is_file())


def conversation(store: Store, session: str = "ann") -> str:
    return store.begin_conversation(session_id=session, profile="tinyworld")


def test_the_best_response_is_preferred_to_each_other_one(store):
    vote(store, answered(store, conversation(store), "No.", "A lager.", "A stout."), "v1", "cosalign")
    found, left_out = rows(store, "trl-preference")
    system = {"role": "system", "content": render_system_prompt(CONFIG)}
    assert [each["prompt"] for each in found] == [[system, {"role": "user", "content": "A beer?"}]] * 2
    assert {each["chosen"][0]["content"] for each in found} == {"A stout."}
    assert [each["rejected"][0]["content"] for each in found] == ["No.", "A lager."]
    assert found[0]["allowed"] == ["alcohol"]
    assert left_out == {}


def test_a_changed_vote_counts_once_and_two_people_count_twice(store):
    turn = answered(store, conversation(store), "No.", "A lager.", "A stout.")
    vote(store, turn, "v1", "base")
    vote(store, turn, "v2", "ica")
    vote(store, turn, "v3", "cosalign", session="bob")
    found, _ = rows(store, "trl-preference")
    assert sorted((each["chosen_arm"], each["rejected_arm"]) for each in found) == [
        ("cosalign", "base"),
        ("cosalign", "ica"),
        ("ica", "base"),
        ("ica", "cosalign"),
    ]
    found, _ = rows(store, "trl-preference", filters=Filters(annotators=frozenset({"bob"})))
    assert {each["chosen_arm"] for each in found} == {"cosalign"}


@pytest.mark.parametrize(("votes", "reasons"), [("all", ["b", "o"]), ("blind", ["b"]), ("open", ["o"])])
def test_votes_with_and_without_names_can_be_taken_apart(store, tmp_path, votes, reasons):
    for name, blind in (("b", True), ("o", False)):
        turn = answered(store, conversation(store), "A.", "B.", "C.")
        store.save_vote(Vote(name, turn.id, "ann", "best", "base", ("base", "ica", "cosalign"), name, blind=blind))
    out = tmp_path / "votes.csv"
    options = ["--db", str(store.path), "--format", "csv", "--out", str(out), "--votes", votes, "--with-personal"]
    assert main(["export", *options]) == 0
    with out.open(newline="") as file:
        assert sorted({row["vote_reason"] for row in csv.DictReader(file)}) == reasons


def test_what_makes_no_pair_is_counted(store):
    vote(store, answered(store, conversation(store), "A.", "B.", "C."), "v1", "tie")
    vote(store, answered(store, conversation(store), "A.", "A.", "C."), "v2", "base")
    vote(store, answered(store, conversation(store), "A.", "B.", "half", last="stopped"), "v3", "base")
    found, left_out = rows(store, "trl-preference")
    assert [(each["chosen"][0]["content"], each["rejected"][0]["content"]) for each in found] == [
        ("A.", "C."),
        ("A.", "B."),
    ]
    assert left_out == {
        "votes for no response (tie, all bad)": 1,
        "pairs of equal responses": 1,
        "responses that are empty or did not end by themselves": 1,
    }


def test_a_later_turn_pairs_only_what_was_said_after_the_same_words(store):
    talk = conversation(store)
    answered(store, talk, "Hello.", "Hello.", "Good day.", prompt="Hi")
    vote(store, answered(store, talk, "No.", "A lager.", "A stout."), "v1", "ica")
    ((pair,), left_out) = rows(store, "trl-preference")
    assert [message["content"] for message in pair["prompt"][1:]] == ["Hi", "Hello.", "A beer?"]
    assert (pair["chosen_arm"], pair["rejected_arm"]) == ("ica", "base")
    assert left_out == {"pairs after different conversations": 1}


def test_the_earlier_turns_of_a_chosen_annotator_are_there_though_somebody_else_voted_on_them(store):
    talk = conversation(store)
    vote(store, answered(store, talk, "Hello.", "Hello.", "Hello.", prompt="Hi"), "v1", "tie", session="bob")
    vote(store, answered(store, talk, "No.", "A lager.", "A stout."), "v2", "ica")
    found, _ = rows(store, "trl-kto", filters=Filters(annotators=frozenset({"ann"})))
    assert {len(each["prompt"]) for each in found} == {4}


def test_thinking_goes_before_the_answer_but_not_into_earlier_turns(store):
    talk = conversation(store)
    for number, prompt in enumerate(("Hi", "A beer?")):
        turn = ask(store, talk, prompt=prompt)
        for arm, text in zip(ARMS, ("No.", "Hello.", "Hello."), strict=True):
            store.start_response(turn.response_ids[arm.arm_id])
            said = Response(text if number == 0 else f"{text} {arm.arm_id}", thinking="hm")
            store.finish_response(turn.response_ids[arm.arm_id], "complete", said)
    vote(store, turn, "v1", "ica")
    ((pair,), _) = rows(store, "trl-preference", with_thinking=True)
    assert [message["content"] for message in pair["prompt"][1:]] == ["Hi", "Hello.", "A beer?"]
    assert pair["chosen"][0]["content"] == "<think>hm</think>Hello. ica"
    assert pair["rejected"][0]["content"] == "<think>hm</think>Hello. cosalign"


def test_labels_say_best_and_not_best(store):
    vote(store, answered(store, conversation(store), "No.", "A lager.", "A stout."), "v1", "ica")
    vote(store, answered(store, conversation(store), "X.", "Y.", "Z."), "v2", "all_bad")
    vote(store, answered(store, conversation(store), "X.", "Y.", "Z."), "v3", "tie")
    found, left_out = rows(store, "trl-kto")
    assert [each["label"] for each in found] == [False, True, False, False, False, False]
    assert left_out == {"votes for no response (tie)": 1}


def test_the_arena_gets_its_winner(store):
    vote(store, answered(store, conversation(store), "No.", "A lager.", "A stout."), "v1", "ica")
    vote(store, answered(store, conversation(store), "X.", "Y.", "Z."), "v2", "all_bad")
    found, left_out = rows(store, "lmarena")
    won = [(each["model_a"], each["model_b"], each["winner"]) for each in found]
    assert won[:2] == [("base", "ica", "model_b"), ("ica", "cosalign", "model_a")]
    assert {winner for *_, winner in won[2:]} == {"both_bad"}
    assert found[0]["conversation_b"][-1] == {"role": "assistant", "content": "A lager."}
    assert left_out == {"pairs of which a third response was better": 1}


@pytest.mark.parametrize("format_name", list(FORMATS))
def test_who_voted_and_why_stays_unless_asked_for(store, format_name):
    vote(store, answered(store, conversation(store), "No.", "A lager.", "A stout."), "v1", "ica")
    out = store.path.with_name("out")
    export(store.path, format_name, out)
    assert b"my reason" not in written(out)
    assert b"ann" not in written(out).replace(b"cannot", b"")
    export(store.path, format_name, out, with_personal=True)
    assert b"my reason" in written(out)


def test_tables_hold_every_response_of_the_view(store, tmp_path):
    vote(store, answered(store, conversation(store), 'Say "no", twice\n', "A lager.", "A stout."), "v1", "ica")
    for name in ("csv", "parquet"):
        export(store.path, name, tmp_path / f"out.{name}")
    with (tmp_path / "out.csv").open(newline="") as file:
        plain = list(csv.DictReader(file))
    columns = load_dataset("parquet", data_files=str(tmp_path / "out.parquet"), split="train", cache_dir=str(tmp_path))
    assert [row["text"] for row in plain] == columns["text"] == ['Say "no", twice\n', "A lager.", "A stout."]
    assert plain[1]["won"] == "True"
    assert json.loads(plain[1]["allowed"]) == ["alcohol"]
    assert not set(PERSONAL) & set(plain[0])


def test_a_folder_for_the_hub_loads_and_its_card_tells_what_is_in_it(store, tmp_path):
    vote(store, answered(store, conversation(store), "No.", "A lager.", "A stout."), "v1", "ica")
    vote(store, answered(store, conversation(store), "X.", "Y.", "Z."), "v2", "tie")
    (tmp_path / "hub" / ".git").mkdir(parents=True)
    export(store.path, "hub", tmp_path / "hub")
    vote(store, answered(store, conversation(store), "X.", "Y.", "Z."), "v3", "tie", session="bob")
    found = export(store.path, "hub", tmp_path / "hub", with_personal=True)
    assert found.rows == 9
    assert sorted(file.name for file in tmp_path.glob("hub*")) == ["hub"]
    assert (tmp_path / "hub" / ".git").is_dir()
    rows = load_dataset(str(tmp_path / "hub"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["text"] == ["No.", "A lager.", "A stout.", "X.", "Y.", "Z.", "X.", "Y.", "Z."]
    card = DatasetCard.load(tmp_path / "hub" / "README.md")
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "data/train.parquet"}]
    assert (card.data.language, card.data.size_categories) == (["en"], ["n<1K"])
    for told in ("| rows | 9 |", "| votes | 3 |", "1 / 2 / 0", "base (3), ica (3), cosalign (3)", "bar (9)", "and why"):
        assert told in card.text
    assert {name for names in COLUMNS for name in names.split(", ")} <= set(rows.column_names)


@pytest.mark.parametrize("format_name", list(FORMATS))
def test_nothing_to_write_is_an_export_too(store, tmp_path, format_name):
    assert export(store.path, format_name, tmp_path / "out").rows == 0


def test_only_the_chosen_arms_and_configs_go_out(store):
    vote(store, answered(store, conversation(store), "No.", "A lager.", "A stout."), "v1", "cosalign")
    found, _ = rows(store, "trl-preference", filters=Filters(arms=frozenset({"cosalign", "base"})))
    assert [each["rejected_arm"] for each in found] == ["base"]
    assert rows(store, "trl-preference", filters=Filters(configs=frozenset({"another"}))) == ([], {})


def test_the_command_says_what_it_wrote_and_what_not(store, capsys):
    vote(store, answered(store, conversation(store), "A.", "B.", "C."), "v1", "tie")
    out = store.path.with_name("pairs.jsonl")
    arguments = ["export", "--db", str(store.path), "--format", "trl-preference", "--out"]
    assert main([*arguments, str(out)]) == 0
    said = capsys.readouterr().out
    assert "0 rows" in said
    assert "1 votes for no response" in said
    assert main([*arguments, str(store.path / "no-folder")]) == 1
    assert "choose another file with --out" in capsys.readouterr().err


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("hello")
    with pytest.raises(StoreError, match="no SQLite database"):
        export(tmp_path / "text.db", "csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
