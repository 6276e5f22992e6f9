"""What programs may ask of a running page: gradio endpoints without a component, called with `gradio_client` or curl.

They go through the same sessions, limits, permissions and store as the page's own handlers. docs/api.md has examples.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import gradio as gr

from evaluation.endpoint import EndpointError
from evaluation.judged_rows import RowsError, parse_judged_rows
from evaluation.judgement import Judgement
from evaluation.response import Response
from evaluation.score_report import as_json, parse_weights, score_rows
from playground import api_wording
from playground.answering import Answering
from playground.compare import told
from playground.limits import visitor_of
from playground.picker import Choices
from playground.sampler import checked_sampling
from playground.session import NotNow, Session, Turn
from presets.safety_config import SafetyConfig

MAX_ROWS = 20_000
"""Rows that one call may have scored; a file of a million belongs to `python -m evaluation score`."""

MAX_PROMPTS = 20
"""Prompts of one conversation."""

LOOK_S = 0.25
"""Seconds between two looks at the answers."""


class Api:
    """The endpoints. Made inside a `gr.Blocks`; each is a method's name, with its docstring as description."""

    def __init__(self, answering: Answering, choices: Choices) -> None:
        self._answering, self._choices = answering, choices
        for endpoint in (self.configs, self.ask, self.judge, self.score):
            gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)

    def configs(self, request: gr.Request | None = None) -> list[dict]:
        """The ready-made safety configs: id, title, text, language, taxonomy, and the categories that each allows (null when
        only the text decides)."""
        with told():
            self._require_call(request)
        return [_config_json(config) for config in self._choices.configs.values()]

    async def ask(
        self,
        prompts: list[str],
        config: str = "",
        config_text: str = "",
        allowed: list[str] | None = None,
        sampling: dict | None = None,
        keep: bool = True,
        request: gr.Request | None = None,
    ) -> dict:
        """Ask every arm the prompts of one conversation, one after the other, and have each answer judged.

        `config` is the id of a ready-made config; or `config_text` is one's own, with the categories that it `allowed`. `sampling`
        may set temperature, top_p, max_tokens and seed. With `keep` false the words are erased from the store afterwards.
        """
        session = Session(visitor=visitor_of(request))
        with told():
            chosen = self._config(config, config_text, allowed, request)
            drawn = checked_sampling(self._answering.profile, sampling or {})
            _require_texts("prompts", prompts)
            if not 1 <= len(prompts) <= MAX_PROMPTS:
                raise NotNow(api_wording.prompts(MAX_PROMPTS))
            try:
                for prompt in prompts:
                    turn = await self._answering.begin(session, prompt, chosen, keeps=keep, sampling=drawn)
                    await self._answered(session, turn)
            finally:
                self._answering.abandon(session)
        return {"conversation": session.conversation_id, "turns": [_turn_json(turn) for turn in session.turns]}

    async def judge(
        self,
        prompt: str,
        reply: str,
        config: str = "",
        config_text: str = "",
        allowed: list[str] | None = None,
        earlier: list[str] | None = None,
        request: gr.Request | None = None,
    ) -> dict:
        """The judge's verdict on a reply to a prompt under a config: rating 0 to 5, the categories found, whether the config was
        kept, by which rule, and why; or why it is unscored. `earlier` are the person's prompts before this one. Nothing is
        stored."""
        with told():
            chosen = self._config(config, config_text, allowed, request)
            _require_texts("prompt, reply and earlier", [prompt, reply, *(earlier or ())])
            self._answering.limits.admit(visitor_of(request), 1)
            for text in (prompt, reply, *(earlier or ())):
                if len(text) > api_wording.MAX_JUDGED:
                    raise NotNow(api_wording.too_long(len(text)))
            try:
                judge = await self._answering.connections.judge()
                verdict = await judge.judge(
                    config=chosen, prompt=prompt, response=Response(reply), earlier=tuple(earlier or ())
                )
            except EndpointError as error:
                raise NotNow(str(error)) from error
        return _judgement_json(verdict)

    async def score(self, rows: list[dict], weights: str = "1,0,0", request: gr.Request | None = None) -> dict:
        """The CoSA-Score of judged responses, with intervals: per config, per situation, and as the mean over configs. `rows` and
        the result are those of `python -m evaluation score --judgements FILE.jsonl --json`."""
        with told():
            self._require_call(request)
            if not isinstance(rows, list):
                raise NotNow(api_wording.ROWS)
            if len(rows) > MAX_ROWS:
                raise NotNow(api_wording.too_many_rows(len(rows), MAX_ROWS))
            try:
                return await asyncio.to_thread(
                    lambda: as_json(score_rows(parse_judged_rows(rows), weights=parse_weights(weights)))
                )
            except (RowsError, ValueError) as error:
                raise NotNow(str(error)) from error

    def _require_call(self, request: gr.Request | None) -> None:
        if not self._choices.roles.may(request, "call"):
            raise NotNow(api_wording.NO_CALLS)

    def _config(self, config_id: str, text: str, allowed: list[str] | None, request: gr.Request | None) -> SafetyConfig:
        self._require_call(request)
        _require_texts("config, config_text and allowed", [config_id, text, *(allowed or ())])
        if config_id and text:
            raise NotNow(api_wording.ONE_CONFIG)
        if text:
            self._choices.require_edit(request)
            if allowed is None and not self._choices.text_may_decide:
                raise NotNow(api_wording.ALLOWED_NEEDED)
            return self._choices.own(api_wording.TITLE, text, allowed or [], allowed is None)
        if config_id not in self._choices.configs:
            raise NotNow(api_wording.no_config(config_id, list(self._choices.configs)))
        return self._choices.configs[config_id]

    async def _answered(self, session: Session, turn: Turn) -> None:
        """Return when every arm has answered and been judged."""
        self._answering.ask(session, turn)
        async for _ in self._answering.follow(turn, *turn.answers, every_s=LOOK_S):
            pass
        turn.delivered.update(turn.answers)
        for arm_id in turn.answers:
            await self._answering.judge(turn, arm_id)


def _require_texts(names: str, values: object) -> None:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise NotNow(api_wording.no_texts(names))


def _config_json(config: SafetyConfig) -> dict[str, Any]:
    allowed = None if config.allowed is None else sorted(config.allowed)
    return {**asdict(config), "allowed": allowed, "hash": config.content_hash}


def _turn_json(turn: Turn) -> dict[str, Any]:
    answers = []
    for answer in turn.answers.values():
        judgement = None if answer.judgement is None else _judgement_json(answer.judgement)
        said = {"arm": answer.arm_id, "status": answer.status, "error": answer.error, "judgement": judgement}
        answers.append({**asdict(answer.response), **said})
    return {"id": turn.id, "prompt": turn.prompt, "config_hash": turn.config.content_hash, "answers": answers}


def _judgement_json(judgement: Judgement) -> dict[str, Any]:
    categories = None if judgement.categories is None else sorted(judgement.categories)
    return {**asdict(judgement), "categories": categories}
