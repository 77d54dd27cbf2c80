import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.audio import decode as decoding
from sift_ray.audio.decode import DecodedClip
from sift_ray.config import DecodeConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_uri import AudioUri, block_of
from sift_ray.pipeline.annotate import decode_piece
from sift_ray.pipeline.decoding import address_order, decode_batch, read_blocks
from sift_ray.pipeline.parquet_files import write_parquet
from sift_ray.pipeline.wave_pieces import piece_of
from sift_ray.schema import UTTERANCES, conform
from sift_ray.storage import LocalRoot

from .json_lines import json_lines

addresses = st.lists(
    st.one_of(
        st.none(),
        st.just("/data/plain.flac"),
        st.builds(lambda g, r: str(AudioUri("/a.parquet", row=(g, r))), st.integers(0, 3), st.integers(0, 9)),
        st.builds(lambda n: str(AudioUri("/a.tar", member="m", bytes=(n * 4_000_000, 9))), st.integers(0, 20)),
        st.builds(lambda n: str(AudioUri("/long.wav", start_s=n / 2, end_s=n / 2 + 1)), st.integers(0, 9)),
    ),
    max_size=40,
)


@given(addresses)
def test_rows_of_a_block_come_together_in_the_order_of_the_file(uris: list[str | None]) -> None:
    order, starts = address_order(uris)
    assert sorted(order) == list(range(len(uris)))
    blocks = [block_of(uris[row]) for row in order]
    changes = [
        place
        for place in range(len(order))
        if place == 0 or blocks[place] is None or blocks[place - 1] != blocks[place]
    ]
    assert list(starts) == changes
    shared = [block for place, block in enumerate(blocks) if place in set(starts) and block is not None]
    assert len(shared) == len(set(shared)), "a block is in two places"
    for first, second in pairwise(order):
        one, other = uris[first], uris[second]
        if one and other and block_of(one) == block_of(other) is not None and "row=" in one:
            assert int(one.rpartition(".")[2]) <= int(other.rpartition(".")[2])


def utterances(uris: list[str], **columns: list[object]) -> pa.Table:
    number = len(uris)
    base: dict[str, list[object]] = {
        "unit_id": list(range(number)),
        "utterance_id": [f"u{n}" for n in range(number)],
        "audio_uri": list(uris),
        "transcript": ["what is said"] * number,
        "status": ["ok"] * number,
    }
    for name in ("corpus", "data_source", "language", "split"):
        base[name] = ["x"] * number
    return conform(pa.table({**base, **columns}), UTTERANCES)


def test_no_row_group_is_parted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    uris = [str(AudioUri("/a.parquet", row=(group, row))) for group in range(5) for row in range(10)]
    uris += [f"/plain/{n}.flac" for n in range(50)]
    uris = [uris[place] for place in rng.permutation(len(uris))]
    root = LocalRoot(tmp_path)
    write_parquet(root, "rows.parquet", utterances(uris))
    pieces = read_blocks(root, [root.locate("rows.parquet")], 8)
    assert len(pieces) == 8
    assert sorted(uri for piece in pieces for uri in piece["audio_uri"].to_pylist()) == sorted(uris)
    for group in range(5):
        holding = [piece for piece in pieces if any(f"row={group}." in uri for uri in piece["audio_uri"].to_pylist())]
        assert len(holding) == 1
        rows = [uri for uri in holding[0]["audio_uri"].to_pylist() if f"row={group}." in uri]
        assert rows == [f"/a.parquet#row={group}.{row}" for row in range(10)]


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(48_000) / 16_000)
    sf.write(tmp_path / "three_seconds.flac", tone, 16_000)
    sf.write(tmp_path / "loud.wav", np.clip(20 * tone, -1, 1), 16_000)
    (tmp_path / "text.wav").write_text("no audio")
    return [str(tmp_path / name) for name in ("three_seconds.flac", "loud.wav", "text.wav")]


def test_decoding_adds_audio_clipping_and_reasons(clips: list[str]) -> None:
    batch = decode_batch(utterances(clips), DecodeConfig(), StorageConfig())
    assert batch["status"].to_pylist() == ["ok", "ok", "rejected"]
    assert batch["reject_reason"].to_pylist() == [None, None, "unreadable_audio"]
    assert batch["duration_s"].to_pylist() == [3.0, 3.0, None]
    quiet, loud, unknown = batch["clipping_ratio"].to_pylist()
    assert quiet == 0.0
    assert loud > 0.5
    assert unknown is None
    assert [len(clip) if clip is not None else None for clip in batch["audio"].to_pylist()] == [48_000, 48_000, None]


def test_a_clip_that_was_cut_says_so_and_loses_its_text(clips: list[str]) -> None:
    config = DecodeConfig(max_s=2.0, long_clips="cut")
    batch = decode_batch(utterances(clips[:1]), config, StorageConfig())
    assert batch["status"].to_pylist() == ["ok"]
    assert batch["duration_s"].to_pylist() == [2.0]
    assert batch["audio_uri"].to_pylist() == [f"{clips[0]}#t=0,2"]
    assert batch["transcript"].to_pylist() == [None]
    refused = decode_batch(utterances(clips[:1]), DecodeConfig(max_s=2.0), StorageConfig())
    assert refused["reject_reason"].to_pylist() == ["too_long"]


def test_what_no_decoder_should_raise_costs_its_clip_alone(clips: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(uri: str, *args: object, **options: object) -> DecodedClip:
        if "loud" in uri:
            raise OverflowError("cannot convert float infinity to integer")
        return real(uri, *args, **options)  # type: ignore[arg-type]

    real = decoding.decode
    monkeypatch.setattr(decoding, "decode", decode)
    with json_lines("sift_ray.pipeline.decoding") as lines:
        (batch,) = decode_piece(piece_of(3, utterances(clips[:2])), DecodeConfig(), StorageConfig())
    assert batch["reject_reason"].to_pylist() == [None, "decoder_error"]
    assert "OverflowError: cannot convert" in batch["reject_detail"][1].as_py()
    (line,) = lines()
    assert (line["stage"], line["wave"], line["unit_id"]) == ("decode", 3, 1)


HANGING = """
import sys, time
from sift_ray.audio import decode as decoding
from sift_ray.pipeline import decoding as decoding_stage

decoding_stage._LONGEST_DECODING_S = 0.5
decoding.decode = lambda *args, **options: time.sleep(60)
with decoding_stage._decoder(decoding_stage.DecodeConfig(), decoding_stage.StorageConfig()) as decode:
    decode("/a.flac")
"""


def test_a_decoder_that_never_returns_ends_its_worker() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "Timeout" in ended.stderr


def test_an_address_that_can_not_be_read_holds_no_wave_up() -> None:
    order, starts = address_order(["/a.wav#t=1,1", "/b.wav#t=1,2", "/c.wav"])
    assert (list(order), list(starts)) == ([0, 1, 2], [0, 1, 2])


def test_workers_are_told_the_endpoint_that_the_job_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    storage = StorageConfig().resolved()
    assert (storage.endpoint_url, storage.region) == ("http://127.0.0.1:9", "eu-west-1")
    assert StorageConfig(endpoint_url="http://127.0.0.1:8").resolved().endpoint_url == "http://127.0.0.1:8"
