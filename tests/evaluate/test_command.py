"""`sift-ray evaluate`: its tables, its JSON, its exit codes, with a judge in a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
from typer.testing import CliRunner

from sift_ray.cli import app
from sift_ray.config import Config
from sift_ray.evaluate.generation import MEASURED_KEYS
from sift_ray.evaluate.samples import ANSWERED, GENERATION, Sample, read_samples, split_of
from sift_ray.schema import TASKS
from sift_ray.storage import LocalRoot, StorageError

from ..instruct.chat_server import ChatServer, Reply, chat, serving
from ..validate.small_job import publish

JUDGE = "judge-7b"


class Verdicts(ChatServer):
    """A server whose judge finds answers right that are the reference's, and says nonsense where it is told to."""

    def take(self, body: dict[str, Any] | None, key: str | None) -> Reply:
        reply = super().take(body, key)
        if body is None or "Say no." in str(body["messages"]):
            return reply
        case = json.loads(body["messages"][-1]["content"])
        same = case["model_answer"] == case["reference_answer"]
        if case["model_answer"] == "confuse the judge":
            return chat("Well, who knows?")
        open_ended = "score" in json.dumps(body.get("response_format"))
        return chat(json.dumps({"score": 9 if same else 2} if open_ended else {"verdict": _word(same)}))


def _word(right: bool) -> str:
    return "correct" if right else "incorrect"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setattr("tests.instruct.chat_server.ChatServer", Verdicts)
    with serving(JUDGE) as started:
        yield started


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "150"})
    return result.exit_code, result.stdout, result.stderr


def samples_of(release: str | Path, *tasks: str) -> list[Sample]:
    return list(read_samples(LocalRoot(release), "test", tasks or TASKS))


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def answers(spoken: Config, tmp_path: Path) -> Path:
    """The reference's answers, but that English ones are wrong, one French one confuses, and one Italian is missing."""
    rows = []
    for sample in samples_of(spoken.output, *ANSWERED):
        rows.append({"sample_id": sample.sample_id, "prediction": sample.answer if sample.language != "en" else "Oh."})
    names = [s.sample_id for s in samples_of(spoken.output, "closed_ended_content_level") if s.language in ("fr", "it")]
    kept = [row for row in rows if row["sample_id"] != names[-1]]
    next(row for row in kept if row["sample_id"] == names[0])["prediction"] = "confuse the judge"
    return written(tmp_path / "answers.jsonl", kept)


def test_answers_are_judged_by_a_server(spoken: Config, answers: Path, server: ChatServer, tmp_path: Path) -> None:
    out, details = tmp_path / "results.json", tmp_path / "details.jsonl"
    code, text, error = run(
        *(spoken.output, answers, "--judge", JUDGE, "--judge-url", server.url, "--out", out, "--details", details)
    )
    assert code == 0, error
    document = json.loads(out.read_text())
    assert (document["split"], document["missing"], document["missing_counts"]) == ("test", 1, True)
    assert document["judge"]["model"] == JUDGE
    assert set(document["judge"]["prompts"]) == {"closed_ended.v1.j2", "open_ended.v1.j2"}
    scores = {(score["task"], score["language"]): score for score in document["text"]}
    content = {name: scores["closed_ended_content_level", name] for name in ("en", "fr", "it", "es", "all")}
    assert content["en"]["score"]["value"] == 0
    assert content["es"]["score"] == {"value": 1.0, "interval": [1.0, 1.0]}
    # what can't be read is left out of the score and counted; what is missing is in it
    assert content["fr"]["unjudged"] == {"judge_unreadable": 1}
    assert (content["fr"]["scored"], content["fr"]["score"]["value"]) == (content["fr"]["samples"] - 1, 1.0)
    italian = content["it"]
    assert (italian["missing"], italian["scored"]) == (1, italian["samples"])
    assert italian["score"]["value"] == pytest.approx(1 - 1 / italian["samples"])
    low, high = italian["score"]["interval"]
    assert low < italian["score"]["value"] <= high
    assert scores["open_ended", "en"]["score"]["value"] == 2
    assert scores["open_ended", "es"]["score"]["value"] == 9
    assert "controllable_generation" not in document
    assert f"judged by {JUDGE} at {server.url}" in text
    assert f"1 of {document['samples']} samples have no prediction; counted as 0" in text
    assert "closed_ended_content_level: no verdict on 1 answers, which are not scored (judge_unreadable 1)" in text
    # this judge is right about all that it is tried on
    for check, best, worst in zip(document["judge_check"], (1, 9), (0, 2), strict=True):
        assert check | {"right": 20, "right_mean": best, "wrong_mean": worst, "unjudged": 0} == check
        assert check["wrong"] == 20
    assert "the judge on closed_ended answers of known worth: 100% for 20 reference answers" in text
    assert "it hardly tells them apart" not in text
    rows = [json.loads(line) for line in details.read_text().splitlines()]
    assert len(rows) == document["samples"]
    assert {row["reason"] for row in rows} == {None, "judge_unreadable", "missing"}
    details = {row["reason"]: row["detail"] for row in rows}
    assert details == {None: None, "judge_unreadable": "stop: Well, who knows?", "missing": None}
    asked = len(server.asked)
    code, text, _ = run(
        *(spoken.output, answers, "--judge", JUDGE, "--judge-url", server.url, "--task", "open_ended"),
        *("--language", "es", "--only-predicted", "--seed", "4", "--probes", "0"),
    )
    assert code == 0
    spanish = len([s for s in samples_of(spoken.output, "open_ended") if s.language == "es"])
    assert spanish > 10
    assert len(server.asked) - asked == spanish + 1  # (and one chat at the start)
    assert "closed_ended" not in text


def test_text_and_audio_are_scored_in_one_run(
    spoken: Config, answers: Path, server: ChatServer, tmp_path: Path
) -> None:
    folder = tmp_path / "generated"
    folder.mkdir()
    for sample in samples_of(spoken.output, GENERATION):
        clip = Path(spoken.output) / "clips" / f"{sample.utterance_ids[0]}.wav"
        shutil.copy(clip, folder / f"{sample.sample_id}.wav")
    out = tmp_path / "results.json"
    code, text, error = run(
        *(Path(spoken.output) / "release", answers, "--audio", folder, "--out", out),
        *("--judge", JUDGE, "--judge-url", server.url),
    )
    assert code == 0, error
    document = json.loads(out.read_text())
    assert document["tasks"] == [task for task in TASKS if any(s.task == task for s in samples_of(spoken.output))]
    assert {score["mae"]["value"] for score in document["controllable_generation"]} == {0.0}
    assert document["bins"] == f"{spoken.output}/bins.json"
    assert document["controllable_generation"][0]["labels"][0] == "very low pitch"
    assert "speaking_rate: asked for (rows), measured (columns)" in text
    assert "gender: asked for" in text
    assert "not measured: --gender-model" in text


def test_details_of_generated_audio_say_what_became_of_each(spoken: Config, tmp_path: Path) -> None:
    samples = samples_of(spoken.output, GENERATION)
    first, second, *rest = samples
    folder = tmp_path / "generated"
    folder.mkdir()
    (folder / f"{first.sample_id}.wav").write_bytes(b"no audio")
    for number, sample in enumerate(rest):
        sound, rate = sf.read(Path(spoken.output) / "clips" / f"{sample.utterance_ids[0]}.wav")
        # (whichever folder is looked through knows the same endings)
        sf.write(folder / f"{sample.sample_id}.{('wav', 'au', 'caf')[number % 3]}", sound, rate, subtype="PCM_16")
    details, out = tmp_path / "details.jsonl", tmp_path / "r.json"
    code, text, error = run(spoken.output, "--audio", folder, "--details", details, "--out", out, "--only-predicted")
    assert code == 0, error
    assert json.loads(out.read_text())["missing"] == 1
    assert "not measurable on the audio, which counts as wrong (unreadable_audio 1)" in text
    assert "counts as missing" not in text
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for line in details.read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["sample_id"], {})[row["key"]] = row
    asked = {s.sample_id: {f.key: f.value for f in s.evidence or () if f.value is not None} for s in samples}
    for sample in samples:
        mine = rows[sample.sample_id]
        assert {key: row["asked"] for key, row in mine.items()} == {
            key: value for key, value in asked[sample.sample_id].items() if key in (*MEASURED_KEYS, "gender")
        }
        assert {row["task"] for row in mine.values()} == {GENERATION}
        gender = mine.pop("gender", None)
        assert gender is None or gender["reason"] == "no_classifier"
        for row in mine.values():
            if sample is first:
                assert (row["found"], row["reason"]) == (None, "unreadable_audio")
                assert f"{first.sample_id}.wav" in row["detail"]
            elif sample is second:
                assert (row["found"], row["reason"], row["detail"]) == (None, "missing", None)
            else:
                assert (row["found"], row["reason"], row["detail"]) == (row["asked"], None, None)
    # (a prompt may ask for a gender alone)
    assert all(rows[sample.sample_id] for sample in (first, second))


def test_where_nothing_can_be_judged_the_exit_code_says_so(spoken: Config, answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with serving(JUDGE) as server:
        server.always = chat("Hm.")
        judging = ("--judge", JUDGE, "--judge-url", server.url, "--probes", "0")
        code, text, error = run(spoken.output, answers, *judging, "--task", "open_ended", "--out", out)
        assert (code, "nothing could be judged of open_ended; the lines above say why" in error) == (1, True)
        assert "open_ended: no verdict on" in text
        assert json.loads(out.read_text())["text"][0]["scored"] == 0
        # what a judge could not read of one answer does not stand for all of them
        server.script = [chat("{}"), *(chat('{"score": 5}') for _ in range(3))]
        assert run(spoken.output, answers, *judging, "--task", "open_ended")[0] == 0
        # nothing was said, which is an outcome; left out, it is none
        server.always = chat('{"score": 5}')
        nothing = written(tmp_path / "nothing.jsonl", [])
        assert run(spoken.output, nothing, *judging, "--task", "open_ended")[0] == 0
        code, _, error = run(spoken.output, nothing, *judging, "--task", "open_ended", "--only-predicted")
        assert (code, "nothing could be judged of open_ended" in error) == (1, True)
    published = publish(Path(spoken.output) / "release", tmp_path / "out" / "release")
    [sample, *_] = samples_of(published, GENERATION)
    folder = tmp_path / "generated"
    folder.mkdir()
    clip = Path(spoken.output) / "clips" / f"{sample.utterance_ids[0]}.wav"
    shutil.copy(clip, folder / f"{sample.sample_id}.wav")
    code, text, error = run(published, "--audio", folder, "--bins", f"{spoken.output}/bins.json")
    assert "prompts have no evidence that tells what they ask for; they are not scored" in text
    assert (code, "nothing could be judged of controllable_generation" in error) == (1, True)


def test_a_judge_that_finds_all_right_is_found_out(spoken: Config, answers: Path) -> None:
    with serving(JUDGE) as server:
        server.always = chat('{"verdict": "correct"}')
        options = ("--judge", JUDGE, "--judge-url", server.url, "--task", "closed_ended_acoustic_level")
        code, text, _ = run(spoken.output, answers, *options)
    assert code == 0
    told = "100% for 20 reference answers (best: 100%), 100% for 20 wrong ones (best: 0); it hardly tells them apart"
    assert told in text


def test_the_published_layout_is_judged_too(spoken: Config, server: ChatServer, tmp_path: Path) -> None:
    release = publish(Path(spoken.output) / "release", tmp_path / "published")
    samples = samples_of(release, *ANSWERED)
    assert len({sample.sample_id for sample in samples}) == len(samples)
    path = written(tmp_path / "a.jsonl", [{"sample_id": s.sample_id, "prediction": s.answer} for s in samples])
    code, _, error = run(release, path, "--judge", JUDGE, "--judge-url", server.url, "--out", tmp_path / "r.json")
    assert code == 0, error
    assert {s["score"]["value"] for s in json.loads((tmp_path / "r.json").read_text())["text"]} == {1.0, 9.0}


def test_what_can_t_be_used_is_told(spoken: Config, answers: Path, tmp_path: Path) -> None:
    server = ("--judge", JUDGE, "--judge-url", "http://127.0.0.1:9/v1")
    gone = tmp_path / "gone.jsonl"
    code, _, error = run(spoken.output, gone, *server)
    assert (code, f"{gone}: cannot be read: No such file" in error) == (1, True)
    lines = answers.read_text().splitlines()
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join([*lines[:3], "{", *lines[3:]]))
    code, _, error = run(spoken.output, broken, *server)
    assert (code, f"{broken}:4: not a JSON object" in error) == (1, True)
    strange = written(tmp_path / "strange.jsonl", [{"sample_id": "nobody", "prediction": "x"}])
    code, _, error = run(spoken.output, strange, *server)
    assert code == 1
    assert "1 of 1 predictions are of samples that the release's split does not have: nobody" in error
    code, _, error = run(spoken.output, answers)
    assert (code, "nothing can be scored: answers in text need a judge" in error) == (2, True)
    code, _, error = run(spoken.output, answers, "--judge-url", "http://127.0.0.1:9/v1")
    assert (code, "--judge must say which" in error) == (2, True)
    code, _, error = run(spoken.output, answers, *server, "--split", "tests")
    assert (code, "--split: no split 'tests'; there are train, validation, EvalSIFT" in error) == (2, True)
    code, _, error = run(spoken.output, answers, *server, "--split", "train")
    assert (code, "no file of the split train" in error) == (1, True)
    code, _, error = run(spoken.output, answers, *server, "--task", GENERATION)
    assert (code, "can't be scored without audio" in error) == (2, True)
    code, _, error = run(spoken.output, answers, *server, "--task", "open_ended", "--task", "closed_ended_word_align")
    assert (code, "its split has no samples of closed_ended_word_align" in error) == (2, True)
    code, _, error = run(spoken.output, answers, *server, "--language", "de")
    assert (code, "its split has no samples of closed_ended_acoustic_level, " in error) == (2, True)
    code, _, error = run(spoken.output, answers, *server, "--out", tmp_path / "no" / "r.json")
    assert (code, "there is no folder" in error) == (2, True)
    for option in ("--out", "--details"):
        code, _, error = run(spoken.output, answers, *server, option, tmp_path)
        assert (code, f"{tmp_path}: can't be written: Is a directory" in error) == (2, True)
    # nothing is left of a file that was only tried
    code, _, error = run(spoken.output, gone, *server, "--out", tmp_path / "r.json")
    assert (code, (tmp_path / "r.json").exists()) == (1, False)
    code, _, error = run(spoken.output, "--audio", tmp_path / "no")
    assert (code, "there is no such folder" in error) == (2, True)
    code, _, error = run(spoken.output, "--audio", tmp_path)
    assert (code, "no audio lies there" in error) == (2, True)
    code, _, error = run(tmp_path, answers, *server)
    assert (code, "no release lies here" in error) == (1, True)


def test_no_bins_and_bad_bins_are_told(spoken: Config, tmp_path: Path) -> None:
    alone = tmp_path / "a" / "b" / "c" / "release"
    shutil.copytree(Path(spoken.output) / "release", alone)
    [first, *_] = samples_of(alone, GENERATION)
    folder = tmp_path / "generated"
    folder.mkdir()
    clip = Path(spoken.output) / "clips" / f"{first.utterance_ids[0]}.wav"
    shutil.copy(clip, folder / f"{first.sample_id}.wav")
    code, _, error = run(alone, "--audio", folder)
    assert (code, "no bins.json lies beside the release" in error) == (2, True)
    code, _, error = run(alone, "--audio", folder, "--bins", tmp_path / "bins.json")
    assert (code, f"{tmp_path}/bins.json: no bins can be read there" in error) == (2, True)
    (tmp_path / "bins.json").write_text("{}")
    code, _, error = run(alone, "--audio", folder, "--bins", tmp_path / "bins.json")
    assert (code, "not a bins.json" in error) == (1, True)
    shutil.copy(clip, folder / "stranger.wav")
    code, _, error = run(alone, "--audio", folder)
    assert (code, "samples that the release's split does not have: stranger" in error) == (1, True)
    (folder / "more").mkdir()
    shutil.copy(clip, folder / "more" / "stranger.flac")
    code, _, error = run(alone, "--audio", folder)
    assert (code, "are of one sample; keep one" in error) == (2, True)


def test_a_release_that_is_damaged_is_not_scored_in_part(spoken: Config, tmp_path: Path) -> None:
    release = publish(Path(spoken.output) / "release", tmp_path / "published")
    file = release / "EvalSIFT/open_ended/en/part-00000.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:50], *lines[2:]]))
    with pytest.raises(StorageError, match=r"open_ended/en/part-00000.jsonl:2: unreadable_row: .*sift-ray validate"):
        samples_of(release)
    assert samples_of(release, "closed_ended_content_level")


def test_an_empty_file_and_a_folder_of_no_language_are_not_passed_over(spoken: Config, tmp_path: Path) -> None:
    release = publish(Path(spoken.output) / "release", tmp_path / "published")
    file = release / "EvalSIFT/open_ended/en/part-00000.jsonl"
    content = file.read_bytes()
    file.write_bytes(b"")
    with pytest.raises(StorageError, match=r"open_ended/en/part-00000.jsonl: empty_file: no rows; `sift-ray validate`"):
        samples_of(release)
    file.write_bytes(content)
    (release / "EvalSIFT/open_ended/en").rename(release / "EvalSIFT/open_ended/eng")
    with pytest.raises(StorageError, match=r"open_ended/eng/part-00000.jsonl: unknown_language: eng: not one of en, "):
        samples_of(release)
    # who asks for one language does not ask for that
    assert list(read_samples(LocalRoot(release), "test", TASKS, ("fr",)))


def test_splits_have_three_names() -> None:
    assert [split_of(name) for name in ("EvalSIFT", "test", "validation", "dev", "train")] == [
        "test",
        "test",
        "dev",
        "dev",
        "train",
    ]
