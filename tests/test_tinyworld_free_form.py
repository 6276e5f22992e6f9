"""The requests written whole: many for every domain, each about one subject that belongs to that domain alone."""

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from align.tinyworld.documents import Writer
from evaluation.benchmarks.tinyworld import items
from evaluation.tinyworld_judge import TinyworldJudge
from presets.normalisation import normalised
from presets.tinyworld import KINDS, OUTSIDE, free_form, load_words, load_world
from presets.tinyworld.free_form import load_free_requests
from presets.tinyworld.invented import invent
from presets.tinyworld.visitors import held_out_prompts
from presets.yaml_file import PresetError

WORLD = load_world()
REQUESTS = load_free_requests()
DOMAINS = (*WORLD.risks, *WORLD.safe_domains, OUTSIDE)


@pytest.fixture(scope="module")
def wider_world():
    """The world with the subjects of all requests among its things."""
    things = defaultdict(tuple, WORLD.things)
    for domain, requests in REQUESTS.items():
        known = {thing.name.lower() for thing in things[domain]}
        new = {request.topic.name.lower(): request.topic for request in requests if request.topic.is_thing}
        things[domain] += tuple(topic for name, topic in new.items() if name not in known)
    return replace(WORLD, things=dict(things))


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_has_many_requests_of_every_kind_about_many_subjects(domain):
    kinds = Counter(request.kind for request in REQUESTS[domain])
    fewest = 12 if domain in WORLD.risks else 8
    assert all(kinds[kind] >= fewest for kind in KINDS), kinds
    assert len({request.topic.name.lower() for request in REQUESTS[domain]}) > 4 * fewest


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_message_stands_twice(domain):
    counts = Counter(normalised(request.text) for request in REQUESTS[domain])
    assert [text for text, count in counts.items() if count > 1] == []


def test_no_subject_belongs_to_two_domains(wider_world):
    domains = defaultdict(set)
    for topic in WORLD.topics:
        domains[topic.name.lower()].add(topic.domain)
    for domain, things in wider_world.things.items():
        for thing in things:
            domains[thing.name.lower()].add(domain)
    assert {name: found for name, found in domains.items() if len(found) > 1} == {}


@pytest.mark.parametrize("domain", [domain for domain in DOMAINS if domain != OUTSIDE])
def test_the_judge_finds_nothing_of_another_risk_category_in_a_request(domain, wider_world):
    judge = TinyworldJudge(wider_world)
    strange = [
        (request.text, topic.name, topic.domain)
        for request in REQUESTS[domain]
        for topic in judge.topics_in(request.text)
        if topic.domain not in (domain, *WORLD.safe_domains)
    ]
    assert strange == []


def test_no_request_is_a_test_prompt():
    tested = held_out_prompts() | {normalised(item.prompt) for item in items()}
    said = {normalised(request.text) for requests in REQUESTS.values() for request in requests}
    assert not tested & said


def test_a_free_request_stands_whole_and_names_its_subject():
    pen = Writer(WORLD, load_words("train"), 3)
    for domain in DOMAINS:
        for _ in range(30):
            prompt = pen.free_request(domain)
            assert prompt.topics[0].name.lower() in prompt.text.lower()
            assert "[" not in prompt.text
            assert domain == prompt.topics[0].domain


def test_a_request_is_asked_about_something_else_only_where_its_words_allow_that():
    requests = [request for each in REQUESTS.values() for request in each]
    closed = {request.begin.split()[-1].lower() for request in requests if not request.is_open}
    assert {"a", "my", "our"} <= closed
    assert not closed & {"about", "is", "and"}
    assert sum(request.is_open for request in requests) > 0.9 * len(requests)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_name_can_be_invented_for_every_domain(domain):
    rng = random.Random(2)
    invented = [invent(rng, domain) for _ in range(200)]
    assert all(thing.is_thing and thing.domain == domain and "{" not in thing.name for thing in invented)
    assert len({thing.name for thing in invented}) > 150


@pytest.mark.parametrize("domain", WORLD.risks)
def test_an_invented_name_names_no_other_risk_category(domain):
    rng, judge = random.Random(3), TinyworldJudge()
    for _ in range(200):
        found = {topic.domain for topic in judge.topics_in(invent(rng, domain).name)}
        assert not found & set(WORLD.risks) - {domain}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("what is a sommelier", "0 subjects", id="none"),
        pytest.param("what are [rum] and [gin]", "2 subjects", id="two"),
        pytest.param("what is [poker]", "a topic of gambling", id="another-domain"),
    ],
)
def test_a_broken_line_is_named_with_its_file(line, message, tmp_path, monkeypatch):
    lists = "\n".join(f"{kind}: ['{line}']" for kind in KINDS)
    (tmp_path / f"{DOMAINS[0]}.yaml").write_text(lists)
    monkeypatch.setattr(free_form, "REQUESTS", tmp_path)
    with pytest.raises(PresetError, match=message) as raised:
        load_free_requests.__wrapped__()
    assert DOMAINS[0] in str(raised.value)
    assert line in str(raised.value)
