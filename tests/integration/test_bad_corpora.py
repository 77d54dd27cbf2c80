"""Corpora with damage in them, in one job: each good row is measured, each bad one has its reason, none is lost."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile as sf
from pydantic import TypeAdapter

from sift_ray.audio.decode import DecodeError, decode
from sift_ray.config import CorpusConfig
from sift_ray.config_file import parse_config
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import CorpusError, Reading, read_corpus
from sift_ray.pipeline.build import annotate, plan

from ..chaos.cluster import hooks_path
from ..chaos.killer_clip import write_killer
from ..conftest import rows_of, run_stages
from ..layouts import Demo, DemoClip, Layout, read_demo
from ..layouts.hub import common_voice_hub, embedded, mls_hub, vctk_hub, write_shard
from ..layouts.lists import manifest_parquet, manifest_tsv, write_tar
from ..layouts.trees import common_voice_15, mls_flac, vctk
from ..seaweed import Seaweed

pytestmark = pytest.mark.integration

HEADER = "id\taudio\ttranscript\tlanguage\n"


@dataclass
class Bad:
    """A damaged corpus: its section, and how each of its rows must end.

    Attributes:
        corpus: Its section of the config.
        ends: By id: "ok", or the reason of the reject.
        lost: How many rows more can't even be named, as their shard is unreadable there.
    """

    corpus: dict[str, Any]
    ends: dict[str, str] = field(default_factory=dict)
    lost: int = 0


@pytest.fixture(scope="module")
def demo(demo_corpora: Path) -> Demo:
    return read_demo(demo_corpora)


def manifest(folder: Path, name: str, rows: list[tuple[str, str, str]], *, start: bytes = b"", end: str = "\n") -> Bad:
    """Write a TSV of English clips, rows of (id, audio, transcript)."""
    lines = [HEADER.rstrip("\n"), *("\t".join((*row, "en")) for row in rows)]
    (folder / f"{name}.tsv").write_bytes(start + "".join(line + end for line in lines).encode("utf-8"))
    return Bad({"type": "manifest", "name": name, "path": str(folder / f"{name}.tsv")})


def clip_of(demo: Demo, folder: Path) -> str:
    """Copy one English clip into a folder; return its name."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(demo.of("mls", "en")[0].file, folder / "clip.flac")
    return "clip.flac"


def nul_bom_and_crlf(demo: Demo, folder: Path) -> Bad:
    clip = clip_of(demo, folder)
    rows = [("good", clip, "hello"), ("text", clip, "hel\0lo"), ("path", "cl\0ip.flac", "hello"), ("last", clip, "hi")]
    bad = manifest(folder, "bytes", rows, start=b"\xef\xbb\xbf", end="\r\n")
    bad.ends = {"good": "ok", "text": "nul_byte", "path": "nul_byte", "last": "ok"}
    return bad


def common_voice_with_a_nul(demo: Demo, folder: Path) -> Bad:
    layout = common_voice_15(demo, folder, str(folder))
    for table in folder.glob("*/*/train.tsv"):
        header, first, *lines = table.read_text(encoding="utf-8").splitlines()
        cells = first.split("\t")
        cells[2] = f"{cells[2]}\0"
        text = "".join(f"{line}\r\n" for line in (header, "\t".join(cells), *lines))
        table.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))
    ends = {row.utterance_id: "ok" for row in layout.utterances}
    for language in ("en", "de"):
        ends[next(row.utterance_id for row in layout.utterances if row.language == language)] = "nul_byte"
    return Bad({**layout.corpus, "name": "cv_bytes"}, ends)


def truncated_tar_and_one_that_is_none(demo: Demo, folder: Path) -> Bad:
    clips = demo.of("mls", "it")
    write_tar(folder / "train-000000.tar", clips[:2])
    cut = folder / "train-000001.tar"
    write_tar(cut, clips[2:5])
    # in the middle of the last sample's audio
    content = cut.read_bytes()
    place = content.index(clips[4].file.read_bytes()[:64]) + clips[4].file.stat().st_size // 2
    cut.write_bytes(content[:place])
    (folder / "train-000002.tar").write_bytes(b"this is no tar " * 100)
    ends = {clip.utterance_id: "ok" for clip in clips[:4]} | {clips[4].utterance_id: "truncated_shard"}
    return Bad({"type": "webdataset", "name": "tars", "path": str(folder)}, ends, lost=1)


def flip(shard: Path, place: int) -> None:
    """Flip the bits of eight bytes."""
    content = bytearray(shard.read_bytes())
    content[place : place + 8] = bytes(byte ^ 0xFF for byte in content[place : place + 8])
    shard.write_bytes(bytes(content))


def page(shard: Path, group: int, column: str, part: str) -> int:
    """Return where a column's data page in a row group has its `header`, or the middle of its `body`."""
    metadata = pq.read_metadata(shard).row_group(group)
    chunks = [metadata.column(index) for index in range(metadata.num_columns)]
    (chunk,) = (chunk for chunk in chunks if chunk.path_in_schema == column)
    return int(chunk.data_page_offset + (0 if part == "header" else chunk.total_compressed_size // 2))


def mls_pages(demo: Demo, folder: Path) -> Bad:
    """Durations stand in a column: damaged audio is first met when it is decoded, and the rows have their ids."""
    bad = _damaged_pages(demo.of("mls", "de"), folder, "mls")
    for number in (0, 1):
        names = [name for name in bad.ends if name.endswith(f"_{number}")]
        bad.ends |= dict.fromkeys(names[2:], "unreadable_shard")
    bad.lost = 2
    return bad


def common_voice_pages(demo: Demo, folder: Path) -> Bad:
    """Durations come from headers: damaged audio is met by the plan, and costs the ids of its row group."""
    bad = _damaged_pages(demo.of("common_voice", "de"), folder, "common_voice")
    for number in (0, 1):
        names = [name for name in bad.ends if name.endswith(f"_{number}")]
        for name in names[2:]:
            del bad.ends[name]
    bad.lost = 6
    return bad


def _damaged_pages(clips: list[DemoClip], folder: Path, corpus: str) -> Bad:
    """Write four shards of two row groups; the second group has a page damaged in the first three of them.

    The ends are those of rows that are read; what damaged audio does is the caller's.
    """
    ends: dict[str, str] = {}
    text = "transcript" if corpus == "mls" else "sentence"
    for number, place in enumerate([("audio.bytes", "header"), ("audio.bytes", "body"), (text, "header"), None]):
        names = [f"{clip.utterance_id}_{number}" for clip in clips[:4]]
        shard = folder / ("german" if corpus == "mls" else "de/train") / f"train-{number:05d}-of-00004.parquet"
        rows = [_hub_row(clip, corpus, name) for clip, name in zip(clips, names, strict=False)]
        write_shard(shard, rows, write_page_checksum=True, use_dictionary=False)
        if place is not None:
            flip(shard, page(shard, 1, *place))
        ends |= dict.fromkeys(names[:2] if place is not None and place[0] == text else names, "ok")
    return Bad({"type": corpus, "name": f"{corpus}_pages", "path": str(folder)}, ends)


def damaged_clip_in_a_page_without_checksum(demo: Demo, folder: Path) -> Bad:
    """Parquet can't tell; FLAC can."""
    clips = demo.of("mls", "de")[:4]
    shard = folder / "german/train-00000-of-00001.parquet"
    write_shard(shard, [_hub_row(clip, "mls", clip.utterance_id) for clip in clips], compression="none")
    audio = clips[2].file.read_bytes()
    flip(shard, shard.read_bytes().index(audio) + len(audio) // 2)
    ends = {clip.utterance_id: "ok" for clip in clips} | {clips[2].utterance_id: "truncated_audio"}
    return Bad({"type": "mls", "name": "no_checksum", "path": str(folder)}, ends)


def _hub_row(clip: DemoClip, corpus: str, name: str) -> dict[str, Any]:
    audio = {**embedded(clip.file), "path": f"{name}{clip.file.suffix}"}
    if corpus == "common_voice":
        return {"client_id": clip.speaker_id, "path": audio["path"], "audio": audio, "sentence": clip.transcript}
    return {
        "audio": audio,
        "transcript": clip.transcript,
        "audio_duration": clip.duration_s,
        "speaker_id": clip.speaker_id,
        "file": audio["path"],
        "id": name,
    }


def one_shard_in_a_hundred(demo: Demo, folder: Path) -> Bad:
    clip = demo.of("mls", "de")[0]
    ends = {}
    for number in range(100):
        shard = folder / "german" / f"train-{number:05d}-of-00100.parquet"
        if number == 42:
            shard.write_bytes(b"this is no Parquet" * 100)
        else:
            name = f"{clip.utterance_id[:-3]}{number:03d}"
            write_shard(shard, [_hub_row(clip, "mls", name)])
            ends[name] = "ok"
    return Bad({"type": "mls", "name": "hundred", "path": str(folder)}, ends, lost=1)


def links_out_of_mls(demo: Demo, folder: Path) -> Bad:
    layout = mls_flac(demo, folder / "tree", str(folder / "tree"))
    ends = {row.utterance_id: "ok" for row in layout.utterances}
    outside = folder / "outside"
    outside.mkdir()
    linked = demo.of("mls", "de")[0]
    file = folder / "tree" / linked.file.relative_to(demo.root)
    file.rename(outside / file.name)
    file.symlink_to(outside / file.name)
    ends[linked.utterance_id] = "path_outside_root"
    # a whole folder of a speaker
    speaker = demo.of("mls", "en")[0].speaker_id
    (tree,) = (folder / "tree").glob(f"mls_english/*/audio/{speaker}")
    tree.rename(outside / speaker)
    tree.symlink_to(outside / speaker)
    ends |= {name: "path_outside_root" for name in ends if name.startswith(f"{speaker}_")}
    return Bad({**layout.corpus, "name": "mls_links"}, ends)


def links_out_of_vctk(demo: Demo, folder: Path) -> Bad:
    layout = vctk(demo, folder / "tree", str(folder / "tree"))
    ends = {row.utterance_id: "ok" for row in layout.utterances}
    (secret,) = (path for path in (folder / "tree").rglob("p901_001.txt"))
    secret.rename(folder / "secret.txt")
    secret.symlink_to(folder / "secret.txt")
    ends["p901_001"] = "path_outside_root"
    return Bad({**layout.corpus, "name": "vctk_links"}, ends)


def ids_of_all_kinds(demo: Demo, folder: Path) -> Bad:
    clip = clip_of(demo, folder)
    ends = {"a/b": "unsafe_id", "..": "unsafe_id", "../../up": "unsafe_id", "back\\slash": "unsafe_id"}
    ends |= {"with space": "ok", 'it\'s "quoted"': "ok", "..dots": "ok", "per%cent#hash": "ok"}
    bad = manifest(folder, "ids", [(name, clip, "hello") for name in ends])
    bad.ends = ends
    return bad


def shared_ids(demo: Demo, folder: Path) -> Bad:
    clip = clip_of(demo, folder)
    bad = manifest(folder, "shares", [("one", clip, "hello"), ("two", clip, "there")])
    bad.ends = {"one": "ok", "two": "ok"}
    return bad


def the_same_ids(demo: Demo, folder: Path) -> Bad:
    bad = shared_ids(demo, folder)
    bad.corpus["name"] = "shares_too"
    return bad


BAD: tuple[Callable[[Demo, Path], Bad], ...] = (
    nul_bom_and_crlf,
    common_voice_with_a_nul,
    truncated_tar_and_one_that_is_none,
    mls_pages,
    common_voice_pages,
    damaged_clip_in_a_page_without_checksum,
    one_shard_in_a_hundred,
    links_out_of_mls,
    links_out_of_vctk,
    ids_of_all_kinds,
    shared_ids,
    the_same_ids,
)


@dataclass
class Outcome:
    bad: dict[str, Bad]
    planned: list[dict[str, Any]]
    annotated: list[dict[str, Any]]


@pytest.fixture(scope="module")
def outcome(local_ray: None, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All of them in one job, planned and annotated."""
    folder = tmp_path_factory.mktemp("corpora")
    bad = {}
    for make in BAD:
        (folder / make.__name__).mkdir()
        bad[make.__name__] = make(demo, folder / make.__name__)
    config = parse_config(
        f"""\
output: {folder / "out"}
corpora: {json.dumps([one.corpus for one in bad.values()])}
annotate: {{error_budget: 1.0, align: {{backend: none}}, features: {{quality: none}}}}
""",
        "bad.yaml",
    )
    plan(config)
    annotate(config)
    return Outcome(bad, rows_of("utterances", folder / "out"), rows_of("annotations", folder / "out"))


def test_what_was_planned_is_annotated_or_rejected(outcome: Outcome) -> None:
    assert Counter(row["unit_id"] for row in outcome.planned) == Counter(row["unit_id"] for row in outcome.annotated)
    assert {row["status"] for row in outcome.annotated} == {"ok", "rejected"}
    expected = Counter({one.corpus["name"]: len(one.ends) + one.lost for one in outcome.bad.values()})
    assert Counter(row["corpus"] for row in outcome.planned) == expected
    for row in outcome.annotated:
        if row["status"] == "ok":
            assert row["pitch_median_hz"] is not None
            assert row["reject_reason"] is None
        else:
            assert row["pitch_median_hz"] is None
            assert row["reject_detail"]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_damage_costs_its_own_rows_alone(outcome: Outcome, make: Callable[[Demo, Path], Bad]) -> None:
    bad = outcome.bad[make.__name__]
    rows = [row for row in outcome.annotated if row["corpus"] == bad.corpus["name"]]
    check_ends(bad, {row["utterance_id"]: row["reject_reason"] or row["status"] for row in rows})


def check_ends(bad: Bad, ends: dict[str, str]) -> None:
    lost = [ends.pop(name) for name in sorted(ends) if name.startswith(f"{bad.corpus['name']}#")]
    assert ends == bad.ends
    assert lost == ["unreadable_shard"] * bad.lost


@pytest.mark.parametrize(
    "make",
    [
        nul_bom_and_crlf,
        truncated_tar_and_one_that_is_none,
        mls_pages,
        common_voice_pages,
        damaged_clip_in_a_page_without_checksum,
        one_shard_in_a_hundred,
    ],
)
def test_damage_in_a_bucket_is_told_as_on_disk(
    seaweed: Seaweed, demo: Demo, tmp_path: Path, make: Callable[[Demo, Path], Bad]
) -> None:
    bad = make(demo, tmp_path)
    address = seaweed.upload(tmp_path, f"bad/{make.__name__}")
    shutil.rmtree(tmp_path)
    section = {**bad.corpus, "path": bad.corpus["path"].replace(str(tmp_path), address)}
    config: CorpusConfig = TypeAdapter(CorpusConfig).validate_python(section)
    reading = Reading(StorageConfig(endpoint_url=seaweed.endpoint))
    ends = {}
    for row in read_corpus(config, reading):
        end = row.reject_reason
        if end is None:
            assert row.audio_uri is not None
            try:
                decode(row.audio_uri, reading.source)
            except DecodeError as error:
                end = error.reason
        ends[row.utterance_id] = end or "ok"
    check_ends(bad, ends)


def test_details_name_the_damaged_file(outcome: Outcome) -> None:
    for row in outcome.annotated:
        if row["reject_reason"] in ("unreadable_shard", "truncated_shard"):
            assert "-000" in row["reject_detail"], row


def test_nothing_is_read_out_of_the_roots(outcome: Outcome) -> None:
    roots = {one.corpus["name"]: Path(one.corpus["path"]).resolve() for one in outcome.bad.values()}
    for row in outcome.annotated:
        if row["status"] == "ok":
            root = roots[row["corpus"]]
            assert row["audio_uri"].startswith(f"{root if root.is_dir() else root.parent}/")


def test_corpora_that_share_ids_keep_both(outcome: Outcome) -> None:
    rows = [row for row in outcome.annotated if row["utterance_id"] in ("one", "two")]
    assert len({row["unit_id"] for row in rows}) == 4
    assert {row["corpus"] for row in rows} == {"shares", "shares_too"}


@pytest.mark.parametrize(
    ("build", "table", "old", "new"),
    [
        (manifest_tsv, "list.tsv", "transcript", "text"),
        (mls_flac, "mls_german/metainfo.txt", "GENDER", "SEX"),
        (common_voice_15, "*/de/train.tsv", "sentence", "text"),
        (vctk, "*/speaker-info.txt", "GENDER", "SEX"),
        (manifest_parquet, "list.parquet", "language", "lang"),
        (mls_hub, "german/train-00000-of-00002.parquet", "transcript", "text"),
        (common_voice_hub, "de/train/0000.parquet", "sentence", "text"),
        (vctk_hub, "data/train-00000-of-00001.parquet", "text", "transcript"),
        (vctk_hub, "data/train-00000-of-00001.parquet", "audio", "sound"),
    ],
)
def test_a_renamed_column_is_named_with_its_file(
    demo: Demo, tmp_path: Path, build: Callable[[Demo, Path, str], Layout], table: str, old: str, new: str
) -> None:
    layout = build(demo, tmp_path / "corpus", str(tmp_path / "corpus"))
    (path,) = (tmp_path / "corpus").glob(table)
    if path.suffix == ".parquet":
        shard = pq.read_table(path, partitioning=None)
        pq.write_table(shard.rename_columns([new if name == old else name for name in shard.column_names]), path)
    else:
        header, rest = path.read_text(encoding="utf-8").split("\n", 1)
        path.write_text(f"{header.replace(old, new)}\n{rest}", encoding="utf-8")
    config = parse_config(f"output: {tmp_path / 'out'}\ncorpora: {json.dumps([layout.corpus])}\n", "renamed.yaml")
    with pytest.raises(CorpusError) as caught:
        plan(config)
    assert path.name in str(caught.value)
    assert old in str(caught.value)


def test_a_clip_that_kills_its_decoder_costs_one_worker_and_one_row(demo: Demo, tmp_path: Path) -> None:
    deaths = tmp_path / "deaths.txt"
    clips = tmp_path / "clips"
    clips.mkdir()
    samples, rate = sf.read(demo.of("mls", "en")[0].file)
    rows = []
    for number in range(12):
        name = "killer" if number == 5 else f"good{number}"
        if name == "killer":
            write_killer(clips / f"{name}.flac", samples, rate)
        else:
            sf.write(clips / f"{name}.flac", samples, rate)
        rows.append((name, f"{name}.flac", "hello"))
    bad = manifest(clips, "deadly", rows)
    config = f"""\
output: {tmp_path / "out"}
corpora: [{json.dumps(bad.corpus)}]
annotate: {{error_budget: 1.0, align: {{backend: none}}, features: {{quality: none}}}}
ray: {{num_cpus: 4}}
"""
    run_stages(config, tmp_path, ("plan", "annotate"), {"PYTHONPATH": hooks_path(), "KILLER_DEATHS": str(deaths)})
    ends = {row["utterance_id"]: row["reject_reason"] for row in rows_of("annotations", tmp_path / "out")}
    assert ends == {name: "decoder_crash" if name == "killer" else None for name, _, _ in rows}
    # the worker, and then a process that was there for this clip alone
    assert deaths.read_text().split() == ["default_worker.py", "isolate.py"]
