from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from sift_ray.audio.decode import DecodeError
from sift_ray.audio.ogg_end import LONGEST_PAGE, ends_whole, has_several_streams
from tests.audio.make import decoded, write_av

NOISE = np.random.default_rng(0).normal(0, 0.1, 6 * 48_000)


def written(folder: Path, writer: str) -> bytes:
    path = folder / "whole"
    if writer == "ffmpeg_opus":
        write_av(path, NOISE, 48_000, codec="libopus", container="ogg")
    else:
        sf.write(path, NOISE, 48_000, format="OGG", subtype=writer)
    return path.read_bytes()


@pytest.mark.parametrize("writer", ["VORBIS", "OPUS", "ffmpeg_opus"])
def test_only_the_whole_stream_ends(tmp_path: Path, writer: str) -> None:
    content = written(tmp_path, writer)
    assert ends_whole(content)
    assert ends_whole(content[-LONGEST_PAGE:])
    assert ends_whole(content + b"TAG" + bytes(125))
    pages = [place for place in range(len(content)) if content.startswith(b"OggS", place)]
    assert len(pages) > 3
    # a cut between two pages leaves whole pages alone, which only the flag tells
    for cut in (*pages[1:], len(content) - 1, len(content) // 2, 10, 0):
        assert not ends_whole(content[:cut][-LONGEST_PAGE:])


@pytest.mark.parametrize("writer", ["VORBIS", "OPUS", "ffmpeg_opus"])
def test_a_stream_cut_between_two_pages_is_refused(tmp_path: Path, writer: str) -> None:
    content = written(tmp_path, writer)
    path = tmp_path / "a.ogg"
    path.write_bytes(content)
    assert len(decoded(path).samples) == 96_000
    path.write_bytes(content[: content.rindex(b"OggS")])
    assert 1.0 < sf.info(path).duration < 6.0  # libsndfile sees a shorter recording
    with pytest.raises(DecodeError) as caught:
        decoded(path)
    assert caught.value.reason == "truncated_audio"


@pytest.mark.parametrize("writer", ["VORBIS", "OPUS", "ffmpeg_opus"])
@pytest.mark.parametrize("same", [True, False])
def test_streams_one_after_the_other_are_refused(tmp_path: Path, writer: str, same: bool) -> None:
    content = written(tmp_path, writer)
    second = content if same else written(tmp_path, "OPUS" if writer == "OPUS" else "VORBIS")
    assert not has_several_streams(content[:18], content)
    assert not has_several_streams(content[:18], content[-LONGEST_PAGE:])
    assert has_several_streams(content[:18], content + second)
    if not same:
        assert has_several_streams(content[:18], second[-LONGEST_PAGE:])
    path = tmp_path / "a.ogg"
    path.write_bytes(content + second)
    with pytest.raises(DecodeError) as caught:
        decoded(path)
    assert caught.value.reason == "wrong_length"
    # what lies before the second one can be had
    assert len(decoded(f"{path}#t=1,2").samples) == 16_000


def test_the_longest_page_is_seen_whole() -> None:
    header = b"OggS\x00\x04" + bytes(20) + b"\xff"
    page = header + b"\xff" * 255 + bytes(255 * 255)
    assert len(page) == LONGEST_PAGE
    content = b"OggS" + bytes(60) + page
    assert ends_whole(content[-LONGEST_PAGE:])
    assert not ends_whole(content[:-1][-LONGEST_PAGE:])
