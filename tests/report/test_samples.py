from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sift_ray.cli import CONFIG_WRONG, app
from sift_ray.report.samples import Sample, Wanted, draw_samples, render
from sift_ray.schema import INSTRUCTIONS, TASKS
from sift_ray.storage import LocalRoot, StorageError, put_json

from .finished_waves import write_wave

WAVES = 3
ROWS = 8  # of each task and wave


def a_pair(text: str, *, accepted: bool) -> dict[str, Any]:
    evidence = [{"key": "gender", "value": "male", "audio": 1, "position": 0}] if accepted else None
    reason = None if accepted else "false_claim"
    return {
        "question": f"{text}?",
        "answer": f"[b]{text}[/b].",
        "accepted": accepted,
        "reason": reason,
        "evidence": evidence,
        "generator": "template",
        "attempt": 0 if accepted else 1,
    }


def a_row(unit: int, task: str) -> dict[str, Any]:
    name = f"{task}-{unit}"
    return {
        "unit_id": unit,
        "task": task,
        "language": "de" if unit % 2 else "en",
        "split": "train",
        "data_source": "demo_en",
        "utterance_ids": [name],
        "audio_uris": ["/nowhere.wav"],
        "pairs": [a_pair(f"{name} yes", accepted=True), a_pair(f"{name} no", accepted=False)],
        "model": "template",
        "prompt_hash": "0",
    }


def job(root: LocalRoot, waves: Sequence[Sequence[Mapping[str, Any]] | None]) -> LocalRoot:
    put_json(root, "plan.json", {"waves": len(waves)})
    for number, rows in enumerate(waves):
        if rows is None:
            continue
        pairs: Counter[str] = Counter()
        for row in rows:
            for pair in row["pairs"]:
                fate = "accepted" if pair["accepted"] else "rejected"
                pairs[f"{row['task']}/{row['language']}/some/model/{fate}"] += 1
        write_wave(root, "instructions", number, rows, INSTRUCTIONS, {"pairs": dict(pairs)})
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> LocalRoot:
    waves = [[a_row(wave * ROWS + place, task) for task in TASKS for place in range(ROWS)] for wave in range(WAVES)]
    return job(LocalRoot(tmp_path_factory.mktemp("samples")), waves)


def cells(samples: Sequence[Sample]) -> Counter[tuple[str, bool]]:
    return Counter((sample.task, sample.pair["accepted"]) for sample in samples)


def printed(samples: Sequence[Sample]) -> str:
    out = io.StringIO()
    render(samples, Console(file=out, width=80))
    return out.getvalue()


def test_every_task_and_fate_has_its_share_in_order_and_the_same_each_time(root: LocalRoot) -> None:
    samples = draw_samples(root, Wanted(limit=5))
    assert cells(samples) == {(task, fate): 5 for task in TASKS for fate in (True, False)}
    order = [(TASKS.index(sample.task), not sample.pair["accepted"]) for sample in samples]
    assert order == sorted(order)
    assert samples == draw_samples(root, Wanted(limit=5))
    assert {sample.language for sample in samples} == {"en", "de"}


def test_a_limit_beyond_what_is_there_gives_all(root: LocalRoot) -> None:
    samples = draw_samples(root, Wanted(limit=1000))
    assert cells(samples) == {(task, fate): WAVES * ROWS for task in TASKS for fate in (True, False)}


def test_only_what_was_asked_for(root: LocalRoot) -> None:
    wanted = Wanted(frozenset({"open_ended"}), frozenset({"de"}), frozenset({False}), 4)
    samples = draw_samples(root, wanted)
    assert cells(samples) == {("open_ended", False): 4}
    assert {sample.language for sample in samples} == {"de"}
    with pytest.raises(StorageError, match="no instructions in fr; there are some in de, en"):
        draw_samples(root, Wanted(languages=frozenset({"fr"})))


def test_a_language_of_one_wave_alone_is_found_whichever_is_read_first(tmp_path: Path) -> None:
    english, german = (a_row(unit, "open_ended") for unit in (0, 1))
    wanted = Wanted(frozenset({"open_ended"}), frozenset({"en", "de"}), frozenset({True}), 1)
    for number, waves in enumerate(([[english], [german]], [[german], [english]])):
        assert len(draw_samples(job(LocalRoot(tmp_path / str(number)), waves), wanted)) == 1


def test_no_more_waves_are_read_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sift_ray.report import samples as module

    # as templates write: no pair is rejected, and one task is not asked for at all
    def row(unit: int) -> dict[str, Any]:
        made = a_row(unit, "open_ended")
        return {**made, "pairs": made["pairs"][:1]}

    root = job(LocalRoot(tmp_path), [[row(10 * wave + place) for place in range(5)] for wave in range(6)])
    read: list[str] = []
    table = module.read_table
    monkeypatch.setattr(
        module, "read_table", lambda at, path, columns: (read.append(path), table(at, path, columns))[1]
    )
    assert len(draw_samples(root, Wanted(limit=5))) == 5
    assert len(read) == 1
    with pytest.raises(StorageError, match="no such pairs"):
        draw_samples(root, Wanted(fates=frozenset({False})))


def test_what_a_pair_rests_on_or_why_it_fell_is_printed(root: LocalRoot) -> None:
    text = printed(draw_samples(root, Wanted(tasks=frozenset({"open_ended"}), limit=1)))
    assert "open_ended, accepted" in text
    assert "open_ended, rejected" in text
    assert "gender of the second: male" in text
    assert "✗  false_claim" in text
    assert "(template, attempt 2)" in text
    assert "[b]" in text  # markup of a model's is not obeyed


def test_a_prompt_of_two_lines_that_a_recording_answers_stays_readable(root: LocalRoot) -> None:
    (sample,) = draw_samples(root, Wanted(frozenset({"controllable_generation"}), fates=frozenset({True}), limit=1))
    spoken = {**sample.pair, "question": "Speak softly.\nText: hello", "answer": ""}
    text = printed([Sample(0, sample.task, "en", ("a",), spoken)])
    assert "Q  Speak softly. | Text: hello\n    A  (the recording)\n" in text


def test_without_instructions_the_way_on_is_told(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    with pytest.raises(StorageError, match="sift-ray build"):
        draw_samples(root, Wanted())
    with pytest.raises(StorageError, match="sift-ray instruct"):
        draw_samples(job(root, [None, None]), Wanted())


def test_the_command(root: LocalRoot, tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"output: {root.uri}\ncorpora: [{{type: manifest, name: demo, path: {tmp_path}/clips.tsv}}]\n")
    told = CliRunner().invoke(app, ["samples", str(config), "--task", "open_ended", "--limit", "2", "--rejected"])
    assert told.exit_code == 0
    assert told.stdout.count("✗") == 2
    assert "accepted" not in told.stdout
    wrong = CliRunner().invoke(app, ["samples", str(config), "--task", "poetry"])
    assert wrong.exit_code == CONFIG_WRONG
    assert "there is no such task; there are closed_ended_acoustic_level" in wrong.stderr
