"""Calls of kalpy, the bindings of Kaldi that the Montreal Forced Aligner is made of; importing this needs them.

The steps are those of MFA's own `align_one` (montreal_forced_aligner/command_line/align_one.py of 3.4), with four
differences: waveforms come from memory, models are unpacked for this process alone, dither is off, and each clip has
cepstral means of its own unless speakers are adapted to. So a clip's path depends on the clip alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from kalpy.aligner import KalpyAligner
from kalpy.decoder.training_graphs import TrainingGraphCompiler
from kalpy.exceptions import AlignerError, KalpyError
from kalpy.feat.cmvn import CmvnComputer
from kalpy.feat.fmllr import FmllrComputer
from kalpy.utterance import Utterance
from numpy.typing import NDArray

from sift_ray.align.mfa_kalpy import AlignmentsInMemory, Model, bare, empty_lexicon, pronunciation, segment
from sift_ray.align.mfa_lexicon import Token, Tokens
from sift_ray.align.mfa_score import MfaPhone, Rivals, likeness
from sift_ray.align.protocol import AlignError, AlignmentFailure
from sift_ray.config_align import MfaConfig

log = logging.getLogger(__name__)

_MOST_TOKENS: Final = 20_000  # then the lexicon starts anew: 0.2 ms to learn one, 10 ms of a graph's making for all
_ACOUSTIC_SCALE: Final = 0.1  # kalpy's and MFA's own
_LEAST_SAMPLES: Final = 400  # a frame's 25 ms: of a clip without frames Kaldi ends the whole process


@dataclass(frozen=True, slots=True)
class MfaClip:
    """One padded waveform and its words."""

    waveform: NDArray[np.float32]
    words: Sequence[Token]
    speaker_id: str | None


class MfaEngine:
    """One acoustic model and the lexicon that grows with what is aligned."""

    def __init__(self, folder: Path, config: MfaConfig) -> None:
        """Load the acoustic model in `folder`.

        Raises:
            AlignError: kalpy can't read it.
        """
        self._config = config
        try:
            self._model = Model(folder)
            self._mfcc = self._model.mfcc_computer
            self._lexicon = empty_lexicon(self._model)
            self._tokens = Tokens()
            self._refused: dict[str, str] = {}  # tokens that kalpy did not learn, and why
            self._rivals_of: dict[bool, Rivals] = {}
            self._aligner = KalpyAligner(
                self._model,
                self._lexicon,
                beam=config.beam,
                retry_beam=config.retry_beam,
                acoustic_scale=_ACOUSTIC_SCALE,
            )
        except (KalpyError, RuntimeError, OSError, KeyError, ValueError, TypeError) as error:
            raise AlignError(f"{folder}: kalpy can't load the acoustic model: {_told(error)}") from error
        self._fmllr = self._speaker_transforms() if config.speaker_adaptation else None

    @property
    def phones(self) -> frozenset[str]:
        """The model's phones without marks of their place in a word; silences and noises left out."""
        table = self._lexicon.phone_table
        symbols = {bare(table.find(index)) for index in range(table.num_symbols())}
        # old models name no phones: then all that have a number
        named = self._model.parameters["non_silence_phones"] or {s for s in symbols if not s.startswith(("#", "<"))}
        return frozenset(symbols & named) - {self._lexicon.silence_phone, self._lexicon.oov_phone}

    def align(self, clips: Sequence[MfaClip]) -> list[list[list[MfaPhone]] | AlignmentFailure]:
        """Return the phones of each word of each clip, or why there are none; a clip that fails costs no other.

        Reasons of failure: `unusable_audio`, `no_path`, `aligner_error`.

        Raises:
            AlignError: kalpy makes no graphs of the lexicon.
        """
        self._learn([token for clip in clips for token in clip.words])
        results: list[list[list[MfaPhone]] | AlignmentFailure | None] = [None] * len(clips)
        utterances: dict[int, Any] = {}
        for index, clip in enumerate(clips):
            if clip.waveform.size < _LEAST_SAMPLES:
                results[index] = AlignmentFailure("unusable_audio", f"{clip.waveform.size} samples, less than a frame")
                continue
            try:
                utterances[index] = self._utterance(clip)
            except Exception as error:  # kalpy and Kaldi raise what they like, for one clip
                results[index] = _failure(error)
        for members in self._speakers(clips, utterances):
            shared = _shared_means([utterances[index] for index in members])
            normalised = []
            for index in members:
                try:
                    utterances[index].apply_cmvn(_means([utterances[index]]) if shared is None else shared)
                    normalised.append(index)
                except Exception as error:
                    results[index] = _failure(error)
            transform = self._transform([utterances[index] for index in normalised])
            for index in normalised:
                results[index] = self._path(utterances[index], len(clips[index].words), transform)
        return [result for result in results if result is not None]

    def _utterance(self, clip: MfaClip) -> Any:
        text = self._tokens.text(clip.words)
        refused = [self._refused[name] for name in text.split() if name in self._refused]
        if refused:
            raise ValueError(f"kalpy refuses a pronunciation: {refused[0]}")
        utterance = Utterance(segment(clip.waveform), text)
        utterance.generate_mfccs(self._mfcc)
        return utterance

    def _speakers(self, clips: Sequence[MfaClip], utterances: Mapping[int, Any]) -> list[list[int]]:
        """Group clips by speaker if speakers are adapted to; else, and where nobody is named, each is its own."""
        groups: dict[str | int, list[int]] = {}
        for index in utterances:
            speaker = clips[index].speaker_id if self._config.speaker_adaptation else None
            groups.setdefault(index if speaker is None else speaker, []).append(index)
        return list(groups.values())

    def _path(self, utterance: Any, words: int, transform: Any) -> list[list[MfaPhone]] | AlignmentFailure:
        try:
            ctm = self._aligner.align_utterance(utterance, fmllr_trans=transform)
            features = utterance.generate_features(self._model, fmllr_trans=transform).numpy()
            best = self._rivals(adapted=transform is not None).best(features)
        except Exception as error:
            return _failure(error)
        spoken = [word.phones for word in ctm.word_intervals if word.label != self._lexicon.silence_word]
        if len(spoken) != words or not all(spoken):
            return AlignmentFailure("aligner_error", f"kalpy gave {len(spoken)} words for {words}")
        return [[self._phone(phone, best) for phone in phones] for phones in spoken]

    def _phone(self, interval: Any, best: NDArray[np.float32]) -> MfaPhone:
        start_s, end_s = float(interval.begin), float(interval.end)
        # the last one may end with the waveform, which has part of a frame more
        first = min(round(start_s / self._mfcc.frame_shift), best.size - 1)
        last = max(round(end_s / self._mfcc.frame_shift), first + 1)
        return MfaPhone(bare(interval.label), start_s, end_s, likeness(float(interval.confidence), best[first:last]))

    def _rivals(self, adapted: bool) -> Rivals:
        """Return the rivals in the model that aligns: an adapted speaker's, or that for all."""
        if adapted not in self._rivals_of:
            first = self._aligner.ali_aligner
            self._rivals_of[adapted] = Rivals.of(
                (self._aligner.aligner if adapted or first is None else first).acoustic_model
            )
        return self._rivals_of[adapted]

    def _learn(self, words: Sequence[Token]) -> None:
        if len(self._tokens) > _MOST_TOKENS:
            self._forget()
        new = self._tokens.add(words)
        if not new:
            return
        for name, form in new:
            try:
                self._lexicon.add_pronunciation(pronunciation(name, form))
            except Exception as error:  # kalpy's is a bare one, for a phone that the model lacks
                self._refused[name] = _told(error)
        try:
            # as `create_fsts` leaves them
            self._lexicon.fst.arcsort("olabel")
            self._lexicon.align_fst.arcsort("olabel")
            compiler = TrainingGraphCompiler(self._model.model_path, self._model.tree_path, self._lexicon)
        except Exception as error:
            self._forget()
            raise AlignError(f"kalpy makes no graphs of the lexicon: {_told(error)}") from error
        self._aligner.lexicon_compiler, self._aligner.graph_compiler = self._lexicon, compiler

    def _forget(self) -> None:
        self._tokens, self._refused, self._lexicon = Tokens(), {}, empty_lexicon(self._model)

    def _speaker_transforms(self) -> Any:
        """Return what estimates fMLLR transforms, None for a model that was trained without."""
        if self._model.alignment_model_path == self._model.model_path:
            return None
        features = self._model.meta["features"]
        return FmllrComputer(
            self._model.alignment_model_path,
            self._model.model_path,
            self._lexicon.silence_symbols,
            fmllr_update_type=features.get("fmllr_update_type", "full"),
            silence_weight=features.get("silence_weight", 0.0),
            acoustic_scale=_ACOUSTIC_SCALE,
        )

    def _transform(self, utterances: Sequence[Any]) -> Any:
        """Return one speaker's fMLLR transform; None where the model has none, or none can be estimated."""
        if self._fmllr is None:
            return None
        features, alignments = {}, {}
        for name, utterance in zip(map(str, range(len(utterances))), utterances, strict=True):
            try:
                unadapted = utterance.generate_features(self._model)
                graph = self._aligner.graph_compiler.compile_fst(utterance.transcript)
                found = self._aligner.ali_aligner.align_utterance(graph, unadapted)
            except Exception as error:  # what is wrong with this clip is told when it is aligned for good
                log.debug("a clip is left out of its speaker's transform: %s", _told(error))
                continue
            if found is not None:
                features[name], alignments[name] = unadapted, found
        if not alignments:
            return None
        self._fmllr.spk2utt = {"speaker": list(alignments)}
        try:
            return dict(self._fmllr.compute_fmllr(features, AlignmentsInMemory(alignments))).get("speaker")
        except Exception as error:
            log.warning("a speaker's %d clips are aligned without a transform: %s", len(utterances), _told(error))
            return None


def _means(utterances: Sequence[Any]) -> Any:
    return CmvnComputer().compute_cmvn_from_features([utterance.mfccs for utterance in utterances])


def _shared_means(utterances: Sequence[Any]) -> Any:
    """Return one speaker's cepstral means; None, for each clip's own, where there is one clip or kalpy can't."""
    if len(utterances) == 1:
        return None
    try:
        return _means(utterances)
    except Exception as error:
        log.warning("a speaker's %d clips have cepstral means each of its own: %s", len(utterances), _told(error))
        return None


def _failure(error: Exception) -> AlignmentFailure:
    if isinstance(error, AlignerError):
        return AlignmentFailure("no_path", "MFA found no way to lay the transcript over the clip; is it this clip's?")
    return AlignmentFailure("aligner_error", f"{type(error).__name__}: {_told(error)}")


def _told(error: Exception) -> str:
    """Return the first lines of `error`: kalpy's print whole transducers."""
    return " ".join(str(error).split())[:300]
