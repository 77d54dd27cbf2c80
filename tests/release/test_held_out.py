from typing import Any

import pyarrow as pa
import pytest

from sift_ray.release.held_out import HeldOut, LeakError, seen_in


def rows(*of: tuple[str, list[str]]) -> pa.Table:
    return pa.table(
        {
            "split": [split for split, _ in of],
            "audio_uris": pa.array([uris for _, uris in of], pa.list_(pa.string())),
        }
    )


def speakers(**of: str | None) -> pa.Table:
    table: dict[str, Any] = {"audio_uri": list(of), "corpus": ["c"] * len(of)}
    return pa.table(table | {"speaker_id": pa.array(list(of.values()), pa.string())})


KNOWN = speakers(a="ann", b="ben", c="cid", d="ann", e=None, f=None)


def held(*of: tuple[str, list[str]], known: pa.Table | None = KNOWN) -> HeldOut:
    held_out = HeldOut()
    held_out.add(seen_in(rows(*of), known))
    return held_out


def test_what_is_held_out_is_counted_once_and_train_is_not_kept() -> None:
    held_out = held(("dev", ["a"]), ("dev", ["a", "d"]), ("test", ["b", "e"]), ("train", ["c"]))
    assert held_out.counts() == {"audio": {"dev": 2, "test": 2}, "speaker": {"dev": 1, "test": 1}}


def test_splits_of_their_own_pass() -> None:
    held_out = held(("dev", ["a", "d"]), ("test", ["b"]))
    held_out.check(held_out.found, "all")
    held_out.check(seen_in(rows(("train", ["c", "e"]), ("dev", ["d"]), ("test", ["b"])), KNOWN), "wave")


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (("train", ["c", "a"]), "1 audios of train stand in dev too"),
        (("train", ["d"]), "1 speakers of train stand in dev too"),
        (("dev", ["c", "b"]), "1 audios of dev stand in test too"),
        (("test", ["d"]), "1 speakers of test stand in dev too"),
    ],
)
def test_a_shared_audio_or_speaker_is_an_error(wave: tuple[str, list[str]], message: str) -> None:
    with pytest.raises(LeakError, match=f"part-7: {message}"):
        held(("dev", ["a"]), ("test", ["b"])).check(seen_in(rows(wave), KNOWN), "part-7")


def test_unknown_speakers_are_nobody() -> None:
    held(("dev", ["e"])).check(seen_in(rows(("train", ["f", "not in the table"])), KNOWN), "wave")


def test_the_same_name_in_two_corpora_is_two_speakers() -> None:
    other = speakers(z="ann").set_column(1, "corpus", pa.array(["other"]))
    held(("dev", ["a"])).check(seen_in(rows(("train", ["z"])), other), "wave")


def test_without_annotations_audios_are_looked_at_alone() -> None:
    held_out = held(("dev", ["a"]), known=None)
    assert held_out.counts() == {"audio": {"dev": 1}, "speaker": {}}
    with pytest.raises(LeakError, match="1 audios of train"):
        held_out.check(seen_in(rows(("train", ["a"])), None), "wave")
