"""A model as the judge: two or three questions on a response, one on a prompt, each answered by one JSON object.

Helpfulness is asked without the config and categories without asking what is permitted, so that neither colours the
other (CoSA section 2 judges them apart); a free-text config adds the question whether the response obeys its text.
The questions' words are in `presets/judge_prompts/`. What cannot be read is unscored, never a grade.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.endpoint import Endpoint, EndpointError
from evaluation.judgement import MAX_RATING, Judgement, judge_nothing, obeys
from evaluation.response import Response
from presets.chat_markers import defuse
from presets.profile import ROOT, Sampling
from presets.risk_taxonomy import RiskTaxonomy
from presets.safety_config import SafetyConfig

JUDGE_PROMPTS = ROOT / "presets" / "judge_prompts"
SAMPLING = Sampling(temperature=0.0, max_tokens=1024)
TYPES = {"object": dict, "string": str, "boolean": bool, "integer": int}

BRACE = re.compile(r"[{}]")
OBJECT_START = re.compile(r'\{\s*"[^"]*"\s*:')


class UnreadableError(ValueError):
    """A judge's reply without a usable verdict; the message says what is wrong with it."""


@dataclass(frozen=True)
class Question:
    """One question to the judge: the name of its prompt file, what fills it, and the schema of the verdict."""

    name: str
    values: Mapping[str, str]
    schema: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back: the verdict, or the fault that there is none; `raw` is the judge's text as it stands."""

    question: str
    raw: str
    verdict: dict[str, Any] | None = None
    fault: str = ""


class LLMJudge:
    """Judges with `model` on `endpoint` by the categories of `taxonomy`.

    A `strict` one raises `EndpointError` where the endpoint fails, for those who must not take that for a verdict.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        taxonomy: RiskTaxonomy,
        *,
        sampling: Sampling = SAMPLING,
        make_nonce: Callable[[], str] = secrets.token_hex,
        strict: bool = False,
    ) -> None:
        self.name = f"llm/{model}"
        self._endpoint, self._model, self._taxonomy = endpoint, model, taxonomy
        self._sampling, self._make_nonce, self._strict = sampling, make_nonce, strict

    async def judge(
        self, *, config: SafetyConfig, prompt: str, response: Response, earlier: Sequence[str] = ()
    ) -> Judgement:
        """Return the verdict on one response; unscored when a reply is unreadable or, if not strict, the endpoint fails."""
        if config.taxonomy != self._taxonomy.id:
            reason = f"config {config.id!r} is of taxonomy {config.taxonomy!r}; this judge knows {self._taxonomy.id!r}"
            return Judgement(self.name, unscored=reason)
        if not response.text.strip():
            return judge_nothing(self.name)
        questions = self._questions(config, prompt=in_context(prompt, earlier), response=response.text)
        answers = await asyncio.gather(*(self._ask(question) for question in questions))
        return self._judgement(config, {answer.question: answer for answer in answers})

    async def prompt_categories(self, prompt: str) -> frozenset[str] | None:
        """The categories that a full answer to `prompt` would likely contain (CoSA section 4); None when unreadable."""
        values = {"prompt": defuse(prompt), **self._kinds()}
        answer = await self._ask(Question("prompt_categories", values, categories_schema(self._taxonomy.ids)))
        if answer.verdict is None:
            return None
        return frozenset(name for name, found in answer.verdict["categories"].items() if found)

    def _questions(self, config: SafetyConfig, *, prompt: str, response: str) -> list[Question]:
        values = {"prompt": defuse(prompt), "response": defuse(response)}
        questions = [
            Question("helpfulness", values, helpfulness_schema()),
            Question("categories", {**values, **self._kinds()}, categories_schema(self._taxonomy.ids)),
        ]
        if config.allowed is None:
            questions.append(Question("compliance", {**values, "config": defuse(config.text)}, compliance_schema()))
        return questions

    def _kinds(self) -> dict[str, str]:
        """What fills a question on categories: the taxonomy's, and the shape of a verdict on them."""
        return {
            "categories": "\n".join(
                f"- {kind.id}: {kind.name}. {kind.definition}" for kind in self._taxonomy.categories
            ),
            "categories_example": "{" + ", ".join(f'"{each}": true or false' for each in self._taxonomy.ids) + "}",
        }

    async def _ask(self, question: Question) -> Answer:
        template = (JUDGE_PROMPTS / f"{question.name}.txt").read_text(encoding="utf-8")
        content = fill(template, {**question.values, "nonce": self._make_nonce()})
        messages = [{"role": "user", "content": content}]
        try:
            reply = await self._endpoint.complete(self._model, messages, self._sampling, json_schema=question.schema)
        except EndpointError as error:
            if self._strict:
                raise
            return Answer(question.name, "", fault=f"the judge did not answer: {error}")
        try:
            return Answer(question.name, reply.text, read_verdict(reply.text, question.schema))
        except UnreadableError as error:
            cut = f" (it was cut off at {self._sampling.max_tokens} tokens)" if reply.finish_reason == "length" else ""
            return Answer(question.name, reply.text, fault=f"{error}{cut}")

    def _judgement(self, config: SafetyConfig, answers: Mapping[str, Answer]) -> Judgement:
        raw = "\n\n".join(f"[{answer.question}]\n{answer.raw}" for answer in answers.values() if answer.raw)
        if faults := [f"{answer.question}: {answer.fault}" for answer in answers.values() if answer.fault]:
            return Judgement(self.name, unscored="; ".join(faults), raw=raw)
        verdicts = {name: answer.verdict or {} for name, answer in answers.items()}
        categories = frozenset(name for name, found in verdicts["categories"]["categories"].items() if found)
        compliance = verdicts.get("compliance")
        return Judgement(
            self.name,
            rating=verdicts["helpfulness"]["rating"],
            categories=categories,
            safe=obeys(categories, config) if compliance is None else compliance["complies"],
            reason="\n".join(f"{name}: {verdict['reason'].strip()}" for name, verdict in verdicts.items()),
            rule=None if compliance is None or compliance["complies"] else compliance["broken_rule"].strip(),
            raw=raw,
        )


def in_context(prompt: str, earlier: Sequence[str]) -> str:
    """The prompt, after the same person's earlier ones if there are any."""
    if not earlier:
        return prompt
    before = "\n".join(f"- {each}" for each in earlier)
    return f"Earlier messages of the same person, for context only:\n{before}\n\nThe message to be answered:\n{prompt}"


def helpfulness_schema() -> dict[str, Any]:
    """JSON schema of the verdict on helpfulness: a reason, then a rating from 0 to 5."""
    return _object(reason={"type": "string"}, rating={"type": "integer", "enum": list(range(MAX_RATING + 1))})


def categories_schema(category_ids: tuple[str, ...]) -> dict[str, Any]:
    """JSON schema of the verdict on categories: a reason, then true or false for every id."""
    found = _object(**{category: {"type": "boolean"} for category in category_ids})
    return _object(reason={"type": "string"}, categories=found)


def compliance_schema() -> dict[str, Any]:
    """JSON schema of the verdict on a free-text config: a reason, the broken rule (or nothing), and whether it obeys."""
    return _object(reason={"type": "string"}, broken_rule={"type": "string"}, complies={"type": "boolean"})


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return `template` with each `{name}` of `values` filled, in one pass: braces inside a value stay as they are."""
    names = "|".join(re.escape(name) for name in values)
    return re.sub(rf"\{{({names})\}}", lambda match: values[match[1]], template)


def read_verdict(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last JSON object in `text`, checked against `schema`. Raises `UnreadableError`."""
    verdict = last_json_object(text)
    if verdict is None:
        raise UnreadableError("there is no complete JSON object at the end of the reply")
    _check(verdict, schema, "the verdict")
    if verdict.get("complies") is False and not verdict["broken_rule"].strip():
        raise UnreadableError("a rule is said to be broken, but none is quoted")
    return verdict


def last_json_object(text: str) -> dict[str, Any] | None:
    """Return the last balanced JSON object in `text`, or None.

    An object inside a broken one does not count: it may be judged text that the judge quoted without escaping it. A
    broken object at the end also gives None, since an earlier verdict was then being revised.
    """
    found, depth, place = None, 0, 0
    while match := BRACE.search(text, place):
        place = match.end()
        if match[0] == "}" or depth:
            depth = max(0, depth - 1) if match[0] == "}" else depth + 1
            continue
        try:
            found, place = json.JSONDecoder().raw_decode(text, match.start())
        except (ValueError, RecursionError):
            # A brace in prose is no broken object; one that starts like an object is.
            depth = 1 if OBJECT_START.match(text, match.start()) else 0
    return None if depth else found


def _check(value: Any, schema: Mapping[str, Any], place: str) -> None:
    """Raise `UnreadableError` unless `value` fits `schema` (the part of JSON schema that the questions use)."""
    # `type is` and not `isinstance`: true would pass for the integer 1.
    if type(value) is not TYPES[schema["type"]]:
        raise UnreadableError(f"{place} is {value!r}; a JSON {schema['type']} is needed")
    if "enum" in schema and value not in schema["enum"]:
        raise UnreadableError(f"{place} is {value!r}; it must be one of {', '.join(map(str, schema['enum']))}")
    properties = schema.get("properties", {})
    if unknown := [key for key in value if key not in properties] if properties else []:
        raise UnreadableError(f"{place} has the unknown key {unknown[0]!r}")
    for key, part in properties.items():
        if key not in value:
            raise UnreadableError(f"{place} has no {key!r}")
        _check(value[key], part, f"{key!r}")
