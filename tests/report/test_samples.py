from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sift_ray.cli import CONFIG_WRONG, JOB_FAILED, app
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
        untold: Counter[str] = Counter()
        for row in rows:
            for pair in row["pairs"]:
                if pair["accepted"] and any(fact["value"] is None for fact in pair["evidence"]):
                    untold[f"{row['task']}/{row['language']}/first"] += 1
                pairs[f"{row['task']}/{row['language']}/first/{pair['reason'] or 'accepted'}"] += 1
        write_wave(root, "instructions", number, rows, INSTRUCTIONS, {"pairs": dict(pairs), "untold": dict(untold)})
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
    wanted = Wanted(frozenset({"open_ended"}), frozenset({"de"}), frozenset({False}), limit=4)
    samples = draw_samples(root, wanted)
    assert cells(samples) == {("open_ended", False): 4}
    assert {sample.language for sample in samples} == {"de"}
    with pytest.raises(StorageError, match="no instructions in fr; there are some in de, en"):
        draw_samples(root, Wanted(languages=frozenset({"fr"})))


def refused(unit: int, *rules: str) -> dict[str, Any]:
    """A row with an accepted pair and one for each of `rules`."""
    made = a_row(unit, "open_ended")
    rejects = [{**a_pair(rule, accepted=False), "reason": rule} for rule in rules]
    return {**made, "pairs": [*made["pairs"][:1], *rejects]}


def test_only_what_a_rule_refused(tmp_path: Path) -> None:
    rows = [refused(unit, "echo", "negation", "false_claim") for unit in range(6)]
    root = job(LocalRoot(tmp_path), [rows[:3], [refused(9, "echo")], rows[3:]])
    only = frozenset({False})
    samples = draw_samples(root, Wanted(fates=only, rules=frozenset({"negation"})))
    assert [sample.pair["reason"] for sample in samples] == ["negation"] * 6
    assert len(draw_samples(root, Wanted(fates=only, rules=frozenset({"negation"}), limit=2))) == 2
    several = draw_samples(root, Wanted(fates=only, rules=frozenset({"negation", "echo"}), limit=50))
    assert Counter(sample.pair["reason"] for sample in several) == {"negation": 6, "echo": 7}
    with pytest.raises(StorageError, match="rejected for hedge; there are echo 7, false_claim 6, negation 6"):
        draw_samples(root, Wanted(fates=only, rules=frozenset({"hedge"})))
    # accepted pairs stay where they are wanted too
    both = draw_samples(root, Wanted(rules=frozenset({"echo"}), limit=50))
    assert cells(both) == {("open_ended", True): 7, ("open_ended", False): 7}


def test_only_what_says_that_it_cannot_be_told(tmp_path: Path) -> None:
    def untold(unit: int) -> dict[str, Any]:
        row = refused(unit, "echo")
        evidence = [{"key": "name", "value": None, "audio": 0, "position": 0}]
        return {**row, "pairs": [*row["pairs"], {**row["pairs"][0], "evidence": evidence}]}

    root = job(LocalRoot(tmp_path), [[refused(unit, "echo") for unit in range(5)], [untold(7), untold(8)], [untold(9)]])
    samples = draw_samples(root, Wanted(untold=True))
    assert cells(samples) == {("open_ended", True): 3}
    assert all(sample.pair["evidence"][0]["value"] is None for sample in samples)
    assert cells(draw_samples(root, Wanted(limit=50))) == {("open_ended", True): 11, ("open_ended", False): 8}
    without = job(LocalRoot(tmp_path / "without"), [[refused(1)]])
    with pytest.raises(StorageError, match="no such pairs"):
        draw_samples(without, Wanted(untold=True))


def test_a_language_of_one_wave_alone_is_found_whichever_is_read_first(tmp_path: Path) -> None:
    english, german = (a_row(unit, "open_ended") for unit in (0, 1))
    wanted = Wanted(frozenset({"open_ended"}), frozenset({"en", "de"}), frozenset({True}), limit=1)
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


def test_what_cannot_be_told_and_a_judges_score_are_printed(root: LocalRoot) -> None:
    (sample,) = draw_samples(root, Wanted(frozenset({"open_ended"}), fates=frozenset({True}), limit=1))
    untold = [{"key": "name", "value": None, "audio": 0, "position": 0}]
    pair = {**sample.pair, "evidence": untold, "score": 7.5}
    text = printed([Sample(0, sample.task, "en", ("a",), pair)])
    assert "=  name: can't be told\n" in text
    assert "(template, score 7.5)" in text
    assert "score" not in printed([Sample(0, sample.task, "en", ("a",), {**pair, "score": None})])


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
    ruled = CliRunner().invoke(app, ["samples", str(config), "--limit", "1", "--reason", "false_claim"])
    assert ruled.exit_code == 0
    assert ruled.stdout.count("✗  false_claim") == len(TASKS)
    assert "accepted" not in ruled.stdout
    senseless = CliRunner().invoke(app, ["samples", str(config), "--accepted", "--reason", "false_claim"])
    assert senseless.exit_code == CONFIG_WRONG
    assert "drop one of them" in senseless.stderr
    none = CliRunner().invoke(app, ["samples", str(config), "--untold"])
    assert none.exit_code == JOB_FAILED
    assert "no such pairs" in none.stderr
    for other in (["--rejected"], ["--reason", "false_claim"]):
        assert CliRunner().invoke(app, ["samples", str(config), "--untold", *other]).exit_code == CONFIG_WRONG
    unknown = CliRunner().invoke(app, ["samples", str(config), "--reason", "poetry"])
    assert unknown.exit_code == JOB_FAILED
    assert "no pair was rejected for poetry; there are false_claim" in unknown.stderr
    wrong = CliRunner().invoke(app, ["samples", str(config), "--task", "poetry"])
    assert wrong.exit_code == CONFIG_WRONG
    assert "there is no such task; there are closed_ended_acoustic_level" in wrong.stderr
