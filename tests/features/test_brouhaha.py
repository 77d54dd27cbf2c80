import dataclasses
import sys
import types
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from sift_ray.features.brouhaha import (
    C50_BACKEND,
    MIN_SAMPLES,
    SNR_BACKEND,
    Brouhaha,
)
from sift_ray.features.brouhaha_net import BrouhahaNet, sinc_filters
from sift_ray.features.feasible import feasible
from sift_ray.features.published import BROUHAHA
from sift_ray.schema import BACKEND_MEASURES
from tests.features.conftest import Clip
from tests.human_speech import recordings

HIDDEN, DENSE = 8, 6
WINDOW, HOP, FRAMES, STEP = 96_000, 270, 352, 176 * 270
Weights = dict[str, torch.Tensor]


def shapes() -> dict[str, tuple[int, ...]]:
    """The names of the published checkpoint, in small."""
    names: dict[str, tuple[int, ...]] = {
        "sincnet.wav_norm1d.weight": (1,),
        "sincnet.wav_norm1d.bias": (1,),
        "sincnet.conv1d.0.filterbank.low_hz_": (40, 1),
        "sincnet.conv1d.0.filterbank.band_hz_": (40, 1),
        "sincnet.conv1d.1.weight": (60, 80, 5),
        "sincnet.conv1d.1.bias": (60,),
        "sincnet.conv1d.2.weight": (60, 60, 5),
        "sincnet.conv1d.2.bias": (60,),
        "linear.0.weight": (DENSE, 2 * HIDDEN),
        "linear.0.bias": (DENSE,),
        "linear.1.weight": (DENSE, DENSE),
        "linear.1.bias": (DENSE,),
    }
    for index, channels in enumerate((80, 60, 60)):
        names |= {f"sincnet.norm1d.{index}.{part}": (channels,) for part in ("weight", "bias")}
    for layer, inputs in enumerate((60, 2 * HIDDEN)):
        for way in ("", "_reverse"):
            names |= {f"lstm.weight_ih_l{layer}{way}": (4 * HIDDEN, inputs)}
            names |= {f"lstm.weight_hh_l{layer}{way}": (4 * HIDDEN, HIDDEN)}
            names |= {f"lstm.bias_{part}_l{layer}{way}": (4 * HIDDEN,) for part in ("ih", "hh")}
    for head in ("vad", "snr", "c50"):
        names |= {f"classifier.linears.{head}.weight": (1, DENSE), f"classifier.linears.{head}.bias": (1,)}
    return names


def formula() -> Weights:
    """Weights by a formula: whoever has the reference can make the same."""
    weights = {}
    for index, (name, shape) in enumerate(sorted(shapes().items())):
        k = np.arange(np.prod(shape))
        values = np.sin(0.7 * (index + 1) + 1.3 * k + 0.0031 * k * k)
        if name.endswith("low_hz_"):
            values = 30 + 180 * k + 20 * values
        elif name.endswith("band_hz_"):
            values = 90 + 60 * values
        elif "norm1d" in name and name.endswith("weight"):
            values = 1 + 0.2 * values
        elif len(shape) > 1:
            values = values * (6 if name.startswith("classifier") else 1.5) / np.sqrt(np.prod(shape[1:]))
        else:
            values = 0.1 * values
        weights[name] = torch.tensor(values.reshape(shape), dtype=torch.float32)
    return weights


def buzz() -> Clip:
    """Six seconds of harmonics that swell, in noise, by a formula."""
    k = np.arange(WINDOW)
    time = k / 16_000
    voice = sum(np.sin(2 * np.pi * h * (110 * time + 6 * time * time)) / h for h in range(1, 20))
    return (0.1 * voice * (1 + np.sin(9 * time)) + 0.05 * np.sin(0.31 * k * k + k)).astype(np.float32)


@pytest.fixture(scope="module")
def human() -> Clip:
    """A minute and more of people."""
    return np.concatenate([recording.samples for recording in recordings(per_language=12)])


@pytest.fixture(scope="module")
def weights(human: Clip) -> Weights:
    """Weights by the formula, but for a speech head that tells speech from digital silence."""
    weights = formula()
    heard: list[torch.Tensor] = []
    net = BrouhahaNet(weights)
    net._layers["linear"][1].register_forward_hook(lambda layer, given, out: heard.append(out.mean(dim=(0, 1))))
    net(torch.from_numpy(human[None, :WINDOW]))
    net(torch.zeros(1, WINDOW))
    speech, silence = (torch.nn.functional.leaky_relu(mean) for mean in heard)
    axis = speech - silence
    axis *= 20 / axis.square().sum()
    weights["classifier.linears.vad.weight"] = axis[None]
    weights["classifier.linears.vad.bias"] = -(axis @ (speech + silence))[None] / 2
    return weights


def save(
    path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch, *, duration: float = 6.0, stride: int = 10
) -> Path:
    """Write what Lightning and pyannote.audio write: classes of theirs are pickled in it, and not there to load."""
    module = types.ModuleType("pyannote.audio.core.task")
    specifications = dataclasses.make_dataclass("Specifications", [("duration", float), ("classes", list)])
    specifications.__module__ = module.__name__
    module.Specifications = specifications  # type: ignore[attr-defined]
    constants = {
        "sincnet.conv1d.0.filterbank.window_": torch.ones(125),
        "sincnet.conv1d.0.filterbank.n_": torch.ones(1, 125),
        "validation_metric.total": torch.zeros(()),
    }
    with monkeypatch.context() as patch:
        for name in ("pyannote", "pyannote.audio", "pyannote.audio.core"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, module.__name__, module)
        torch.save(
            {
                "pytorch-lightning_version": "1.6.5",
                "state_dict": weights | constants,
                "hyper_parameters": {"sincnet": {"stride": stride, "sample_rate": 16000}, "lstm": {"dropout": 0.5}},
                "pyannote.audio": {"specifications": specifications(duration, ["vad", "snr", "c50"])},
            },
            path,
        )
    return path


@pytest.fixture
def brouhaha(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Brouhaha:
    return Brouhaha(save(tmp_path / BROUHAHA.filenames[0], weights, monkeypatch))


def test_the_network_gives_what_the_published_one_gives() -> None:
    # made with the SincNet of pyannote.audio 3.3.2 on the ParamSincFB of asteroid-filterbanks 0.4.0, torch's LSTM and
    # Linear, and the two sigmoids of brouhaha-vad: all filled by `formula`, hearing `buzz`, in float32
    expected = [
        [0.45996, 35.59703, 22.97013],
        [0.43073, 32.93544, 20.25787],
        [0.44719, 36.54170, 22.30946],
        [0.45497, 37.87449, 23.19268],
    ]
    (scores,) = BrouhahaNet(formula())(torch.from_numpy(buzz())[None])
    assert scores.shape == (FRAMES, 3)
    assert scores[[0, 100, 200, 351]].tolist() == [pytest.approx(row, abs=1e-4) for row in expected]
    assert scores.mean(dim=0).tolist() == pytest.approx([0.45048, 36.23111, 22.46562], abs=1e-4)
    assert scores.std(dim=0).min() > 0.01  # the heads do hear something


def test_filters_pass_their_band_alone() -> None:
    filters = sinc_filters(torch.tensor([[-950.0]]), torch.tensor([[450.0]]))  # 1000 to 1500 Hz; a sign means nothing
    assert filters.shape == (2, 1, 251)
    for response in torch.fft.rfft(filters[:, 0], 16_000).abs():  # a Hz a bin
        assert response[1100:1400].min() > 0.95 * response.max()
        assert response[1600:].max() < 0.01 * response.max()
        assert response[:900].max() < 0.01 * response.max()
    even, odd = filters[:, 0]
    assert torch.allclose(even, even.flip(0))
    assert torch.allclose(odd, -odd.flip(0))


@pytest.mark.parametrize("samples", [991, 1260, 1261, 4000, 5237, 50_000, WINDOW])
def test_frames_are_counted_as_they_come(samples: int) -> None:
    net = BrouhahaNet(formula())
    if net.frames(samples) < 2:  # one frame has no statistics
        assert net.frames(samples) == (samples >= 991)
        return
    assert net(torch.zeros(1, samples)).shape == (1, net.frames(samples), 3)
    assert net.hop == HOP


def test_a_clip_alone_is_as_in_a_batch(brouhaha: Brouhaha, human: Clip) -> None:
    cuts = np.cumsum([0, 20_000, 130_000, 5_000, 96_000, 96_001, 300_000, 3_000, 60_000])
    clips = [human[start:stop] for start, stop in pairwise(cuts)]
    together = brouhaha.measure(clips)
    assert sum(room.snr_db is not None for room in together) >= 6
    for clip, room in zip(clips, together, strict=True):
        (alone,) = brouhaha.measure([clip])
        assert alone.reason == room.reason
        assert alone[:2] == (room[:2] if room.snr_db is None else pytest.approx(room[:2], abs=1e-4))


def test_silence_holds_no_speech(brouhaha: Brouhaha, human: Clip) -> None:
    silence = np.zeros(160_000, np.float32)
    assert brouhaha.measure([silence, silence[:MIN_SAMPLES]]) == [(None, None, "no_speech")] * 2
    ((snr_db, c50_db, reason),) = brouhaha.measure([human[:160_000]])
    assert reason is None
    assert -15 < (snr_db or -99) < 80
    assert -10 < (c50_db or -99) < 60


def test_a_clip_too_short_is_not_judged(brouhaha: Brouhaha, human: Clip) -> None:
    assert brouhaha.measure([human[: MIN_SAMPLES - 1], human[:0]]) == [(None, None, "too_short")] * 2
    assert brouhaha.measure([human[10_000 : 10_000 + MIN_SAMPLES]])[0].reason != "too_short"
    assert brouhaha.measure([]) == []


def mean_of_speech(scores: np.ndarray) -> tuple[float, float]:
    speech = scores[scores[:, 0] > 0.78]
    assert 0 < len(speech) < len(scores)
    return float(speech[:, 1].mean()), float(speech[:, 2].mean())


def test_a_long_clip_is_the_average_of_its_windows(brouhaha: Brouhaha, weights: Weights, human: Clip) -> None:
    clip = human[: 65 * 16_000].copy()
    clip[400_000:600_000] = 0.0
    net = BrouhahaNet(weights)
    last = (len(clip) - WINDOW) // HOP * HOP
    sums, counts = np.zeros((len(clip) // HOP, 3)), np.zeros((len(clip) // HOP, 1))
    for start in [*range(0, last, STEP), last]:
        (scores,) = net(torch.from_numpy(clip[None, start : start + WINDOW])).numpy()
        for frame in range(FRAMES):
            taper = 0.54 - 0.46 * np.cos(2 * np.pi * frame / (FRAMES - 1))
            sums[start // HOP + frame] += taper * scores[frame]
            counts[start // HOP + frame] += taper
    heard = counts[:, 0] > 0
    assert heard[: last // HOP + FRAMES].all()
    (room,) = brouhaha.measure([clip])
    assert room[:2] == pytest.approx(mean_of_speech((sums / np.maximum(counts, 1e-9))[heard]), abs=1e-4)


def test_a_short_clip_fills_a_window(brouhaha: Brouhaha, weights: Weights, human: Clip) -> None:
    clip = human[:40_000].copy()
    clip[25_000:] = 0.0
    window = np.concatenate([clip, clip, clip])[:WINDOW]
    (scores,) = BrouhahaNet(weights)(torch.from_numpy(window[None])).numpy()
    (room,) = brouhaha.measure([clip])
    assert room[:2] == pytest.approx(mean_of_speech(scores[:149]), abs=1e-4)  # 148 × 270 < 40,000


def test_the_checkpoint_tells_window_and_stride(
    weights: Weights, human: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Brouhaha(save(tmp_path / BROUHAHA.filenames[0], weights, monkeypatch, duration=4.0, stride=8))
    clip = human[:64_000].copy()
    clip[40_000:] = 0.0
    net = BrouhahaNet(weights, stride=8)
    (scores,) = net(torch.from_numpy(clip[None])).numpy()
    assert len(scores) == net.frames(64_000) == 293
    assert other.measure([clip])[0][:2] == pytest.approx(mean_of_speech(scores), abs=1e-4)


def test_other_weights_are_refused(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = dict(weights)
    del wrong["classifier.linears.snr.weight"], wrong["lstm.weight_ih_l1_reverse"]
    path = save(tmp_path / "wrong.ckpt", wrong, monkeypatch)
    with pytest.raises(ValueError, match=r"wrong\.ckpt.*missing: classifier\.linears\.snr\.weight, lstm\.w"):
        Brouhaha(path)
    diarizer = weights | {"classifier.weight": torch.zeros(7, DENSE), "sincnet.conv1d.1.bias": torch.zeros(59)}
    with pytest.raises(ValueError, match=r"unknown: classifier\.weight; .*conv1d\.1\.bias \[59\] instead of \[60\]"):
        Brouhaha(save(tmp_path / "diarizer.ckpt", diarizer, monkeypatch))
    with pytest.raises(ValueError, match=r"missing: .* and \d+ more"):
        Brouhaha(save(tmp_path / "empty.ckpt", {}, monkeypatch))


def test_a_folder_is_searched_for_the_published_names(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "best.ckpt", weights, monkeypatch)
    assert BROUHAHA.find(str(tmp_path)) == path
    assert BROUHAHA.find(str(path)) == path
    assert BROUHAHA.identity(str(tmp_path)) != BROUHAHA.identity("pyannote/brouhaha") == "pyannote/brouhaha@main"


def test_values_lie_in_the_ranges_of_the_schema(brouhaha: Brouhaha, human: Clip) -> None:
    (room,) = brouhaha.measure([human[:160_000]])
    assert feasible("snr_db", room.snr_db, SNR_BACKEND) == room.snr_db
    assert feasible("c50_db", room.c50_db, C50_BACKEND) == room.c50_db
    assert BACKEND_MEASURES[SNR_BACKEND].high == 80
    assert BACKEND_MEASURES[C50_BACKEND].high == 60
