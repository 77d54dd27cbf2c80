import pytest

from sift_ray.evaluate.decoding_settings import PRESETS, DecodingSettings, applied, decoding_settings


def test_the_papers_settings():
    paper = decoding_settings("paper")
    assert (paper.temperature, paper.top_p, paper.repetition_penalty, paper.no_repeat_ngram) == (0.1, 0.95, 1.1, 3)
    assert paper.extra_args() == {"ngram_size": 3, "window_size": paper.max_tokens}


def test_greedy_picks_the_likeliest_token_and_forbids_nothing():
    greedy = decoding_settings("greedy")
    assert (greedy.temperature, greedy.top_p, greedy.repetition_penalty) == (0.0, 1.0, 1.0)
    assert greedy.extra_args() is None


def test_options_override_a_preset_and_none_overrides_nothing():
    given = decoding_settings("paper", temperature=0.0, top_p=None, no_repeat_ngram=0, max_tokens=7, seed=5)
    assert given == DecodingSettings(0.0, 0.95, 1.1, 0, 7, 5)
    assert decoding_settings("greedy", top_p=None) == PRESETS["greedy"]


@pytest.mark.parametrize(
    ("preset", "given", "said"),
    [
        ("papr", {}, r"no preset 'papr'; there are paper, greedy"),
        ("paper", {"top_k": 5}, "no setting 'top_k'"),
        ("paper", {"temperature": -0.1}, r"temperature is -0.1, and must be from 0 to 2"),
        ("paper", {"top_p": 0.0}, "top_p is 0.0"),
        ("paper", {"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ("paper", {"no_repeat_ngram": 1}, r"no_repeat_ngram is 1, and must be 0 \(off\), or 2 or more"),
        ("paper", {"max_tokens": 0}, "max_tokens is 0"),
        ("paper", {"seed": -1}, "seed is -1"),
    ],
)
def test_what_can_not_be_is_refused_by_name(preset, given, said):
    with pytest.raises(ValueError, match=said):
        decoding_settings(preset, **given)


def test_a_setting_with_a_note_does_not_count_as_applied():
    made = applied(decoding_settings("paper"), {"no_repeat_ngram": "not applied", "repetition_penalty": "not known"})
    assert made.settings["no_repeat_ngram"] == 0
    assert made.settings["repetition_penalty"] is None
    assert made.settings["temperature"] == 0.1
    assert set(made.notes) == {"no_repeat_ngram", "repetition_penalty"}
