"""The store's tables and views, and the steps that made them what they are. For `evaluation.schema` only."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

BASE = """
CREATE TABLE configs(
  hash TEXT PRIMARY KEY CHECK(length(hash) = 64),
  config_id TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, language TEXT NOT NULL, taxonomy TEXT NOT NULL,
  allowed TEXT CHECK(allowed IS NULL OR json_valid(allowed)),
  source TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;

CREATE TABLE processes(
  id TEXT PRIMARY KEY, pid INTEGER NOT NULL, started TEXT NOT NULL,
  opened_at TEXT NOT NULL, closed_at TEXT) STRICT;

CREATE TABLE conversations(
  id TEXT PRIMARY KEY, session_id TEXT NOT NULL, profile TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;

CREATE TABLE turns(
  id TEXT PRIMARY KEY,
  conversation_id TEXT NOT NULL REFERENCES conversations(id),
  turn_index INTEGER NOT NULL CHECK(turn_index >= 0),
  prompt TEXT NOT NULL,
  config_hash TEXT NOT NULL REFERENCES configs(hash),
  system_prompt TEXT NOT NULL,
  temperature REAL NOT NULL, top_p REAL NOT NULL, max_tokens INTEGER NOT NULL, seed INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  UNIQUE(conversation_id, turn_index)) STRICT;

CREATE TABLE arm_versions(
  id TEXT PRIMARY KEY CHECK(length(id) = 64),
  arm_id TEXT NOT NULL, title TEXT NOT NULL, server TEXT NOT NULL, model TEXT NOT NULL,
  model_path TEXT, model_revision TEXT, adapter_path TEXT, adapter_hash TEXT CHECK(length(adapter_hash) = 64),
  shows_config INTEGER NOT NULL CHECK(shows_config IN (0, 1)),
  demos TEXT,
  prompt_template_version TEXT NOT NULL,
  engine TEXT, engine_version TEXT,
  library_versions TEXT NOT NULL CHECK(json_valid(library_versions)),
  created_at TEXT NOT NULL,
  CHECK(adapter_hash IS NULL OR adapter_path IS NOT NULL)) STRICT;

CREATE TABLE responses(
  id TEXT PRIMARY KEY,
  turn_id TEXT NOT NULL REFERENCES turns(id),
  arm_id TEXT NOT NULL,
  arm_version TEXT NOT NULL REFERENCES arm_versions(id),
  process_id TEXT NOT NULL REFERENCES processes(id),
  position INTEGER NOT NULL CHECK(position >= 0),
  attempt INTEGER NOT NULL CHECK(attempt >= 1),
  status TEXT NOT NULL CHECK(status IN ('pending', 'streaming', 'complete', 'stopped', 'error', 'abandoned')),
  text TEXT NOT NULL DEFAULT '', thinking TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
  finish_reason TEXT,
  returned_model TEXT NOT NULL DEFAULT '', request_id TEXT NOT NULL DEFAULT '',
  prompt_tokens INTEGER, completion_tokens INTEGER, ttft_ms REAL, duration_ms REAL,
  created_at TEXT NOT NULL, started_at TEXT, updated_at TEXT NOT NULL, finished_at TEXT,
  UNIQUE(turn_id, arm_id, attempt),
  CHECK((status IN ('pending', 'streaming')) = (finished_at IS NULL))) STRICT;

CREATE TABLE judgements(
  sequence INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  response_id TEXT NOT NULL REFERENCES responses(id),
  judge TEXT NOT NULL,
  rating INTEGER CHECK(rating BETWEEN 0 AND 5),
  categories TEXT CHECK(categories IS NULL OR json_valid(categories)),
  safe INTEGER CHECK(safe IN (0, 1)),
  reason TEXT NOT NULL, rule TEXT, raw TEXT NOT NULL, unscored TEXT,
  created_at TEXT NOT NULL,
  CHECK((rating IS NULL) = (unscored IS NOT NULL)),
  CHECK((categories IS NULL) = (unscored IS NOT NULL)),
  CHECK((safe IS NULL) = (unscored IS NOT NULL))) STRICT;

CREATE TABLE votes(
  id TEXT PRIMARY KEY,
  turn_id TEXT NOT NULL REFERENCES turns(id),
  session_id TEXT NOT NULL,
  revision INTEGER NOT NULL CHECK(revision >= 1),
  outcome TEXT NOT NULL CHECK(outcome IN ('best', 'tie', 'all_bad')),
  best TEXT,
  presented TEXT NOT NULL CHECK(json_valid(presented)),
  responses TEXT NOT NULL CHECK(json_valid(responses)),
  reason TEXT NOT NULL, created_at TEXT NOT NULL,
  UNIQUE(turn_id, session_id, revision),
  CHECK((outcome = 'best') = (best IS NOT NULL))) STRICT;

CREATE TRIGGER votes_no_update BEFORE UPDATE ON votes
BEGIN SELECT RAISE(ABORT, 'votes are append-only'); END;

CREATE TRIGGER votes_no_delete BEFORE DELETE ON votes
BEGIN SELECT RAISE(ABORT, 'votes are append-only'); END;

-- INSERT OR REPLACE deletes without asking the trigger above, unless recursive triggers are on.
CREATE TRIGGER votes_no_replace BEFORE INSERT ON votes
WHEN EXISTS (SELECT 1 FROM votes WHERE id = NEW.id
             OR (turn_id = NEW.turn_id AND session_id = NEW.session_id AND revision = NEW.revision))
BEGIN SELECT RAISE(ABORT, 'votes are append-only'); END;
"""

CURRENT = """
CREATE VIEW responses_current AS
SELECT * FROM responses AS r
WHERE attempt = (SELECT max(attempt) FROM responses WHERE turn_id = r.turn_id AND arm_id = r.arm_id);

CREATE VIEW judgements_current AS
SELECT * FROM judgements AS j
WHERE sequence = (SELECT max(sequence) FROM judgements WHERE response_id = j.response_id);

CREATE VIEW votes_current AS
SELECT * FROM votes AS v
WHERE revision = (SELECT max(revision) FROM votes WHERE turn_id = v.turn_id AND session_id = v.session_id);

-- One row per response and current vote; what goes out as data starts from here.
CREATE VIEW comparisons AS
SELECT
  c.session_id, c.profile, c.id AS conversation_id, t.id AS turn_id, t.turn_index, t.created_at, t.prompt,
  t.config_hash, g.config_id, g.title AS config_title, g.text AS config_text, g.language, g.taxonomy, g.allowed,
  g.source AS config_source, iif(a.shows_config, t.system_prompt, NULL) AS system_prompt,
  t.temperature, t.top_p, t.max_tokens, t.seed,
  r.id AS response_id, r.arm_id, r.attempt, r.id IN (SELECT id FROM responses_current) AS is_current,
  r.status, r.text, r.thinking, r.error, r.finish_reason, r.returned_model, r.request_id,
  r.prompt_tokens, r.completion_tokens, r.ttft_ms, r.duration_ms, r.started_at, r.finished_at,
  a.title AS arm_title, a.server, a.model, a.model_path, a.model_revision, a.adapter_path, a.adapter_hash,
  a.shows_config, a.demos, a.prompt_template_version, a.engine, a.engine_version, a.library_versions,
  j.judge, j.rating, j.categories, j.safe, j.reason AS judge_reason, j.rule, j.unscored, j.raw AS judge_raw,
  v.id AS vote_id, v.session_id AS vote_session_id, v.outcome, v.best, v.presented, v.reason AS vote_reason,
  CASE v.outcome WHEN 'best' THEN v.best = r.arm_id END AS won
FROM responses AS r
JOIN turns AS t ON t.id = r.turn_id
JOIN conversations AS c ON c.id = t.conversation_id
JOIN configs AS g ON g.hash = t.config_hash
JOIN arm_versions AS a ON a.id = r.arm_version
LEFT JOIN judgements_current AS j ON j.response_id = r.id
LEFT JOIN votes_current AS v ON v.turn_id = t.id AND r.id IN (SELECT value FROM json_each(v.responses))
ORDER BY c.created_at, c.id, t.turn_index, r.position, r.attempt, v.created_at;

CREATE INDEX conversations_by_session ON conversations(session_id);
CREATE INDEX judgements_by_response ON judgements(response_id, sequence);
CREATE INDEX responses_unfinished ON responses(process_id) WHERE finished_at IS NULL;
"""


def m001_base(db: Database) -> None:
    """Every table, and the triggers that make votes append-only."""
    db.executescript(BASE)


def m002_current(db: Database) -> None:
    """What counts now: the last attempt, judgement and vote; and the indexes that finding them needs."""
    db.executescript(CURRENT)


def m003_fingerprints(db: Database) -> None:
    """Which base weights an arm had and which demonstrations it showed, also in what goes out as data."""
    for column in ("model_hash", "demos_hash"):
        db.execute(f"ALTER TABLE arm_versions ADD COLUMN {column} TEXT CHECK(length({column}) = 64)")
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'comparisons'").fetchone()
    db.execute("DROP VIEW comparisons")
    db.execute(view.replace("a.demos,", "a.demos, a.demos_hash, a.model_hash,"))


def m004_judge_versions(db: Database) -> None:
    """What judged, also in what goes out as data; nothing is known of the judges of earlier judgements."""
    db.execute(
        """CREATE TABLE judge_versions(
             id TEXT PRIMARY KEY CHECK(length(id) = 64),
             facts TEXT NOT NULL CHECK(json_valid(facts)),
             created_at TEXT NOT NULL) STRICT"""
    )
    db.execute("ALTER TABLE judgements ADD COLUMN judge_version TEXT REFERENCES judge_versions(id)")
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'comparisons'").fetchone()
    view = view.replace("j.judge,", "j.judge, j.judge_version, w.facts AS judge_facts,")
    joined = "LEFT JOIN judge_versions AS w ON w.id = j.judge_version\nLEFT JOIN votes_current"
    db.execute("DROP VIEW comparisons")
    db.execute(view.replace("LEFT JOIN votes_current", joined))


def m005_blind_votes(db: Database) -> None:
    """Whether the names of the arms were hidden, also in what goes out as data; in earlier votes they never were."""
    db.execute("ALTER TABLE votes ADD COLUMN blind INTEGER NOT NULL DEFAULT 0 CHECK(blind IN (0, 1))")
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'comparisons'").fetchone()
    db.execute("DROP VIEW comparisons")
    db.execute(view.replace("v.presented,", "v.presented, v.blind AS vote_blind,"))


def m006_imports(db: Database) -> None:
    """Which conversations were read from an export, and all of a vote in what goes out as data; `vote_person` tells a
    turn's voters apart unnamed, from 1, and imported votes keep theirs, since a file need not have them all."""
    db.execute("ALTER TABLE votes ADD COLUMN person INTEGER")
    db.execute("ALTER TABLE conversations ADD COLUMN imported_from TEXT")
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'comparisons'").fetchone()
    person = """coalesce(v.person, (SELECT count(DISTINCT session_id) FROM votes WHERE turn_id = v.turn_id AND rowid <= (
        SELECT min(rowid) FROM votes WHERE turn_id = v.turn_id AND session_id = v.session_id))) AS vote_person"""
    vote = f"v.responses AS vote_responses, v.revision AS vote_revision, v.created_at AS voted_at, {person}"
    db.execute("DROP VIEW comparisons")
    view = view.replace("  c.session_id,", "  c.imported_from, c.session_id,")
    db.execute(view.replace("v.reason AS vote_reason,", f"v.reason AS vote_reason, {vote},"))


def m009_erasing(db: Database) -> None:
    """Words can be taken back: whose a conversation is, whether it is to be kept, and when its words were erased.

    `owner` is the SHA-256 (hex) of a key that only the browser holds that began it. Votes stay append-only but for their
    words, what is erased or not to be kept does not go out as data, and
    what comes late to an erased conversation comes without words.
    """
    db.execute("ALTER TABLE conversations ADD COLUMN owner TEXT CHECK(length(owner) = 64)")
    db.execute("ALTER TABLE conversations ADD COLUMN kept INTEGER NOT NULL DEFAULT 1 CHECK(kept IN (0, 1))")
    db.execute("ALTER TABLE conversations ADD COLUMN erased_at TEXT")
    fixed = ", ".join(column.name for column in db.table("votes").columns if column.name != "reason")
    db.execute("DROP TRIGGER votes_no_update")
    refuse = "BEGIN SELECT RAISE(ABORT, 'votes are append-only'); END"
    db.execute(f"CREATE TRIGGER votes_no_update BEFORE UPDATE OF {fixed} ON votes {refuse}")
    db.execute(f"""CREATE TRIGGER votes_no_new_reason BEFORE UPDATE OF reason ON votes
        WHEN NEW.reason <> '' OR NOT EXISTS (SELECT 1 FROM turns AS t JOIN conversations AS c ON c.id = t.conversation_id
                                             WHERE t.id = NEW.turn_id AND c.erased_at IS NOT NULL) {refuse}""")
    erased = """EXISTS (SELECT 1 FROM turns AS t JOIN conversations AS c ON c.id = t.conversation_id
                        WHERE t.id = {turn} AND c.erased_at IS NOT NULL)"""
    response = "(SELECT turn_id FROM responses WHERE id = NEW.response_id)"
    for table, turn, words in (
        ("judgements", response, "reason = '', raw = ''"),
        ("votes", "NEW.turn_id", "reason = ''"),
    ):
        db.execute(f"""CREATE TRIGGER {table}_of_erased AFTER INSERT ON {table} WHEN {erased.format(turn=turn)}
            BEGIN UPDATE {table} SET {words} WHERE id = NEW.id; END""")
    db.execute("""CREATE TRIGGER turns_of_erased BEFORE INSERT ON turns
        WHEN EXISTS (SELECT 1 FROM conversations WHERE id = NEW.conversation_id AND erased_at IS NOT NULL)
        BEGIN SELECT RAISE(ABORT, 'the words of this conversation were erased, start a new one'); END""")
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'comparisons'").fetchone()
    db.execute("DROP VIEW comparisons")
    db.execute(view.replace("ORDER BY c.created_at", "WHERE c.kept AND c.erased_at IS NULL\nORDER BY c.created_at"))


def m010_forks(db: Database) -> None:
    """Which turns are copies, in a conversation that goes on from an earlier one, also in what goes out as data."""
    db.execute("ALTER TABLE turns ADD COLUMN copied_from TEXT")
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'comparisons'").fetchone()
    db.execute("DROP VIEW comparisons")
    db.execute(view.replace("t.turn_index,", "t.turn_index, t.copied_from,"))


def m011_axes_and_flags(db: Database) -> None:
    """What a voter said beside the vote on the whole: on each axis, and of single answers; also in what goes out as data."""
    for column in ("axes", "flags"):
        db.execute(f"ALTER TABLE votes ADD COLUMN {column} TEXT NOT NULL DEFAULT '{{}}' CHECK(json_valid({column}))")
    (trigger,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'votes_no_update'").fetchone()
    db.execute("DROP TRIGGER votes_no_update")
    db.execute(trigger.replace("UPDATE OF ", "UPDATE OF axes, flags, "))
    (view,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'comparisons'").fetchone()
    db.execute("DROP VIEW comparisons")
    db.execute(
        view.replace("v.reason AS vote_reason,", "v.axes AS vote_axes, v.flags AS vote_flags, v.reason AS vote_reason,")
    )


def m012_accounts(db: Database) -> None:
    """Who may log in, and as what."""
    db.execute(
        """CREATE TABLE accounts(
             name TEXT PRIMARY KEY,
             role TEXT NOT NULL CHECK(role IN ('visitor', 'author', 'reviewer', 'admin')),
             password_hash TEXT NOT NULL,
             created_at TEXT NOT NULL, disabled_at TEXT) STRICT"""
    )


STEPS = (
    *(m001_base, m002_current, m003_fingerprints, m004_judge_versions, m005_blind_votes, m006_imports),
    *(m009_erasing, m010_forks, m011_axes_and_flags, m012_accounts),
)
"""What makes the newest schema, oldest first. A released step is never edited: a change is a new step."""


def migrations() -> Migrations:
    """The steps as sqlite-utils applies them."""
    steps = Migrations("store")
    for step in STEPS:
        steps()(step)
    return steps
