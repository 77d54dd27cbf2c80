"""Controllable generation on human recordings: the originals, the same spoken faster, and the same louder."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import parselmouth
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from numpy.typing import NDArray

from sift_ray.config import Config, LabelConfig
from sift_ray.config_file import ConfigError, parse_config
from sift_ray.evaluate.generation import GENDER, MEASURED_KEYS
from sift_ray.evaluate.origin import job_of, measuring_of
from sift_ray.evaluate.run import Choice, Evaluation, evaluate
from sift_ray.evaluate.samples import GENERATION, Sample, read_samples
from sift_ray.evaluate.scores import ALL, OrdinalScore
from sift_ray.metadata.bins_file import BinsError
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.storage import LocalRoot, StorageError

from ..conftest import Job
from ..features.test_speaker_labels import write_checkpoint
from .spoken_job import YAML

Sound = NDArray[np.float64]
FASTER = 0.6
LOUDER_DB = 10.0
REASONS = ("silent", "unreadable_audio", "unvoiced")


def prompts(job: Config) -> list[Sample]:
    return list(read_samples(LocalRoot(job.output), "test", (GENERATION,)))


def originals(job: Config, folder: Path) -> Path:
    """Write a folder with the original audio of every prompt."""
    folder.mkdir()
    for sample in prompts(job):
        shutil.copy(Path(job.output) / "clips" / f"{sample.utterance_ids[0]}.wav", folder / f"{sample.sample_id}.wav")
    return folder


def changed(folder: Path, change: Callable[[Sound, int], Sound]) -> Path:
    """Change every file of a folder."""
    for path in folder.iterdir():
        samples, rate = sf.read(path)
        sf.write(path, change(samples, rate), rate)
    return folder


def scores(made: Evaluation) -> Mapping[str, OrdinalScore]:
    """Return the scores of all languages together, by characteristic."""
    assert made.generated is not None
    return {score.key: score for score in made.generated.ordinals if score.language == ALL}


def value(number: float | None) -> float:
    assert number is not None
    return number


@pytest.fixture(scope="module")
def audio(spoken: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return originals(spoken, tmp_path_factory.mktemp("generated") / "original")


@pytest.fixture
def copy(audio: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audio, tmp_path / "generated"))


def test_the_original_audio_is_right_in_everything(spoken: Config, audio: Path) -> None:
    made = evaluate(Choice(spoken.output, audio=audio))
    assert made.missing == 0
    assert made.generated is not None
    assert {score.key for score in made.generated.ordinals} == set(MEASURED_KEYS)
    assert {score.language for score in made.generated.ordinals} == {"en", "fr", "it", "es", ALL}
    for score in made.generated.ordinals:
        assert score.scored == score.asked > 10
        assert (score.missing, score.faulty, score.unjudged) == (0, {}, {})
        assert score.mae == (0.0, (0.0, 0.0))
        assert score.qwk == (1.0, (1.0, 1.0))
        table = np.array(score.confusion)
        assert table.trace() == table.sum() == score.asked
    # (they are spread over the categories: right by construction, not for want of choice)
    for whole in scores(made).values():
        assert np.count_nonzero(np.diag(whole.confusion)) == len(whole.labels)


def test_what_is_spoken_faster_moves_the_speaking_rate_alone(spoken: Config, copy: Path) -> None:
    def faster(samples: Sound, rate: int) -> Sound:
        sound = parselmouth.Sound(samples, sampling_frequency=rate)
        shorter = parselmouth.praat.call(sound, "Lengthen (overlap-add)", 70, 600, FASTER)
        return np.clip(np.asarray(shorter.values[0], np.float64), -1, 1)

    found = scores(evaluate(Choice(spoken.output, audio=changed(copy, faster))))
    rate = found.pop("speaking_rate")
    assert value(rate.mae.value) > 2
    assert value(rate.qwk.value) < 0.3
    # all of them upwards
    assert np.tril(np.array(rate.confusion), -1).sum() == 0
    # overlap-add lays periods anew, which moves values near an edge: resynthesis at the same speed does as much
    for other in found.values():
        assert value(other.mae.value) < 0.4
        assert value(other.qwk.value) > 0.9


def test_what_is_louder_moves_the_intensity_alone(spoken: Config, copy: Path) -> None:
    found = scores(evaluate(Choice(spoken.output, audio=changed(copy, lambda s, _: s * 10 ** (LOUDER_DB / 20)))))
    level = found.pop("average_intensity")
    assert value(level.mae.value) > 0.5
    assert value(level.qwk.value) < 0.5
    assert np.tril(np.array(level.confusion), -1).sum() == 0
    assert [(score.mae.value, score.qwk.value) for score in found.values()] == [(0.0, 1.0)] * 3


def test_missing_audio_counts_as_the_farthest_category_or_is_left_out(spoken: Config, copy: Path) -> None:
    gone = [sample for sample in prompts(spoken) if sample.language == "it"]
    for sample in gone:
        (copy / f"{sample.sample_id}.wav").unlink()
    made = evaluate(Choice(spoken.output, audio=copy))
    assert made.missing == len(gone)
    assert made.generated is not None
    italian = {score.key: score for score in made.generated.ordinals if score.language == "it"}
    for key, score in italian.items():
        assert score.missing == score.asked == score.scored
        asked = [ATTRIBUTES[key].ordinal(f.value) for s in gone for f in s.evidence or () if f.key == key]
        last = len(ATTRIBUTES[key].labels) - 1
        assert score.mae.value == pytest.approx(np.mean([max(n, last - n) for n in asked]))
        assert value(score.qwk.value) <= 0
        assert np.sum(score.confusion) == 0
    assert all(value(score.mae.value) > 0 for score in scores(made).values())
    kept = evaluate(Choice(spoken.output, audio=copy, only_predicted=True))
    assert all(score.mae.value == 0 and score.missing > 0 for score in scores(kept).values())


def test_audio_that_can_t_be_measured_counts_as_wrong_with_its_reason(spoken: Config, copy: Path) -> None:
    first, second, third = (copy / f"{sample.sample_id}.wav" for sample in prompts(spoken)[:3])
    sf.write(first, np.zeros(16_000), 16_000)
    second.write_bytes(b"no audio")
    noise = np.random.default_rng(0).normal(0, 0.05, 32_000)
    sf.write(third, noise, 16_000)
    made = evaluate(Choice(spoken.output, audio=copy, only_predicted=True))
    assert made.generated is not None
    spoilt = {sample.sample_id: reason for sample, reason in zip(prompts(spoken), REASONS, strict=False)}
    for outcome in made.generated.spoken.outcomes:
        if outcome.key == "average_pitch":
            assert outcome.reason == spoilt.get(outcome.sample.sample_id)
    assert scores(made)["average_pitch"].faulty == dict.fromkeys(REASONS, 1)
    assert all(value(s.mae.value) > 0 for s in scores(made).values() if s.faulty)
    assert all(score.scored == score.asked for score in scores(made).values())


def test_predictions_name_audio_by_paths_of_their_own(spoken: Config, audio: Path, tmp_path: Path) -> None:
    lines = []
    for number, sample in enumerate(prompts(spoken)):
        shutil.copy(audio / f"{sample.sample_id}.wav", tmp_path / f"take {number}.wav")
        lines.append(json.dumps({"sample_id": sample.sample_id, "audio": f"take {number}.wav", "model": "m"}))
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(lines))
    made = evaluate(Choice(spoken.output, predictions=path))
    assert (made.missing, {score.mae.value for score in scores(made).values()}) == (0, {0.0})


def test_without_annotations_phones_are_those_of_the_text(spoken: Config, audio: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere"
    shutil.copytree(Path(spoken.output) / "release", alone)
    with pytest.raises(ConfigError, match=r"no bins.json lies beside the release.*--bins"):
        evaluate(Choice(str(alone), audio=audio))
    bins = str(Path(spoken.output) / "bins.json")
    made = evaluate(Choice(str(alone), audio=audio, bins=bins))
    assert made.generated is not None
    assert made.generated.spoken.judged_afar == made.samples
    # (the job's own rates are of the pronunciation too, so all that differs is the pitch floor, which is not recorded)
    assert scores(made)["speaking_rate"].mae.value == 0
    # those of whom no gender is asked can't be judged on pitch
    unjudged = scores(made)["average_pitch"].unjudged
    assert unjudged["no_ruler"] > 0
    # which is no fault of a model that gave no audio for them, or some that can't be measured
    genderless = [s.sample_id for s in prompts(spoken) if GENDER not in {fact.key for fact in s.evidence or ()}]
    folder = Path(shutil.copytree(audio, tmp_path / "some"))
    (folder / f"{genderless[0]}.wav").write_bytes(b"no audio")
    for name in genderless[1:]:
        (folder / f"{name}.wav").unlink()
    pitch = scores(evaluate(Choice(str(alone), audio=folder, bins=bins)))["average_pitch"]
    assert (pitch.unjudged, pitch.missing, pitch.faulty) == (unjudged, 0, {})
    assert pitch.mae.value == scores(made)["average_pitch"].mae.value
    again = evaluate(Choice(str(alone), audio=audio), config=spoken)
    assert {score.mae.value for score in scores(again).values()} == {0.0}


def test_gender_is_heard_by_a_classifier_or_not_at_all(spoken: Config, audio: Path, tmp_path: Path) -> None:
    made = evaluate(Choice(spoken.output, audio=audio))
    assert made.generated is not None
    [whole] = [score for score in made.generated.genders if score.language == ALL]
    assert (whole.scored, whole.accuracy.value) == (0, None)
    assert whole.unjudged == {"no_classifier": whole.asked}
    folder = write_checkpoint(tmp_path / "says-f", ["F", "M"], winner="F")
    choice = Choice(spoken.output, audio=audio, languages=("it", "es"), gender=_classifier(folder))
    heard = evaluate(choice).generated
    assert heard is not None
    by_language = {score.language: score for score in heard.genders}
    # all Italian prompts were spoken by a man, all Spanish ones by a woman
    assert by_language["it"].accuracy.value == 0
    assert by_language["es"].accuracy.value == 1
    assert by_language["it"].confusion == ((0, 0), (by_language["it"].asked, 0))
    share = by_language["es"].asked / by_language[ALL].asked
    assert by_language[ALL].accuracy.value == pytest.approx(share)
    assert value(by_language[ALL].accuracy.interval and by_language[ALL].accuracy.interval.low) < share


def _classifier(folder: Path) -> LabelConfig:
    return LabelConfig(column="gender", model=str(folder))


def test_it_is_measured_as_the_job_s_record_says(spoken: Config, tmp_path: Path) -> None:
    other = parse_config(
        YAML.format(output=spoken.output).replace("pitch_floor: 70", "pitch_floor: 90"), "j.yaml", check_paths=False
    )
    made = measuring_of(LocalRoot(spoken.output), other)
    assert (made.features.pitch_floor, made.decode.min_s) == (70, 0.2)
    assert made.source.endswith("annotations/_STAGE.json")
    nothing = LocalRoot(tmp_path)
    assert measuring_of(nothing, other).features.pitch_floor == 90
    assert measuring_of(nothing, None) == measuring_of(None, None)
    nothing.put("annotations/_STAGE.json", b'{"ingredients": {"annotate": {"decode": {}}}}')
    with pytest.raises(StorageError, match=r"_STAGE.json: it does not say how the job measured \(KeyError"):
        measuring_of(nothing, None)


def test_the_engine_is_that_of_the_job_s_rows(spoken: Config, tmp_path: Path) -> None:
    copy = LocalRoot(shutil.copytree(spoken.output, tmp_path / "copy"))
    assert measuring_of(copy, None).features.engine == "praat"
    [part] = (tmp_path / "copy" / "annotations").rglob("*.parquet")
    table = pq.read_table(part)
    place = table.schema.get_field_index("pitch_backend")
    names = pa.array([None, *["torch_ac"] * (len(table) - 1)], pa.string())
    pq.write_table(table.set_column(place, table.schema.field(place), names), part)
    assert measuring_of(copy, spoken).features.engine == "torch"
    gpu = "quality: none, device: cuda, pool: {num_gpus: 1}"
    yaml = YAML.format(output=spoken.output).replace("quality: none", gpu)
    config = parse_config(yaml, "j.yaml", check_paths=False)
    assert measuring_of(copy, config).features.device == "cuda"
    praat = measuring_of(LocalRoot(spoken.output), config).features
    assert (praat.engine, praat.device) == ("praat", "auto")


def test_bins_that_are_not_the_job_s_are_refused(spoken: Config, audio: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(spoken.output, tmp_path / "copy"))
    document = json.loads((copy / "bins.json").read_text())
    (copy / "bins.json").write_text(json.dumps(document | {"made_from": {"annotations": "0123456789abcdef"}}))
    with pytest.raises(BinsError, match=r"made from other annotations \(0123456789abcdef\) than those .*--bins names"):
        evaluate(Choice(str(copy / "release"), audio=audio))
    del document["made_from"]
    (copy / "bins.json").write_text(json.dumps(document))
    with pytest.raises(BinsError, match=r"copy/bins.json: not the bins.json of a job.*--bins names another"):
        evaluate(Choice(str(copy / "release"), audio=audio))
    # a file that somebody else keeps under that name
    (copy / "bins.json").write_text('{"blue": "paper"}')
    with pytest.raises(BinsError, match=r"copy/bins.json: not a bins.json: .*--bins names another"):
        evaluate(Choice(str(copy / "release"), audio=audio))


def test_a_job_is_looked_for_beside_the_release_and_where_its_folder_is_a_job_s(tmp_path: Path) -> None:
    (tmp_path / "bins.json").write_text("{}")

    def found(folder: str) -> bool:
        (tmp_path / folder).mkdir(parents=True)
        return job_of(str(tmp_path / folder)) is not None

    assert found("release")
    assert found("release/v-0123456789abcdef")
    assert found("release/jsonl/v-0123456789abcdef")
    assert found("mine")
    assert not found("mine/too")
    assert not found("data/of/others")


def test_audio_that_is_named_and_not_there_is_told(spoken: Config, tmp_path: Path) -> None:
    names = [sample.sample_id for sample in prompts(spoken)[:2]]
    path = tmp_path / "made.jsonl"
    path.write_text("".join(f'{{"sample_id": "{name}", "audio": "wav/{name}.wav"}}\n' for name in names))
    with pytest.raises(ConfigError, match=rf"none of the 2 audio files .* such as {tmp_path}/wav/{names[0]}.wav; rel"):
        evaluate(Choice(spoken.output, predictions=path))
    (tmp_path / "wav").mkdir()
    clip = Path(spoken.output) / "clips" / f"{prompts(spoken)[0].utterance_ids[0]}.wav"
    shutil.copy(clip, tmp_path / "wav" / f"{names[0]}.wav")
    made = evaluate(Choice(spoken.output, predictions=path, only_predicted=True))
    assert made.generated is not None
    # one is there, one is named and is not, the rest was never predicted
    assert made.missing == len(prompts(spoken)) - 2
    reasons = {o.key: o.reason for o in made.generated.spoken.outcomes if o.sample.sample_id == names[1]}
    asked = {fact.key for fact in prompts(spoken)[1].evidence or () if fact.value is not None}
    assert reasons.keys() == asked & {*MEASURED_KEYS, GENDER}
    assert reasons.keys() > {GENDER}
    assert reasons.pop(GENDER) == "no_classifier"
    assert set(reasons.values()) == {"missing_audio"}


def test_rows_without_evidence_are_not_scored(spoken: Config, audio: Path, tmp_path: Path) -> None:
    from ..validate.small_job import publish

    published = publish(Path(spoken.output) / "release", tmp_path / "out" / "release")
    samples = list(read_samples(LocalRoot(published), "test", (GENERATION,)))
    assert len({sample.sample_id for sample in samples}) == len(samples) == len(prompts(spoken))
    folder = tmp_path / "generated"
    folder.mkdir()
    for sample, ours in zip(samples, prompts(spoken), strict=True):
        assert replace(sample, sample_id="", evidence=None) == replace(ours, sample_id="", evidence=None)
        shutil.copy(audio / f"{ours.sample_id}.wav", folder / f"{sample.sample_id}.wav")
    made = evaluate(Choice(str(published), audio=folder), config=spoken)
    assert made.generated is not None
    assert (made.generated.spoken.untold, made.generated.ordinals) == (len(samples), [])


@pytest.mark.integration
def test_the_originals_of_a_whole_job_are_right_whatever_aligned_them(finished_job: Job, tmp_path: Path) -> None:
    samples = list(read_samples(finished_job.root, "train", (GENERATION,)))
    lines = (json.dumps({"sample_id": s.sample_id, "audio": _address(finished_job, s)}) for s in samples)
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(lines))
    made = evaluate(Choice(str(finished_job.folder / "release"), "train", predictions=path))
    assert made.missing == 0
    assert len(samples) > 20
    for score in scores(made).values():
        assert (score.mae.value, score.qwk.value, score.unjudged, score.faulty) == (0.0, 1.0, {}, {})
        assert not math.isnan(value(score.qwk.value))


def _address(job: Job, sample: Sample) -> str:
    from ..conftest import rows_of

    [row] = [
        row
        for row in rows_of("annotations", job.folder)
        if (row["data_source"], row["utterance_id"]) == (sample.data_source, sample.utterance_ids[0])
    ]
    return str(row["audio_uri"])
