"""Signal-to-noise ratio, reverberation and quality on human recordings, against what is known of noise and rooms.

The recordings are telephone prompts: nothing above 4 kHz, most of them about a second long, cut close to the words,
with gated pauses. So the noise that lies under their words is not known; their quietest moments lie 41 dB (`it`) to
77 dB (`en`) under the words in the median recording. Up to 30 dB the noise that is added makes the SNR, to some
tenths of a decibel: there errors are counted. Ranks are taken up to 40 dB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import spearmanr

from sift_ray.features import noise, reverberation
from sift_ray.features.quality import Dnsmos
from sift_ray.features.spectrum import power_spectrogram
from tests.features.conftest import Clip
from tests.features.rooms import DISTANCES_M, SHOEBOXES, Room, simulate
from tests.features.test_noise import mix
from tests.human_speech import recordings

LEVELS_DB = range(-5, 41, 5)
BABBLERS = 12


class Heard(NamedTuple):
    """SNR and C50 as estimated, dB; infinite where they are not."""

    snr_db: float
    c50_db: float


Engine = Callable[[Sequence[Clip]], list[Heard]]


def by_numpy(clips: Sequence[Clip]) -> list[Heard]:
    results = []
    for clip in map(centred, clips):
        power = power_spectrogram(clip)
        results.append(Heard(number(noise.snr(clip, power)), number(reverberation.c50(power))))
    return results


def by_torch(clips: Sequence[Clip]) -> list[Heard]:
    pytest.importorskip("torch")
    from sift_ray.features.batched import noise, reverberation
    from sift_ray.features.batched.ragged import RaggedBatch
    from sift_ray.features.batched.spectrum import power_spectrograms

    results = []
    for start in range(0, len(clips), 100):
        batch = RaggedBatch.of([centred(clip) for clip in clips[start : start + 100]], "cpu")
        power = power_spectrograms(batch)
        pairs = zip(noise.snr(batch, power), reverberation.c50(power), strict=True)
        results += [Heard(number(snr), number(c50)) for snr, c50 in pairs]
    return results


def centred(clip: Clip) -> Clip:
    return (clip - np.mean(clip, dtype=np.float64)).astype(np.float32)


def number(result: tuple[float | None, str | None]) -> float:
    return np.inf if result[0] is None else result[0]


@pytest.fixture(params=[by_numpy, by_torch])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(scope="module")
def humans() -> list[Clip]:
    """200 recordings, 50 of each of four languages one after another."""
    return [recording.samples for recording in recordings()]


# ---- noise


class Mixed(NamedTuple):
    """Clips with noise: every recording at five levels 10 dB apart, the loudest noise first."""

    level_db: np.ndarray  # [recordings, 5]
    clips: list[Clip]


@pytest.fixture(scope="module", params=["white", "babble"])
def mixed(request: pytest.FixtureRequest, humans: list[Clip]) -> Mixed:
    rng = np.random.default_rng(11)
    pool = np.concatenate([clip / np.sqrt(np.mean(clip**2)) for clip in humans])

    def noise_of(length: int) -> Clip:
        if request.param == "white":
            return rng.standard_normal(length).astype(np.float32)
        starts = rng.integers(len(pool) - length, size=BABBLERS)
        return np.sum([pool[start : start + length] for start in starts], axis=0)

    # every other recording is heard at the levels between those of its neighbours
    levels = [LEVELS_DB[index % 2 :: 2] for index in range(len(humans))]
    clips = [mix(clip, noise_of(len(clip)), level) for clip, its in zip(humans, levels, strict=True) for level in its]
    return Mixed(np.array(levels), clips)


def test_snr_of_human_speech_follows_the_mix(engine: Engine, mixed: Mixed) -> None:
    truth = mixed.level_db
    found = np.array([heard.snr_db for heard in engine(mixed.clips)]).reshape(truth.shape)
    known = np.isfinite(found).all(axis=1)
    assert np.array_equal(known, np.isfinite(found).any(axis=1))  # noise makes no clip too short
    assert np.mean(known) >= 0.85
    found[~known] = np.nan
    assert spearmanr(truth[known].ravel(), found[known].ravel()).statistic >= 0.95
    errors = np.where((truth >= 0) & (truth <= 30), np.abs(found - truth), np.nan)
    for language in range(4):
        assert np.nanmedian(errors[50 * language : 50 * (language + 1)]) <= 3.0
    for level in range(0, 31, 5):
        assert np.nanmedian(errors[truth == level]) <= 3.0
    # the same recording with ever less noise
    assert np.mean(np.diff(found[known]) > 0) >= 0.99


@pytest.mark.parametrize("seconds", [0.3, 0.5, 0.7, 0.83, 1.2])
def test_clean_words_without_a_pause_are_seldom_called_noisy(
    seconds: float, engine: Engine, humans: list[Clip]
) -> None:
    length = round(16000 * seconds)
    found = np.array([heard.snr_db for heard in engine([loudest(c, length) for c in humans if len(c) >= length])])
    assert len(found) > 100
    assert np.isfinite(found).all() == (seconds > 0.82)
    assert np.mean(found < 20.0) <= 0.1  # infinite is unknown


def loudest(clip: Clip, length: int) -> Clip:
    energy = np.cumsum(np.concatenate(([0.0], clip.astype(np.float64) ** 2)))
    return clip[np.argmax(energy[length:] - energy[:-length]) :][:length]


# ---- rooms


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    """The driest first; three distances of each."""
    return simulate()


def with_noise(clip: Clip, level_db: float, rng: np.random.Generator) -> Clip:
    power = np.mean(clip.astype(np.float64) ** 2) / 10 ** (level_db / 10)
    return (clip + np.sqrt(power) * rng.standard_normal(len(clip))).astype(np.float32)


def test_rooms_are_as_reverberant_as_they_claim(rooms: list[Room]) -> None:
    import pyroomacoustics as pra

    for room in rooms:
        t60 = pra.experimental.measure_rt60(room.response, 16000, decay_db=30)
        assert 0.75 * room.t60_s < t60 < 1.35 * room.t60_s
    clarity = np.array([room.c50_db for room in rooms]).reshape(len(SHOEBOXES), len(DISTANCES_M))
    assert np.all(np.diff(clarity, axis=1) < 0)  # further away
    assert clarity.min() < 3.0
    assert clarity.max() > 40.0


@pytest.mark.parametrize("noise_db", [None, 30.0])
@pytest.mark.parametrize("speakers", ["human", "synthetic"])
def test_c50_follows_that_of_the_room(
    speakers: str, noise_db: float | None, engine: Engine, rooms: list[Room], humans: list[Clip], voices: list[Clip]
) -> None:
    if speakers == "human":  # every recording in two rooms
        pairs = [(clip, rooms[(index + half) % 24]) for half in (0, 11) for index, clip in enumerate(humans)]
    else:
        pairs = [(clip, room) for clip in voices[::2] for room in rooms]
    rng = np.random.default_rng(12)
    clips = [room.hear(clip) for clip, room in pairs]
    if noise_db is not None:
        clips = [with_noise(clip, noise_db, rng) for clip in clips]
    found = np.array([heard.c50_db for heard in engine(clips)])
    truth = np.array([room.c50_db for _, room in pairs])
    assert np.isfinite(found).all()
    assert spearmanr(truth, found).statistic >= 0.85
    # above, the dry recording's own decays and the noise are all that is heard
    assert np.median(np.abs(found - truth)[truth < 30.0]) <= 3.0
    assert np.median(found[truth >= 30.0]) > 22.0


def test_the_same_clip_sounds_further_away_in_ever_larger_rooms(
    engine: Engine, rooms: list[Room], humans: list[Clip]
) -> None:
    far = [room for room in rooms if room.distance_m == DISTANCES_M[-1]]
    chosen = humans[::10]
    found = np.array([heard.c50_db for heard in engine([room.hear(clip) for clip in chosen for room in far])])
    found = found.reshape(len(chosen), len(far))
    assert np.isfinite(found).all()
    audible = np.diff([room.c50_db for room in far]) < -0.5
    assert audible.sum() == 5  # the largest three are nearly alike
    assert np.mean(np.diff(found)[:, audible] <= 0) >= 0.95
    assert np.all(found[:, -1] < found[:, 0] - 10.0)


# ---- quality


@pytest.fixture(scope="module")
def long_humans(humans: list[Clip]) -> list[Clip]:
    """Ten recordings of all four languages, of a second or more."""
    long = [clip for clip in humans if len(clip) >= 16000]
    return [long[place] for place in np.linspace(0, len(long) - 1, 10).astype(int)]


def test_noise_costs_human_speech_background_and_quality(long_humans: list[Clip]) -> None:
    rng = np.random.default_rng(13)
    noises = [rng.standard_normal(len(clip)).astype(np.float32) for clip in long_humans]
    steps = [long_humans] + [
        [mix(clip, noise, level) for clip, noise in zip(long_humans, noises, strict=True)] for level in (20, 10, 0)
    ]
    sig, bak, ovrl = scores(steps)
    assert np.mean(np.diff(bak, axis=0) < 0) >= 0.9
    assert np.mean(np.diff(ovrl, axis=0) < 0) >= 0.9
    # the speech itself is judged worse only where the noise comes near it
    assert np.all(sig[-1] < sig[0])


def test_clipping_costs_human_speech_signal_and_quality(long_humans: list[Clip]) -> None:
    peaks = [clip / np.abs(clip).max() for clip in long_humans]
    steps = [[0.5 * np.clip(clip * gain, -1.0, 1.0) for clip in peaks] for gain in (1.0, 10.0, 30.0)]
    sig, _, ovrl = scores(steps)
    for measure in (sig, ovrl):
        assert np.mean(measure[-1] < measure[0]) >= 0.9
        assert np.mean(np.diff(measure, axis=0) < 0) >= 0.8


def scores(steps: list[list[Clip]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return SIG, BAK, OVRL, [steps, clips] each."""
    judged = Dnsmos().score([np.clip(clip, -1.0, 1.0) for step in steps for clip in step])
    assert None not in judged
    sig, bak, ovrl = np.array(judged).T.reshape(3, len(steps), -1)
    return sig, bak, ovrl
