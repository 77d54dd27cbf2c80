from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from sift_ray.align import ctc_models  # noqa: E402
from sift_ray.align.backends import model_identity  # noqa: E402
from sift_ray.align.ctc_models import CtcModel, ctc_device, ctc_identity  # noqa: E402
from sift_ray.align.ctc_text import CtcVocabulary  # noqa: E402
from sift_ray.align.protocol import AlignError  # noqa: E402
from sift_ray.config_align import AlignConfig  # noqa: E402
from tests.align.tiny_ctc import ARCHITECTURES, HEAR_PADDING, HOP, PHONES, noises, write_ctc  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ctc(tmp_path_factory.mktemp("ctc") / "tiny")


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "tiny"))


def config(model: object, **options: object) -> AlignConfig:
    return AlignConfig.model_validate({"backend": "ctc", "models": {"es": str(model)}, **options})


def load(model: object, **options: object) -> CtcModel:
    return CtcModel(config(model, **options), "es", device="cpu")


def change(file: Path, **settings: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | settings), encoding="utf-8")


# identity


def test_a_folder_is_known_by_what_is_loaded_of_it(copied: Path, checkpoint: Path) -> None:
    first = ctc_identity(config(copied), "es")
    assert first == ctc_identity(config(checkpoint), "es") == model_identity(config(copied), "es")
    assert first.startswith("sha256:")
    (copied / "README.md").write_text("about")
    assert ctc_identity(config(copied), "es") == first
    seen = {first}
    change(copied / "vocab.json", a=6, b=5)
    seen.add(ctc_identity(config(copied), "es"))
    change(copied / "config.json", pad_token_id=1)
    seen.add(ctc_identity(config(copied), "es"))
    with (copied / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\1")
    seen.add(ctc_identity(config(copied), "es"))
    assert len(seen) == 4


def test_a_hub_id_is_known_by_its_revision() -> None:
    assert ctc_identity(config("some/model"), "es") == "some/model@main"
    assert ctc_identity(config("some/model@abc"), "es") == "some/model@abc"


def test_the_dictionary_is_part_of_the_identity(checkpoint: Path, tmp_path: Path) -> None:
    words = tmp_path / "es.dict"
    words.write_text("casa k a s a\n", encoding="utf-8")
    bare = ctc_identity(config(checkpoint), "es")
    known = ctc_identity(config(checkpoint, dictionaries={"es": str(words)}), "es")
    assert known.startswith(f"{bare} dictionary@")
    words.write_text("casa k a θ a\n", encoding="utf-8")
    assert ctc_identity(config(checkpoint, dictionaries={"es": str(words)}), "es") not in (bare, known)
    assert ctc_identity(config(checkpoint, g2p={"es": str(words)}), "es").startswith(f"{bare} g2p@")


def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(AlignError, match="no such folder, nor a hub id"):
        ctc_identity(config("just-a-name"), "es")
    for revision in ("", "/x", "a b"):
        with pytest.raises(AlignError, match=r"some/model@.*: '.*' is no revision"):
            ctc_identity(config(f"some/model@{revision}"), "es")
    with pytest.raises(AlignError, match=r"holds no config\.json"):
        ctc_identity(config(tmp_path), "es")
    with pytest.raises(AlignError, match="no model for 'de'"):
        ctc_identity(config(copied), "de")


# the device


def test_without_gpus_of_the_pool_nothing_runs_there(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert ctc_device(config(checkpoint)) == "cpu"
    assert ctc_device(config(checkpoint, pool={"num_gpus": 0.5})) == "cuda"
    assert ctc_device(config(checkpoint, pool={"num_gpus": 1}, ctc={"device": "cpu"})) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ctc_device(config(checkpoint, pool={"num_gpus": 1})) == "cpu"
    with pytest.raises(AlignError, match="finds no GPU"):
        ctc_device(config(checkpoint, pool={"num_gpus": 1}, ctc={"device": "cuda"}))


def test_a_missing_package_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctc_models.importlib.util, "find_spec", lambda name: None if name == "transformers" else name)
    with pytest.raises(AlignError, match=r"transformers.*sift-ray\[models\]"):
        ctc_device(config(checkpoint))


# what it hears


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_architecture_is_heard_as_transformers_hears_it(name: str, tmp_path: Path) -> None:
    model = load(write_ctc(tmp_path / name, architecture=ARCHITECTURES[name]))
    assert model.hop == HOP
    assert model.pads == (name not in HEAR_PADDING)
    clips = noises(1.0, 2.7, 0.31, 1.0)
    for clip, found in zip(clips, model.emissions(clips), strict=True):
        features = model._extractor([clip], sampling_rate=16_000, return_tensors="pt", **model._padding)
        with torch.inference_mode():
            wanted = torch.log_softmax(model._model(**features).logits[0], -1)
        assert len(clip) / HOP - 2 <= len(found) <= len(wanted)
        assert torch.allclose(found, wanted[: len(found)], atol=2e-3)
        assert found.dtype == torch.float32


def test_half_precision_is_heard_nearly_alike(checkpoint: Path) -> None:
    clips = noises(1.0, 2.0)
    exact, half = (load(checkpoint, ctc={"dtype": dtype}).emissions(clips) for dtype in ("auto", "bfloat16"))
    for one, other in zip(exact, half, strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        assert (one - other).abs().mean() < 0.2


# what is refused


def test_weights_that_are_missing_are_not_made_up(copied: Path) -> None:
    base = transformers.AutoModel.from_pretrained(copied)
    base.save_pretrained(copied)
    with pytest.raises(AlignError, match=r"weights are missing: lm_head"):
        load(copied)


@pytest.mark.parametrize(("file", "text"), [("model.safetensors", "no weights"), ("config.json", "{")])
def test_a_damaged_checkpoint_is_named(copied: Path, file: str, text: str) -> None:
    (copied / file).write_text(text)
    with pytest.raises(AlignError, match=r"annotate\.align\.models, es: .*tiny"):
        load(copied)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.BertModel(transformers.BertConfig(vocab_size=10, **size)).save_pretrained(tmp_path / "bert")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "bert")
    with pytest.raises(AlignError, match="BertConfig"):
        load(tmp_path / "bert")


def test_another_sample_rate_is_refused(copied: Path) -> None:
    change(copied / "preprocessor_config.json", sampling_rate=8_000)
    with pytest.raises(AlignError, match="8000 Hz"):
        load(copied)


# tokens


def vocabulary(folder: Path, document: object, size: int = 99, **settings: object) -> CtcVocabulary:
    (folder / "vocab.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return CtcVocabulary.read(folder, 0, size)


def numbered(tokens: str) -> dict[str, int]:
    return {token: number for number, token in enumerate(["[PAD]", "[UNK]", "|", *tokens])}


def spelled(known: CtcVocabulary, word: str, *readings: str) -> str:
    names = {number: token for token, number in known.tokens.items()} | {known.delimiter: "|"}
    return "".join(names[number] for number in known.spell(word, readings))


def test_special_tokens_are_no_letters(tmp_path: Path) -> None:
    document = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "E": 5, "'": 6, "Z": 7}
    known = vocabulary(tmp_path, document, 7)
    assert known == CtcVocabulary({"E": 5, "'": 6}, 0, 4, phonetic=False)
    assert vocabulary(tmp_path, {"eng": document}, 7) == known


@pytest.mark.parametrize(
    ("tokens", "word", "wanted"),
    [
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "don't", "DON'T"),
        ("abcdefghijklmnopqrstuvwxyz", "Don't", "dont"),
        ("abcdefghijklmnopqrstuvwxyz", "Élève", "eleve"),
        ("abcdefghijklmnopqrstuvwxyzéè", "Élève", "élève"),
        ("abcdefghijklmnopqrstuvwxyzéè", "E\u0301le\u0300ve", "élève"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "Straße", "STRASSE"),
        ("abcdefghijklmnopqrstuvwxyzäöüß", "Straße", "straße"),
        ("abcdefghijklmnopqrstuvwxyz", "Œuvre", "oeuvre"),
        ("abcdefghijklmnopqrstuvwxyz", "grand-mère", "grandmere"),
        ("abcdefghijklmnopqrstuvwxyz-", "grand-mère", "grand-mere"),
        ("abcdefghijklmnopqrstuvwxyz0123456789", "A4", "a4"),
        ("abcdefghijklmnopqrstuvwxyz", "A4", ""),
        ("abcdefghijklmnopqrstuvwxyz", "Ωmega", ""),
    ],
)
def test_a_word_is_spelled_in_the_letters_that_there_are(tmp_path: Path, tokens: str, word: str, wanted: str) -> None:
    assert spelled(vocabulary(tmp_path, numbered(tokens)), word) == wanted


def test_what_is_read_otherwise_is_spelled_as_it_is_read(tmp_path: Path) -> None:
    letters = vocabulary(tmp_path, numbered("abcdefghijklmnopqrstuvwxyz"))
    assert spelled(letters, "21", "21st", "twenty one", "two one") == "twenty|one"
    assert spelled(letters, "Dr.", "doctor", "drive") == "doctor"
    assert spelled(letters, "U.S.", "U S") == "us"
    digits = vocabulary(tmp_path, numbered("abcdefghijklmnopqrstuvwxyz0123456789"))
    assert spelled(digits, "21", "twenty one") == "21"


def test_phones_are_told_from_letters(tmp_path: Path) -> None:
    phones = {token: number for number, token in enumerate(["<pad>", "<s>", *PHONES])}
    assert vocabulary(tmp_path, phones).phonetic
    assert vocabulary(tmp_path, phones).delimiter is None
    assert vocabulary(tmp_path, {"<pad>": 0, "a": 1}, tokenizer_class="Wav2Vec2PhonemeCTCTokenizer").phonetic
    assert not vocabulary(tmp_path, numbered("abcdefghijklmnopqrstuvwxyzàâæçéèêëîïôœùûüÿäöüßñ")).phonetic


def test_a_vocabulary_that_does_not_serve_says_why(tmp_path: Path) -> None:
    with pytest.raises(AlignError, match=r"no vocab\.json"):
        CtcVocabulary.read(tmp_path, 0, 5)
    with pytest.raises(AlignError, match="of 2 languages"):
        vocabulary(tmp_path, {"eng": {"a": 1}, "deu": {"a": 1}})
    with pytest.raises(AlignError, match="do not fit"):
        vocabulary(tmp_path, {"<pad>": 0})
    (tmp_path / "vocab.json").write_text("[]")
    with pytest.raises(AlignError, match="no object"):
        CtcVocabulary.read(tmp_path, 0, 5)
