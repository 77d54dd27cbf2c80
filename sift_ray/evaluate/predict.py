"""`sift-ray predict`: ask an audio language model every question of a release's split, and keep what it says."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray import __version__
from sift_ray.audio.errors import DecodeError
from sift_ray.config_storage import StorageConfig
from sift_ray.evaluate.audio_llm import PAUSE_S, AudioLLM, AudioPrompt, audio_prompt
from sift_ray.evaluate.decoding_settings import DecodingSettings, applied
from sift_ray.evaluate.predict_audio import ClipReader, Question, count_rows, read_questions
from sift_ray.evaluate.predict_file import Header, PredictionFile
from sift_ray.evaluate.predict_outcome import Outcome
from sift_ray.evaluate.predictions import Prediction
from sift_ray.evaluate.samples import ANSWERED, GENERATION, Sample
from sift_ray.instruct.engine import RequestFailed
from sift_ray.release.samples import AUDIO
from sift_ray.schema import TASKS
from sift_ray.storage import OutputRoot, StorageError
from sift_ray.validate.shards import list_release

_READ_BYTES: Final = 1 << 23


@dataclass(frozen=True, slots=True)
class Asked:
    """Which questions are asked, and how.

    Attributes:
        root: of the release.
        split: ours: train, dev or test.
        tasks: some of `schema.TASKS`; samples of `samples.GENERATION` are only counted.
        languages: only these; none named: all.
        settings: of the decoding.
        one_audio: two audios of a comparison are joined by `PAUSE_S` of silence.
        limit: at most so many questions of each task and language, the first of them; None: all.
        audio_root: the folder of the audio; None: the release says where it is.
        storage: how to speak to a store.
    """

    root: OutputRoot
    split: str
    settings: DecodingSettings
    tasks: tuple[str, ...] = TASKS
    languages: tuple[str, ...] = ()
    one_audio: bool = False
    limit: int | None = None
    audio_root: Path | None = None
    storage: StorageConfig = field(default_factory=StorageConfig)


def header_of(
    asked: Asked, model: str, notes: Mapping[str, str], *, revision: str = "", told: Mapping[str, Any] | None = None
) -> Header:
    """Return what stands beside the predictions: what they depend on, and what is good to know.

    Where the release lies and which of its rows were asked for has no bearing on a prediction, and may change between
    runs; what its files of the split hold may not.

    Args:
        asked: what is asked for.
        model: its name.
        notes: settings that it does not apply, and why; see `AudioLLM.notes`.
        revision: of its weights; empty where only its server knows.
        told: what else is good to know, such as where the model runs.
    """
    made = applied(asked.settings, notes)
    decisive = {
        "model": model,
        "revision": revision,
        "release": release_digest(asked.root, asked.split),
        "split": asked.split,
        "one_audio": asked.one_audio,
        **{f"decoding.{name}": value for name, value in made.settings.items()},
    }
    more = {
        "release": asked.root.uri,
        "decoding_asked": asdict(asked.settings),
        "decoding_notes": dict(made.notes),
        "pause_s": PAUSE_S if asked.one_audio else None,
        "sift_ray": __version__,
    }
    return Header(decisive, {**more, **(told or {})})


def release_digest(root: OutputRoot, split: str) -> str:
    """Return a hash of the split's files: of their paths and all that is in them.

    Of audio in the rows, which may be many gigabytes, it has only what the file's footer says: how large its pieces
    are.
    """
    digest = hashlib.sha256()
    for shard in list_release(root).shards:
        if shard.split != split:
            continue
        with root.filesystem.open_input_file(shard.location) as file:
            size = file.size()
            digest.update(f"{shard.path}\0{size}\n".encode())
            for start, end in _without_audio(file, size) if shard.kind == "parquet" else [(0, size)]:
                for place in range(start, end, _READ_BYTES):
                    digest.update(file.read_at(min(_READ_BYTES, end - place), place))
    return digest.hexdigest()[:16]


def _without_audio(file: pa.NativeFile, size: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last byte + 1 of the pieces of a Parquet file that hold no audio, the footer the last."""
    try:
        metadata = pq.read_metadata(file)
    except pa.ArrowException:  # whoever reads its rows tells what is wrong with it
        yield 0, size
        return
    end = 0
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            start = column.dictionary_page_offset or column.data_page_offset
            end = max(end, start + column.total_compressed_size)
            if column.path_in_schema.partition(".")[0] != AUDIO.name:
                yield start, start + column.total_compressed_size
    yield end, size


async def predict(
    asked: Asked,
    model: AudioLLM,
    file: PredictionFile,
    *,
    concurrency: int,
    progress: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Ask every question that has no prediction yet, and write each answer as it comes.

    Questions are read and their audio decoded in one thread, in the order of the release; at most `concurrency` of them
    are in memory. What can't be read, and what the model refuses, is written to the file of rejects.

    Raises:
        EngineDied: the model is gone; what it said before is kept.
        StorageError: the release can't be read, or has no such samples.
        DecoderStartError: no process can be started to decode in.
    """
    outcome = Outcome()
    if GENERATION in asked.tasks:
        outcome.skipped = count_rows(asked.root, asked.split, GENERATION, asked.languages)
    with ClipReader(asked.audio_root, asked.storage) as clips, ThreadPoolExecutor(1, "questions") as thread:
        source = _Prompts(asked, clips, frozenset(file.done), outcome)
        loop = asyncio.get_running_loop()

        async def work() -> None:
            while True:
                taken = await loop.run_in_executor(thread, source.take)
                if taken is None:
                    return
                await _answer(*taken, model, file, outcome)
                if progress is not None:
                    progress(outcome)

        workers = [asyncio.ensure_future(work()) for _ in range(concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            source.stop()
    if not outcome.asked:
        raise StorageError(
            f"{asked.root.uri}: the split {asked.split} has no samples of {', '.join(_answered(asked))}"
            f"{' in ' if asked.languages else ''}{', '.join(asked.languages)}; ask for others"
        )
    return outcome


def _answered(asked: Asked) -> tuple[str, ...]:
    return tuple(task for task in asked.tasks if task in ANSWERED)


class _Prompts:
    """The prompts that are still to be answered; for one thread, but for `stop`."""

    def __init__(self, asked: Asked, clips: ClipReader, done: frozenset[str], outcome: Outcome) -> None:
        self._asked = asked
        self._clips = clips
        self._done = done
        self._outcome = outcome
        questions = read_questions(asked.root, asked.split, _answered(asked), asked.languages)
        self._questions = _limited(questions, asked.limit)
        self._seen: set[str] = set()
        self._stopped = threading.Event()

    def take(self) -> tuple[Sample, AudioPrompt | DecodeError] | None:
        """Return the next sample with its prompt, or why it has none; None after the last."""
        if self._stopped.is_set():
            return None
        for question in self._questions:
            sample = question.sample
            if sample.sample_id in self._seen:
                raise StorageError(
                    f"{self._asked.root.uri}: two samples are called {sample.sample_id}; release it anew"
                )
            self._seen.add(sample.sample_id)
            self._outcome.asked += 1
            if sample.sample_id in self._done:
                self._outcome.before += 1
                continue
            try:
                audios = [self._clips.read(clip) for clip in question.clips]
            except DecodeError as error:
                return sample, error
            asked = self._asked
            return sample, audio_prompt(sample.question, audios, asked.settings, one_audio=asked.one_audio)
        return None

    def stop(self) -> None:
        """Let nothing more be read."""
        self._stopped.set()


def _limited(questions: Iterator[Question], limit: int | None) -> Iterator[Question]:
    """Yield the first questions of each task and language, as many as `limit` says."""
    counted: Counter[tuple[str, str]] = Counter()
    for question in questions:
        group = (question.sample.task, question.sample.language)
        counted[group] += 1
        if limit is None or counted[group] <= limit:
            yield question


async def _answer(
    sample: Sample, prompt: AudioPrompt | DecodeError, model: AudioLLM, file: PredictionFile, outcome: Outcome
) -> None:
    failure: DecodeError | RequestFailed
    if isinstance(prompt, DecodeError):
        failure = prompt
    else:
        try:
            generation = await model.generate(prompt)
        except RequestFailed as error:
            failure = error
            if len(prompt.audios) > 1 and error.reason == "engine_refused" and "audio" in error.detail.lower():
                advice = "if the model takes one audio, join the two with --one-audio"
                failure = RequestFailed(error.reason, f"{error.detail}; {advice}")
        else:
            file.write(
                Prediction(sample.sample_id, generation.text),
                task=sample.task,
                language=sample.language,
                model=model.name,
                finish_reason=generation.finish_reason,
                prompt_tokens=generation.prompt_tokens,
                generated_tokens=generation.generated_tokens,
            )
            outcome.predicted += 1
            outcome.cut += generation.finish_reason == "length"
            return
    outcome.missing[failure.reason] += 1
    file.reject(
        sample_id=sample.sample_id,
        task=sample.task,
        language=sample.language,
        reason=failure.reason,
        detail=failure.detail,
    )
