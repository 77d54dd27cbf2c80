"""The release on a real local Ray: what it holds, that it is the same every time, and never half of one."""

import errno
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sift_ray.config import Config
from sift_ray.pipeline.build import forget
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.release import run_release
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import LostRowsError, StaleOutputError
from sift_ray.release.held_out import LeakError
from sift_ray.release.versions import pointed_at
from sift_ray.report.summary import render, summarise
from sift_ray.storage import LocalRoot, StorageError, read_json

from ..release.instruction_waves import config_of, put_wave, wave_of, write_instructions

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]

WAVES, UTTERANCES = 3, 40
QUOTAS = {"test": {"closed_ended": 9, "open_ended": 2}}


def released(config: Config, plan: Plan, root: LocalRoot | None = None) -> dict[str, Any]:
    with RaySession(config) as session:
        return run_release(session, config, root or LocalRoot(config.output), plan)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]


@pytest.fixture(scope="module")
def plain(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Plan, dict[str, Any]]:
    """A release as it is by default, in both formats."""
    config = config_of(tmp_path_factory.mktemp("plain"), formats=["parquet", "jsonl"])
    plan = write_instructions(LocalRoot(config.output), WAVES, UTTERANCES)
    return config, plan, released(config, plan)


def test_every_accepted_pair_stands_once_where_it_belongs(plain: tuple[Config, Plan, dict[str, Any]]) -> None:
    config, _, record = plain
    folder = Path(config.output) / record["folders"]["parquet"]
    expected: Counter[str] = Counter()
    for wave in range(WAVES):
        for row in wave_of(wave, UTTERANCES, ("en", "de"))[0]:
            name = "/".join(row[key] for key in ("split", "task", "language"))
            expected[name] += sum(one["accepted"] for one in row["pairs"])
    rows = rows_of(folder)
    assert record["rows"] == dict(expected)
    assert Counter("/".join(row[key] for key in ("split", "task", "language")) for row in rows) == expected
    assert len({row["sample_id"] for row in rows}) == len(rows) == record["accepted"]
    assert record["files"]["parquet"]["files"] == len(expected)
    assert record["held_out"]["speaker"] == {"dev": 3, "test": 3}
    # (the second clips of the last wave's comparisons lie beyond the waves)
    assert record["held_out"]["audio"] == {"dev": WAVES * UTTERANCES // 5 + 2, "test": WAVES * UTTERANCES // 5 + 2}


def test_rows_come_wave_by_wave_and_by_identity_in_a_wave(plain: tuple[Config, Plan, dict[str, Any]]) -> None:
    config, _, record = plain
    (file,) = (Path(config.output) / record["folders"]["parquet"] / "train/open_ended/en").iterdir()
    order = [row["sample_id"] for row in pq.read_table(file, partitioning=None).to_pylist()]
    expected = []
    for wave in range(WAVES):
        units = sorted(
            row["unit_id"]
            for row in wave_of(wave, UTTERANCES, ("en", "de"))[0]
            if (row["task"], row["language"], row["split"]) == ("open_ended", "en", "train")
        )
        expected += [f"{unit:016x}-open_ended-{place}" for unit in units for place in (0, 2)]
    assert order == expected


def test_the_same_instructions_make_the_same_bytes(plain: tuple[Config, Plan, dict[str, Any]], tmp_path: Path) -> None:
    """However rows lay in the files of a wave."""
    config, plan, record = plain
    other = config_of(tmp_path, formats=["parquet", "jsonl"])
    for wave in range(WAVES):
        instructions, annotations = wave_of(wave, UTTERANCES, ("en", "de"))
        put_wave(LocalRoot(tmp_path), wave, instructions[::-1], annotations[::-1])
    again = released(other, plan)
    assert again["version"] == record["version"]
    assert content(tmp_path / "release") == content(Path(config.output) / "release")


def test_a_second_run_does_nothing(plain: tuple[Config, Plan, dict[str, Any]]) -> None:
    config, plan, record = plain
    before = {p: p.stat().st_mtime_ns for p in Path(config.output).rglob("*") if p.is_file()}
    assert released(config, plan) == record == read_json(LocalRoot(config.output), "release.json")
    assert {p: p.stat().st_mtime_ns for p in Path(config.output).rglob("*") if p.is_file()} == before


def test_datasets_loads_both_formats_by_config_and_split(
    plain: tuple[Config, Plan, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    config, _, record = plain
    release = Path(config.output) / "release"
    rows = rows_of(Path(config.output) / record["folders"]["parquet"])
    keys = ["id", "messages", "task", "data_source"]
    tasks = {row["task"] for row in rows}
    assert len(tasks) == 5
    for task in sorted(tasks):
        for split, name in (("train", "train"), ("dev", "validation"), ("test", "EvalSIFT")):
            expected = [row for row in rows if (row["task"], row["split"]) == (task, split)]
            assert expected
            given: dict[str, Any] = {"split": name, "cache_dir": str(tmp_path)}
            assert list(datasets.load_dataset(str(release), task, **given)) == expected
            published = [{key: row[key] for key in keys} for row in expected]
            loaded = datasets.load_dataset(str(release / "jsonl"), task, **given)
            assert loaded.column_names == keys
            assert list(loaded) == published
            assert list(datasets.load_dataset(str(release), task, streaming=True, **given)) == expected
            assert list(datasets.load_dataset(str(release / "jsonl"), task, streaming=True, **given)) == published
    own = datasets.load_dataset(
        str(Path(config.output) / record["folders"]["jsonl"]), "open_ended", cache_dir=str(tmp_path)
    )
    assert set(own) == {"train", "validation", "EvalSIFT"}


def audio_first(user: list[Any], assistant: list[Any], audios: int) -> tuple[list[str], str, str]:
    """Return the audios' paths, the question and the answer of a task whose audio comes first."""
    *heard, asked = user
    assert len(heard) == audios
    assert all(part["text"] is None for part in heard)
    assert asked["audio_path"] is None
    [said] = assistant
    assert said["audio_path"] is None
    return [part["audio_path"] for part in heard], asked["text"], said["text"]


def test_a_reader_that_knows_only_the_published_layout_takes_every_file(
    plain: tuple[Config, Plan, dict[str, Any]],
) -> None:
    """Written as a user would: files by their folders, lines of JSON, audio by the stem of its path."""
    config, _, record = plain
    top = Path(config.output) / record["folders"]["jsonl"]
    languages, files = set(), 0
    taken: Counter[str] = Counter()
    for place, below, names in os.walk(top):
        folder = Path(place)
        if below:
            assert names == (["README.md"] if folder == top else [])
            continue
        split, *of, language = folder.relative_to(top).parts
        languages.add(language)
        assert names
        assert all(name.endswith(".jsonl") for name in names)
        if language != "en":
            continue
        task = "_".join(of)
        for name in names:
            files += 1
            with (folder / name).open(encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            for row in rows:
                assert list(row) == ["id", "messages", "task", "data_source"]
                assert row["task"] == task
                assert row["data_source"] == "demo_en"
                user, assistant = row["messages"]
                assert (user["role"], assistant["role"]) == ("user", "assistant")
                for part in (*user["content"], *assistant["content"]):
                    assert set(part) == {"text", "audio_path"}
                if task == "controllable_generation":
                    [asked], [made] = user["content"], assistant["content"]
                    assert asked["text"].startswith("What of ")
                    assert (asked["audio_path"], made["text"]) == (None, None)
                    paths = [made["audio_path"]]
                else:
                    two = task == "closed_ended_comparison"
                    paths, question, answer = audio_first(user["content"], assistant["content"], 2 if two else 1)
                    assert question.startswith("What of ")
                    assert answer.endswith(", naïvely.\n")
                stems = [Path(path).stem for path in paths]
                if task == "closed_ended_comparison":
                    first, second = row["id"].removeprefix("comparison_").split("__")
                    assert stems == [first, second]
                    assert first != second
                else:
                    assert stems == [row["id"]]
            taken[f"{split}/{task}"] += len(rows)
    assert languages == {"en", "de"}
    folders = {"train": "train", "dev": "dev", "test": "EvalSIFT"}
    expected = {label.removesuffix("/en"): count for label, count in record["rows"].items() if label.endswith("/en")}
    assert taken == {
        f"{folders[split]}/{task}": n for label, n in expected.items() for split, task in [label.split("/")]
    }
    assert files == len(taken) == 3 * 5


def test_quotas_hold_and_keep_to_what_was_there(plain: tuple[Config, Plan, dict[str, Any]], tmp_path: Path) -> None:
    config, _, record = plain
    limited = config_of(tmp_path, quotas=QUOTAS)
    plan = write_instructions(LocalRoot(tmp_path), WAVES, UTTERANCES)
    told = released(limited, plan)
    for label, count in told["rows"].items():
        split, task, _ = label.split("/")
        quota = {"closed_ended": 3, "open_ended": 2}.get(task.partition("_ended")[0] + "_ended")
        assert count == (quota if split == "test" and quota else record["rows"][label])
    assert told["accepted"] == record["accepted"]
    whole = {row["sample_id"]: row for row in rows_of(Path(config.output) / "release")}
    rows = rows_of(tmp_path / "release")
    assert len(rows) == sum(told["rows"].values()) < len(whole)
    assert all(whole[row["sample_id"]] == row for row in rows)
    assert "Samples of these splits were taken by quotas" in (tmp_path / "release/README.md").read_text()


class MortalRoot(LocalRoot):
    """Ends the process that is about to write the release's first file, as often as `lives` says."""

    lives = 1

    def locate(self, path: str) -> str:
        deaths = Path(self.uri) / "deaths"
        count = len(deaths.read_text()) if deaths.exists() else 0
        if path.endswith("open_ended/de/part-00000.parquet") and count < self.lives:
            deaths.write_text("x" * (count + 1))
            os._exit(1)
        return super().locate(path)


class DoomedRoot(MortalRoot):
    lives = 99


def test_a_lost_writer_costs_the_attempt_and_nothing_else(tmp_path: Path) -> None:
    config = config_of(tmp_path / "a")
    undisturbed = released(config, write_instructions(LocalRoot(config.output), WAVES, UTTERANCES))
    other = config_of(tmp_path / "b")
    plan = write_instructions(LocalRoot(other.output), WAVES, UTTERANCES)
    record = released(other, plan, MortalRoot(other.output))
    assert (tmp_path / "b/deaths").read_text() == "x"
    assert record["version"] == undisturbed["version"]
    assert content(tmp_path / "b/release") == content(tmp_path / "a/release")


def test_after_too_many_losses_nobody_sees_half_a_release(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    plan = write_instructions(LocalRoot(tmp_path), 1, 20)
    with pytest.raises(Exception, match="died"):
        released(config, plan, DoomedRoot(tmp_path))
    assert (tmp_path / "deaths").read_text() == "x" * (1 + config.ray.max_task_retries)
    record = read_json(LocalRoot(tmp_path), "release.json")
    assert record is not None
    assert record["complete"] is False
    assert pointed_at(LocalRoot(tmp_path)) is None
    (tmp_path / "deaths").unlink()
    version = released(config, plan)["version"]
    assert sorted(os.listdir(tmp_path / "release")) == ["README.md", version]


class FullRoot(LocalRoot):
    """Has no room left for the release's files, and counts who asks."""

    def locate(self, path: str) -> str:
        if path.endswith("open_ended/de/part-00000.parquet"):
            with (Path(self.uri) / "asked").open("a") as asked:
                asked.write("x")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().locate(path)


def test_a_full_disk_is_told_at_once(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    plan = write_instructions(LocalRoot(tmp_path), 1, 20)
    with pytest.raises(OSError, match="No space left on device"):
        released(config, plan, FullRoot(tmp_path))
    assert (tmp_path / "asked").read_text() == "x"


def test_what_the_last_run_left_undone_is_done(tmp_path: Path) -> None:
    config, root = config_of(tmp_path), LocalRoot(tmp_path)
    plan = write_instructions(root, 2, 20)
    record = released(config, plan)
    older = f"v-{'0' * 16}"
    root.put(f"release/{older}/train/open_ended/de/part-00000.parquet", b"x")
    assert released(config, plan) == record
    assert sorted(os.listdir(tmp_path / "release")) == ["README.md", record["version"]]
    rows = rows_of(tmp_path / "release")
    shutil.rmtree(tmp_path / "release" / record["version"])
    released(config, plan)
    assert rows_of(tmp_path / "release") == rows


def test_instructions_that_were_made_again_are_released_again(tmp_path: Path) -> None:
    config, root = config_of(tmp_path), LocalRoot(tmp_path)
    plan = write_instructions(root, 2, 20)
    record = released(config, plan)
    for stage in ("instructions", "annotations"):
        shutil.rmtree(tmp_path / stage / "wave=00001")
    instructions, annotations = wave_of(1, 20, ("en", "de"))
    for row in instructions:
        for one in row["pairs"]:
            one["answer"] += " A model rarely says the same thing twice."
    put_wave(root, 1, instructions, annotations)
    again = released(config, plan)
    assert again["fingerprint"] == record["fingerprint"]
    assert sorted(os.listdir(tmp_path / "release")) == ["README.md", again["version"]]
    assert "says the same thing twice" in str(rows_of(tmp_path / "release"))
    assert released(config, plan) == again


def test_other_options_need_a_word_and_the_old_version_stays_until_the_new_is_there(tmp_path: Path) -> None:
    config, root = config_of(tmp_path), LocalRoot(tmp_path)
    plan = write_instructions(root, 1, 20)
    old = released(config, plan)["version"]
    other = config_of(tmp_path, flat=True, comparison="text_first", audio="absolute")
    with pytest.raises(StaleOutputError, match="flat: was false, is true"):
        released(other, plan)
    forget(root, "release")
    assert read_json(root, "release.json") is None
    assert pointed_at(root) == old
    assert (tmp_path / "release" / old / "train/open_ended/de").is_dir()
    new = released(other, plan)["version"]
    assert sorted(os.listdir(tmp_path / "release")) == ["README.md", new]
    row = next(row for row in rows_of(tmp_path / "release") if row["task"] == "closed_ended_comparison")
    user, assistant = row["messages"]
    assert [part["audio_path"] for part in user["content"]] == [None, *row["audio_uris"]]
    assert user["content"][0]["text"] == row["question"]
    assert assistant["content"][0]["text"] == row["answer"]


def leaky(split: str, **change: Any) -> tuple[list[Any], list[Any]]:
    """A wave of which one train clip's row is changed: its audio or its speaker is one of `split`."""
    instructions, annotations = wave_of(0, 20, ("en", "de"))
    victim = next(row for row in annotations if row["split"] == "train")
    twin = next(row for row in annotations if row["split"] == split)
    for row in instructions if "audio_uri" in change else ():
        row["audio_uris"] = [twin["audio_uri"] if uri == victim["audio_uri"] else uri for uri in row["audio_uris"]]
    if "speaker_id" in change:
        victim["speaker_id"] = twin["speaker_id"]
    return instructions, annotations


@pytest.mark.parametrize(("split", "change"), [("dev", {"speaker_id": True}), ("test", {"audio_uri": True})])
def test_a_leak_between_splits_stops_the_release(tmp_path: Path, split: str, change: dict[str, Any]) -> None:
    config, root = config_of(tmp_path), LocalRoot(tmp_path)
    put_wave(root, 0, *leaky(split, **change))
    kind = "speaker" if "speaker_id" in change else "audio"
    with pytest.raises(LeakError, match=f"1 {kind}s of train stand in {split} too"):
        released(config, Plan(1, 20, "0"))
    assert pointed_at(root) is None


def test_pairs_that_the_manifests_do_not_count_stop_the_release(tmp_path: Path) -> None:
    config, root = config_of(tmp_path), LocalRoot(tmp_path)
    instructions, annotations = wave_of(0, 20, ("en", "de"))
    put_wave(root, 0, instructions, annotations)
    path = tmp_path / "instructions/wave=00000/_MANIFEST.json"
    path.write_text(path.read_text().replace('"open_ended/de/template/accepted":', '"open_ended/de/template/refused":'))
    with pytest.raises(LostRowsError, match="0 pairs of open_ended in de were accepted by the manifests"):
        released(config, Plan(1, 20, "0"))


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    config, root = config_of(tmp_path), LocalRoot(tmp_path)
    plan = write_instructions(root, 1, 20)
    root.put("release/mine.txt", b"x")
    with pytest.raises(StorageError, match="no job of this version has put there"):
        released(config, plan)
    assert root.read("release/mine.txt") == b"x"


def test_a_question_that_two_tasks_ask_of_an_utterance_stands_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    instructions, annotations = wave_of(0, UTTERANCES, ("en", "de"))
    for row in instructions:
        for place, one in enumerate(row["pairs"]):
            # (the first pair asks alike in two tasks of an utterance, and in a comparison, which is of two)
            alike = place == 0 and row["task"] in {
                "closed_ended_comparison",
                "closed_ended_content_level",
                "open_ended",
            }
            one["asked"] = row["unit_id"] if alike else hash((row["unit_id"], row["task"], place))
    put_wave(LocalRoot(tmp_path), 0, instructions, annotations)
    config = config_of(tmp_path)
    record = released(config, Plan(1, UTTERANCES, "0"))
    samples = {row["sample_id"] for row in rows_of(tmp_path / record["folders"]["parquet"])}
    every = {
        f"{row['unit_id']:016x}-{row['task']}-{place}"
        for row in instructions
        for place, one in enumerate(row["pairs"])
        if one["accepted"]
    }
    assert every - samples == {f"{row['unit_id']:016x}-open_ended-0" for row in annotations}
    assert samples < every
    assert (record["accepted"], record["repeated"]) == (len(samples), UTTERANCES)
    # what is kept apart and what is left out is told while it is written, and by `status` after it
    assert f"release: {UTTERANCES} pairs are left out, as another task asks the same" in caplog.messages
    held = "10 audios in dev, 10 audios in test, 3 speakers in dev, 3 speakers in test"
    assert f"release: {held}; no other split holds any of them" in caplog.messages
    console = Console(width=200, file=io.StringIO())
    render(summarise(LocalRoot(tmp_path)), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    place = lines.index(f"{len(samples):,} samples as Parquet in {tmp_path}/release")
    assert lines[place + 1 : place + 3] == [
        "no speaker or audio in two splits: 3 speakers of dev, 3 speakers of test, 10 audios of dev, 10 audios of test "
        "held out",
        f"{UTTERANCES} pairs left out, as another task asks the same",
    ]
