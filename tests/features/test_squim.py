"""SQUIM: our network against torchaudio's, one clip against many, the weights by path."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sift_ray.features import squim
from sift_ray.features.checkpoints import CheckpointError
from sift_ray.features.published import SQUIM
from sift_ray.features.squim import MAX_SAMPLES, MIN_SAMPLES, Squim
from sift_ray.features.squim_net import MEASURES, SquimNet

# What torchaudio 2.11's own network tells of `chirp`, one clip at a time: its
# squim_objective_model(feat_dim=8, win_len=16, d_model=12, nhead=3, hidden_dim=6, num_blocks=2, rnn_type="LSTM",
# chunk_size=11).eval(), with the parameters of `fill`. Samples of the clip → STOI, PESQ, SI-SDR.
TORCHAUDIO = {
    16: (0.036737, 1.207267, 3.400380),  # one frame
    100: (0.033740, 1.228413, 3.545184),
    136: (0.035534, 1.172870, 3.495573),  # 16 frames: the last even chunk ends with the clip
    144: (0.032803, 1.245066, 3.590550),  # one more
    1000: (0.032193, 1.510579, 3.756070),
    1003: (0.032193, 1.510336, 3.755898),
    4000: (0.030121, 1.840343, 3.858919),
}


@pytest.fixture(scope="module")
def tiny() -> SquimNet:
    net = SquimNet(width=8, window=16, d_model=12, heads=3, hidden=6, blocks=2, chunk_size=11).eval()
    fill(net)
    return net


def fill(net: torch.nn.Module) -> None:
    """Give every parameter values that follow from its place alone."""
    with torch.no_grad():
        for place, parameter in enumerate(net.parameters()):
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 1.7 + place)
            scaled = wave + 0.3 if parameter.ndim < 2 else wave * 2.5 / parameter.shape[1] ** 0.5
            parameter.copy_(scaled.view_as(parameter))


def chirp(size: int) -> torch.Tensor:
    time = torch.arange(size, dtype=torch.float64)
    return (0.1 * torch.sin(time * time / 1000 + time * 0.3) * (1 + torch.sin(time / 70))).float()


def judge(net: SquimNet, clips: list[torch.Tensor]) -> torch.Tensor:
    """float32 [clips, 3]."""
    with torch.inference_mode():
        found = net(clips)
    return torch.stack([found[measure] for measure in MEASURES], 1)


@pytest.mark.parametrize("size", TORCHAUDIO)
def test_a_clip_gets_what_torchaudio_gives_it(tiny: SquimNet, size: int) -> None:
    assert judge(tiny, [chirp(size)])[0].tolist() == pytest.approx(TORCHAUDIO[size], abs=1e-5)


def test_clips_of_many_lengths_together_get_it_too(tiny: SquimNet) -> None:
    sizes = [1000, 16, 4000, 136, 1003, 144, 100, 1000]
    found = judge(tiny, [chirp(size) for size in sizes])
    np.testing.assert_allclose(found, [TORCHAUDIO[size] for size in sizes], atol=1e-5)


def test_lengths_around_a_chunk_do_not_touch_each_other(tiny: SquimNet) -> None:
    clips = [chirp(16 + 8 * extra) for extra in range(40)]
    together = judge(tiny, clips)
    alone = torch.cat([judge(tiny, [clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len({round(value, 4) for value in alone[:, 2].tolist()}) > 30  # and each has its own


def test_the_level_of_a_clip_does_not_matter(tiny: SquimNet) -> None:
    loud, quiet = judge(tiny, [chirp(1000), chirp(1000) / 50])
    np.testing.assert_allclose(loud, quiet, atol=1e-5)


def test_only_the_measures_asked_for_are_told(tiny: SquimNet) -> None:
    with torch.inference_mode():
        found = tiny([chirp(1000)], ("si_sdr",))
    assert list(found) == ["si_sdr"]
    assert found["si_sdr"].tolist() == pytest.approx([TORCHAUDIO[1000][2]], abs=1e-5)


def test_the_published_model_has_these_parameters() -> None:
    # of the state dict of torchaudio 2.11's squim_objective_base(): its tensors, and a hash of their names and shapes
    shapes = {name: tuple(value.shape) for name, value in SquimNet().state_dict().items()}
    assert len(shapes) == 106
    assert shapes["dprnn.row_rnn.1.rnn.weight_hh_l0_reverse"] == (1024, 256)
    assert hashlib.sha256(repr(sorted(shapes.items())).encode()).hexdigest()[:16] == "a79251d5c6b65c5b"


# ---- the backend, on weights that are random and of the published shape


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("squim") / SQUIM.filenames[0]
    torch.save({name: 1.5 * value for name, value in SquimNet().state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> Squim:
    return Squim(SQUIM.find(str(weights.parent)), device="cpu")


def test_scores_of_speech_do_not_depend_on_the_batch(model: Squim, voices: list[NDArray[np.float32]]) -> None:
    clips = [voices[0][:20_000], voices[1][:5_001], voices[2][: MIN_SAMPLES - 1], voices[3][:16_000], voices[4][:4_000]]
    scores = model.score(clips)
    assert scores[2] is None
    assert [score and score.pesq > 1 for score in scores] == [True, True, None, True, True]
    for clip, score in zip(clips, scores, strict=True):
        (alone,) = model.score([clip])
        assert alone == (score and pytest.approx(score, abs=1e-4))
    assert model.score([]) == []


def test_a_call_is_split_into_bounded_batches(model: Squim, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [chirp(size).numpy() for size in (4_000, 8_000, 6_000, 4_500)]
    whole = model.score(clips)
    sizes: list[list[int]] = []
    forward = model._net.forward

    def spy(batch: list[torch.Tensor], measures: tuple[str, ...]) -> dict[str, torch.Tensor]:
        sizes.append([len(clip) for clip in batch])
        result: dict[str, torch.Tensor] = forward(batch, measures)
        return result

    monkeypatch.setattr(model._net, "forward", spy)
    monkeypatch.setattr(squim, "_AT_ONCE", 12_000)
    parts = model.score(clips)
    assert sizes == [[8_000], [6_000, 4_500], [4_000]]
    for part, score in zip(parts, whole, strict=True):
        assert score is not None
        assert part == pytest.approx(score, abs=1e-4)


def test_silence_has_no_score(model: Squim) -> None:
    assert model.score([np.zeros(16_000, np.float32), np.full(16_000, 1e-30, np.float32)]) == [None, None]


def test_a_long_clip_is_judged_by_its_middle(model: Squim, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_SAMPLES == 480_000
    monkeypatch.setattr(squim, "MAX_SAMPLES", 8_000)
    clip = chirp(20_000).numpy()
    assert model.score([clip]) == model.score([clip[6_000:14_000]])


def test_other_weights_are_refused(tmp_path: Path, tiny: SquimNet) -> None:
    torch.save(tiny.state_dict(), tmp_path / "tiny.pth")
    with pytest.raises(
        CheckpointError, match=r"tiny.pth: not the weights of SQUIM.*size mismatch for encoder"
    ) as caught:
        Squim(tmp_path / "tiny.pth", device="cpu")
    assert "squim_objective_base" in str(caught.value)
    assert len(str(caught.value)) < 500  # torch would list each of its tensors


def test_the_published_weights_are_the_default(weights: Path) -> None:
    assert SQUIM.identity() == SQUIM.default
    assert len(SQUIM.identity(str(weights))) == 16
