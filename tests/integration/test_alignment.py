"""Alignment inside the job: models made once and found again, wrong transcripts, other backends, other workers."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray.align.lexicon import Lexicon
from sift_ray.align.viter_files import MODEL, REPORT
from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline.build import align_train, annotate, build, plan
from sift_ray.pipeline.waves import StaleOutputError
from sift_ray.schema import SAMPLE_RATE
from sift_ray.storage import MANIFEST_NAME, LocalRoot, OutputRoot, read_manifest, root_of, wave_files
from tests.human_speech import recordings

from ..align.tiny_ctc import write_ctc
from ..seaweed import Seaweed

pytestmark = pytest.mark.integration

TRAIN_S = 50.0
SPEAKERS = 10
MIN_SCORE = "min_score: 0.3"  # the default is for models of minutes of speech; this one has less than one


@dataclass(frozen=True)
class Corpus:
    """Italian recordings as two manifests: one true, and one in which some have the transcript of another."""

    folder: Path
    swapped: frozenset[str]
    speakers: int

    def config(
        self, output: str | Path, align: str = "", more: str = "", manifest: str = "true", batch: int = 32
    ) -> Config:
        text = f"""\
output: {output}
corpora: [{{type: manifest, name: prompts, path: {self.folder}/{manifest}.jsonl}}]
annotate:
  decode: {{pool: {{batch_rows: {batch}}}}}
  features: {{quality: none, room: none, pool: {{actors: [1, 1], batch_rows: {batch}}}}}
  align: {{min_train_s: 5, train_hours: {TRAIN_S / 3600}, {align}}}
bin: {{min_count: 5}}
instruct:
  engine: template
  tasks: {{open_ended: {{fraction: 0.0}}, closed_ended_comparison: {{fraction: 0.0}}}}
{more}"""
        return parse_config(text, "job.yaml")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("prompts")
    spoken = [r for r in recordings(50) if r.language == "it" and r.samples.size > SAMPLE_RATE]
    transcripts = {r.name: r.transcript for r in spoken}
    by_length = sorted((r.samples.size, r.name) for r in spoken)
    swapped = [name for size, name in by_length if 2.0 * SAMPLE_RATE < size < 3.2 * SAMPLE_RATE][:6]
    texts = {name: transcripts[other] for name, other in zip(swapped, swapped[1:] + swapped[:1], strict=True)}
    for recording in spoken:
        sf.write(folder / f"{recording.name}.wav", recording.samples, SAMPLE_RATE)
    for manifest, said in (("true", transcripts), ("wrong", transcripts | texts)):
        lines = [
            {
                "id": recording.name,
                "audio": f"{recording.name}.wav",
                "language": "it",
                "transcript": said[recording.name],
                "speaker_id": f"s{min(number, SPEAKERS - 1)}",  # the last says most of it
            }
            for number, recording in enumerate(spoken)
        ]
        (folder / f"{manifest}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return Corpus(folder, frozenset(swapped), SPEAKERS)


def rows_in(root: OutputRoot, stage: str = "annotations") -> list[dict[str, Any]]:
    manifest = read_manifest(root, stage, 0)
    assert manifest is not None
    tables = [pq.read_table(f, filesystem=root.filesystem, partitioning=None) for f in wave_files(root, manifest)]
    return sorted((row for table in tables for row in table.to_pylist()), key=lambda row: str(row["unit_id"]))


@dataclass(frozen=True)
class Trained:
    """A job that was annotated after `align_train` had trained its model."""

    config: Config
    folder: Path
    told: list[str]  # of models, while it was annotated

    @property
    def root(self) -> LocalRoot:
        return LocalRoot(self.config.output)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return rows_in(self.root)


class Listening(logging.Handler):
    """Keeps what is said of models that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())

    def __enter__(self) -> Listening:
        log = logging.getLogger("sift_ray.pipeline.model_making")
        log.addHandler(self)
        log.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("sift_ray.pipeline.model_making").removeHandler(self)


@pytest.fixture(scope="module")
def trained(local_ray: None, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    config = corpus.config(tmp_path_factory.mktemp("trained") / "out", MIN_SCORE)
    with Listening() as first:
        folders = align_train(config, ["it"])
    assert len(first.told) == 2, first.told
    with Listening() as then:
        annotate(config)
    return Trained(config, Path(folders["it"]), then.told)


def test_what_align_train_made_is_found_and_nothing_is_trained_again(trained: Trained) -> None:
    assert trained.told == []
    assert trained.folder.parent == Path(trained.config.output) / "models/align"
    assert [folder.name for folder in trained.folder.parent.iterdir()] == [trained.folder.name]
    before = {file: file.stat().st_mtime_ns for file in trained.folder.iterdir()}
    with Listening() as again:
        assert align_train(trained.config) == {"it": str(trained.folder)}
    assert again.told == []
    assert {file: file.stat().st_mtime_ns for file in trained.folder.iterdir()} == before


def test_every_speaker_is_kept_in_less_than_all_speech(trained: Trained, corpus: Corpus) -> None:
    report = json.loads((trained.folder / REPORT).read_text())
    assert report["speakers"] == corpus.speakers
    assert report["clips"] < len(trained.rows)
    assert TRAIN_S <= report["seconds_of_audio"] < TRAIN_S + 7  # (the longest clip has less than 7 s)
    made = json.loads((trained.folder / MANIFEST_NAME).read_text())
    assert (made["clips"], made["undecoded"]) == (report["clips"], 0)
    assert made["audio_s"] == pytest.approx(report["seconds_of_audio"], abs=0.01)


@pytest.fixture(scope="module")
def wrong(trained: Trained, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> LocalRoot:
    """A job with that model, some wrong transcripts, and other workers: more of them, and smaller batches."""
    align = f"models: {{it: {trained.folder}}}, pool: {{actors: [3, 3], batch_rows: 2}}, {MIN_SCORE}"
    config = corpus.config(tmp_path_factory.mktemp("wrong") / "out", align, manifest="wrong", batch=4)
    build(config)
    return LocalRoot(config.output)


def test_a_row_is_the_same_on_whatever_worker_and_beside_whatever_others(
    trained: Trained, wrong: LocalRoot, corpus: Corpus
) -> None:
    mine, others = ({row["utterance_id"]: row for row in rows} for rows in (trained.rows, rows_in(wrong)))
    assert set(mine) == set(others)
    for name in set(mine) - corpus.swapped:
        assert mine[name] == others[name], name


def test_wrong_transcripts_cost_the_words_and_nothing_else(wrong: LocalRoot, corpus: Corpus) -> None:
    rows = rows_in(wrong)
    assert {row["status"] for row in rows} == {"ok"}
    refused = {row["utterance_id"] for row in rows if row["words"] is None}
    assert corpus.swapped <= refused
    assert len(refused - corpus.swapped) <= 2
    asked = Counter((row["task"], row["utterance_ids"][0]) for row in rows_in(wrong, "instructions"))
    for row in rows:
        name = row["utterance_id"]
        assert asked["closed_ended_acoustic_level", name] == 1
        if name in refused:
            assert asked["closed_ended_word_align", name] == 0
            assert row["alignment_reason"]
            assert row["pitch_median_hz"] is not None
            assert row["speaking_rate_backend"] in ("g2p", None)
        else:
            assert asked["closed_ended_word_align", name] == 1 or len(row["words"]) < 5
            phones = sum(len(word["phones"]) for word in row["words"])
            assert row["speaking_rate_backend"] == "aligned"
            assert row["speaking_rate_pps"] == pytest.approx(phones / row["speech_duration_s"], rel=1e-5)
            assert row["speaking_rate_g2p_pps"] is not None
            assert all(len(word["phone_starts_s"]) == len(word["phones"]) for word in row["words"])


def test_an_imported_model_and_its_dictionary_work_from_s3(
    trained: Trained, corpus: Corpus, seaweed: Seaweed, tmp_path: Path
) -> None:
    lexicon = Lexicon("it")
    words = {word.lower() for row in trained.rows for word in lexicon.words(row["transcript"])} - {"conferenza"}
    entries = zip(sorted(words), lexicon.pronounce(sorted(words)), strict=True)
    (tmp_path / "it.txt").write_text("".join(f"{word} {' '.join(phones)}\n" for word, phones in entries if phones))
    (tmp_path / "mine.viter").write_bytes((trained.folder / MODEL).read_bytes())
    align = f"models: {{it: {tmp_path}/mine.viter}}, dictionaries: {{it: {tmp_path}/it.txt}}"
    config = corpus.config(
        f"s3://{seaweed.bucket}/imported", align, f"storage: {{endpoint_url: '{seaweed.endpoint}'}}\n"
    )
    root = root_of(config)
    with Listening() as first:
        (folder,) = align_train(config).values()
    assert any("mine.viter is imported" in line for line in first.told)
    assert folder.startswith(f"{root.uri}/models/align/it-")
    assert root.exists(f"{folder.removeprefix(root.uri + '/')}/{MANIFEST_NAME}")
    with Listening() as then:
        annotate(config)
    assert then.told == []
    rows = rows_in(root)
    assert sum(row["words"] is not None for row in rows) >= 0.8 * len(rows) - len(corpus.swapped)
    for row in rows:
        said = [word.lower() for word in lexicon.words(row["transcript"])]
        lacking = said.count("conferenza")
        assert row["oov_words"] == lacking + row["unpronounced_words"]
    (tmp_path / "it.txt").write_text("conferenza k o n f e r e n ts a\n")
    with pytest.raises(StaleOutputError, match=r"dictionaries\.it: was .*, is "):
        annotate(config)


def test_a_ctc_model_aligns_words_without_phones(local_ray: None, corpus: Corpus, tmp_path: Path) -> None:
    model = write_ctc(tmp_path / "tiny-ctc")
    config = corpus.config(tmp_path / "out", f"backend: ctc, models: {{it: {model}}}, min_score: 0.0")
    plan(config)
    with Listening() as listening:
        annotate(config)
    assert listening.told == []
    rows = rows_in(LocalRoot(config.output))
    aligned = [row for row in rows if row["words"] is not None]
    assert len(aligned) >= 0.7 * len(rows)
    for row in aligned:
        assert row["alignment_backend"] == "ctc"
        assert [word["word"] for word in row["words"]] == Lexicon("it").words(row["transcript"])
        assert row["speaking_rate_backend"] == "g2p"
        assert row["speaking_rate_pps"] == row["speaking_rate_g2p_pps"]
        for word in row["words"]:
            assert word["phone_starts_s"] is None
            assert 0 <= word["start_s"] < word["end_s"] <= row["duration_s"] + 1e-3
    other = corpus.config(tmp_path / "out", f"backend: ctc, models: {{it: {model}}}, min_score: 0.1")
    with pytest.raises(StaleOutputError, match=r"min_score: was 0\.0, is 0\.1"):
        annotate(other)
    write_ctc(tmp_path / "tiny-ctc", seed=1)
    with pytest.raises(StaleOutputError, match=r"alignment_models\.it"):
        annotate(config)
