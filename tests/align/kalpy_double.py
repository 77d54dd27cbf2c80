"""A double of kalpy for machines without it: the names and signatures of kalpy 0.8 to 0.10 over a toy of speech.

It finds the best path of a text over a waveform, so its spans can be true and can be wrong. It keeps kalpy's traps: a
graph compiler knows the lexicon of the moment it was made, phones have marks of their place, pitch reads the file
again, and `WordCtmInterval.phones` is a copy.
"""

from __future__ import annotations

import copy
import inspect
import json
import sys
import types
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.align.toy_speech import NOISE, PHONES, SHIFT, SILENCE, best_path, constant, gaussian, observed, tone_hz

VERSION = "3.4.3"


class KalpyError(Exception):
    def __init__(self, base_error_message: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(base_error_message)


class AlignerError(KalpyError):
    pass


class SymbolTable:
    def __init__(self, symbols: list[str]) -> None:
        self.symbols = list(symbols)

    def add_symbol(self, symbol: str) -> None:
        if symbol not in self.symbols:
            self.symbols.append(symbol)

    def find(self, key: Any) -> Any:
        return self.symbols[key] if isinstance(key, int) else self.symbols.index(key)

    def member(self, symbol: str) -> bool:
        return symbol in self.symbols

    def num_symbols(self) -> int:
        return len(self.symbols)


class Fst:
    def __init__(self) -> None:
        self.arcs: dict[str, list[list[str]]] = {}
        self.sorted_by: str | None = None

    def arcsort(self, sort_type: str) -> None:
        self.sorted_by = sort_type


@dataclass
class Pronunciation:
    orthography: str
    pronunciation: str
    probability: float | None = None
    silence_after_probability: float | None = None
    silence_before_correction: float | None = None
    non_silence_before_correction: float | None = None
    disambiguation: int | None = None


class LexiconCompiler:
    made: list[LexiconCompiler] = []  # noqa: RUF012  # every one, for tests to look at

    def __init__(
        self, disambiguation: bool = False, silence_probability: float = 0.5, initial_silence_probability: float = 0.5,
        final_silence_correction: float | None = None, final_non_silence_correction: float | None = None,
        silence_word: str = "<eps>", oov_word: str = "<unk>", silence_phone: str = "sil", oov_phone: str = "spn",
        position_dependent_phones: bool = False, ignore_case: bool = True, phones: Any = None,
        word_begin_label: str = "#1", word_end_label: str = "#2",
    ) -> None:  # fmt: skip
        self.silence_probability, self.position_dependent_phones = silence_probability, position_dependent_phones
        self.silence_word, self.oov_word = silence_word, oov_word
        self.silence_phone, self.oov_phone = silence_phone, oov_phone
        marks = ["_S", "_B", "_E", "_I"] if position_dependent_phones else [""]
        own = [phone + mark for phone in [oov_phone, *sorted(phones or ())] for mark in marks]
        self.phone_table = SymbolTable(["<eps>", silence_phone, *own])
        self.pronunciations: list[Pronunciation] = []
        self.fst, self.align_fst = Fst(), Fst()
        self.marked = False
        LexiconCompiler.made.append(self)

    @property
    def silence_symbols(self) -> list[int]:
        return [i for i, s in enumerate(self.phone_table.symbols) if s in {self.silence_phone, self.oov_phone}]

    def compute_disambiguation_symbols(self) -> None:
        self.marked = True
        for mark in ("#0", "#1", "#2", "#3"):
            self.phone_table.add_symbol(mark)

    def create_fsts(self, phonological_rule_fst: Any = None) -> None:
        if not self.pronunciations or not self.marked:
            raise KalpyError("There was an error compiling the lexicon")
        for pronunciation in self.pronunciations:
            self.add_pronunciation(pronunciation)
        self.fst.arcsort("olabel")
        self.align_fst.arcsort("olabel")

    def add_pronunciation(self, pronunciation: Pronunciation, phonological_rule_fst: Any = None) -> None:
        phones = pronunciation.pronunciation.split()
        if self.position_dependent_phones:
            marks = ["_S"] if len(phones) == 1 else ["_B", *["_I"] * (len(phones) - 2), "_E"]
            phones = [phone + mark for phone, mark in zip(phones, marks, strict=True)]
        if not all(map(self.phone_table.member, phones)):
            raise Exception(f"The pronunciation '{pronunciation}' had phones not in the symbol table")
        if pronunciation not in self.pronunciations:
            self.pronunciations.append(pronunciation)
        for fst in (self.fst, self.align_fst):
            fst.arcs.setdefault(pronunciation.orthography, []).append(phones)
            fst.sorted_by = None


class Matrix(np.ndarray):
    def numpy(self) -> np.ndarray:
        return np.asarray(self)


class MfccComputer:
    def __init__(self, **options: Any) -> None:
        self.options = options
        self.frame_shift = 0.01

    def compute_mfccs_for_export(self, segment: Any, compress: bool = True) -> Matrix:
        assert isinstance(segment, Segment)
        assert self.options["dither"] == 0.0
        assert np.abs(segment.kaldi_wave).max() > 1, "Kaldi takes samples in the range of 16 bits"
        return observed(segment.kaldi_wave).view(Matrix)


class PitchComputer:
    def __init__(self, **options: Any) -> None:
        self.options = options

    def compute_pitch_for_export(self, segment: Any, compress: bool = True) -> np.ndarray:
        raise FileNotFoundError(segment.file_path)  # kalpy reads the file again here

    def compute_pitch_for_wave(self, wave: np.ndarray) -> np.ndarray:
        assert np.abs(wave).max() > 1, "Kaldi takes samples in the range of 16 bits"
        return np.zeros((wave.size // SHIFT, 1))


class CmvnComputer:
    def __init__(self, online: bool = False) -> None:
        self.online = online

    def compute_cmvn_from_features(self, features: Any) -> float:
        return float(np.concatenate([feats[:, 1] for feats in features]).max())


@dataclass
class Segment:
    file_path: Any
    begin: float | None = 0.0
    end: float | None = None
    channel: int | None = 0

    def load_audio(self) -> np.ndarray:
        raise FileNotFoundError(self.file_path)

    @property
    def wave(self) -> np.ndarray:
        return self.load_audio()

    @property
    def kaldi_wave(self) -> np.ndarray:
        return np.round(self.wave * 32768)


@dataclass
class Utterance:
    segment: Segment
    transcript: str
    cmvn_string: str | None = None
    fmllr_string: str | None = None
    mfccs: Any = None

    def generate_mfccs(self, mfcc_computer: MfccComputer) -> None:
        if self.mfccs is None:
            self.mfccs = mfcc_computer.compute_mfccs_for_export(self.segment, compress=False)

    def apply_cmvn(self, cmvn: Any, sliding_cmvn: bool = False, cmvn_norm_vars: bool = False) -> None:
        self.mfccs[:, 1] -= cmvn

    def generate_features(
        self, acoustic_model: Any, cmvn: Any = None, fmllr_trans: Any = None, uses_speaker_adaptation: bool = True,
        uses_splices: bool = False, uses_deltas: bool = True, splice_context: int = 3,
    ) -> np.ndarray:  # fmt: skip
        if acoustic_model.pitch_computer is not None:
            pitch = acoustic_model.pitch_computer.compute_pitch_for_export(self.segment, compress=False)
            assert len(pitch) == len(self.mfccs)
        return self.mfccs if fmllr_trans is None else self.mfccs - np.array([fmllr_trans, 0.0])


class AcousticModel:
    def __init__(self, directory: Any, validate: bool = True) -> None:
        self.directory = Path(directory)
        if validate and not self.model_path.exists():
            raise KalpyError(f"Could not find final.mdl in {self.directory}.")
        self.meta = json.loads((self.directory / "meta.json").read_text(encoding="utf-8"))
        self.model_path.read_bytes().decode("ascii")  # a broken one can't be read

    model_path = property(lambda self: self.directory / "final.mdl")
    tree_path = property(lambda self: self.directory / "tree")
    phone_symbol_path = property(lambda self: self.directory / "phones.txt")
    lda_mat = property(lambda self: None)
    mfcc_options = property(lambda self: {"dither": 0.0001})
    pitch_options = property(lambda self: {"min_f0": 50})
    mfcc_computer = property(lambda self: MfccComputer(**self.mfcc_options))
    pitch_computer = property(lambda self: None)

    @property
    def alignment_model_path(self) -> Path:
        adapted = self.model_path.with_suffix(".alimdl")
        return adapted if adapted.exists() else self.model_path

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "non_silence_phones": set(self.meta["phones"]), "oov_phone": "spn", "optional_silence_phone": "sil",
            "silence_probability": 0.2, "initial_silence_probability": 0.5, "final_silence_correction": None,
            "final_non_silence_correction": None, "position_dependent_phones": self.meta["position_dependent_phones"],
        }  # fmt: skip


class CtmInterval:
    def __init__(self, begin: float, end: float, label: str, symbol: int = 0, confidence: float = 0.0) -> None:
        self.begin, self.end = np.float32(begin), np.float32(end)
        self.label, self.symbol, self.confidence = label, symbol, np.float32(confidence)


class WordCtmInterval:
    def __init__(self, label: str, symbol: int, phones: list[CtmInterval]) -> None:
        self.label, self._phones = label, phones

    @property
    def phones(self) -> list[CtmInterval]:
        return [copy.copy(phone) for phone in self._phones]


@dataclass
class HierarchicalCtm:
    word_intervals: list[WordCtmInterval]
    text: str | None = None
    likelihood: float | None = None


@dataclass
class Alignment:
    utterance_id: Any
    alignment: list[str]  # the phone of each frame, where kalpy has transitions
    words: list[tuple[str, int, int]]  # label, first frame, last frame + 1
    likelihood: float | None = None
    per_frame_likelihoods: Any = None


class AlignmentArchive:
    def __init__(self, file_name: Any, words_file_name: Any = None, likelihood_file_name: Any = None) -> None:
        raise FileNotFoundError(file_name)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        self.random_reader.Close()  # type: ignore[attr-defined]


class FmllrComputer:
    def __init__(
        self, alignment_acoustic_model_path: Any, acoustic_model_path: Any, silence_phones: Any, spk2utt: Any = None,
        weight_distribute: bool = False, fmllr_update_type: str = "full", silence_weight: float = 0.0,
        acoustic_scale: float = 1.0, fmllr_min_count: float = 500.0, fmllr_num_iters: int = 40, thread_lock: Any = None,
    ) -> None:  # fmt: skip
        assert Path(alignment_acoustic_model_path).suffix == ".alimdl"
        self.spk2utt = spk2utt

    def compute_fmllr(self, feature_archive: Any, alignment_archive: Any, callback: Any = None) -> Any:
        assert isinstance(alignment_archive, AlignmentArchive)
        for speaker, utterances in self.spk2utt.items():
            off = [
                log_hz - np.log(tone_hz(phone[0]))
                for key in utterances
                for (log_hz, _), phone in zip(feature_archive[key], alignment_archive[key].alignment, strict=True)
                if phone not in ("sil", "spn", "spn_S")
            ]
            yield speaker, float(np.median(off))


class TrainingGraphCompiler:
    made = 0

    def __init__(
        self, model_path: Any, tree_path: Any, lexicon_compiler: LexiconCompiler, transition_scale: float = 0.0,
        self_loop_scale: float = 0.0, batch_size: int = 1000, disambiguation_symbols: Any = None,
        oov_word: str = "<unk>",
    ) -> None:  # fmt: skip
        assert Path(model_path).is_file()
        assert Path(tree_path).is_file()
        assert lexicon_compiler.fst.sorted_by == lexicon_compiler.align_fst.sorted_by == "olabel"
        self._words = dict(lexicon_compiler.fst.arcs)
        self._oov_word = oov_word
        TrainingGraphCompiler.made += 1

    def compile_fst(self, transcript: str, interjection_words: Any = None, cutoff_pattern: Any = None) -> Any:
        known = [word if word in self._words else self._oov_word for word in transcript.split()]
        return [(word, self._words[word][0]) for word in known] or None


class Gaussians:
    """A state of the acoustic model: Kaldi's DiagGmm, here with one component."""

    def __init__(self, phone: str) -> None:
        self._constant = constant(phone)
        self._mean, self._variance = gaussian(phone)

    def weights(self) -> Matrix:
        return np.ones(1).view(Matrix)

    def gconsts(self) -> Matrix:
        return np.array([self._constant]).view(Matrix)

    def means_invvars(self) -> Matrix:
        return (self._mean / self._variance)[None].view(Matrix)

    def inv_vars(self) -> Matrix:
        return (1 / self._variance)[None].view(Matrix)


class AmDiagGmm:
    def NumPdfs(self) -> int:
        return len(PHONES) + 2

    def GetPdf(self, pdf_index: int) -> Gaussians:
        return Gaussians((*PHONES, SILENCE, NOISE)[pdf_index])


class GmmAligner:
    def __init__(self, acoustic_model_path: Any) -> None:
        assert Path(acoustic_model_path).is_file()
        self.acoustic_model = AmDiagGmm()

    def align_utterance(self, training_graph: Any, features: np.ndarray, utterance_id: Any = None) -> Alignment | None:
        path = best_path([phones for _, phones in training_graph], np.asarray(features))
        if path is None:
            return None
        phones = [path.symbols[state] for state in path.states]
        words = [(label, *place) for (label, _), place in zip(training_graph, path.words, strict=True)]
        found = Alignment(utterance_id, phones, words, float(path.likelihoods.sum()), path.likelihoods)
        found.states = path.states  # type: ignore[attr-defined]
        return found


class KalpyAligner:
    def __init__(
        self, acoustic_model: AcousticModel, lexicon_compiler: Any, beam: int = 10, retry_beam: int = 40,
        transition_scale: float = 1.0, acoustic_scale: float = 0.1, self_loop_scale: float = 0.1,
        boost_silence: float = 1.0, careful: bool = False,
    ) -> None:  # fmt: skip
        self.acoustic_model, self.lexicon_compiler = acoustic_model, lexicon_compiler
        self.beam, self.retry_beam = beam, retry_beam
        self.graph_compiler = TrainingGraphCompiler(
            acoustic_model.model_path, acoustic_model.tree_path, lexicon_compiler
        )
        self.aligner = GmmAligner(acoustic_model.model_path)
        self.ali_aligner = None
        if acoustic_model.alignment_model_path != acoustic_model.model_path:
            self.ali_aligner = GmmAligner(acoustic_model.alignment_model_path)

    def align_utterance(
        self, utterance: Utterance, cmvn: Any = None, fmllr_trans: Any = None, dictionary_id: Any = None
    ) -> HierarchicalCtm:
        features = utterance.generate_features(self.acoustic_model, fmllr_trans=fmllr_trans, cmvn=cmvn)
        graph = self.graph_compiler.compile_fst(utterance.transcript)
        unadapted = fmllr_trans is None and self.ali_aligner is not None
        found = (self.ali_aligner if unadapted else self.aligner).align_utterance(graph, features)
        if found is None:
            raise AlignerError(f"Could not align the file with the current beam size ({self.beam}")
        states, runs, first = found.states, [], 0  # type: ignore[attr-defined]
        for t in range(1, len(states) + 1):
            if t == len(states) or states[t] != states[first]:
                mean = found.per_frame_likelihoods[first:t].mean()
                runs.append((first, CtmInterval(first * 0.01, t * 0.01, found.alignment[first], 0, mean)))
                first = t
        runs[-1][1].end = np.float32(utterance.segment.end)
        eps = self.lexicon_compiler.silence_word
        words = [
            (start, WordCtmInterval(label, 0, [run for at, run in runs if start <= at < end]))
            for label, start, end in found.words
        ]
        words += [(at, WordCtmInterval(eps, 0, [run])) for at, run in runs if run.label == "sil"]
        words.sort(key=lambda pair: pair[0])
        return HierarchicalCtm(
            [word for _, word in words], utterance.transcript, float(found.per_frame_likelihoods.sum())
        )


MODULES: dict[str, list[type]] = {
    "kalpy.aligner": [KalpyAligner],
    "kalpy.data": [Segment],
    "kalpy.decoder.training_graphs": [TrainingGraphCompiler],
    "kalpy.exceptions": [AlignerError, KalpyError],
    "kalpy.feat.cmvn": [CmvnComputer],
    "kalpy.feat.fmllr": [FmllrComputer],
    "kalpy.feat.mfcc": [MfccComputer],
    "kalpy.feat.pitch": [PitchComputer],
    "kalpy.fstext.lexicon": [LexiconCompiler, Pronunciation],
    "kalpy.gmm.align": [GmmAligner],
    "kalpy.gmm.data": [Alignment, AlignmentArchive, HierarchicalCtm],
    "kalpy.models": [AcousticModel],
    "kalpy.utterance": [Utterance],
}
"""What of kalpy the backend uses, by module."""


def install(monkeypatch: pytest.MonkeyPatch, version: str | None = VERSION) -> None:
    """Put the double in kalpy's place, and MFA's `version`; None: neither is installed."""
    true_version = metadata.version

    def said(name: str) -> str:
        if name != "montreal-forced-aligner":
            return true_version(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", said)
    for name in [name for name in sys.modules if name.split(".")[0] in ("kalpy", "_kalpy")]:
        monkeypatch.delitem(sys.modules, name)
    # these keep what they were imported with: they are imported anew, and taken away again afterwards
    for name in ("sift_ray.align.mfa_engine", "sift_ray.align.mfa_kalpy"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType("not imported yet"))
        del sys.modules[name]
    for name, classes in MODULES.items():
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            path = ".".join(parts[:depth])
            if path not in sys.modules:
                monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
                sys.modules[path].__path__ = []  # type: ignore[attr-defined]
        for one in classes:
            setattr(sys.modules[name], one.__name__, one)
    LexiconCompiler.made.clear()
    TrainingGraphCompiler.made = 0


def write_model(
    path: Path, *, positions: bool = False, adapted: bool = False, phones: tuple[str, ...] = PHONES
) -> Path:
    """Write an acoustic model of MFA as the double reads it: an archive whose files lie in a folder, as old ones do."""
    files = {
        "final.mdl": "a model",
        "tree": "a tree",
        "meta.json": json.dumps({"phones": phones, "position_dependent_phones": positions, "features": {}}),
    }
    if adapted:
        files["final.alimdl"] = "a model for first passes"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"model/{name}", content)
    return path


def differences(double: type, true: type) -> list[str]:
    """Return the methods of `double` that can be called as those of `true` can't.

    Each argument of the double's has its name in the true one, and may be left out in both or in neither; what the true
    one takes more may be left out.
    """
    strayed = []
    for name, method in vars(double).items():
        if not inspect.isfunction(method) or name == "__del__":
            continue
        ours, theirs = _arguments(method), _arguments(getattr(true, name, object.__init__))
        same = all(theirs.get(argument) is optional for argument, optional in ours.items())
        if not same or not all(optional for argument, optional in theirs.items() if argument not in ours):
            strayed.append(f"{double.__name__}.{name}")
    return strayed


def _arguments(function: Any) -> dict[str, bool]:
    """Return each argument's name, and whether it may be left out."""
    return {
        parameter.name: parameter.default is not parameter.empty
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
