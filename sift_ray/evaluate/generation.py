"""Controllable generation: what a prompt asks for, against what the generated audio is measured to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from sift_ray.evaluate.measured import CUT, NO_PHONES, Clip, ClipMeasurer, Measured
from sift_ray.evaluate.origin import Known
from sift_ray.evaluate.samples import Sample
from sift_ray.instruct.synthesis import split_transcript
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import ALL, Rulers

if TYPE_CHECKING:
    from sift_ray.align.lexicon import Lexicon

MEASURED_KEYS: Final = ("average_pitch", "pitch_variation", "speaking_rate", "average_intensity")
"""The ordinal characteristics that audio can be measured for, all that prompts ask for."""

GENDER: Final = "gender"
MISSING: Final = "missing"
NO_RULER: Final = "no_ruler"
NO_CLASSIFIER: Final = "no_classifier"

_RATE: Final = "speaking_rate"
_OUR_LACK: Final = frozenset({NO_PHONES, "no_phones", CUT, NO_RULER, NO_CLASSIFIER, "out_of_memory"})
"""Reasons for which nothing can be said about the audio; with all others it is the audio that lacks something."""


class Outcome(NamedTuple):
    """One characteristic that a prompt asked for.

    Attributes:
        sample: whose prompt.
        key: one of `MEASURED_KEYS`, or `gender`.
        asked: the label.
        found: the label that was measured, None where there is none.
        reason: why there is none: what is lacking to judge it, whatever the audio; `missing` (no audio); or what is
            wrong with the audio.
        detail: the same for a person, of audio that can't be measured at all.
    """

    sample: Sample
    key: str
    asked: str
    found: str | None
    reason: str | None = None
    detail: str | None = None

    @property
    def judged(self) -> bool:
        """Whether it says something of the model: there is a label, or it is the audio's fault that there is none."""
        return self.found is not None or self.reason not in _OUR_LACK


class Spoken(NamedTuple):
    """What prompts asked for and what was measured.

    Attributes:
        outcomes: of all prompts that tell what they ask for.
        untold: samples that do not say what they ask for, as those of the published layout.
        not_measured: by key, how often it was asked for and can't be measured.
        judged_afar: samples whose utterance no annotations describe: their corpus is the bins' only one, or
            that of the data source's name, and their phones from a pronunciation of the text.
    """

    outcomes: list[Outcome]
    untold: int
    not_measured: Mapping[str, int]
    judged_afar: int


def speak(
    samples: Sequence[Sample],
    audio: Mapping[str, Path],
    measurer: ClipMeasurer,
    rulers: Rulers,
    known: Mapping[tuple[str, str], Known],
) -> Spoken:
    """Measure the audio that was made for prompts, and judge it by the rulers of the prompt's utterance.

    Pitch is judged among those of the gender that was asked for, else of the utterance's speaker. The speaking rate
    takes it that the audio says the text that it should.

    Args:
        samples: of the task controllable_generation.
        audio: sample id → file; samples without one are missing.
        measurer: measures.
        rulers: the frozen ones of the job.
        known: by data source and utterance id.
    """
    told = [sample for sample in samples if sample.evidence is not None]
    places = [_place(sample, known, rulers) for sample in told]
    made = [index for index, sample in enumerate(told) if sample.sample_id in audio]
    clips = [Clip(audio[told[index].sample_id], places[index].phones) for index in made]
    heard: list[Measured | None] = [None] * len(told)
    for index, measured in zip(made, measurer.measure(clips), strict=True):
        heard[index] = measured
    outcomes: list[Outcome] = []
    not_measured: Counter[str] = Counter()
    for key in (*MEASURED_KEYS, GENDER):
        rows = [(index, asked) for index, sample in enumerate(told) if (asked := _asked(sample).get(key)) is not None]
        if key == GENDER:
            outcomes += [_gender(told[index], asked, heard[index], measurer) for index, asked in rows]
            continue
        if not rows:
            continue
        column = ATTRIBUTES[key].column
        mine = [places[index] for index, _ in rows]
        values = [
            None if (clip := heard[index]) is None or places[index].corpus is None else clip.values.get(column)
            for index, _ in rows
        ]
        labels = rulers.labels(
            key, values, [p.corpus or ALL for p in mine], [p.gender for p in mine], [told[i].language for i, _ in rows]
        )
        for (index, asked), label, value in zip(rows, labels, values, strict=True):
            sample, clip = told[index], heard[index]
            lack = None if label is not None else _lack(key, places[index], sample.language, rulers)
            reason = None if label is not None else lack or _reason(clip, column, value)
            detail = None if clip is None or lack is not None else clip.detail
            outcomes.append(Outcome(sample, key, asked, label, reason, detail))
    for sample in told:
        not_measured.update(_asked(sample).keys() - {*MEASURED_KEYS, GENDER})
    return Spoken(outcomes, len(samples) - len(told), not_measured, sum(place.afar for place in places))


class _Place(NamedTuple):
    corpus: str | None  # None: it can't be told which of the rulers' corpora it is
    gender: str | None
    phones: int | None
    afar: bool


def _place(sample: Sample, known: Mapping[tuple[str, str], Known], rulers: Rulers) -> _Place:
    asked = _asked(sample)
    gender = asked.get(GENDER)
    annotated = known.get((sample.data_source, sample.utterance_ids[0])) if sample.utterance_ids else None
    if annotated is not None:
        return _Place(annotated.corpus, gender or annotated.gender, annotated.phones, False)
    named = sample.data_source.removesuffix(f"_{sample.language}")
    there = {group.corpus for group in rulers.rulers} - {ALL}
    # (a corpus may be named otherwise in the config than in its data source)
    corpus = named if named in there else next(iter(there)) if len(there) == 1 else None
    return _Place(corpus, gender, _phones(sample) if _RATE in asked else None, True)


def _asked(sample: Sample) -> dict[str, str]:
    """Return what a prompt asks of the whole utterance, key → label."""
    return {fact.key: fact.value for fact in sample.evidence or () if fact.position == 0 and fact.value is not None}


def _lack(key: str, place: _Place, language: str, rulers: Rulers) -> str | None:
    """Return what is lacking to judge a characteristic of whatever audio there may be; None: nothing."""
    if place.corpus is None or rulers.ruler(key, place.corpus, place.gender, language) is None:
        return NO_RULER
    if key == _RATE and not place.phones:
        return NO_PHONES if place.phones is None else "no_phones"
    return None


def _reason(heard: Measured | None, column: str, value: float | None) -> str:
    if heard is None:
        return MISSING
    if heard.fault is not None:
        return heard.fault
    return NO_RULER if value is not None else heard.reasons[column]


def _gender(sample: Sample, asked: str, heard: Measured | None, measurer: ClipMeasurer) -> Outcome:
    if measurer.gender_source is None:
        return Outcome(sample, GENDER, asked, None, NO_CLASSIFIER)
    if heard is None:
        return Outcome(sample, GENDER, asked, None, MISSING)
    return Outcome(sample, GENDER, asked, heard.gender, heard.fault or heard.no_gender, heard.detail)


def _phones(sample: Sample) -> int | None:
    """Return how many phones the likeliest pronunciation of the text to be spoken has; None: no text is attached."""
    try:
        _, text = split_transcript(sample.language, sample.question)
    except ValueError:
        return None
    return _lexicon(sample.language).phone_count(text)


@cache
def _lexicon(language: str) -> Lexicon:
    from sift_ray.align.lexicon import Lexicon

    return Lexicon(language)
