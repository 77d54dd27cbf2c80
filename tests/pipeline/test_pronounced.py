"""What the lexicon says of transcripts, against asking it for each of them by itself."""

from pathlib import Path

import pytest

from sift_ray.align.lexicon import Lexicon
from sift_ray.pipeline.pronounced import Pronounced, pronounced
from tests.human_speech import recordings


@pytest.mark.parametrize("language", ["en", "es", "fr", "it"])
def test_asked_together_is_asked_alone(language: str) -> None:
    lexicon = Lexicon(language)
    texts = [clip.transcript for clip in recordings(15) if clip.language == language]
    found = pronounced(lexicon, [*texts, *texts[:3]])
    assert set(found) == set(texts)
    for text, said in found.items():
        assert said == Pronounced(lexicon.phonemes(text), lexicon.phone_count(text), None, 0)


def test_unknown_words_are_counted(tmp_path: Path) -> None:
    dictionary = tmp_path / "de.txt"
    dictionary.write_text("hallo h a l o\n")
    text = "Hallo, \u041c\u043e\u0441\u043a\u0432\u0430 \u2013 hallo Welt!"
    known, plain = (pronounced(Lexicon("de", path), [text, "\u2026"]) for path in (dictionary, None))
    assert (known[text].oov_words, known[text].unpronounced_words) == (2, 1)
    assert (plain[text].oov_words, plain[text].unpronounced_words) == (None, 1)
    assert (known[text].phonemes or "").split(" ")[:2] == ["halo", "halo"]
    assert known["\u2026"] == Pronounced(None, 0, 0, 0)
