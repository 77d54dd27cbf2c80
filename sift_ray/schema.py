"""The Arrow schema of every table, the units and feasible ranges: the contract between stages.

Stages talk only through these tables. Names and units are fixed here once; a stage may add a column,
never change one. Unknown is null everywhere: there is no sentinel value, and NaN is not a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import pyarrow as pa

SAMPLE_RATE: Final = 16_000
"""Rate in Hz of all audio after decoding."""

LANGUAGES: Final = ("en", "de", "fr", "it", "es")
SPLITS: Final = ("train", "dev", "test")

TASKS: Final = (
    "closed_ended_acoustic_level",
    "closed_ended_content_level",
    "closed_ended_word_align",
    "closed_ended_word_align_numeric",
    "closed_ended_comparison",
    "open_ended",
    "controllable_generation",
)
CLOSED_ENDED: Final = TASKS[:5]

GENDERS: Final = ("female", "male")
AGES: Final = (
    "teens",
    "twenties",
    "thirties",
    "forties",
    "fifties",
    "sixties",
    "seventies",
    "eighties",
    "nineties",
)


class Measure(NamedTuple):
    """A measured column: its unit, and the closed range outside which a value is refused (becomes null)."""

    column: str
    unit: str
    low: float
    high: float


_LONGEST_S: Final = 86_400.0  # a day: what is longer is no recording but a mistake of its header

MEASURES: Final[Mapping[str, Measure]] = {
    m.column: m
    for m in (
        Measure("duration_s", "s", 0.0, _LONGEST_S),
        Measure("clipping_ratio", "share of samples", 0.0, 1.0),
        Measure("pitch_median_hz", "Hz", 50.0, 600.0),
        Measure("pitch_mean_hz", "Hz", 50.0, 600.0),
        Measure("pitch_std_hz", "Hz", 0.0, 200.0),
        Measure("intensity_db", "dB re 2e-5", 20.0, 100.0),
        Measure("speech_duration_s", "s", 0.0, _LONGEST_S),
        Measure("speaking_rate_pps", "phones per second of speech", 1.0, 40.0),
        Measure("speaking_rate_g2p_pps", "phones per second of speech", 1.0, 40.0),
        Measure("snr_db", "dB", -20.0, 100.0),
        Measure("c50_db", "dB", -10.0, 80.0),
        # of these two the backend, named in *_backend, gives the unit: `BACKEND_MEASURES`
        Measure("distortion", "by backend", -50.0, 100.0),
        Measure("quality", "by backend", 0.5, 5.0),
        Measure("alignment_score", "probability", 0.0, 1.0),
        # of words
        Measure("start_s", "s from the start of the clip", 0.0, _LONGEST_S),
        Measure("end_s", "s from the start of the clip", 0.0, _LONGEST_S),
        Measure("score", "probability", 0.0, 1.0),
    )
}
"""Every measured number, of utterances and of words, with its unit and feasible range."""

BACKEND_MEASURES: Final[Mapping[str, Measure]] = {
    "quantile_wada": Measure("snr_db", "dB", -20.0, 100.0),
    "brouhaha_snr": Measure("snr_db", "dB", -15.0, 80.0),
    "decay_distribution": Measure("c50_db", "dB", -10.0, 80.0),
    "brouhaha_c50": Measure("c50_db", "dB", -10.0, 60.0),
    # the scale is 1 to 5; the polynomials behind the network fall a little below it
    "dnsmos_sig": Measure("distortion", "MOS (P.835 SIG)", 0.5, 5.0),
    "dnsmos_ovrl": Measure("quality", "MOS (P.835 OVRL)", 0.5, 5.0),
    "squim_si_sdr": Measure("distortion", "dB (SI-SDR)", -50.0, 100.0),
    "squim_pesq": Measure("quality", "PESQ (P.862.2)", 1.0, 4.65),
}
"""The unit and feasible range of a measure where a backend (the value of its `*_backend` column) has its own."""

DOUBTED_TRANSCRIPT: Final = frozenset(
    {"low_confidence", "no_path", "word_outside_audio", "transcript_too_long", "other_script"}
)
"""Values of `alignment_reason` that say that the transcript is not what is heard: nothing is taken from it then."""

CLIPPED_FROM: Final = 1e-3
"""A clip with at least this share of its samples at full scale counts as clipped (`clipping_ratio`)."""

ATTRIBUTE_COLUMNS: Final[Mapping[str, str]] = {
    "average_pitch": "pitch_median_hz",
    "pitch_variation": "pitch_std_hz",
    "speaking_rate": "speaking_rate_pps",
    "average_intensity": "intensity_db",
    "noise_level": "snr_db",
    "reverberation": "c50_db",
    "distortion_level": "distortion",
    "speech_quality": "quality",
}
"""Each metadata attribute that is binned, and the column that its number lies in."""

_REJECT = [
    pa.field("status", pa.string(), nullable=False),  # ok, rejected
    pa.field("reject_stage", pa.string()),  # plan, decode, features, align
    pa.field("reject_reason", pa.string()),  # a slug: counted
    pa.field("reject_detail", pa.string()),  # for a person
]

UTTERANCES: Final = pa.schema(
    [
        pa.field("unit_id", pa.int64(), nullable=False),
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("data_source", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("speaker_id", pa.string()),
        pa.field("gender", pa.string()),
        pa.field("gender_withheld", pa.bool_()),  # the speaker declined or said neither of `GENDERS`: none is guessed
        pa.field("age", pa.string()),
        pa.field("accent", pa.string()),
        pa.field("transcript", pa.string()),
        pa.field("audio_uri", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("license", pa.string()),
        *_REJECT,
    ]
)

WORD: Final = pa.struct(
    [
        pa.field("word", pa.string(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),  # from 1
        pa.field("start_s", pa.float32()),
        pa.field("end_s", pa.float32()),
        pa.field("phones", pa.list_(pa.string())),
        pa.field("phone_starts_s", pa.list_(pa.float32())),  # null: the backend places words only
        # null: the word has too few frames (voiced ones for pitch), or the value is out of range
        pa.field("pitch_mean_hz", pa.float32()),
        pa.field("pitch_std_hz", pa.float32()),
        pa.field("intensity_db", pa.float32()),
        pa.field("score", pa.float32()),
    ]
)

ANNOTATIONS: Final = pa.schema(
    [
        *UTTERANCES,
        # who says so: corpus, or a classifier as model@revision; null where nobody does
        pa.field("gender_source", pa.string()),
        pa.field("age_source", pa.string()),
        pa.field("accent_source", pa.string()),
        pa.field("emotion", pa.string()),
        pa.field("emotion_source", pa.string()),
        pa.field("spoken_language", pa.string()),  # as heard by a classifier; `language` is the corpus's
        pa.field("spoken_language_source", pa.string()),
        pa.field("clipping_ratio", pa.float32()),  # share of the samples at full scale, 0 to 1
        pa.field("pitch_median_hz", pa.float32()),
        pa.field("pitch_mean_hz", pa.float32()),
        pa.field("pitch_std_hz", pa.float32()),
        pa.field("pitch_backend", pa.string()),  # praat_ac, torch_ac
        pa.field("intensity_db", pa.float32()),
        pa.field("intensity_backend", pa.string()),  # praat, torch
        pa.field("speech_duration_s", pa.float32()),
        pa.field("speaking_rate_pps", pa.float32()),
        pa.field("speaking_rate_backend", pa.string()),  # aligned, g2p
        pa.field("speaking_rate_g2p_pps", pa.float32()),  # by the pronunciation, whether aligned or not
        pa.field("snr_db", pa.float32()),
        pa.field("snr_backend", pa.string()),
        pa.field("c50_db", pa.float32()),
        pa.field("c50_backend", pa.string()),
        pa.field("distortion", pa.float32()),
        pa.field("distortion_backend", pa.string()),
        pa.field("quality", pa.float32()),
        pa.field("quality_backend", pa.string()),
        pa.field("null_reasons", pa.list_(pa.string())),  # "pitch_median_hz:unvoiced", …
        pa.field("phonemes", pa.string()),  # IPA, words apart by spaces
        pa.field("oov_words", pa.int32()),  # of the transcript, that the dictionary lacks; null where none is given
        pa.field("unpronounced_words", pa.int32()),  # of the transcript, that nothing can pronounce
        pa.field("alignment_score", pa.float32()),  # 0 to 1; of an alignment that was refused too
        pa.field("alignment_backend", pa.string()),  # viter, mfa, ctc
        pa.field("alignment_reason", pa.string()),  # why there are no words, null where there are
        pa.field("alignment_detail", pa.string()),  # the same for a person
        pa.field("words", pa.list_(WORD)),
    ]
)

FACT: Final = pa.struct(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("value", pa.string()),  # the English label, whatever the text's language; null: it can't be told
        pa.field("ordinal", pa.int8()),  # place of the label in the order of its attribute's, from 0; null: no order
        pa.field("audio", pa.int8(), nullable=False),  # 0, or 1 for a comparison's second utterance
        pa.field("position", pa.int32(), nullable=False),  # 0 for the utterance, a word's place from 1
    ]
)

PAIR: Final = pa.struct(
    [
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("accepted", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),  # null where accepted
        pa.field("evidence", pa.list_(FACT)),
        pa.field("generator", pa.string(), nullable=False),
        pa.field("attempt", pa.int8(), nullable=False),
        pa.field("score", pa.float32()),  # the judge's, 0 to 10; null where none was asked, or none could be had
        # a hash of the question's words, by which repeats among an utterance's tasks are found; null where refused
        pa.field("asked", pa.int64()),
    ]
)

_REQUEST_IDENTITY = [
    pa.field("unit_id", pa.int64(), nullable=False),
    pa.field("task", pa.string(), nullable=False),
    pa.field("language", pa.string(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("data_source", pa.string(), nullable=False),
    pa.field("utterance_ids", pa.list_(pa.string()), nullable=False),
    pa.field("audio_uris", pa.list_(pa.string()), nullable=False),
]

REQUESTS: Final = pa.schema(
    [
        *_REQUEST_IDENTITY,
        pa.field("engine", pa.string(), nullable=False),  # vllm, template
        pa.field("facts", pa.list_(FACT), nullable=False),  # all that is known and may be spoken of
        pa.field("focus", pa.list_(pa.string()), nullable=False),  # keys asked for; empty: any
        pa.field("unknown", pa.list_(pa.string()), nullable=False),  # topics asked for that can't be told; else empty
        pa.field("pairs_wanted", pa.int8(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
    ]
)

INSTRUCTIONS: Final = pa.schema(
    [
        *_REQUEST_IDENTITY,
        pa.field("pairs", pa.list_(PAIR), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_hash", pa.string(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("cached_tokens", pa.int32()),
        pa.field("generated_tokens", pa.int32()),
    ]
)

MESSAGE: Final = pa.struct(
    [
        pa.field("role", pa.string()),
        pa.field(
            "content",
            pa.list_(pa.struct([pa.field("text", pa.string()), pa.field("audio_path", pa.string())])),
        ),
    ]
)

RELEASE: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("messages", pa.list_(MESSAGE), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("data_source", pa.string(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("generator", pa.string(), nullable=False),
        pa.field("evidence", pa.list_(FACT), nullable=False),
        pa.field("utterance_ids", pa.list_(pa.string()), nullable=False),
        pa.field("audio_uris", pa.list_(pa.string()), nullable=False),
    ]
)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return `table` with exactly the columns of `schema`, in its order and types.

    Columns that the schema does not name are dropped; a nullable column that the table lacks becomes null.

    Raises:
        ValueError: a column that may not be null is missing, or holds a null.
    """
    columns = []
    for field in schema:
        if field.name in table.column_names:
            column = table.column(field.name)
            if column.type != field.type:
                column = column.cast(field.type)
        elif field.nullable:
            column = pa.nulls(table.num_rows, field.type)
        else:
            raise ValueError(f"column {field.name!r} is missing, and the schema does not allow it to be null")
        if not field.nullable and column.null_count:
            raise ValueError(f"column {field.name!r} holds {column.null_count} nulls, which the schema forbids")
        columns.append(column)
    return pa.table(columns, schema=schema)
