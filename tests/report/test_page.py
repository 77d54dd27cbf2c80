from __future__ import annotations

import base64
import hashlib
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from sift_ray.cli import JOB_FAILED, app
from sift_ray.config import BinConfig, Config
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.phrases import phrases
from sift_ray.report.page.histograms import Shapes
from sift_ray.report.page.measures import measure_views
from sift_ray.report.page.numbers import funnels
from sift_ray.report.page.write import PAGE_NAME, Choice, page, write_page
from sift_ray.report.state import manifests_of, summarise
from sift_ray.schema import TASKS
from sift_ray.storage import LocalRoot, S3Root, StorageError, read_table, wave_files

from ..seaweed import Seaweed
from .page_job import HOSTILE, ROWS, WAVES, Element, parsed, write_job

Written = tuple[Config, LocalRoot]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_job(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def html(job: Written) -> str:
    return page(*job, Choice(samples=5))


@pytest.fixture(scope="module")
def document(html: str) -> Element:
    return parsed(html)


def tables(document: Element) -> dict[str, list[list[str]]]:
    """Every table's rows by its caption."""
    return {
        next(table.all("caption")).text(): [[cell.text() for cell in row.all("th", "td")] for row in table.all("tr")]
        for table in document.all("table")
    }


def of_class(document: Element, name: str) -> list[Element]:
    return [e for e in document.all() if name in (e.attributes.get("class") or "").split()]


def test_foreign_texts_are_shown_and_never_markup(document: Element, html: str) -> None:
    assert not list(document.all("script", "img", "iframe", "object", "form", "b"))
    assert not [name for e in document.all() for name in e.attributes if name.startswith("on") or name == "style"]
    shown = [e.text() for e in document.all("q", "dd", "p", "bdi")]
    assert HOSTILE in shown  # the transcript, and the question
    assert any(f"Refused: {HOSTILE}" == text for text in shown)  # a detail
    assert any(f"u3{HOSTILE}" in text or f"u13{HOSTILE}" in text for text in shown)  # an id
    assert "<b>man</b>" in {e.text() for e in document.all("text")}  # a word in a drawing
    assert html.count("</style>") == 1


def test_the_page_loads_nothing_and_its_policy_lets_it_run_nothing(document: Element) -> None:
    addresses = [e.attributes[name] or "" for e in document.all() for name in ("src", "href") if name in e.attributes]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    anchors = {e.attributes["id"] for e in document.all() if "id" in e.attributes}
    assert all(address[1:] in anchors for address in addresses if address.startswith("#"))
    policy = next(e for e in document.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in (policy.attributes["content"] or "").split(";"))
    style = next(document.all("style")).text()
    assert rules["default-src"] == "'none'"
    assert "script-src" not in rules
    assert rules["style-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
    assert "url(" not in style
    assert "@import" not in style


def test_the_funnel_counts_what_the_tables_hold(document: Element) -> None:
    found = tables(document)
    rejected = WAVES * ROWS // 10
    usable = WAVES * ROWS - rejected
    funnel = {row[0]: row[1] for row in found["Utterances that were left after each step"][1:]}
    assert funnel == {
        "planned": str(WAVES * ROWS),
        "accepted by the plan": str(WAVES * ROWS),
        "measured": str(usable),
        "with word spans": str(usable - WAVES * ROWS // 10),
    }
    pairs = {row[0]: row[1] for row in found["Question-answer pairs that were left after each step"][1:]}
    assert pairs == {"written": str(3 * usable), "accepted by the verifier": str(usable)}
    rules = {row[0]: row[-2] for row in found["Refused pairs, by rule and language"][1:]}
    assert rules == {"false_claim": str(usable), "leak": str(usable)}
    assert len(found["Refused pairs, by rule and task"][0]) == 1 + len(TASKS) + 2
    yields = found["Yields by language: pairs accepted of those written; blank where none was"]
    assert yields[0] == ["task", "written by", "en", "de", "fr", "it", "es", "all"]
    assert yields[-1] == ["all", "fallback", *["33.3%"] * 6]  # an accepted pair to two refused
    hours = found["Hours of usable audio by corpus, language and split"]
    assert hours[-1][2] == str(usable)
    assert float(hours[-1][-2]) == pytest.approx(usable * 1.5 / 3600, abs=6e-4)


def test_every_category_of_every_measurement_is_counted(document: Element) -> None:
    found = tables(document)
    rows = found["Speaking rate: balance of its categories"][1:]
    assert sum(int(row[1]) for row in rows) == WAVES * ROWS * 9 // 10
    assert {row[0]: row[4] for row in rows}["very slowly"] == str(WAVES * ROWS * 9 // 10)  # of accepted answers
    drawn = [e.attributes["aria-label"] or "" for e in of_class(document, "histogram")]
    for measure in ("average pitch", "speaking rate", "noise level", "speech quality"):
        assert any(label.startswith(f"Histogram of {measure}, ") for label in drawn)
    assert "MOS (P.835 OVRL)" in next(e for e in document.all("h3") if "Speech quality" in e.text()).text()


def test_drawings_of_one_range_share_their_numbers(document: Element) -> None:
    def within(section: str) -> list[Element]:
        return of_class(next(e for e in document.all("section") if e.attributes.get("id") == section), "chart")

    for section, strips, values in (("hours", 2, "0 8 16 24 32"), ("alignment", 5, "0.00 0.25 0.50 0.75 1.00")):
        [chart] = within(section)
        assert len(of_class(chart, "histogram")) == len(list(chart.all("figcaption"))) == strips
        assert len(list(chart.all("table"))) == strips
        assert [e.text() for e in of_class(chart, "value")] == values.split()
    for chart in within("measurements"):  # each group has a ruler of its own
        assert len(of_class(chart, "histogram")) == 1
        assert len(of_class(chart, "value")) >= 2
        places = [e.text() for e in of_class(chart, "place")]
        assert places
        assert places == [str(place) for place in range(1, len(places) + 1)]


def test_groups_that_one_ruler_judges_are_drawn_over_its_edges(job: Written) -> None:
    _, root = job
    files = [file for manifest in manifests_of(root, "annotations") for file in wave_files(root, manifest)]
    rows = pa.concat_tables([read_table(root, file) for file in files])
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    rulers = build_rulers(rows.to_batches, BinConfig(min_count=30))
    shapes = Shapes(rulers)
    for batch in rows.to_batches():
        shapes.add(batch)
    views = {view.title: view for view in measure_views(shapes, rulers, {}, {})}
    [rate] = views["Speaking rate"].charts
    assert [strip.caption for strip in rate.strips] == [
        "first: 20 values, judged by all corpora",
        "second: 16 values, judged by all corpora",
    ]
    assert [table.caption for table in rate.numbers] == [
        f"Speaking rate, {corpus}: categories, phones per second of speech" for corpus in ("first", "second")
    ]
    assert ['class="place"' in strip.drawing for strip in rate.strips] == [True, False]
    assert [strip.drawing.count('class="edge"') for strip in rate.strips] == [8, 8]
    pitch = views["Average pitch"].charts
    assert [[strip.caption.split(":")[0] for strip in chart.strips] for chart in pitch] == [
        ["first, female", "second, female"],
        ["first, male", "second, male"],
    ]


def test_what_no_answer_rests_on_is_said_and_has_no_columns(document: Element) -> None:
    found = tables(document)
    assert "in accepted answers" in found["Speaking rate: balance of its categories"][0]
    told = found["Average pitch: balance of its categories; no accepted answer rests on one"]
    assert told[0] == ["category", "utterances", "share", ""]
    assert sum(int(row[1]) for row in told[1:]) == WAVES * ROWS * 9 // 10


def test_shares_of_nothing_are_left_blank(job: Written) -> None:
    summary = summarise(job[1])
    summary.stages["utterances"].rows = 0
    first, *_ = funnels(summary)
    assert [row[1:] for row in first.rows[:2]] == [("0", "", ""), (str(WAVES * ROWS), "", "")]


def test_samples_of_every_task_are_heard_seen_and_read(document: Element) -> None:
    section = next(e for e in document.all("section") if e.attributes.get("id") == "samples")
    groups = [e for e in section.children if e.name == "section"]
    assert [next(group.all("h3")).text() for group in groups] == list(TASKS)
    for group in groups:
        cards = of_class(group, "sample")
        assert 1 <= len(cards) <= 5
        for card in cards:
            assert len(list(card.all("audio"))) == len(of_class(card, "strips"))
            marks = [mark.text() for mark in card.all("mark")]
            by_recording = "The recording." in card.text()
            language = next(card.all("dd")).attributes["lang"] or ""
            assert marks == ([] if by_recording else [f"{phrases(language).phrase('speaking_rate', 'very slowly')}1"])
            measured = " ".join(e.text() for e in of_class(card, "measured"))
            assert "phones per second of speech; the category ends at" in measured or not list(card.all("audio"))
    languages = {e.attributes["lang"] for e in section.all("dd", "q") if "lang" in e.attributes}
    assert languages == {"en", "de", "fr", "it", "es"}
    players = list(section.all("audio"))
    assert players
    assert all((e.attributes["src"] or "").startswith("data:audio/") and "controls" in e.attributes for e in players)


def test_what_was_refused_is_shown_with_its_reason(document: Element) -> None:
    section = next(e for e in document.all("section") if e.attributes.get("id") == "refused")
    told = [e.text() for e in section.all("h4")]
    assert {"Rule false_claim", "Rule leak"} < set(told)
    assert {"utterance: decode/silent", "word spans: low_confidence"} < set(told)
    assert any(f"Refused: {HOSTILE}" == e.text() for e in of_class(section, "reason"))


def test_audio_that_cannot_be_read_costs_its_player_alone(document: Element) -> None:
    notes = [e for e in of_class(document, "note") if "nowhere.wav" in e.text()]
    assert notes
    for note in notes:
        assert note.parent is not None
        assert "It can't be heard: missing_audio" in note.text()
        assert not list(note.parent.all("audio", "svg"))
        assert "Transcript" in note.parent.text()


def test_the_same_seed_gives_the_same_page_and_another_another(job: Written, html: str) -> None:
    assert page(*job, Choice(samples=5)) == html
    drawn = re.findall(r"Frage \d+ \w+", html)
    assert drawn
    assert re.findall(r"Frage \d+ \w+", page(*job, Choice(samples=5, seed=1))) != drawn


def test_no_samples_are_shown_where_none_are_asked_for(job: Written) -> None:
    bare = parsed(page(*job, Choice(samples=0)))
    assert not list(bare.all("audio"))
    assert not of_class(bare, "sample")
    assert tables(bare)["Question-answer pairs that were left after each step"]


@pytest.mark.parametrize("missing", [("instructions",), ("instructions", "bins.json"), ("instructions", "annotations")])
def test_a_job_under_way_is_shown_as_far_as_it_is(job: Written, tmp_path: Path, missing: tuple[str, ...]) -> None:
    config, root = job
    shutil.copytree(root.uri, tmp_path / "out")
    half = LocalRoot(tmp_path / "out")
    for name in missing:
        half.delete(name)
    shown = parsed(page(config, half, Choice()))
    told = of_class(shown, "progress")[0].text()
    assert f"instructions: 0 of {WAVES} waves are done." in told
    assert ("bins.json: not made yet" in told) == ("bins.json" in missing)
    assert "Hours of usable audio by corpus, language and split" in tables(shown)
    assert not [e for e in shown.all("section") if e.attributes.get("id") == "samples"]


def test_headings_and_tables_can_be_found_by_those_who_do_not_see(document: Element) -> None:
    levels = [int(e.name[1]) for e in document.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in document.all("table"):
        assert next(table.all("caption")).text()
        assert all(e.attributes.get("scope") in ("col", "row") for e in table.all("th"))
    for drawing in document.all("svg"):
        assert drawing.attributes.get("aria-hidden") == "true" or drawing.attributes.get("aria-label")
    for strips in of_class(document, "strips"):
        assert re.search(r"F0 from \d+ to \d+ Hz|no voiced frame", strips.attributes["aria-label"] or "")
    assert all(e.attributes.get("aria-label") for e in document.all("audio"))


def test_the_page_lies_in_the_output_or_where_it_was_asked_for(job: Written, tmp_path: Path) -> None:
    config, root = job
    choice = Choice(samples=0)
    assert write_page(config, choice) == f"{root.uri}/{PAGE_NAME}"
    elsewhere = tmp_path / "new" / "page.html"
    assert write_page(config, choice, str(elsewhere)) == str(elsewhere)
    assert elsewhere.read_text(encoding="utf-8") == root.read(PAGE_NAME).decode()


def test_the_command_says_where_the_page_is_and_what_is_missing(job: Written, tmp_path: Path) -> None:
    _, root = job
    path = tmp_path / "job.yaml"
    path.write_text(f"output: {root.uri}\ncorpora: [{{type: demo, name: demo, path: {tmp_path}}}]\n")
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(path), "--output", str(out), "--samples", "1", "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{out}\n"
    assert 1 <= out.read_text(encoding="utf-8").count("<audio") <= len(TASKS) + 4
    path.write_text(f"output: {tmp_path / 'none'}\ncorpora: [{{type: demo, name: demo, path: {tmp_path}}}]\n")
    failed = CliRunner().invoke(app, ["report", str(path)])
    assert failed.exit_code == JOB_FAILED
    assert "nothing is planned here" in failed.output


def test_nothing_planned_is_an_error(job: Written, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing is planned here"):
        page(job[0], LocalRoot(tmp_path), Choice())


@pytest.mark.integration
def test_a_job_in_a_bucket_is_shown_as_one_in_a_folder(job: Written, html: str, seaweed: Seaweed) -> None:
    config, root = job
    uri = f"s3://{seaweed.bucket}/page"
    store = S3Root(uri, seaweed.storage)
    for file in Path(root.uri).rglob("*"):
        if file.is_file():
            store.put(file.relative_to(root.uri).as_posix(), file.read_bytes())
    there = config.model_copy(update={"output": uri, "storage": seaweed.storage})
    assert write_page(there, Choice(samples=5)) == f"{uri}/{PAGE_NAME}"
    assert store.read(PAGE_NAME).decode() == html.replace(root.uri, uri)
    assert write_page(there, Choice(samples=0), f"{uri}/other/page.html") == f"{uri}/other/page.html"
    assert store.read("other/page.html").startswith(b"<!DOCTYPE html>")
