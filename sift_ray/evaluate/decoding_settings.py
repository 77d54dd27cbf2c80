"""How a model under test picks its words: presets, what overrides them, and what of it was truly applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

NGRAM: Final = "no_repeat_ngram"

NGRAM_PROCESSOR: Final = "sift_ray.evaluate.audio_llm_ngrams:NoRepeatNGrams"
"""The logits processor that forbids repeated n-grams, as vLLM's option `--logits-processors` wants it named."""

_MOST_TOKENS: Final = 512  # no source says how long the paper let models speak; EvalSIFT's answers take a few sentences


@dataclass(frozen=True, slots=True)
class DecodingSettings:
    """Settings of the sampler; top-k and min-p are always off.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus, in (0, 1].
        repetition_penalty: divides positive logits, and multiplies negative ones, of tokens that stand in the prompt or
            the answer already (Keskar et al. 2019); 1 is off.
        no_repeat_ngram: no so many tokens in a row occur twice in an answer; 0 is off. (vLLM looks at the answer alone,
            as transformers does where a prompt holds audio.)
        max_tokens: of an answer.
        seed: of the sampler; every request has the same.
    """

    temperature: float
    top_p: float
    repetition_penalty: float
    no_repeat_ngram: int
    max_tokens: int = _MOST_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        for name, right, wanted in (
            ("temperature", 0 <= self.temperature <= 2, "from 0 to 2"),
            ("top_p", 0 < self.top_p <= 1, "above 0, and 1 at most"),
            ("repetition_penalty", 0 < self.repetition_penalty <= 2, "above 0, and 2 at most"),
            ("no_repeat_ngram", self.no_repeat_ngram == 0 or self.no_repeat_ngram >= 2, "0 (off), or 2 or more"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
            ("seed", 0 <= self.seed < 1 << 63, "from 0 to 2^63 - 1"),
        ):
            if not right:
                raise ValueError(f"{name} is {getattr(self, name)}, and must be {wanted}")

    def extra_args(self) -> dict[str, int] | None:
        """Return what a processor of n-grams reads of a request (`vllm_xargs` of a server); None where it is off.

        The window in which it looks is the whole answer.
        """
        if not self.no_repeat_ngram:
            return None
        return {"ngram_size": self.no_repeat_ngram, "window_size": max(self.max_tokens, self.no_repeat_ngram)}


PRESETS: Final[Mapping[str, DecodingSettings]] = {
    # arXiv 2504.09081, on evaluation
    "paper": DecodingSettings(temperature=0.1, top_p=0.95, repetition_penalty=1.1, no_repeat_ngram=3),
    "greedy": DecodingSettings(temperature=0.0, top_p=1.0, repetition_penalty=1.0, no_repeat_ngram=0),
}


def decoding_settings(preset: str, **overrides: float | None) -> DecodingSettings:
    """Return a preset with some settings replaced; those that are None are not.

    Raises:
        ValueError: there is no such preset or setting, or a value is out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    known = {setting.name for setting in fields(DecodingSettings)}
    if unknown := sorted(set(overrides) - known):
        raise ValueError(f"no setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    return replace(PRESETS[preset], **given)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the settings that were asked for.

    Attributes:
        settings: by name, the value that the model was run with; None: not known, as the server does not tell.
        notes: why a setting is not as it was asked for, by its name.
    """

    settings: Mapping[str, float | None]
    notes: Mapping[str, str] = field(default_factory=dict)


def applied(asked: DecodingSettings, notes: Mapping[str, str]) -> Applied:
    """Return the settings applied, where those with a note were not: n-grams are off then, others unknown."""
    settings: dict[str, float | None] = {setting.name: getattr(asked, setting.name) for setting in fields(asked)}
    for name in notes:
        settings[name] = 0 if name == NGRAM else None
    return Applied(settings, dict(notes))
