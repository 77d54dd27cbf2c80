"""Who says what in the demo, in which corpus and split, with which voice and in which room.

Everything is drawn from generators seeded by (seed, language, place), so a clip does not depend on others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import numpy as np
import yaml

from sift_ray.corpora.demo_acoustics import Scene
from sift_ray.corpora.demo_voice import VoiceJob
from sift_ray.schema import LANGUAGES

Corpus = Literal["mls", "common_voice", "vctk"]

_VARIANTS: Final = {
    "female": ("f2", "f3", "f4", "Annie", "f1", "f5", "Alicia", "linda"),
    "male": ("m3", "m1", "m7", "m5", "m2", "m6", "michel", "m4"),
}
_CASTS_LAST: Final = 3
"""A cast of speakers reads this many rounds; a longer demo has more speakers."""


@dataclass(frozen=True, slots=True)
class Role:
    """A speaker's part, the same in every language; `known` says whether the corpus tells gender and age."""

    corpus: Corpus
    split: str
    gender: str
    age: str | None = None
    known: bool = True
    accent: bool = False


_ROLES: Final[dict[str, Role]] = {
    "mls_train_f": Role("mls", "train", "female"),
    "mls_train_m": Role("mls", "train", "male"),
    "mls_dev": Role("mls", "dev", "female"),
    "mls_test": Role("mls", "test", "male"),
    "cv_train_m": Role("common_voice", "train", "male", "fourties", accent=True),
    "cv_train_f": Role("common_voice", "train", "female", "twenties"),
    "cv_train_x": Role("common_voice", "train", "male", known=False),
    "cv_dev": Role("common_voice", "dev", "male", "sixties"),
    "cv_test": Role("common_voice", "test", "female", "thirties", accent=True),
    "vctk_f": Role("vctk", "train", "female", "23", accent=True),
    "vctk_m": Role("vctk", "train", "male", "31", accent=True),
}
# a round of clips; its first four already fill every split, for demos cut short
_ROUND: Final = (
    "mls_train_f", "cv_train_m", "mls_dev", "cv_test", "mls_train_m", "cv_train_f", "mls_test",
    "cv_dev", "mls_train_f", "cv_train_x", "mls_train_m", "cv_train_m", "mls_train_f", "cv_train_f",
)  # fmt: skip
_ROUND_EN: Final = (
    "mls_train_f", "cv_train_m", "mls_dev", "cv_test", "vctk_f", "vctk_m", "mls_test",
    "cv_dev", "mls_train_m", "cv_train_x", "vctk_f", "cv_train_f", "mls_train_f", "vctk_m",
)  # fmt: skip
_CONDITIONS: Final = ("clean",) * 8 + ("noise",) * 3 + ("reverb",) * 2 + ("both",)
# espeak-ng's voice and how Common Voice or VCTK call the accent that it has
_ACCENTS: Final = {
    "en": (("en-us", "United States English"), ("en", "England English")),
    "de": (("de", "Deutschland Deutsch"),),
    "fr": (("fr", "Français de France"), ("fr-be", "Français de Belgique")),
    "it": (("it", "Italiano standard"),),
    "es": (("es", "España: Norte peninsular"), ("es-419", "México")),
}
_VCTK_ACCENTS: Final = {"vctk_f": ("en", "English"), "vctk_m": ("en-gb-scotland", "Scottish")}


@dataclass(frozen=True, slots=True)
class Speaker:
    """One synthetic speaker; what is None the corpus does not tell."""

    speaker_id: str
    true_gender: str
    voice: str
    pitch: int
    gender: str | None
    age: str | None
    accent: str | None


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip to be made."""

    corpus: Corpus
    language: str
    split: str
    number: int  # counts the clips of a language, from 0
    speaker: Speaker
    job: VoiceJob
    scene: Scene
    condition: str


def plan_round(seed: int, number: int) -> Iterator[Clip]:
    """Yield a round of clips, languages in turn, so that a demo cut short is still balanced."""
    orders = {language: _conditions(seed, language, number) for language in LANGUAGES}
    for slot in range(len(_ROUND)):
        for language in LANGUAGES:
            yield _plan_clip(seed, language, number, slot, orders[language][slot])


@cache
def sentences(language: str) -> tuple[str, ...]:
    """Return the sentences of a language."""
    text = files("sift_ray.corpora").joinpath("demo_sentences.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text)[language])


def _conditions(seed: int, language: str, number: int) -> list[str]:
    rng = np.random.default_rng([seed, LANGUAGES.index(language), number, 1])
    return [_CONDITIONS[index] for index in rng.permutation(len(_CONDITIONS))]


def _plan_clip(seed: int, language: str, number: int, slot: int, condition: str) -> Clip:
    role_name = (_ROUND_EN if language == "en" else _ROUND)[slot]
    role = _ROLES[role_name]
    speaker = _cast(seed, language, number // _CASTS_LAST, role_name)
    rng = np.random.default_rng([seed, LANGUAGES.index(language), number, 2, slot])
    index = number * len(_ROUND) + slot
    texts = sentences(language)
    job = VoiceJob(
        text=texts[index % len(texts)],
        voice=speaker.voice,
        pitch=int(np.clip(speaker.pitch + rng.integers(-8, 9), 5, 95)),
        pitch_range=int(rng.integers(10, 96)),
        rate_wpm=int(rng.integers(115, 196)),
    )
    return Clip(
        corpus=role.corpus,
        language=language,
        split=role.split,
        number=index,
        speaker=speaker,
        job=job,
        scene=_scene(condition, rng),
        condition=condition,
    )


def _scene(condition: str, rng: np.random.Generator) -> Scene:
    noisy = condition in ("noise", "both")
    echoing = condition in ("reverb", "both")
    return Scene(
        snr_db=round(float(rng.uniform(6, 22) if noisy else rng.uniform(42, 58)), 2),
        noise=("white", "pink")[int(rng.integers(2))] if noisy else "floor",
        t60_s=round(float(rng.uniform(0.25, 0.9)), 3) if echoing else None,
        direct_db=round(float(rng.uniform(-3, 6)), 2),
        level_dbfs=round(float(rng.uniform(-34, -17)), 2),
        head_s=round(float(rng.uniform(0.12, 0.4)), 3),
        tail_s=round(float(rng.uniform(0.15, 0.45)), 3),
    )


@cache
def _cast(seed: int, language: str, cast: int, role_name: str) -> Speaker:
    role = _ROLES[role_name]
    place = list(_ROLES).index(role_name)
    rng = np.random.default_rng([seed, LANGUAGES.index(language), cast, 3, place])
    # speakers of one language and gender differ in variant as long as there are variants
    alike = [name for name, other in _ROLES.items() if other.gender == role.gender]
    variants = _VARIANTS[role.gender]
    variant = variants[(alike.index(role_name) + cast + LANGUAGES.index(language)) % len(variants)]
    if role.corpus == "vctk":
        voice, accent = _VCTK_ACCENTS[role_name]
    else:
        choices = _ACCENTS[language]
        voice, accent = choices[int(rng.integers(len(choices)))]
    return Speaker(
        speaker_id=_speaker_id(role.corpus, seed, language, cast, place),
        true_gender=role.gender,
        voice=f"{voice}+{variant}",
        pitch=int(rng.integers(28, 73)),
        gender=role.gender if role.known else None,
        age=role.age if role.known else None,
        accent=accent if role.accent else None,
    )


def _speaker_id(corpus: Corpus, seed: int, language: str, cast: int, place: int) -> str:
    number = cast * len(_ROLES) + place
    match corpus:
        case "mls":
            return str(90_000 + 10_000 * LANGUAGES.index(language) + number)
        case "vctk":
            # numbers that VCTK does not have
            return f"p{901 + 2 * cast + (place - list(_ROLES).index('vctk_f'))}"
        case "common_voice":
            return hashlib.sha512(f"demo {seed} {language} {number}".encode()).hexdigest()
