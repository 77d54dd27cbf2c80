from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from sift_ray.report.page.write import Choice, write_page

from .chromium import BROWSERS, Chromium, browser_path, chromium
from .page_job import write_job

BROWSER = browser_path()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        BROWSER is None, reason=f"no browser: none of {', '.join(BROWSERS)} is installed (Debian: apt install chromium)"
    ),
]

_HEARD = """(async () => {
  const players = [...document.querySelectorAll("audio")];
  await Promise.all(players.map(p => p.readyState > 0 || p.error ? 0 : new Promise(done => {
    p.onloadedmetadata = done; p.onerror = done; setTimeout(done, 20000);
  })));
  return players.map(p => p.error ? p.error.message : p.duration);
})()"""
_PLAYED = """(async () => {
  const player = document.querySelector("audio");
  player.muted = true;
  player.currentTime = 1.0;
  await player.play();
  await new Promise(done => player.onended = done);
  return player.currentTime;
})()"""
_LIGHTNESS = """(() => {
  const of = colour => {
    const [r, g, b] = colour.match(/\\d+/g).map(Number);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const style = query => getComputedStyle(document.querySelector(query));
  return [of(style("body").backgroundColor), of(style("h1").color), of(style("caption").color),
          of(style(".strip .label").fill), of(style(".numbers .value").fill), of(style(".reason strong").color)];
})()"""
_STACKS = """(() => {
  const box = e => (({left, right, top, bottom}) => [left, right, top, bottom])(e.getBoundingClientRect());
  return [...document.querySelectorAll(".stack")].map(e => [
    [...e.querySelectorAll(".histogram")].map(box), box(e.querySelector(".numbers")),
    [...e.querySelectorAll("figcaption")].map(c => c.getBoundingClientRect().right)]);
})()"""
_WIDER = """[...document.querySelectorAll("body *")].filter(e =>
  !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    config, _ = write_job(folder)
    return Path(write_page(config, Choice(samples=2), str(folder / "index.html")))


@pytest.fixture(scope="module")
def tab() -> Iterator[Chromium]:
    assert BROWSER is not None
    with chromium(BROWSER) as tab:
        yield tab


def test_it_loads_without_complaint_or_network_and_every_player_plays(tab: Chromium, page: Path) -> None:
    tab.open(page, width=1200)
    durations = tab.evaluate(_HEARD)
    assert len(durations) >= 10
    assert all(duration == pytest.approx(1.5, abs=0.15) for duration in durations), durations
    assert tab.evaluate(_PLAYED) == pytest.approx(1.5, abs=0.15)
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith(("data:", "about:", page.as_uri()[:100]))] == []
    assert tab.evaluate("document.scripts.length") == 0


def test_a_policy_that_is_broken_would_be_told(tab: Chromium, page: Path, tmp_path: Path) -> None:
    told = len(tab.complaints)
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text(encoding="utf-8").replace("<h1>", "<script>document.title = 1</script><h1>"))
    tab.open(broken, width=1200)
    assert any("Content Security Policy" in text for text in tab.complaints[told:])
    assert tab.evaluate("document.title") != "1"
    del tab.complaints[told:]


@pytest.mark.parametrize(("width", "mobile", "beside"), [(1200, False, True), (390, True, False)])
def test_drawings_over_one_axis_stand_in_line_with_its_numbers(
    tab: Chromium, page: Path, width: int, mobile: bool, beside: bool
) -> None:
    tab.open(page, width=width, mobile=mobile)
    stacks = tab.evaluate(_STACKS)
    assert len(stacks) >= 2  # durations and alignment scores
    for drawings, numbers, captions in stacks:
        assert len(drawings) > 1
        for left, right, _, _ in drawings:
            assert (left, right) == pytest.approx(numbers[:2], abs=0.5)
        assert all(upper[3] <= lower[2] + 0.5 for upper, lower in pairwise(drawings))
        assert drawings[-1][3] - 0.5 <= numbers[2] <= drawings[-1][3] + 10
        assert all((caption <= left) == beside for caption, (left, *_) in zip(captions, drawings, strict=True))


def test_a_table_that_is_cut_off_shows_that_it_goes_on(tab: Chromium, page: Path) -> None:
    tab.open(page, width=390, mobile=True)
    wide = tab.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e =>"
        " [getComputedStyle(e).backgroundAttachment, e.querySelector('caption').getBoundingClientRect().right])"
    )
    assert wide
    assert all(attachment == "local, local, scroll, scroll" for attachment, _ in wide)
    assert all(right <= 390 for _, right in wide)  # what it shows can be read without scrolling


@pytest.mark.parametrize(("width", "mobile"), [(1200, False), (768, False), (390, True), (320, True)])
def test_nothing_is_wider_than_the_screen(tab: Chromium, page: Path, width: int, mobile: bool) -> None:
    tab.open(page, width=width, mobile=mobile)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(_WIDER) == []
    least = tab.evaluate(
        "Math.min(...[...document.querySelectorAll('.strip')].map(e => e.getBoundingClientRect().width))"
    )
    assert least >= min(width - 60, 330)  # not scaled down: its letters can be read


def test_it_is_drawn_in_the_light_and_in_the_dark(tab: Chromium, page: Path, tmp_path: Path) -> None:
    lightness = {}
    for dark in (False, True):
        tab.open(page, width=1200, dark=dark)
        lightness[dark] = tab.evaluate(_LIGHTNESS)
        tab.screenshot(tmp_path / "page.png", height=1400)
        assert (tmp_path / "page.png").stat().st_size > 40_000  # (a blank one is a tenth of it)
    for dark, (paper, *inks) in lightness.items():
        assert inks
        assert all(abs(paper - ink) > 90 for ink in inks), (dark, paper, inks)
    assert lightness[False][0] > 240
    assert lightness[True][0] < 40


def test_it_is_printed_with_all_numbers_and_no_players(tab: Chromium, page: Path, tmp_path: Path) -> None:
    tab.open(page, width=794)
    tab.call("Emulation.setEmulatedMedia", media="print")
    heights = tab.evaluate("[...document.querySelectorAll('details table')].map(e => e.getBoundingClientRect().height)")
    assert heights
    assert min(heights) > 20  # what is folded on a screen is not on paper
    assert tab.evaluate("[...document.querySelectorAll('audio')].every(e => e.getClientRects().length === 0)")
    tab.print(tmp_path / "page.pdf")
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") >= 5


def test_marks_are_told_apart_without_colour(tab: Chromium, page: Path) -> None:
    tab.open(page, width=1200)
    marks = tab.evaluate(
        "[...document.querySelectorAll('mark')].map(e => [getComputedStyle(e).textDecorationLine,"
        " e.querySelector('sup').textContent])"
    )
    assert marks
    assert {line for line, _ in marks} == {"underline"}
    assert all(number.isdigit() for _, number in marks)
    tops = tab.evaluate("[...document.querySelectorAll('main > section')].map(e => e.getBoundingClientRect().top)")
    assert all(above < below for above, below in pairwise(tops))
