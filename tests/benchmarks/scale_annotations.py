"""Synthetic annotations for `tests.benchmarks.scale`: finished waves as `annotate` leaves them, with no audio.

Every wave has its own ids and its own numbers. Texts come from a pool that all waves share, drawn anew for each: the
demo's sentences, where a quarter of the longer words is made of the halves of two words of the language, so that there
are some ten thousand words in a language and not a hundred and fifty. Phones are spelled, one a letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from sift_ray.pipeline.counts import count_annotations
from sift_ray.schema import AGES, ANNOTATIONS, ATTRIBUTE_COLUMNS, WORD, conform
from sift_ray.storage import LocalRoot, ShardInfo, WaveManifest, id_digest, wave_folder, write_manifest

FILE_ROWS: Final = 5000
ROW_GROUP_ROWS: Final = 4096

_TEXTS: Final = 1000  # of each corpus and language
_MADE_UP: Final = 0.25  # of the words of more than four letters
_SECONDS_A_PHONE: Final = 0.075
_PHONES: Final = str.maketrans("aeiourcyjvwß", "ɑɛɪɔʊɹkɪʒfvs", ".,;:!?'’-")
_UNKNOWN: Final = 0.02  # of the measured numbers
_UNVOICED: Final = 0.15  # of the words
_UNALIGNED: Final = 0.03  # of the utterances

_SPEAKERS: Final = 6000
_SPLIT_ENDS: Final = (96, 98)  # of each hundred speakers so many are of train, then of dev

_MEASURED: Final[Mapping[str, tuple[float, float]]] = {
    "pitch_median_hz": (160.0, 22.0),
    "pitch_std_hz": (32.0, 9.0),
    "speaking_rate_pps": (13.0, 2.2),
    "intensity_db": (64.0, 6.0),
    "snr_db": (38.0, 11.0),
    "c50_db": (42.0, 10.0),
    "distortion": (3.6, 0.4),
    "quality": (3.1, 0.4),
}
"""Mean and standard deviation of what is binned; a female voice is half as high again."""

_BACKENDS: Final = {"pitch": "praat_ac", "intensity": "praat", "speaking_rate": "aligned", "snr": "quantile_wada"} | {
    "c50": "decay_distribution",
    "distortion": "dnsmos_sig",
    "quality": "dnsmos_ovrl",
    "alignment": "viter",
}

_Rows = npt.NDArray[np.int64]
_Numbers = npt.NDArray[np.float32]


class Source(NamedTuple):
    """A corpus in a language: its share of the rows, how many sentences a text has at least and most, and its style."""

    corpus: str
    language: str
    share: float
    sentences: tuple[int, int]
    plain: bool  # in lower case, without marks


# (by the hours of jobs/production.yaml, at 14 s an utterance, 5 s and 3 s)
SOURCES: Final = (
    Source("mls", "en", 0.27, (3, 5), True),
    Source("mls", "de", 0.09, (3, 5), True),
    Source("mls", "fr", 0.05, (3, 5), True),
    Source("mls", "it", 0.01, (3, 5), True),
    Source("mls", "es", 0.04, (3, 5), True),
    Source("common_voice", "en", 0.23, (1, 2), False),
    Source("common_voice", "de", 0.15, (1, 2), False),
    Source("common_voice", "fr", 0.10, (1, 2), False),
    Source("common_voice", "it", 0.04, (1, 2), False),
    Source("common_voice", "es", 0.01, (1, 2), False),
    Source("vctk", "en", 0.01, (1, 1), False),
)


class Annotations:
    """Makes waves of annotations; a wave is the same for the same number."""

    def __init__(self) -> None:
        """Write the pool of texts, which takes some seconds."""
        texts = [text for place, source in enumerate(SOURCES) for text in _texts(source, np.random.default_rng(place))]
        self._transcripts = pa.array(texts)
        self._phonemes = pa.array([text.lower().translate(_PHONES) for text in texts])
        self._words = _aligned(texts)
        last = pc.subtract(self._words.offsets[1:], 1)
        self._seconds = pc.struct_field(self._words.flatten().take(last), "end_s").to_numpy()

    def wave(self, number: int, first: int, rows: int) -> pa.Table:
        """Return `rows` rows of `schema.ANNOTATIONS`, those of the job from `first` on."""
        random = np.random.default_rng(number)
        source = random.choice(len(SOURCES), rows, p=[source.share for source in SOURCES])
        text = source * _TEXTS + random.integers(0, _TEXTS, rows)
        unaligned = random.random(rows) < _UNALIGNED
        female = random.random(rows) < 0.5

        def by_source(*values: str) -> pa.Array:
            return pa.array(values).take(pa.array(source))

        def drawn(unknown: float, *values: str) -> pa.Array:
            places = random.integers(0, len(values), rows)
            return pa.array(values).take(pa.array(places, mask=random.random(rows) < unknown))

        person = random.integers(0, _SPEAKERS, rows)
        speaker = pa.array(person).cast(pa.string())
        split = np.searchsorted(_SPLIT_ENDS, person % 100, side="right")  # (by speaker: a release refuses to share any)
        corpus = by_source(*(source.corpus for source in SOURCES))
        place = pa.array(np.arange(first, first + rows)).cast(pa.string())
        name = pc.binary_join_element_wise(corpus, speaker, place, "_")
        folder = by_source(*(f"s3://my-corpora/{source.corpus}/{source.language}/train/audio" for source in SOURCES))
        measured = _measured(random, female)
        seconds = self._seconds[text]
        columns = {
            "unit_id": pa.array(_mixed(np.arange(first, first + rows))),
            "utterance_id": name,
            "corpus": corpus,
            "data_source": by_source(*(f"{source.corpus}_{source.language}" for source in SOURCES)),
            "language": by_source(*(source.language for source in SOURCES)),
            "split": pa.array(["train", "dev", "test"]).take(pa.array(split)),
            "speaker_id": speaker,
            "gender": pa.array(["male", "female"]).take(pa.array(female.astype(int), mask=random.random(rows) < 0.1)),
            "age": drawn(0.4, *AGES),
            "accent": drawn(0.85, "Scottish English", "US", "Canada", "Bayern", "I moved here as a child"),
            "transcript": self._transcripts.take(pa.array(text)),
            "audio_uri": pc.binary_join_element_wise(
                folder, speaker, pc.binary_join_element_wise(name, ".flac", ""), "/"
            ),
            "duration_s": pa.array(seconds + 0.5),
            "speech_duration_s": pa.array(seconds),
            "status": pa.repeat("ok", rows),
            "clipping_ratio": pa.array(np.zeros(rows)),
            "phonemes": self._phonemes.take(pa.array(text)),
            "oov_words": pa.array(np.zeros(rows, np.int32)),
            "unpronounced_words": pa.array(np.zeros(rows, np.int32)),
            "alignment_score": pa.array(random.uniform(0.3, 1.0, rows)),
            "alignment_reason": pa.array(["low_confidence"]).take(pa.array(np.zeros(rows, int), mask=~unaligned)),
            "words": _spoken(random, self._words.take(pa.array(text, mask=unaligned)), measured),
            "null_reasons": _reasons(measured),
            **{f"{measure}_backend": pa.repeat(backend, rows) for measure, backend in _BACKENDS.items()},
            **{column: pa.array(values, mask=np.isnan(values)) for column, values in measured.items()},
        }
        return conform(pa.table(columns), ANNOTATIONS)


def write_waves(root: LocalRoot, annotations: Annotations, rows: int, wave_rows: int) -> int:
    """Write so many rows as finished waves of `annotate`; return the number of waves."""
    firsts = range(0, rows, wave_rows)
    for wave, first in enumerate(firsts):
        table = annotations.wave(wave, first, min(wave_rows, rows - first))
        folder = Path(root.locate(wave_folder("annotations", wave)))
        folder.mkdir(parents=True)
        files = []
        for start in range(0, table.num_rows, FILE_ROWS):
            part = table.slice(start, FILE_ROWS).sort_by("unit_id")
            path = folder / f"part-{start:05d}.parquet"
            pq.write_table(part, path, compression="zstd", row_group_size=ROW_GROUP_ROWS, write_page_index=True)
            files.append(ShardInfo(name=path.name, rows=part.num_rows, bytes=path.stat().st_size))
        manifest = WaveManifest(
            stage="annotations",
            wave=wave,
            rows=table.num_rows,
            id_digest=f"{id_digest(table['unit_id'].to_numpy()):016x}",
            fingerprint="synthetic",
            files=tuple(files),
            counts=count_annotations(table),
            started_at="",
            seconds=0.0,
            versions={},
        )
        write_manifest(root, manifest)
    return len(firsts)


def _texts(source: Source, random: np.random.Generator) -> list[str]:
    """Return the pool's texts of a source."""
    document = resources.files("sift_ray.corpora").joinpath("demo_sentences.yaml").read_text(encoding="utf-8")
    sentences: list[str] = yaml.safe_load(document)[source.language]
    known = sorted({word.strip(".,;:!?").lower() for text in sentences for word in text.split()})
    long = [word for word in known if len(word) > 4 and word.isalpha()]

    def written(sentence: str) -> str:
        words = sentence.split()
        for place, word in enumerate(words):
            if word.isalpha() and len(word) > 4 and random.random() < _MADE_UP:
                left, right = (long[at] for at in random.integers(0, len(long), 2))
                made = left[: (len(left) + 1) // 2] + right[len(right) // 2 :]
                words[place] = made.capitalize() if word[0].isupper() else made
        return " ".join(words)

    least, most = source.sentences
    texts = []
    for _ in range(_TEXTS):
        chosen = random.choice(len(sentences), int(random.integers(least, most + 1)), replace=False)
        text = " ".join(written(sentences[place]) for place in chosen)
        texts.append(text.lower().translate(str.maketrans("", "", ".,;:!?")) if source.plain else text)
    return texts


def _aligned(texts: list[str]) -> pa.ListArray:
    """Return the words of each text with their times and phones, the rest null: lists of `schema.WORD`."""
    return pa.array([_alignment(text) for text in texts], pa.list_(WORD))


def _alignment(text: str) -> list[dict[str, object]]:
    words: list[dict[str, object]] = []
    at = 0.2
    for place, written in enumerate(text.split(), 1):
        word = written.strip(".,;:!?")
        phones = list(word.lower().translate(_PHONES)) or ["ʔ"]
        starts = list(accumulate([_SECONDS_A_PHONE] * len(phones), initial=at))
        end = starts.pop()
        words.append({"word": word, "position": place, "start_s": at, "end_s": end, "phones": phones})
        words[-1]["phone_starts_s"] = starts
        # after a mark a speaker pauses
        at = end + (0.3 if written != word else 0.0)
    return words


def _measured(random: np.random.Generator, female: npt.NDArray[np.bool_]) -> dict[str, _Numbers]:
    """Return the numbers of each binned column, nan where unknown."""
    columns = {}
    for column in ATTRIBUTE_COLUMNS.values():
        mean, deviation = _MEASURED[column]
        values = mean + deviation * random.standard_normal(len(female), dtype=np.float32)
        if column == "pitch_median_hz":
            values = np.where(female, 1.5 * values, values)
        values[random.random(len(female)) < _UNKNOWN] = np.nan
        columns[column] = values.astype(np.float32)
    return columns


def _spoken(random: np.random.Generator, words: pa.ListArray, measured: Mapping[str, _Numbers]) -> pa.ListArray:
    """Return the words with numbers of their own around those of their utterance."""
    lengths = pc.list_value_length(words).fill_null(0).to_numpy()
    row = np.repeat(np.arange(len(words)), lengths)
    unvoiced = random.random(len(row)) < _UNVOICED

    def around(column: str, spread: float) -> pa.Array:
        values = measured[column][row] * (1 + spread * random.standard_normal(len(row), dtype=np.float32))
        unknown = np.isnan(values) | (unvoiced if column.startswith("pitch") else False)
        return pa.array(values, mask=unknown)

    own = {
        "pitch_mean_hz": around("pitch_median_hz", 0.1),
        "pitch_std_hz": around("pitch_std_hz", 0.3),
        "intensity_db": around("intensity_db", 0.06),
        "score": pa.array(random.uniform(0.3, 1.0, len(row)).astype(np.float32)),
    }
    flat = words.flatten()
    fields = [own.get(field.name, flat.field(field.name)) for field in WORD]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = pa.StructArray.from_arrays(fields, fields=list(WORD))
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=pa.list_(WORD), mask=words.is_null())


def _reasons(measured: Mapping[str, _Numbers]) -> pa.ListArray:
    """Return for each row a list of "column:unvoiced", one of each of its unknown numbers."""
    unknown = np.isnan(np.stack(list(measured.values()), axis=1))
    _, column = np.nonzero(unknown)
    offsets = np.concatenate([[0], np.cumsum(unknown.sum(axis=1))]).astype(np.int32)
    texts = pa.array([f"{name}:unvoiced" for name in measured]).take(pa.array(column))
    return pa.ListArray.from_arrays(pa.array(offsets), texts)


def _mixed(places: _Rows) -> _Rows:
    """Return ids that are as far apart as hashes; different places give different ids (splitmix64)."""
    mixed = places.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).view(np.int64)
