from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sift_ray.corpora.audio_uri import TAR_WINDOW, AudioUri, block_of, parse_audio_uri

# the signs that mean something in an address come up often; any other sign of Unicode at times
NAMES = st.text(
    st.one_of(st.sampled_from("#%&=,./ +?:é漢t1"), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=30
)
FILES = st.one_of(NAMES.map(lambda name: f"/data/{name}"), NAMES.map(lambda name: f"s3://bucket/{name}"))
SECONDS = st.floats(0, 1e6, allow_nan=False)
COUNTS = st.integers(0, 2**63)


@st.composite
def addresses(draw: st.DrawFn) -> AudioUri:
    start, end = sorted(draw(st.tuples(SECONDS, SECONDS)))
    spans = st.sampled_from([(None, None), (start, None), (start, end)] if start < end else [(None, None)])
    start_s, end_s = draw(spans)
    return AudioUri(
        file=draw(FILES),
        member=draw(st.none() | NAMES),
        bytes=draw(st.none() | st.tuples(COUNTS, COUNTS)),
        row=draw(st.none() | st.tuples(COUNTS, COUNTS)),
        column=draw(st.just("audio") | NAMES),
        start_s=start_s,
        end_s=end_s,
        channel=draw(st.none() | COUNTS),
    )


@given(addresses())
@example(AudioUri("/data/take #3, 100%.flac"))
@example(AudioUri("/data/ends in #"))
@example(AudioUri("/data/a%23b.flac"))
@example(AudioUri("/data/a%23b#", start_s=0.0))
@example(AudioUri("s3://b/x#t=1,2"))
@example(AudioUri("s3://b/x.tar", member="a&b=c#d %.flac", bytes=(512, 0)))
@example(AudioUri("/a.wav", start_s=1e-07, end_s=1e9))
def test_an_address_reads_back_as_it_was(uri: AudioUri) -> None:
    assert parse_audio_uri(str(uri)) == uri


@given(FILES)
def test_a_whole_file_is_written_as_it_is(file: str) -> None:
    text = str(AudioUri(file))
    assert (text == file) == ("#" not in file)
    assert parse_audio_uri(text).file == file


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        (AudioUri("/data/clip.flac"), "/data/clip.flac"),
        (AudioUri("/data/100% #1.flac"), "/data/100%25 %231.flac#"),
        (AudioUri("s3://b/clip.flac", start_s=12.5, end_s=17.25), "s3://b/clip.flac#t=12.5,17.25"),
        (AudioUri("/a.wav", start_s=3), "/a.wav#t=3"),
        (AudioUri("/a.wav", end_s=3), "/a.wav#t=0,3"),
        (AudioUri("/a.wav", start_s=1, end_s=2, channel=1), "/a.wav#t=1,2&channel=1"),
        (
            AudioUri("s3://b/s.tar", member="x/a&b.flac", bytes=(1536, 80)),
            "s3://b/s.tar#member=x/a%26b.flac&bytes=1536,80",
        ),
        (AudioUri("/t.parquet", row=(3, 17)), "/t.parquet#row=3.17"),
        (AudioUri("/t.parquet", row=(0, 0), column="my audio"), "/t.parquet#row=0.0&column=my%20audio"),
    ],
)
def test_how_addresses_are_written(uri: AudioUri, text: str) -> None:
    assert str(uri) == text


def test_an_open_end_is_none() -> None:
    assert parse_audio_uri("/a.wav#t=2.5") == AudioUri("/a.wav", start_s=2.5, end_s=None)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("", "nothing stands after #"),
        ("3.wav", r"not '3\.wav'"),
        ("time=1,2", "not 'time=1,2'"),
        ("t=1,2&t=3,4", "not 't=3,4'"),
        ("channel", "not 'channel'"),
        ("t=1,2&", "not ''"),
        ("t=", "could not convert"),
        ("t=1,", "could not convert"),
        ("t=one,2", "could not convert"),
        ("t=2,1", "no span"),
        ("t=1,1", "no span"),
        ("t=-1,1", "no span"),
        ("t=nan", "no span"),
        ("t=1,nan", "no span"),
        ("t=1,inf", "no span"),
        ("t=inf", "no span"),
        ("bytes=5", "'' is no number"),
        ("bytes=-5,10", "'-5' is no number"),
        ("bytes=1,2,3", "'2,3' is no number"),
        ("row=3", "'' is no number"),
        ("row=1.x", "'x' is no number"),
        ("channel=1.5", "'1.5' is no number"),
        ("channel=²", "'²' is no number"),
    ],
)
def test_what_is_no_address_is_told(part: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_audio_uri(f"/data/a.wav#{part}")
    assert f"/data/a.wav#{part}" in str(caught.value)
    assert block_of(f"/data/a.wav#{part}") is None


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_a_value_error(part: str) -> None:
    try:
        uri = parse_audio_uri(f"/a.wav#{part}")
    except ValueError:
        return
    assert parse_audio_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("file", "scheme"), [("/a.wav", ""), ("s3://b/a.wav", "s3"), ("https://h/a.wav", "https"), ("C:/a.wav", "")]
)
def test_schemes(file: str, scheme: str) -> None:
    assert AudioUri(file).scheme == scheme


def test_clips_that_are_best_read_together_share_a_block() -> None:
    assert AudioUri("/a.wav").block is None
    assert AudioUri("/a.wav", channel=1).block is None
    assert AudioUri("/a.wav", start_s=1.0).block == AudioUri("/a.wav", start_s=2.0, end_s=3.0).block == "/a.wav"
    assert AudioUri("/t.parquet", row=(3, 1)).block == AudioUri("/t.parquet", row=(3, 9)).block
    assert AudioUri("/t.parquet", row=(3, 1)).block != AudioUri("/t.parquet", row=(4, 1)).block
    near, last, next_one = (AudioUri("/s.tar", bytes=(start, 9)) for start in (512, TAR_WINDOW - 1, TAR_WINDOW))
    assert near.block == last.block != next_one.block
    for uri in (AudioUri("/a #1.wav"), AudioUri("/a.wav", start_s=1.0), AudioUri("/s.tar", bytes=(1, 2)), near):
        assert block_of(str(uri)) == uri.block
    assert block_of(None) is None
