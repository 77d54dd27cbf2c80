"""Each defect, put into a copy of a good release, is found by the rule that names it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.schema import RELEASE
from sift_ray.storage import LocalRoot, StorageError
from sift_ray.validate.findings import Finding, Severity, worst
from sift_ray.validate.run import Validation, validate

from .small_job import Row, answer, copied, edit, publish, question

ACOUSTIC = "closed_ended/acoustic_level"
COMPARISON = "closed_ended/comparison"
Change = Callable[[list[Row]], list[Row] | None]


def found_in(folder: Path, against: Path | None = None) -> Validation:
    return validate(LocalRoot(folder), None if against is None else LocalRoot(against))


def finding(validation: Validation, rule: str) -> Finding:
    there = {f.rule: f for f in validation.findings}
    assert rule in there, f"{rule} is not among {sorted(there)}"
    return there[rule]


def first(folder: Path, split: str, task: str, language: str) -> Path:
    return next(iter(sorted((folder / split / task / language).glob("*.parquet"))))


# what each defect does to the first file of train, in one task and language
def in_first_row(change: Callable[[Row], None]) -> Change:
    def changed(rows: list[Row]) -> None:
        change(rows[0])

    return changed


def another_task(row: Row) -> None:
    row["task"] = "open_ended"


def another_split(row: Row) -> None:
    row["split"] = "test"


def another_language(row: Row) -> None:
    row["language"] = "es"


def another_source(row: Row) -> None:
    row["data_source"] = "common_voice_de"


def strange_id(row: Row) -> None:
    name = "common_voice_en_12 (copy)"
    row |= {"id": name, "utterance_ids": [name]}
    row["messages"][0]["content"][0]["audio_path"] = f"x/{name}.flac"


def german_id(row: Row) -> None:
    name = "common_voice_de_1234"
    row |= {"id": name, "utterance_ids": [name], "data_source": "common_voice_en"}
    row["messages"][0]["content"][0]["audio_path"] = f"common_voice_en/{name}.flac"


def another_audio(row: Row) -> None:
    row["messages"][0]["content"][0]["audio_path"] = "vctk_en/p999_001.flac"


def another_utterance(row: Row) -> None:
    row["utterance_ids"] = [f"{row['id']}7"]


def strange_sample_id(row: Row) -> None:
    row["sample_id"] = "sample 12"


def no_audio(row: Row) -> None:
    del row["messages"][0]["content"][0]


def audio_last(row: Row) -> None:
    row["messages"][0]["content"].reverse()


def system_message(row: Row) -> None:
    row["messages"].insert(0, {"role": "system", "content": [{"text": "You listen.", "audio_path": None}]})


def empty_answer(row: Row) -> None:
    answer(row)["text"] = "  \n"


def endless_answer(row: Row) -> None:
    answer(row)["text"] = "The voice is very low. " * 60


def column_name(row: Row) -> None:
    answer(row)["text"] = "The average_pitch is low."


def json_in_text(row: Row) -> None:
    question(row)["text"] = 'What is the pitch? {"pitch": "low"}'


def metadata_word(row: Row) -> None:
    answer(row)["text"] = "According to the metadata the voice is low."


def number_with_unit(row: Row) -> None:
    answer(row)["text"] = "The voice lies at about 180 Hz."


def number_of_decibels(row: Row) -> None:
    answer(row)["text"] = "The noise lies 23.5 dB below the voice."


def unknown_label(row: Row) -> None:
    row["evidence"] = [{"key": "noise_level", "value": "rather noisy", "ordinal": 1, "audio": 0, "position": 0}]


def wrong_ordinal(row: Row) -> None:
    row["evidence"] = [{"key": "noise_level", "value": "clean", "ordinal": 1, "audio": 0, "position": 0}]


def evidence_of_a_second_audio(row: Row) -> None:
    row["evidence"] = [{"key": "noise_level", "value": "clean", "ordinal": 5, "audio": 1, "position": 0}]


def bare(row: Row) -> None:
    row["evidence"] = []


def repeated_row(rows: list[Row]) -> list[Row]:
    return [*rows, {**rows[0], "sample_id": f"{0:016x}-{rows[0]['task']}-0"}]


def repeated_sample(rows: list[Row]) -> None:
    rows[1]["sample_id"] = rows[0]["sample_id"]


IN_ROWS: dict[str, tuple[str, Change]] = {
    "another task": ("task_of_folder", in_first_row(another_task)),
    "another split": ("split_of_folder", in_first_row(another_split)),
    "another language": ("language_of_folder", in_first_row(another_language)),
    "a source of another language": ("language_of_source", in_first_row(another_source)),
    "an id of another form": ("id_form", in_first_row(strange_id)),
    "an id of another language": ("language_of_id", in_first_row(german_id)),
    "another audio": ("id_stem", in_first_row(another_audio)),
    "another utterance": ("utterance_ids", in_first_row(another_utterance)),
    "a sample id of another form": ("sample_id_form", in_first_row(strange_sample_id)),
    "no audio": ("message_shape", in_first_row(no_audio)),
    "text before audio": ("message_shape", in_first_row(audio_last)),
    "a system message": ("message_shape", in_first_row(system_message)),
    "an empty answer": ("empty_text", in_first_row(empty_answer)),
    "an endless answer": ("long_text", in_first_row(endless_answer)),
    "a column's name": ("leaked_name", in_first_row(column_name)),
    "JSON": ("leaked_name", in_first_row(json_in_text)),
    "talk of metadata": ("leaked_word", in_first_row(metadata_word)),
    "hertz": ("leaked_number", in_first_row(number_with_unit)),
    "decibels": ("leaked_number", in_first_row(number_of_decibels)),
    "an unknown label": ("evidence_form", in_first_row(unknown_label)),
    "an ordinal of another label": ("evidence_form", in_first_row(wrong_ordinal)),
    "evidence of an audio that is not there": ("evidence_form", in_first_row(evidence_of_a_second_audio)),
    "no evidence": ("no_evidence", in_first_row(bare)),
    "a row twice": ("duplicate_row", repeated_row),
    "a sample id twice": ("duplicate_sample_id", repeated_sample),
}


@pytest.fixture
def corner(good_job: Path, tmp_path: Path) -> Path:
    """A few files of a good release, for what one row can show."""
    for split in ("train", "dev"):
        folder = f"{split}/{ACOUSTIC}/en"
        shutil.copytree(good_job / "release" / folder, tmp_path / "corner" / folder)
    return tmp_path / "corner"


@pytest.fixture
def release(good_job: Path, tmp_path: Path) -> Path:
    return copied(good_job / "release", tmp_path / "release")


def test_a_good_release_has_no_defect(good_job: Path) -> None:
    validation = found_in(good_job)
    assert validation.findings == ()
    [looked] = validation.looked
    assert (looked.form, looked.path) == ("parquet", str(good_job / "release"))
    assert validation.rows == sum(pq.read_metadata(f).num_rows for f in good_job.rglob("release/**/*.parquet"))
    assert looked.verified


def test_a_few_good_files_have_no_defect(corner: Path) -> None:
    assert found_in(corner).findings == ()


@pytest.mark.parametrize("defect", IN_ROWS)
def test_a_defect_in_a_row_is_found(corner: Path, defect: str) -> None:
    rule, change = IN_ROWS[defect]
    file = first(corner, "train", ACOUSTIC, "en")
    edit(file, change)
    validation = found_in(corner)
    [breach] = validation.findings
    assert (breach.rule, breach.severity, breach.count) == (rule, Severity.ERROR, 1)
    assert breach.examples[0].file == str(file.relative_to(corner))
    assert breach.examples[0].row == {"a row twice": pq.read_metadata(file).num_rows, "a sample id twice": 2}.get(
        defect, 1
    )


def test_many_defects_in_one_copy_are_found_each_by_its_rule(release: Path) -> None:
    file = first(release, "train", ACOUSTIC, "en")
    changed: dict[int, str] = {}  # the rows that have a defect, by number

    def spoilt(rows: list[Row]) -> list[Row]:
        left, made = iter(rows), list[Row]()
        for rule, change in IN_ROWS.values():
            some = [next(left) for _ in range(2 if rule == "duplicate_sample_id" else 1)]
            made += change(some) or some
            changed[len(made)] = rule  # (what comes again is told of where it does)
        return [*made, *left]

    edit(file, spoilt)
    findings = found_in(release).findings
    assert {f.rule: f.count for f in findings} == Counter(changed.values())
    assert len(findings) >= 15
    for found in findings:
        for example in found.examples:
            assert (example.file, changed[example.row or 0]) == (str(file.relative_to(release)), found.rule)


@pytest.mark.parametrize(
    "text",
    [
        "A person in their 20s speaks here, as in the 1950s.",
        'The speaker says "the metadata of 50 Hz hums" with a low voice.',
        "The first recording is quieter than the second one.",
    ],
)
def test_what_only_looks_like_a_leak_is_none(corner: Path, text: str) -> None:
    def put(row: Row) -> None:
        answer(row)["text"] = text

    edit(first(corner, "train", ACOUSTIC, "en"), in_first_row(put))
    assert not {f.rule for f in found_in(corner).findings} & {"leaked_name", "leaked_word", "leaked_number"}


def test_a_row_that_is_cut_off_is_found_by_every_null(corner: Path) -> None:
    file = first(corner, "train", ACOUSTIC, "en")
    loose = pa.schema([field.with_nullable(True) for field in RELEASE])
    edit(file, in_first_row(lambda row: row.update(data_source=None)), loose)
    breach = finding(found_in(corner), "null_value")
    assert [(e.row, e.detail) for e in breach.examples] == [(1, "data_source")]


def test_a_missing_column_and_one_of_another_type_are_found(release: Path) -> None:
    file = first(release, "train", ACOUSTIC, "en")
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.drop_columns(["generator"]), file)
    other = first(release, "train", ACOUSTIC, "de")
    table = pq.read_table(other, partitioning=None)
    place = table.column_names.index("language")
    pq.write_table(table.set_column(place, "language", table["language"].dictionary_encode()), other)
    breach = finding(found_in(release), "schema")
    assert breach.count == 2
    assert {e.detail.split(" is ")[0] for e in breach.examples} == {"no column 'generator'", "column 'language'"}


def test_texts_of_another_language_are_found(release: Path) -> None:
    german = pq.read_table(first(release, "train", "open_ended", "de"), partitioning=None).to_pylist()

    def translated(rows: list[Row]) -> None:
        for row, other in zip(rows, german, strict=True):
            question(row)["text"], answer(row)["text"] = question(other)["text"], answer(other)["text"]

    edit(first(release, "train", "open_ended", "fr"), translated)
    breach = finding(found_in(release), "language_of_text")
    assert breach.severity is Severity.ERROR
    assert all(example.detail.startswith("de: ") for example in breach.examples)


def test_one_text_of_another_language_is_a_warning(release: Path) -> None:
    def translated(row: Row) -> None:
        answer(row)["text"] = "Die Stimme klingt sehr tief, und die Person spricht langsam."
        question(row)["text"] = "Wie klingt die Stimme in dieser Aufnahme?"

    edit(first(release, "train", ACOUSTIC, "fr"), in_first_row(translated))
    breach = finding(found_in(release), "language_of_some_texts")
    assert (breach.severity, breach.count) == (Severity.WARNING, 1)


def test_a_file_most_of_whose_texts_are_in_no_language_is_noted(corner: Path) -> None:
    file = first(corner, "train", ACOUSTIC, "en")
    rows = pq.read_metadata(file).num_rows
    assert rows > 10

    def mumbled(count: int) -> list[Finding]:
        def change(rows: list[Row]) -> None:
            for number, row in enumerate(rows[:count]):
                question(row)["text"], answer(row)["text"] = f"Qzrk vlompt {number}?", "Brxz gnuff wqaz trelk."

        edit(file, change)
        return [breach for breach in found_in(corner).findings if breach.rule.startswith("language_")]

    assert mumbled(rows // 2) == []
    [breach] = mumbled(rows // 2 + 1)
    assert (breach.rule, breach.severity, breach.count) == ("language_unclear", Severity.NOTE, rows // 2 + 1)
    assert [(e.file, e.row) for e in breach.examples[:2]] == [(str(file.relative_to(corner)), n) for n in (1, 2)]


def test_a_file_that_is_cut_off_is_found_and_the_others_are_read(corner: Path) -> None:
    file = first(corner, "train", ACOUSTIC, "en")
    before = found_in(corner).rows
    lost = pq.read_metadata(file).num_rows
    file.write_bytes(file.read_bytes()[:-100])
    validation = found_in(corner)
    assert finding(validation, "unreadable_file").examples[0].file == str(file.relative_to(corner))
    assert validation.rows == before - lost


def test_files_that_no_client_expects_are_found(corner: Path) -> None:
    file = first(corner, "train", ACOUSTIC, "en")
    (file.parent / "notes.txt").write_text("to do")
    (file.parent / "_SUCCESS").write_text("")
    shutil.copy(file, corner / "train" / "left_over.parquet")
    validation = found_in(corner)
    assert finding(validation, "stray_file").count == 2
    assert finding(validation, "misplaced_file").examples[0].file == "train/left_over.parquet"


def test_a_folder_of_an_unknown_language_is_found(corner: Path) -> None:
    shutil.copytree(corner / "train" / ACOUSTIC / "en", corner / "train" / ACOUSTIC / "english")
    breach = finding(found_in(corner), "unknown_language")
    assert breach.examples[0].file.startswith(f"train/{ACOUSTIC}/english/")


def test_a_row_audio_and_speaker_in_two_splits_are_found(release: Path) -> None:
    file = first(release, "train", ACOUSTIC, "en")
    leaked = pq.read_table(file, partitioning=None).to_pylist()
    row = next(row for row in leaked if row["data_source"] == "vctk_en")
    benchmark = first(release, "EvalSIFT", ACOUSTIC, "en")
    edit(benchmark, lambda rows: [*rows, {**row, "split": "test"}])
    validation = found_in(release)
    for rule in ("row_in_two_splits", "audio_in_two_splits", "speaker_in_two_splits"):
        breach = finding(validation, rule)
        assert (breach.severity, breach.count) == (Severity.ERROR, 1), rule
        # (files are read in the order of their paths: the benchmark's come first)
        assert f"first in {benchmark.relative_to(release)}, row " in breach.examples[0].detail


def test_a_speaker_whom_only_the_corpus_knows_is_found_against_annotations(good_job: Path, tmp_path: Path) -> None:
    job = copied(good_job, tmp_path / "job")
    annotations = next(iter((job / "annotations").rglob("*.parquet")))
    table = pq.read_table(annotations, partitioning=None)
    edit(annotations, lambda rows: [{**row, "speaker_id": "one"} for row in rows], table.schema)
    assert finding(found_in(job, job), "speaker_in_two_splits").count == 3  # one in each corpus
    assert "speaker_in_two_splits" not in {f.rule for f in found_in(job).findings}


def test_both_orders_of_a_comparison_in_one_release_are_a_warning(release: Path) -> None:
    def text_first(rows: list[Row]) -> None:
        for row in rows:
            content = row["messages"][0]["content"]
            content.insert(0, content.pop())

    edit(first(release, "train", "closed_ended/comparison", "en"), text_first)
    validation = found_in(release)
    assert [f.rule for f in validation.findings] == ["message_order"]
    for file in sorted(release.rglob("comparison/*/*.parquet")):
        if file != first(release, "train", "closed_ended/comparison", "en"):
            edit(file, text_first)
    assert found_in(release).findings == ()


def test_tasks_and_labels_out_of_balance_are_warned_of(release: Path) -> None:
    shutil.rmtree(release / "dev" / "open_ended" / "de")
    file = first(release, "EvalSIFT", ACOUSTIC, "fr")

    def one_label(rows: list[Row]) -> list[Row]:
        fact = {"key": "noise_level", "value": "clean", "ordinal": 5, "audio": 0, "position": 0}
        task = rows[0]["task"]
        return [{**rows[0], "sample_id": f"{n:016x}-{task}-0", "evidence": [fact]} for n in range(500)]

    edit(file, one_label)
    validation = found_in(release)
    assert finding(validation, "missing_task").examples[0].file == "dev/open_ended/de"
    assert "'clean'" in finding(validation, "label_balance").examples[0].detail
    assert finding(validation, "task_balance").severity is Severity.WARNING
    assert finding(validation, "answer_balance").examples[0].file == "test/closed_ended_acoustic_level/fr"
    assert finding(validation, "duplicate_row").count == 499


@pytest.mark.parametrize(
    ("split", "rule", "severity"),
    [("train", "label_balance_training", Severity.NOTE), ("EvalSIFT", "label_balance", Severity.WARNING)],
)
def test_a_label_is_weighed_in_its_split(release: Path, split: str, rule: str, severity: Severity) -> None:
    folder = release.with_name("weighed")
    file = folder / split / ACOUSTIC / "en/part-00000.parquet"
    shutil.copytree(first(release, split, ACOUSTIC, "en").parent, file.parent)

    def spread(most: int) -> list[Finding]:
        facts = [("clean", 5)] * most + [("noisy", 1)] * (200 - most)

        def change(rows: list[Row]) -> list[Row]:
            place = {"key": "noise_level", "audio": 0, "position": 0}
            return [{**rows[0], "evidence": [{**place, "value": label, "ordinal": o}]} for label, o in facts]

        edit(file, change)
        return [breach for breach in found_in(folder).findings if breach.rule.startswith("label_balance")]

    # seven labels: halfway between a seventh and all of it are 114.3 of 200
    assert spread(114) == []
    [breach] = spread(115)
    assert (breach.rule, breach.severity, breach.count) == (rule, severity, 1)
    [example] = breach.examples
    assert example.file == {"train": "train", "EvalSIFT": "test"}[split]
    assert example.detail == "57% of 200 noise_level are 'clean'"


def test_a_task_that_outweighs_all_others_of_its_split_is_warned_of(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weighed"

    def weighed(**counts: int) -> list[Finding]:
        shutil.rmtree(folder, ignore_errors=True)
        for task, count in counts.items():
            file = first(release, "train", f"closed_ended/{task}", "en")
            copy = folder / file.relative_to(release)
            shutil.copytree(file.parent, copy.parent)
            edit(copy, lambda rows, count=count: [rows[0]] * count)  # type: ignore[misc]
        return [breach for breach in found_in(folder).findings if breach.rule == "task_balance"]

    assert weighed(acoustic_level=13, content_level=75, comparison=12) == []
    assert weighed(acoustic_level=10, content_level=90) == []
    assert weighed(acoustic_level=4, content_level=40, comparison=4) == []
    [breach] = weighed(acoustic_level=12, content_level=76, comparison=12)
    assert (breach.severity, breach.count) == (Severity.WARNING, 1)
    [example] = breach.examples
    assert (example.file, example.row) == ("train", None)
    assert example.detail == "closed_ended_content_level is 76% of 100 rows"


def test_tasks_of_a_benchmark_that_are_not_as_large_as_each_other_are_warned_of(release: Path) -> None:
    edit(first(release, "EvalSIFT", ACOUSTIC, "fr"), lambda rows: [rows[0]] * 60)
    breach = finding(found_in(release), "task_balance")
    assert breach.count == 1
    [example] = breach.examples
    assert example.file == "test/*/fr"
    assert example.detail.startswith("60 rows of closed_ended_acoustic_level, ")


def audio_parts(row: Row) -> list[Row]:
    return [part for message in row["messages"] for part in message["content"] if part["audio_path"] is not None]


@pytest.mark.parametrize(
    ("task", "place"), [(ACOUSTIC, 0), ("controllable_generation", 0), (COMPARISON, 0), (COMPARISON, 1)]
)
def test_a_path_bears_the_id_or_is_where_the_audio_lay(good_job: Path, tmp_path: Path, task: str, place: int) -> None:
    folder = tmp_path / "at_addresses"
    shutil.copytree(good_job / "release/train" / task / "en", folder / "train" / task / "en")
    file = first(folder, "train", task, "en")

    def moved(rows: list[Row]) -> None:
        for row in rows:
            row["audio_uris"] = [f"/store/{name}/sound.flac" for name in row["utterance_ids"]]
            for part, uri in zip(audio_parts(row), row["audio_uris"], strict=True):
                part["audio_path"] = uri

    edit(file, moved)
    assert found_in(folder).findings == ()
    elsewhere = "/store/somebody else/sound.flac"
    edit(file, lambda rows: audio_parts(rows[2])[place].update(audio_path=elsewhere))
    [breach] = found_in(folder).findings
    assert (breach.rule, breach.severity, breach.count) == ("id_stem", Severity.ERROR, 1)
    [example] = breach.examples
    assert (example.file, example.row) == (str(file.relative_to(folder)), 3)
    assert repr(elsewhere) in example.detail


def test_a_name_may_have_spaces_but_must_be_one_of_a_file(corner: Path) -> None:
    def named(name: str) -> set[str]:
        def change(row: Row) -> None:
            row |= {"id": name, "utterance_ids": [name], "data_source": "demo_en"}
            row["messages"][0]["content"][0]["audio_path"] = f"demo_en/{name}.flac"

        edit(first(corner, "train", ACOUSTIC, "en"), in_first_row(change))
        return {f.rule for f in found_in(corner).findings}

    assert "id_form" not in named("call 12 (copy)")
    for name in ("a\\b", "a\nb", "a\x7fb"):
        assert "id_form" in named(name)


def test_the_second_clip_of_a_comparison_of_ours_is_of_the_same_source(release: Path, tmp_path: Path) -> None:
    def other_corpus(rows: list[Row]) -> None:
        row = next(row for row in rows if row["data_source"] == "vctk_en")
        lead, _ = row["utterance_ids"]
        row |= {"utterance_ids": [lead, "1_77_000001"], "id": f"comparison_{lead}__1_77_000001"}
        row["messages"][0]["content"][1]["audio_path"] = "vctk_en/1_77_000001.flac"

    edit(first(release, "train", "closed_ended/comparison", "en"), other_corpus)
    assert finding(found_in(release), "id_form").count == 1
    assert "id_form" not in {f.rule for f in found_in(publish(release, tmp_path / "published")).findings}


@pytest.mark.parametrize("base", ["release", "release/jsonl"])
def test_half_of_a_first_release_is_not_taken_for_one(corner: Path, tmp_path: Path, base: str) -> None:
    version = f"v-{'0' * 16}"
    copied(corner, tmp_path / "job" / base / version)
    (tmp_path / "job/release/README.md").write_text("---\nconfigs: []\n---\n\nThe release is being written.\n")
    with pytest.raises(StorageError, match=f"still being written; name one of them: {base}/{version}"):
        found_in(tmp_path / "job")
    assert found_in(tmp_path / "job" / base / version).findings == ()
    (tmp_path / "job" / base / version).rename(tmp_path / "job" / base / "mine")
    assert found_in(tmp_path / "job").findings == ()


def test_a_folder_without_a_release_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no release lies here"):
        found_in(tmp_path)


def test_the_version_that_the_card_leads_to_is_looked_at(corner: Path, tmp_path: Path) -> None:
    root = tmp_path / "versions"
    copied(corner, root / "v-1")
    copied(corner, root / "v-2")
    with pytest.raises(StorageError, match="name one of them: v-1, v-2"):
        found_in(root)
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: open_ended\n  data_files:\n  - split: train\n"
        "    path: v-2/train/open_ended/*/*.parquet\n---\n\nA card.\n"
    )
    edit(first(root / "v-1", "train", ACOUSTIC, "en"), in_first_row(bare))
    validation = found_in(root)
    assert [of.path for of in validation.looked] == [str(root / "v-2")]
    assert validation.others == ("v-1",)
    assert validation.findings == ()
    assert worst(found_in(root / "v-1").findings) is Severity.ERROR
