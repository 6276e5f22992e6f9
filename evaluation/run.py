"""A benchmark run: ask every arm every item, judge each response, write it down, and go on where it was stopped.

Fixed replies (always-refuse, always-answer, the oracle) are judged by the same judge in the same run.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from evaluation.benchmarks import Item
from evaluation.cascade import Cascade
from evaluation.endpoint import Endpoint, EndpointError
from evaluation.hub_files import source_facts
from evaluation.journal import Journal, JournalError, Key, Record, history_hash
from evaluation.judge import Judge, open_judge
from evaluation.judgement import Judgement
from evaluation.llm_judge import LLMJudge
from evaluation.provenance import arm_facts, judge_facts
from evaluation.response import Response
from evaluation.serving import Serving, open_endpoint
from evaluation.workers import CONCURRENCY, RETRY_DELAYS_S, patiently, work_off
from presets.arm import Arm, Message
from presets.hub_dataset import find_hub_dataset, load_hub_datasets
from presets.profile import Profile, Sampling
from presets.risk_taxonomy import load_taxonomy
from presets.safety_config import SYSTEM_PROMPT_VERSION

BEST_OF_TEMPERATURE = 1.0
"""At which best-of-n draws all responses but the first where the profile is greedy: else they would all be the same."""

MAX_REFUSED = 5
"""So many requests of one arm refused in a row (an unknown model, a wrong key) end the run."""


class RunError(RuntimeError):
    """A run that cannot go on because of a server. What was computed stays in the journal."""


@dataclass(frozen=True)
class Job:
    """One item for one arm, or for a baseline whose `reply` is fixed."""

    item: Item
    arm: str
    reply: str | None = None

    @property
    def key(self) -> Key:
        """The item and arm that this job answers."""
        return Key(self.item.id, self.arm)


def plan(items: Sequence[Item], arms: Sequence[Arm]) -> list[Job]:
    """Return the jobs of a run, item by item, so that a stopped run has all arms on the same items.

    Raises `JournalError` when a baseline has the name of an arm.
    """
    jobs = []
    for item in items:
        if taken := {arm.id for arm in arms} & set(item.references):
            raise JournalError(f"arm {min(taken)!r} has the name of a baseline of the benchmark; rename the arm")
        jobs += [Job(item, name, reply) for name, reply in item.references.items()]
        jobs += [Job(item, arm.id) for arm in arms]
    return jobs


def narrow(profile: Profile, arm_ids: Sequence[str]) -> Profile:
    """Return `profile` with these arms only, in this order, and the servers that they and the judges need.

    Raises `PresetError` for an unknown arm.
    """
    arms = tuple(profile.arm(arm_id) for arm_id in dict.fromkeys(arm_ids))
    needed = {arm.server for arm in arms} | {judge.server for judge in (profile.judge, *profile.judges)}
    servers = tuple(server for server in profile.servers if server.id in needed)
    return replace(profile, arms=arms, servers=servers, page_arms=())


def run_facts(profile: Profile, benchmark: str) -> dict[str, Any]:
    """What every row of a run is made with; a journal refuses to go on with other facts."""
    return {
        "profile": profile.id,
        "taxonomy": profile.taxonomy,
        "benchmark": benchmark,
        "sampling": asdict(profile.sampling),
        "system_prompt_version": SYSTEM_PROMPT_VERSION,
        "judge": judge_facts(profile),
        "arms": {arm.id: arm_facts(arm, profile.server(arm.server)) for arm in profile.arms},
        **({"data": source_facts(find_hub_dataset(benchmark))} if benchmark in load_hub_datasets() else {}),
    }


async def run_jobs(
    profile: Profile,
    serving: Serving,
    journal: Journal,
    jobs: Sequence[Job],
    *,
    on_record: Callable[[Record], None] = lambda record: None,
    concurrency: int = CONCURRENCY,
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
) -> None:
    """Do the jobs and append each record to `journal` as it comes.

    A response that is there already is never asked for again; without a verdict it is judged again. Raises `RunError`
    when a server stays away or keeps refusing.
    """
    async with AsyncExitStack() as stack:
        judge = await stack.enter_async_context(open_judge(profile, serving))
        endpoints = {
            server: await stack.enter_async_context(open_endpoint(serving, server))
            for server in sorted({arm.server for arm in profile.arms})
        }
        filtering = await stack.enter_async_context(open_judge(profile, serving, strict=True))
        asker = Asker(profile, endpoints, judge, filtering, journal.records, retry_delays_s)

        async def do(job: Job) -> None:
            record = await asker.record(job, journal.records.get(job.key))
            journal.append(record)
            on_record(record)

        await work_off(jobs, do, concurrency=concurrency)


def unfinished(jobs: Sequence[Job], journal: Journal) -> list[Job]:
    """Return the jobs that `journal` has no verdict for. Raises `JournalError` when an item has changed since."""
    return [job for job in jobs if not _is_done(job, journal.records.get(job.key))]


def _is_done(job: Job, record: Record | None) -> bool:
    if record is None:
        return False
    if not record.answers(job.item):
        raise JournalError(f"item {job.item.id!r} has changed since this run began; choose another --out")
    return record.judgement.unscored is None and job.reply in (None, record.response.text)


class Asker:
    """Gets a job's response, filtered if its arm has a filter, and its judgement.

    Arms that would ask the same of the same model share one request, and what `records` has of it is not asked again.
    """

    def __init__(
        self,
        profile: Profile,
        endpoints: Mapping[str, Endpoint],
        judge: Judge,
        filtering: Judge,
        records: Mapping[Key, Record],
        retry_delays_s: Sequence[float],
    ) -> None:
        self._profile, self._endpoints, self._judge, self._records = profile, endpoints, judge, records
        self._retry_delays_s = retry_delays_s
        self._asked: dict[str, asyncio.Task[Response]] = {}
        taxonomy = load_taxonomy(profile.taxonomy)
        self._cascades = {
            arm.id: Cascade(
                filtering
                if arm.filter == "judge"
                else LLMJudge(endpoints[arm.server], arm.model, taxonomy, strict=True),
                arm.unreadable_passes,
            )
            for arm in profile.arms
            if arm.filter is not None
        }
        self._refused: Counter[str] = Counter()

    async def record(self, job: Job, earlier: Record | None) -> Record:
        """Return the finished record; the response of an `earlier` one without a verdict is used again."""
        error = ""
        try:
            response = await self._response(job, earlier)
            judgement = await self._judge.judge(
                config=job.item.config, prompt=job.item.prompt, response=response, earlier=job.item.earlier_prompts
            )
        except EndpointError as fault:
            response, error = Response(), str(fault)
            judgement = Judgement(self._judge.name, unscored=f"there is no response: {error}")
        return Record(
            item=job.item.id,
            arm=job.arm,
            split=job.item.split,
            config=job.item.config.id,
            config_hash=job.item.config.content_hash,
            prompt=job.item.prompt,
            response=response,
            judgement=judgement,
            error=error,
            history_hash=history_hash(job.item),
        )

    async def _response(self, job: Job, earlier: Record | None) -> Response:
        if job.reply is not None:
            return Response(text=job.reply, finish_reason="stop")
        if earlier is not None and not earlier.error:
            return earlier.response
        responses = [await self._ask(job, sampling) for sampling in self._draws(self._profile.arm(job.arm))]
        cascade = self._cascades.get(job.arm)
        return responses[0] if cascade is None else await cascade.best(job.item, responses)

    def _draws(self, arm: Arm) -> Iterator[Sampling]:
        """How each response to a prompt is drawn: the first as every arm's is, more of them at a temperature above 0."""
        yield self._profile.sampling
        for index in range(1, arm.best_of):
            warm = self._profile.sampling.temperature or BEST_OF_TEMPERATURE
            yield replace(self._profile.sampling, temperature=warm, seed=self._profile.sampling.seed + index)

    async def _ask(self, job: Job, sampling: Sampling) -> Response:
        """What the job's arm says, asked for once whoever else asks the same. Raises as `_request` does."""
        arm = self._profile.arm(job.arm)
        messages = arm.messages(job.item.config, job.item.history, job.item.prompt)
        if sampling == self._profile.sampling and (said := self._said_to(job.item, arm, messages)) is not None:
            return said
        key = json.dumps([arm.server, arm.model, messages, asdict(sampling)])
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._request(arm, messages, sampling))
        return await self._asked[key]

    def _said_to(self, item: Item, arm: Arm, messages: Sequence[Message]) -> Response | None:
        """The response that is on record of another arm, unfiltered, to the same messages to the same model."""
        for other in self._profile.arms:
            record = self._records.get(Key(item.id, other.id))
            is_same_model = (other.server, other.model) == (arm.server, arm.model)
            if record is None or record.error or not is_same_model or other.filter is not None:
                continue
            if other.messages(item.config, item.history, item.prompt) == messages:
                return record.response
        return None

    async def _request(self, arm: Arm, messages: Sequence[Message], sampling: Sampling) -> Response:
        """Ask, again after a while when the fault may pass.

        Raises `EndpointError` when this one request is refused, `RunError` when there is no sense in going on.
        """
        endpoint = self._endpoints[arm.server]
        try:
            response = await patiently(lambda: endpoint.complete(arm.model, messages, sampling), self._retry_delays_s)
        except EndpointError as error:
            if error.retryable:
                raise RunError(f"arm {arm.id!r} does not answer: {error}") from error
            self._count_refusal(arm.id, error)
            raise
        self._refused[arm.id] = 0
        return response

    def _count_refusal(self, arm_id: str, error: EndpointError) -> None:
        self._refused[arm_id] += 1
        if self._refused[arm_id] >= MAX_REFUSED:
            raise RunError(f"arm {arm_id!r} was refused {MAX_REFUSED} times in a row: {error}") from error
