"""The requests written whole: many for every domain, each about one subject that belongs to that domain alone."""

from collections import Counter, defaultdict

import pytest

from align.tinyworld.documents import Writer
from evaluation.benchmarks.tinyworld import items
from evaluation.tinyworld_judge import TinyworldJudge
from presets.normalisation import normalised
from presets.tinyworld import KINDS, OUTSIDE, free_form, load_words, load_world
from presets.tinyworld.free_form import load_free_requests, with_subjects
from presets.tinyworld.visitors import held_out_prompts
from presets.yaml_file import PresetError

WORLD = load_world()
REQUESTS = load_free_requests()
DOMAINS = (*WORLD.risks, *WORLD.safe_domains, OUTSIDE)


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


def test_no_subject_belongs_to_two_domains():
    domains = defaultdict(set)
    for topic in WORLD.topics:
        domains[topic.name.lower()].add(topic.domain)
    for domain, things in with_subjects(WORLD).things.items():
        for thing in things:
            domains[thing.name.lower()].add(domain)
    assert {name: found for name, found in domains.items() if len(found) > 1} == {}


@pytest.mark.parametrize("domain", [domain for domain in DOMAINS if domain != OUTSIDE])
def test_the_judge_finds_nothing_of_another_risk_category_in_a_request(domain):
    judge = TinyworldJudge(with_subjects(WORLD))
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
