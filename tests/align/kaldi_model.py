"""A writer of Montreal Forced Aligner acoustic models: a monophone GMM-HMM in Kaldi's binary format, zipped.

Kaldi's formats after its documentation: "\\0B" heads a file; a token ends in a space; a number is its size in bytes
and little-endian bytes; an unsigned one has a negative size.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

STATES = 3
CEPSTRA = 13
RATE = 16_000
SILENCES = ("sil", "spn")
FEATURES = {
    "type": "mfcc",
    "use_energy": False,
    "frame_shift": 10,
    "frame_length": 25,
    "snip_edges": False,
    "low_frequency": 20,
    "high_frequency": 7800,
    "sample_frequency": RATE,
    "dither": 0.0,
    "num_coefficients": CEPSTRA,
    "num_mel_bins": 23,
    "cepstral_lifter": 22,
    "preemphasis_coefficient": 0.97,
    "use_pitch": False,
    "uses_cmvn": True,
    "uses_deltas": True,
    "uses_splices": False,
    "uses_speaker_adaptation": False,
}
_BANDS = 23
_WINDOW, _STEP, _FFT = 400, 160, 512


def mfcc(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Kaldi's features with MFA's settings, float64 `[frames, 39]`: cepstra less their mean, Δ and ΔΔ.

    A frame's middle is at (frame + 0.5) · 10 ms; the waveform is reflected at its ends.
    """
    wave = np.asarray(waveform, np.float64) * 32768
    frames = (wave.size + _STEP // 2) // _STEP
    margin = _WINDOW
    wide = np.pad(wave, margin, mode="symmetric")
    starts = np.arange(frames) * _STEP + _STEP // 2 - _WINDOW // 2 + margin
    cut = wide[starts[:, None] + np.arange(_WINDOW)]
    cut -= cut.mean(axis=1, keepdims=True)
    cut -= 0.97 * np.concatenate([cut[:, :1], cut[:, :-1]], axis=1)
    povey = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / (_WINDOW - 1))) ** 0.85
    power = np.abs(np.fft.rfft(cut * povey, _FFT)) ** 2
    bands = np.log(np.maximum(power @ _filters(), np.finfo(np.float32).eps))
    cepstra = scipy.fft.dct(bands, norm="ortho")[:, :CEPSTRA]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(CEPSTRA) / 22)
    cepstra -= cepstra.mean(axis=0)
    slope = np.arange(-2, 3) / 10
    return np.hstack([cepstra, _filtered(cepstra, slope), _filtered(cepstra, np.convolve(slope, slope))])


_SPLICED = 3  # frames on either side
# the first three cosines over the seven frames, of each cepstrum: what an LDA would find, without estimating one
SPLICE_MATRIX = np.kron(scipy.fft.dct(np.eye(2 * _SPLICED + 1), norm="ortho", axis=0)[:3], np.eye(CEPSTRA))


def spliced(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a model with `SPLICE_MATRIX` hears, float64 `[frames, 39]`, from `mfcc`."""
    padded = np.pad(features[:, :CEPSTRA], ((_SPLICED, _SPLICED), (0, 0)), mode="edge")
    frames = [padded[k : k + len(features)] for k in range(2 * _SPLICED + 1)]
    return np.asarray(np.hstack(frames) @ SPLICE_MATRIX.T, np.float64)


def _filters() -> NDArray[np.float64]:
    def mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1127 * np.log1p(hertz / 700)

    edges = np.linspace(*mel(np.array([20.0, 7800.0])), _BANDS + 2)
    bins = mel(np.arange(_FFT // 2 + 1) * RATE / _FFT)[:, None]
    width = edges[1] - edges[0]
    return np.maximum(1 - np.abs(bins - edges[1:-1]) / width, 0)


def _filtered(features: NDArray[np.float64], taps: NDArray[np.float64]) -> NDArray[np.float64]:
    reach = taps.size // 2
    padded = np.pad(features, ((reach, reach), (0, 0)), mode="edge")
    return np.sum([tap * padded[k : k + len(features)] for k, tap in enumerate(taps)], axis=0)


def write_mfa_model(
    path: Path, states: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], *, adapted: bool = False
) -> None:
    """Zip a monophone model as MFA does: `states` has each phone's means and variances, both `[STATES, 39]`.

    Their features are those of `mfcc`, or of `spliced` if the model is `adapted` to speakers as MFA's last stage is.
    """
    flags = {"uses_splices": adapted, "uses_deltas": not adapted, "uses_speaker_adaptation": adapted}
    meta = {"version": "2.2.17", "architecture": "gmm-hmm", "phone_set_type": "IPA", "features": FEATURES | flags}
    phones = [*SILENCES, *sorted(set(states) - set(SILENCES))]
    members = {
        "meta.json": json.dumps(meta).encode(),
        "phones.txt": "".join(f"{p}\t{n}\n" for n, p in enumerate(["<eps>", *phones])).encode(),
        "tree": _tree(len(phones)),
        "final.mdl": _transitions(len(phones)) + _gaussians([states[p] for p in phones]),
    }
    if adapted:
        members |= {"final.alimdl": members["final.mdl"], "lda.mat": b"\0B" + _matrix(SPLICE_MATRIX)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{path.stem}/{name}", content)


def _tree(phones: int) -> bytes:
    """ContextDependency of width 1: the phone (key 0), then its state (key -1), make the density."""

    def table(key: int, entries: Sequence[bytes]) -> bytes:
        return b"TE " + _int(key) + struct.pack("<bI", -4, len(entries)) + b"( " + b"".join(entries) + b") "

    def constant(density: int) -> bytes:
        return b"CE " + _int(density)

    entries = [table(-1, [constant(phone * STATES + state) for state in range(STATES)]) for phone in range(phones)]
    root = table(0, [b"NULL ", *entries])
    return b"\0BContextDependency " + _int(1) + _int(0) + b"ToPdf " + root + b"EndContextDependency "


def _transitions(phones: int) -> bytes:
    """TransitionModel: every phone goes from left to right through `STATES` states that may last."""
    stay, go = 0.75, 0.25
    out = b"\0B<TransitionModel> <Topology> "
    out += _ints(range(1, phones + 1)) + _ints([-1] + [0] * phones) + _int(1) + _int(STATES + 1)
    for state in range(STATES):
        out += _int(state) + _int(2) + _int(state) + _float(stay) + _int(state + 1) + _float(go)
    out += _int(-1) + _int(0) + b"</Topology> <Triples> " + _int(phones * STATES)
    for phone in range(phones):
        for state in range(STATES):
            out += _int(phone + 1) + _int(state) + _int(phone * STATES + state)
    log_probs = np.log([1.0] + [stay, go] * (phones * STATES))
    return out + b"</Triples> <LogProbs> " + _vector(log_probs) + b"</LogProbs> </TransitionModel> "


def _gaussians(states: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> bytes:
    """AmDiagGmm: one Gaussian a state."""
    densities = [
        (mean, 1 / variance) for means, variances in states for mean, variance in zip(means, variances, strict=True)
    ]
    out = b"<DIMENSION> " + _int(len(densities[0][0])) + b"<NUMPDFS> " + _int(len(densities))
    for mean, precision in densities:
        constant = -0.5 * np.sum(np.log(2 * np.pi / precision) + mean**2 * precision)
        out += b"<DiagGMM> <GCONSTS> " + _vector([constant]) + b"<WEIGHTS> " + _vector([1.0])
        out += (
            b"<MEANS_INVVARS> "
            + _matrix((mean * precision)[None])
            + b"<INV_VARS> "
            + _matrix(precision[None])
            + b"</DiagGMM> "
        )
    return out


def _int(value: int) -> bytes:
    return struct.pack("<bi", 4, value)


def _float(value: float) -> bytes:
    return struct.pack("<bf", 4, value)


def _ints(values: Iterable[int]) -> bytes:
    listed = list(values)
    return struct.pack(f"<bi{len(listed)}i", 4, len(listed), *listed)


def _vector(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"FV " + _int(len(values)) + np.asarray(values, "<f4").tobytes()


def _matrix(values: NDArray[np.float64]) -> bytes:
    return b"FM " + _int(values.shape[0]) + _int(values.shape[1]) + np.asarray(values, "<f4").tobytes()
