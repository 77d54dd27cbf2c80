from __future__ import annotations

import tracemalloc

from sift_ray.corpora.name_set import NameSet


def test_holds_the_names_that_were_put_in_and_no_others() -> None:
    names = NameSet()
    assert "a" not in names
    for number in range(10_000):
        names.add(f"clip{number}")
    assert all(f"clip{number}" in names for number in range(0, 10_000, 7))
    assert not any(f"clip{number}" in names for number in range(10_000, 20_000, 7))
    names.add("later")  # after it was asked
    assert "later" in names
    assert "clip42" in names
    names.add("\udcff")  # a byte that was not UTF-8
    assert "\udcff" in names


def test_a_name_takes_about_eight_bytes() -> None:
    count = 200_000
    tracemalloc.start()
    try:
        names = NameSet()
        for number in range(count):
            names.add(f"common_voice_en_{number}")
        assert "common_voice_en_7" in names
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 12 * count
