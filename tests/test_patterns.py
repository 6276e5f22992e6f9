"""Lines with alternatives stand for all their sentences, and a line that cannot be read is refused with its reason."""

import random

import pytest

from presets.tinyworld.patterns import draw, fault, variants


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        pytest.param("Skip it.", ["Skip it."], id="no group"),
        pytest.param("(Skip|Leave) it.", ["Skip it.", "Leave it."], id="one group"),
        pytest.param("Skip it( please|).", ["Skip it please.", "Skip it."], id="an empty alternative"),
        pytest.param("(a|b) (c|d)", ["a c", "a d", "b c", "b d"], id="every combination"),
    ],
)
def test_a_line_stands_for_its_sentences(line, sentences):
    assert variants(line) == sentences
    drawn = {draw(random.Random(seed), [line]) for seed in range(100)}
    assert drawn == set(sentences)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("(a|b", "other half", id="not closed"),
        pytest.param("a|b)", "other half", id="not opened"),
        pytest.param("(a|(b|c))", "inside another", id="nested"),
        pytest.param("a (really) good one", "without alternatives", id="a plain parenthesis"),
        pytest.param("(a|b) good one", None, id="sound"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_its_reason(line, reason):
    assert (fault(line) is None) if reason is None else (reason in fault(line))
