"""The numbers of a strip's axes can be read where the F0 curve goes through them."""

import re
from pathlib import Path

import numpy as np
import pytest

from sift_ray.report.page import strips
from sift_ray.report.page.clips import Sound
from sift_ray.report.page.strips import draw_strips

from .page_job import parsed

CSS = (Path(strips.__file__).parent / "templates/page.css").read_text(encoding="utf-8")


@pytest.mark.parametrize("seconds", [1.2, 7.2])
def test_the_numbers_of_the_axes_lie_over_the_curve(seconds: float) -> None:
    f0 = (180 + 60 * np.sin(np.arange(round(seconds * 100)) / 9)).astype(np.float32)
    sound = Sound("", seconds, False, np.full(len(f0), 0.5, np.float32), f0, 0.0)
    for strip in draw_strips(sound, ()):
        drawn = re.findall(r'class="(f0|hz|grid)"', str(strip))
        assert drawn.count("f0") == 1
        curve = drawn.index("f0")
        assert "grid" in drawn[:curve]
        assert "hz" not in drawn[:curve]
        assert "hz" in drawn[curve:]
        assert {"150", "200"} <= {text.text() for text in parsed(strip).all("text")}


def test_their_halo_has_the_colour_of_the_page_in_light_in_dark_and_in_print() -> None:
    (rule,) = re.findall(r"^\.strip \.hz \{(.*?)\}", CSS, re.MULTILINE)
    assert "paint-order: stroke" in rule
    assert "stroke: var(--paper)" in rule
    assert "background: var(--paper)" in CSS.split("body {")[1].split("}")[0]
    assert CSS.count("--paper: ") == 3
