"""The dictionaries are complete, and no wording means two categories of one attribute."""

from __future__ import annotations

import re

import pytest

from sift_ray.instruct.verify.lexicon import lexicon
from sift_ray.instruct.verify.text import read
from sift_ray.metadata.accents import accent_phrase
from sift_ray.metadata.categories import ATTRIBUTES, KEYS, labels_of
from sift_ray.metadata.patterns import PatternError, expand
from sift_ray.metadata.phrases import Signals, phrases
from sift_ray.schema import LANGUAGES

PAIRS = [(language, key) for language in LANGUAGES for key in KEYS]


@pytest.mark.parametrize(("language", "key"), PAIRS)
def test_every_category_has_a_phrase_of_its_own(language, key):
    wording = phrases(language)
    assert wording.key_name(key)
    assert re.fullmatch(r"[^\W\d]+(_[^\W\d]+)*(_?d'[^\W\d]+)?", wording.record_key(key))
    made = [wording.phrase(key, label) for label in labels_of(key)]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(("language", "key"), PAIRS)
def test_no_form_is_claimed_by_two_categories(language, key):
    wording = phrases(language)
    owner: dict[str, str] = {}
    for label in labels_of(key):
        forms = wording.expressions(key, label)
        assert wording.phrase(key, label).lower() in forms
        for form in forms | wording.expressions(key, label, short=True):
            assert owner.setdefault(form, label) == label, form


@pytest.mark.parametrize(("language", "key"), [p for p in PAIRS if labels_of(p[1])])
def test_forms_are_found_whole_and_as_their_category(language, key):
    words = lexicon(language)
    for label in labels_of(key):
        for form in phrases(language).expressions(key, label):
            text = read(form, language)
            hits = words.scan(text, frozenset())
            assert len(hits) == 1, (form, hits)
            assert (hits[0].start, hits[0].end) == (0, len(text.tokens))
            found = {m.label for m in hits[0].meanings if m.kind == "claim" and m.key == key}
            assert found == {label}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_wording_is_both_a_category_and_a_comparative(language):
    wording = phrases(language)
    for key in ATTRIBUTES:
        entry = wording.data.keys[key]
        compared = wording.expand(entry.up + entry.down)
        for other in ATTRIBUTES:
            for label in labels_of(other):
                assert not compared & wording.expressions(other, label), (key, other, label)


@pytest.mark.parametrize("language", [x for x in LANGUAGES if x != "en"])
def test_only_english_shares_words_between_attributes(language):
    wording = phrases(language)
    owner: dict[str, str] = {}
    for key in ATTRIBUTES:
        for label in labels_of(key):
            for form in wording.expressions(key, label):
                assert owner.setdefault(form, key) == key, form


def test_english_shares_noisy_and_nothing_else():
    wording = phrases("en")
    seen: dict[str, str] = {}
    shared = set()
    for key in ATTRIBUTES:
        for label in labels_of(key):
            for form in wording.expressions(key, label):
                if seen.setdefault(form, key) != key:
                    shared.add(form)
    assert shared
    assert all(form.endswith("noisy") for form in shared)


@pytest.mark.parametrize("language", LANGUAGES)
def test_ordinals(language):
    wording = phrases(language)
    made = [wording.ordinal(n) for n in range(1, 25)]
    assert len(set(made)) == 24
    with pytest.raises(ValueError, match="positions start at 1"):
        wording.ordinal(0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_signals_have_words(language):
    signals = phrases(language).data.signals
    for name in Signals.model_fields:
        if name not in ("free_degree_question", "openings", "towards"):
            assert phrases(language).expand(getattr(signals, name)), name


def test_unknown_entries_are_named():
    with pytest.raises(KeyError, match="no label 'low'"):
        phrases("en").phrase("average_pitch", "low")
    with pytest.raises(KeyError, match="no metadata key"):
        phrases("en").key_name("pitch")
    with pytest.raises(ValueError, match="no phrases for language 'pt'"):
        phrases("pt")


def test_accents_are_worded_and_other_free_text_passes_through():
    assert phrases("de").phrase("accent", "Scottish") == accent_phrase("de", "Scottish") != "Scottish"
    assert phrases("de").phrase("accent", "Yorkshire") == "Yorkshire"
    assert phrases("de").phrase("transcript", "Good morning") == "Good morning"
    assert phrases("de").noun("gender", "female") == "Frau"
    assert phrases("de").noun("average_intensity", "softly") == "leise"


def test_patterns():
    assert expand("a (b|c)? d") == {"a d", "a b d", "a c d"}
    assert expand("tone{s}", {"s": "|s"}) == {"tone", "tones"}
    assert expand("{a}", {"a": "x{b}", "b": "1|2"}) == {"x1", "x2"}


@pytest.mark.parametrize("pattern", ["(a", "a)", "?a", "{nothing}", "(a|?)"])
def test_bad_patterns_are_named(pattern):
    with pytest.raises(PatternError, match=re.escape(repr(pattern))):
        expand(pattern)


def test_a_macro_within_itself_is_refused():
    with pytest.raises(PatternError, match="contain itself"):
        expand("{a}", {"a": "{a}"})
