"""What each language is aligned with: a model that the config names, or one trained once on the corpus.

Everything that workers need of it is put into the output root, so that they find it on whatever node they run:
`models/align/<language>-<fingerprint>/` holds a model of viter's (trained, imported, or copied from where it was
given), `models/lexicon/<hash>/` a dictionary and a G2P model. Models of other backends are loaded by what the config
names: paths of those must be visible on every node.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.config import Config
from sift_ray.config_align import AlignConfig
from sift_ray.config_sections import Language
from sift_ray.pipeline.model_making import MissingModel, make_models
from sift_ray.pipeline.model_place import DICTIONARY_FILE, G2P_FILE, ModelPlace
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.stages import annotate_stage, plan_stage
from sift_ray.pipeline.training_speech import training_rows
from sift_ray.pipeline.waves import check_ingredients
from sift_ray.storage import MANIFEST_NAME, OutputRoot, StorageError, fingerprint, id_digest, put_json, read_manifest

log = logging.getLogger(__name__)

TRAINING_VERSION: Final = 4
IMPORT_S: Final = 1800.0
"""Speech (s) that an imported model's phones are learnt from: its classifier needs no more."""
_MODELS, _LEXICONS = "models/align", "models/lexicon"
_HEARD_AND_SAID = ("transcript", "speaker_id", "audio_uri")


def ensure_models(session: RaySession, config: Config, root: OutputRoot, plan: Plan) -> dict[str, ModelPlace]:
    """Return what each language of the plan is aligned with, making the models that are neither given nor there.

    A language with too little speech to train on (`annotate.align.min_train_s`), or one that `mfa` or `ctc` are given
    no model for, gets none: its utterances are measured but not aligned, each with the reason `no_model`.

    Raises:
        AlignError: training or import gave no usable model, or what the config names is none.
        StaleOutputError: the annotations there are of other models.
    """
    places, missing = _survey(config, root, plan, planned_languages(config, root, plan))
    # hours of training must not end in the news that the annotations there are of other models; what they are made
    # from is recorded when they are begun, for training may fail
    check_ingredients(root, annotate_stage(config, plan.content, fingerprints(places)), record=False)
    make_models(session, config, root, missing)
    return places


def train_models(
    session: RaySession, config: Config, root: OutputRoot, plan: Plan, languages: Iterable[str]
) -> dict[str, ModelPlace]:
    """As `ensure_models`, for these languages alone, without a look at the annotations."""
    places, missing = _survey(config, root, plan, languages)
    make_models(session, config, root, missing)
    return places


def fingerprints(models: Mapping[str, ModelPlace]) -> dict[str, str]:
    """Return each language's model fingerprint; languages without a model are left out."""
    return {language: place.fingerprint for language, place in models.items() if place.fingerprint is not None}


def planned_languages(config: Config, root: OutputRoot, plan: Plan) -> set[str]:
    """Return the languages that the plan holds good utterances of, by its manifests."""
    found = set()
    for wave in range(plan.waves):
        manifest = read_manifest(root, plan_stage(config).name, wave)
        if manifest is None:
            raise StorageError(f"{root.uri}: wave {wave} of the plan is gone; run `sift-ray plan` into a new output")
        found |= {label.split("/")[1] for label in manifest.counts.get("utterances", {})}
    return found


def _survey(
    config: Config, root: OutputRoot, plan: Plan, languages: Iterable[str]
) -> tuple[dict[str, ModelPlace], list[MissingModel]]:
    """Return what each language is aligned with, and the models among it that are still to be made."""
    align = config.annotate.align
    lexicons = {language: _lexicon_of(align, language) for language in sorted(languages)}
    places = {language: ModelPlace(None, lexicon=_put_lexicon(root, files)) for language, files in lexicons.items()}
    if align.backend == "none":
        return places, []
    if align.backend != "viter":
        return {language: _named(align, language, place) for language, place in places.items()}, []
    sources = {language: path for language in places if (path := _given(align, language)) is not None}
    folders = {language: path for language, path in sources.items() if path.is_dir()}
    for language, path in folders.items():
        places[language] = _copy_given(root, language, path, lexicons[language])
    rest = {language: place.lexicon for language, place in places.items() if language not in folders}
    models = _to_be_made(config, root, plan, rest, {k: path for k, path in sources.items() if k in rest})
    places |= {model.language: model.place for model in models}
    return places, [model for model in models if not root.exists(f"{model.place.folder}/{MANIFEST_NAME}")]


def _named(align: AlignConfig, language: str, place: ModelPlace) -> ModelPlace:
    """Return `place` with the fingerprint of the model that the config names, if it names one."""
    from sift_ray.align.backends import model_identity

    if align.model(language) is None:
        key = f"annotate.align.models.{language}"
        log.warning("%s: its utterances get no word spans: %s has no model for it (%s)", language, align.backend, key)
        return place
    return ModelPlace(fingerprint({"model": model_identity(align, language)}), lexicon=place.lexicon)


def _to_be_made(
    config: Config, root: OutputRoot, plan: Plan, lexicons: Mapping[str, str], sources: Mapping[str, Path]
) -> list[MissingModel]:
    """Return the models to train, or to import from `sources`, whether they were made before or not."""
    align = config.annotate.align
    most = align.train_hours * 3600.0
    seconds = {language: min(most, IMPORT_S) if language in sources else most for language in lexicons}
    models = []
    chosen = training_rows(config, root, plan, seconds)
    for language in sorted(lexicons):
        rows, source = chosen.get(language), sources.get(language)
        there = 0.0 if rows is None else pc.sum(rows["duration_s"]).as_py() or 0.0
        if rows is None or there < align.min_train_s:
            _warn_of_too_little(language, there, align.min_train_s, source)
            continue
        ingredients = _ingredients(language, rows, config, lexicons[language], source)
        if not pc.all(rows["length_known"]).as_py():  # how much of them is used then shows when they are decoded
            ingredients["lengths"] = [config.annotate.decode.min_s, config.annotate.decode.max_s, seconds[language]]
        mark = fingerprint(ingredients)
        place = ModelPlace(mark, f"{_MODELS}/{language}-{mark}", lexicons[language])
        models.append(MissingModel(language, place, rows, there, seconds[language], ingredients, source))
    return models


def _warn_of_too_little(language: str, seconds: float, least: float, source: Path | None) -> None:
    if source is None:
        few = "are too few to train an aligner"
        way = f"lower it, or give a trained model as annotate.align.models.{language}"
    else:
        few = f"are too few to learn from them how the phones of {source} look"
        way = f"lower it, or give the folder of a trained model as annotate.align.models.{language}"
    log.warning(
        "%s: %.1f s of transcribed speech %s (annotate.align.min_train_s is %g): its utterances get no word spans; %s",
        language,
        seconds,
        few,
        least,
        way,
    )


def _ingredients(language: str, rows: pa.Table, config: Config, lexicon: str, source: Path | None) -> dict[str, Any]:
    from importlib.metadata import version

    align = config.annotate.align
    said = (pc.fill_null(rows[name], "") for name in _HEARD_AND_SAID)
    content = pc.binary_join_element_wise(*said, "\x1f").to_pylist()
    ingredients: dict[str, Any] = {
        "language": language,
        "utterances": f"{id_digest(rows['unit_id'].to_numpy(), content):016x}",
        "lexicon": lexicon,  # named by its content
        "viter": version("viter"),
        "training_version": TRAINING_VERSION,
    }
    if source is not None:
        return {**ingredients, "imported": _hash(source.read_bytes())}
    return {**ingredients, "seed": align.seed, "recipe": align.recipe}


def _given(align: AlignConfig, language: str) -> Path | None:
    """Return the file or folder that the config gives as a language's model."""
    source = align.model(language)
    if source is None:
        return None
    path = Path(source).expanduser()
    if not path.exists():
        from sift_ray.align.protocol import AlignError

        raise AlignError(f"annotate.align.models.{language}: no such file or folder: {source}")
    return path


def _copy_given(root: OutputRoot, language: str, source: Path, lexicon: Mapping[str, bytes]) -> ModelPlace:
    """Copy the folder of a trained model into the root, once; return where it lies.

    A dictionary or G2P model that the config names takes the place of the model's own.

    Raises:
        AlignError: the folder holds no model of this version, or one of another language.
    """
    from sift_ray.align.protocol import AlignError
    from sift_ray.align.viter_files import FACTS, MODEL, PHONES, REPORT, SPOKEN, ModelFolder

    told = ModelFolder.read(source).language
    if told != language:
        raise AlignError(f"{source}: a model of {told!r} was given for {language!r}")
    used, for_a_person = {MODEL, PHONES, FACTS, DICTIONARY_FILE, G2P_FILE}, {SPOKEN, REPORT}
    own = [file for name in sorted(used | for_a_person) if (file := source / name).is_file()]
    files = {file.name: file.read_bytes() for file in own} | dict(lexicon)
    hashes = _hashes({name: content for name, content in files.items() if name in used})
    mark = fingerprint(hashes)
    folder = f"{_MODELS}/{language}-{mark}"
    if not root.exists(f"{folder}/{MANIFEST_NAME}"):
        for name, content in files.items():
            root.put(f"{folder}/{name}", content)
        put_json(root, f"{folder}/{MANIFEST_NAME}", {"ingredients": hashes, "copied_from": str(source)})
    spoken = {name: files[name] for name in (DICTIONARY_FILE, G2P_FILE) if name in files}
    return ModelPlace(mark, folder, _put_lexicon(root, spoken))


def _lexicon_of(align: AlignConfig, language: str) -> dict[str, bytes]:
    """Return the files of the lexicon that the config names, by what they are called in the root."""
    paths = {DICTIONARY_FILE: align.dictionary(language), G2P_FILE: align.g2p_model(language)}
    if align.backend == "mfa":
        paths[DICTIONARY_FILE] = paths[DICTIONARY_FILE] or _found_by_mfa("dictionary", align.dictionaries, language)
        paths[G2P_FILE] = paths[G2P_FILE] or _found_by_mfa("g2p", align.g2p, language)
    return {name: path.read_bytes() for name, path in paths.items() if path is not None}


def _found_by_mfa(kind: Literal["dictionary", "g2p"], names: Mapping[Language, str], language: str) -> Path | None:
    """Return the file that MFA keeps under a name, None where it is not on this machine; the workers may have it."""
    from sift_ray.align.mfa_models import find
    from sift_ray.align.protocol import AlignError

    name = {str(key): name for key, name in names.items()}.get(language)
    try:
        return None if name is None else find(kind, name)
    except AlignError:
        return None


def _put_lexicon(root: OutputRoot, files: Mapping[str, bytes]) -> str:
    """Put a lexicon into the root, once; return its folder, empty where it has no files."""
    if not files:
        return ""
    folder = f"{_LEXICONS}/{fingerprint(_hashes(files))}"
    for name, content in files.items():
        if not root.exists(f"{folder}/{name}"):
            root.put(f"{folder}/{name}", content)
    return folder


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: _hash(content) for name, content in files.items()}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
