from collections.abc import Iterator
from pathlib import Path

import pytest

from sift_ray.config_file import parse_config
from sift_ray.corpora import Reading, Utterance
from sift_ray.pipeline import plan_draft
from sift_ray.pipeline.plan import preview_plan
from sift_ray.pipeline.plan_preview import Preview
from sift_ray.pipeline.plan_rows import spooled
from sift_ray.pipeline.plan_rules import LeftOut, PlanError


def said(name: str, speaker: str | None, split: str = "train", **fields: object) -> Utterance:
    known = {"transcript": "text", "gender": "female", "duration_s": 1800.0}
    return Utterance(name, "c0", "x", "en", split, speaker_id=speaker, where=f"m.tsv:{name}", **known | fields)


def test_usable_rows_are_counted_by_corpus_language_and_split() -> None:
    preview = Preview(wave_rows=3)
    first = [
        said("0", "a"),
        said("1", "a", transcript=None),
        said("2", "b", gender=None),
        said("3", None, duration_s=None),
        said("4", "c", "dev"),
    ]
    other = [said("5", "b"), said("6", "a", reject_reason="missing_audio", reject_detail="m.tsv:6: gone")]
    preview.add(spooled(first, "", 0))
    preview.add(spooled(other, "", 5))
    assert set(preview.cells) == {("c0", "en", "train"), ("c0", "en", "dev")}
    train = preview.cells["c0", "en", "train"]
    assert (train.utterances, train.hours, train.speakers.size) == (5, 2.0, 2)
    assert (train.no_transcript, train.no_gender, train.no_duration) == (1, 1, 1)
    assert (preview.rows, preview.waves) == (7, 3)


def test_the_example_of_a_reject_is_the_one_read_first() -> None:
    preview = Preview(wave_rows=3)
    rows = [said(str(n), "a", reject_reason="missing_audio", reject_detail=f"m.tsv:{n}: gone") for n in range(4)]
    for n in (2, 0, 3, 1):
        preview.add(spooled([rows[n]], "", n))
    assert preview.rejects["c0", "missing_audio"].rows == 4
    assert preview.rejects["c0", "missing_audio"].example == "m.tsv:0: gone"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "m.tsv"
    path.write_text("id\taudio\ttranscript\tlanguage\n")
    return path


def test_it_follows_the_plans_rules_and_writes_nothing(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: object, reading: Reading) -> Iterator[Utterance]:
        reading.skip("c0", "language nl is none of the five", 2)
        yield from [said("0", "a"), said("0", "a"), said("1", "b"), said("2", "b", "test"), said("3", "c")]

    monkeypatch.setattr(plan_draft, "read_corpus", read)
    output = empty.parent / "out"
    corpora = f"[{{type: manifest, name: c0, path: {empty}, hours: 1.0}}]"
    preview = preview_plan(parse_config(f"output: {output}\ncorpora: {corpora}\n", "job.yaml"))
    assert not output.exists()
    # three usable rows of half an hour, of which two are taken
    assert sum(cell.utterances for cell in preview.cells.values()) == 2
    (left,) = preview.left_out.values()
    assert left.utterances >= 1
    assert left.hours == 0.5
    assert preview.rows + left.utterances == 5
    assert preview.skipped == {"c0": {"language nl is none of the five": 2}}
    assert isinstance(left, LeftOut)


def test_what_a_plan_refuses_it_refuses(empty: Path) -> None:
    config = parse_config(f"output: out\ncorpora: [{{type: manifest, name: c0, path: {empty}}}]\n", "job.yaml")
    with pytest.raises(PlanError, match="no corpus holds a single utterance"):
        preview_plan(config)
