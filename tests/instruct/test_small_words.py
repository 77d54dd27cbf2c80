"""The small words of each language: whole, among what a release's instructions are made from, errors told."""

from __future__ import annotations

from pathlib import Path

import pytest

from sift_ray.instruct.verify import small_words as module
from sift_ray.instruct.verify.small_words import small_words, small_words_hash
from sift_ray.instruct.verify.transcript import grammar_of
from sift_ray.pipeline.instruct import data_file_hashes
from sift_ray.schema import LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_languages_words_fit_each_other(language: str) -> None:
    words = small_words(language).excerpts
    links = set(grammar_of(language).links.values())
    assert words.droppable <= links
    assert words.agent in links
    assert words.talking <= words.telling
    assert words.when <= words.asking
    assert set(words.contracted) <= links
    for forms in words.verbs:
        assert len(set(forms.split())) > 1, forms


def test_they_are_among_what_the_stage_is_made_from() -> None:
    hashes = data_file_hashes()
    assert {hashes[f"small_words.{language}"] for language in LANGUAGES} == set(map(small_words_hash, LANGUAGES))
    assert len(set(map(small_words_hash, LANGUAGES))) == len(LANGUAGES)


def test_a_bad_file_is_named_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (Path(module.__file__).parent / "small_words/en.yaml").read_text(encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_source", lambda _: source.replace('  agent: "by"\n', "", 1))
        with pytest.raises(ValueError, match=r"small_words/en\.yaml: .*\n(.*\n)*excerpts\.agent"):
            small_words.__wrapped__("en")
    with pytest.raises(ValueError, match="no language 'xx'"):
        small_words_hash("xx")
