"""Which utterances a language's alignment model is trained on, and their audio.

The plan's order is fixed and random, so its first rows are a fair sample. Of a pool of them, several times as long as
what is trained on, the speakers are taken in turn: a model that knows many voices aligns new ones better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.config import Config, DecodeConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.pipeline.audio_batches import FULL_SCALE
from sift_ray.pipeline.decoding import address_order
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.stages import plan_stage
from sift_ray.schema import SAMPLE_RATE
from sift_ray.storage import OutputRoot, read_manifest, read_table, wave_files

if TYPE_CHECKING:
    from sift_ray.align.protocol import TrainingClip
    from sift_ray.audio.errors import DecodeError

MOST_UNDECODED: Final = 0.2
"""Of the clips to train on; with more than this share of them undecodable the fault is not a few clips'."""
POOL_FACTOR: Final = 4
"""The pool is so many times as long as what is chosen from it."""
_UNKNOWN_CLIP_S = 5.0  # about what read sentences last: Common Voice's mean
_OF_LENGTH = ("too_short", "too_long")  # clips that nothing is wrong with
_SLACK_S = 1.0  # more than the rounding of any sum of durations
_COLUMNS = [
    "unit_id",
    "utterance_id",
    "corpus",
    "language",
    "status",
    "speaker_id",
    "transcript",
    "audio_uri",
    "duration_s",
]


def training_rows(config: Config, root: OutputRoot, plan: Plan, seconds: Mapping[str, float]) -> dict[str, pa.Table]:
    """Return the utterances of each language of `seconds` to train on: so many seconds, or all there are.

    The same rows for the same plan, however it is cut into waves and files. `duration_s` is filled with a guess where
    it is unknown, and `length_known` tells where it was not. A language without a usable row may be left out.
    """
    pools = _pools(config, root, plan, {language: POOL_FACTOR * s for language, s in seconds.items()})
    return {language: choose_clips(pool, seconds[language]) for language, pool in pools.items()}


def choose_clips(pool: pa.Table, seconds: float) -> pa.Table:
    """Return rows of `pool`, in its order, that last `seconds` together, or all if they do not.

    The speakers' first rows are taken, then their second ones, and so on until the sum is reached; thus every speaker
    is kept as long as there is room. A row of an unknown speaker counts as a speaker of its own.

    Args:
        pool: with the columns `corpus`, `speaker_id` (may be null) and `duration_s` (s, no nulls).
        seconds: at least so much is taken, and less than that without its last row.
    """
    turn = _turns(pool)
    order = np.lexsort((np.arange(turn.size), turn))
    chosen = _first(pool["duration_s"].to_numpy()[order], seconds)
    return pool.take(pa.array(np.sort(order[:chosen])))


def _first(durations_s: NDArray[np.float64], seconds: float) -> int:
    """Return how many of the first durations it takes to reach `seconds`."""
    return min(int(np.searchsorted(np.cumsum(durations_s), seconds)) + 1, durations_s.size)


def _turns(pool: pa.Table) -> NDArray[np.int64]:
    """Return for each row how many rows of its speaker come before it."""
    known = np.asarray(pc.is_valid(pool["speaker_id"]))
    turn = np.zeros(pool.num_rows, np.int64)
    names = pc.binary_join_element_wise(pool["corpus"], pool["speaker_id"], "\x1f").filter(pa.array(known))
    if len(names):
        codes = pc.dictionary_encode(names.combine_chunks()).indices.to_numpy()
        by_speaker = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[by_speaker], prepend=-1))
        sizes = np.diff(np.append(starts, codes.size))
        counted = np.empty(codes.size, np.int64)
        counted[by_speaker] = np.arange(codes.size) - np.repeat(starts, sizes)
        turn[known] = counted
    return turn


def _pools(config: Config, root: OutputRoot, plan: Plan, seconds: Mapping[str, float]) -> dict[str, pa.Table]:
    """Return the plan's first usable rows of each language of `seconds`, of that length."""
    parts: dict[str, list[pa.Table]] = {language: [] for language in seconds}
    found = dict.fromkeys(seconds, 0.0)
    for wave in range(plan.waves):
        waiting = [language for language, most in seconds.items() if found[language] < most + _SLACK_S]
        manifest = read_manifest(root, plan_stage(config).name, wave)
        if not waiting or manifest is None:
            break
        held = {label.split("/")[1] for label in manifest.counts.get("utterances", {})}
        for path in wave_files(root, manifest) if held & set(waiting) else ():
            table = _usable(read_table(root, path, _COLUMNS), config.annotate.decode)
            for language in held & set(waiting):
                rows = table.filter(pc.equal(table["language"], language))
                found[language] += pc.sum(rows["duration_s"]).as_py() or 0.0
                parts[language].append(rows)
    pools = {language: pa.concat_tables(tables) for language, tables in parts.items() if tables}
    # cut once, at the end: a sum of sums would depend on how the rows are spread over files
    return {
        language: pool.slice(0, _first(pool["duration_s"].to_numpy(), seconds[language]))
        for language, pool in pools.items()
    }


def _usable(rows: pa.Table, decode: DecodeConfig) -> pa.Table:
    # (a clip of unknown length may be among the first hours; what it really holds shows when it is decoded)
    durations = pc.fill_null(rows["duration_s"], _UNKNOWN_CLIP_S)
    rows = rows.append_column("length_known", pc.is_valid(rows["duration_s"]))
    rows = rows.set_column(rows.schema.get_field_index("duration_s"), "duration_s", durations)
    good = pc.and_(pc.equal(rows["status"], "ok"), pc.is_valid(rows["transcript"]))
    fits = pc.and_(pc.greater_equal(durations, decode.min_s), pc.less_equal(durations, decode.max_s))
    return rows.filter(pc.and_(good, fits))


class TrainingClips:
    """Decodes the rows to train on, and counts what became of them.

    A clip that can't be decoded is left to `annotate` to reject; one that is too long or too short, or was cut, so that
    its transcript says more than is heard, is not trained on either.

    Attributes:
        clips: decoded so far.
        seconds: what these last.
        undecoded: clips that could not be decoded.
        first_error: of the first of those.
    """

    def __init__(
        self, rows: pa.Table, config: DecodeConfig, storage: StorageConfig, *, least_s: float, most_s: float
    ) -> None:
        """Take what to decode.

        Args:
            rows: as `training_rows` gives them, of one language.
            config: the bounds of a clip's length.
            storage: the object store of `s3://`.
            least_s: less speech than this is an error.
            most_s: nothing more is decoded once there is so much.
        """
        self._rows, self._config, self._storage = rows, config, storage
        self._least_s, self._most_s = least_s, most_s
        self.clips, self.seconds = 0, 0.0
        self.undecoded, self.first_error = 0, ""

    def __iter__(self) -> Iterator[TrainingClip]:
        """Yield the clips, in the order in which their audio is best read; to be called once.

        Decoding happens in a process of its own: a file that crashes its decoder must not cost the training.

        Raises:
            TrainingError: more than `MOST_UNDECODED` of the rows can't be decoded, or they hold less speech than
                `least_s`.
        """
        from sift_ray.align.protocol import TrainingClip, TrainingError
        from sift_ray.audio.errors import DecodeError
        from sift_ray.audio.isolate import IsolatedDecoder

        order, _ = address_order(self._rows["audio_uri"].to_pylist())
        with IsolatedDecoder(self._storage, self._config) as decoder:
            for row in self._rows.take(pa.array(order)).to_pylist():
                try:
                    clip = decoder.decode(row["audio_uri"])
                except DecodeError as error:
                    if error.reason not in _OF_LENGTH:
                        self._count(row["utterance_id"], error)
                    continue
                if clip.cut:
                    continue
                self.clips += 1
                self.seconds += clip.samples.size / SAMPLE_RATE
                samples = clip.samples.astype(np.float32) / np.float32(FULL_SCALE)
                yield TrainingClip(row["utterance_id"], row["speaker_id"], samples, row["transcript"])
                if self.seconds >= self._most_s:
                    return
        if self.seconds < self._least_s:
            raise TrainingError(
                f"{self._language}: the {self._rows.num_rows} clips chosen to train on hold {self.seconds:.1f} s of "
                f"usable speech, less than annotate.align.min_train_s ({self._least_s:g}){self._undecoded()}. Mend the "
                "corpus; or raise min_train_s, and the language is not aligned, or lower it"
            )

    def _count(self, utterance: str, error: DecodeError) -> None:
        from sift_ray.align.protocol import TrainingError

        self.undecoded += 1
        self.first_error = self.first_error or f"{utterance}: {error}"
        # one bad clip is no bad corpus, however few there are
        if self.undecoded > max(MOST_UNDECODED * self._rows.num_rows, 1):
            raise TrainingError(
                f"{self._language}: more than {MOST_UNDECODED:.0%} of the {self._rows.num_rows} clips chosen to train "
                f"on can't be decoded{self._undecoded()}. A model of what is left would be kept for good: mend the "
                "corpus or the access to it, and run again"
            )

    @property
    def _language(self) -> str:
        return str(self._rows["language"][0])

    def _undecoded(self) -> str:
        if not self.undecoded:
            return ""
        tried = self.undecoded + self.clips
        return (
            f"; of the {tried} tried so far {self.undecoded} could not be decoded, the first of them {self.first_error}"
        )
