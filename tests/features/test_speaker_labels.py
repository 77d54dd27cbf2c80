import io
import pickle
import shutil
import sys

import numpy as np
import pytest
import soxr

from sift_ray.audio.batching import ShrinkingBatches
from sift_ray.config import LabelConfig
from sift_ray.features.speaker_labels import SpeakerLabeller, SpokenLabel, label_identity

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

RATE = 16_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def small(labels, **other):
    """What tiny models share, in wav2vec2's words."""
    return {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "classifier_proj_size": 16,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        **other,
    }


def convolved(labels, **other):
    return small(labels, conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, **other)


def wav2vec2(labels, **other):
    options = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, **other}
    return transformers.Wav2Vec2ForSequenceClassification(
        transformers.Wav2Vec2Config(**convolved(labels, **options))
    ), transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)


def wav2vec2_group(labels):
    model, _ = wav2vec2(labels, feat_extract_norm="group", do_stable_layer_norm=False)
    return model, transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)


def wavlm(labels):
    config = transformers.WavLMConfig(**convolved(labels, feat_extract_norm="layer", do_stable_layer_norm=True))
    model = transformers.WavLMForSequenceClassification(config)
    return model, transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)


def data2vec(labels):
    model = transformers.Data2VecAudioForSequenceClassification(transformers.Data2VecAudioConfig(**convolved(labels)))
    return model, transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)


def ast(labels):
    model = transformers.ASTForAudioClassification(transformers.ASTConfig(**small(labels, max_length=256)))
    return model, transformers.ASTFeatureExtractor(max_length=256)


def whisper(labels):
    options = {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in
               (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))}  # fmt: skip
    config = transformers.WhisperConfig(d_model=32, init_std=0.1, **small(labels, num_hidden_layers=1, **options))
    return transformers.WhisperForAudioClassification(config), transformers.WhisperFeatureExtractor()


ARCHITECTURES = {f.__name__: f for f in (wav2vec2, wav2vec2_group, wavlm, data2vec, ast, whisper)}
HEAR_PADDING = {"wav2vec2_group", "data2vec"}


def write_checkpoint(folder, labels, architecture=wav2vec2, *, winner=None, seed=0, **other):
    """Write a random model; of one with a `winner`, that label has a score of at least 0.99 whatever is heard."""
    torch.manual_seed(seed)
    model, extractor = architecture(labels, **other)
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        if winner is None:
            last.weight.mul_(50.0)  # so that clips differ
        else:
            last.bias[list(labels).index(winner)] += 10.0
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def labeller(folder, column="gender", **options):
    return SpeakerLabeller(LabelConfig(column=column, model=str(folder), **options), device="cpu")


def clips_of(*seconds, seed=1):
    noise = np.random.default_rng(seed)
    clips = []
    for s in seconds:
        tone = np.sin(2 * np.pi * noise.uniform(80, 400) * np.arange(round(s * RATE)) / RATE)
        clips.append((0.2 * tone + noise.normal(0, noise.uniform(0.001, 0.1), len(tone))).astype(np.float32))
    return clips


@pytest.fixture(scope="module")
def says_f(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("models") / "says-f", ["F", "M", "other"], winner="F")


@pytest.fixture
def one_clip():
    return clips_of(1.0)


# alone as in a batch


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_clip_is_labelled_alone_as_in_a_batch(tmp_path, name):
    model = labeller(write_checkpoint(tmp_path / name, ["male", "female"], ARCHITECTURES[name]), min_score=0.0)
    clips = clips_of(0.7, 2.1, 0.3, 2.1, 1.3)
    together = model.label(clips)
    scores = []
    for clip, label in zip(clips, together, strict=True):
        (alone,) = model.label([clip])
        assert (alone.value, alone.raw, alone.reason) == (label.value, label.raw, None)
        assert alone.score == pytest.approx(label.score, abs=1e-5)
        scores.append(label.score if label.raw == "male" else 1.0 - label.score)
    assert np.ptp(scores) > 0.01, "the model hears no difference, so the test shows nothing"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_is_used_just_where_it_is_not_heard(tmp_path, name):
    model = labeller(write_checkpoint(tmp_path / name, ["male", "female"], ARCHITECTURES[name]))
    groups = list(model._groups([8000, 16000, 8000]))
    assert groups == ([[0, 2], [1]] if name in HEAR_PADDING else [[1, 0, 2]])
    clips = clips_of(0.5, 1.0)
    padded = model._scores(clips)[0]
    heard = np.abs(padded - model._scores(clips[:1])[0]).max()
    assert (heard > 1e-3) == (name in HEAR_PADDING)


def test_groups_hold_every_clip_once_and_not_too_much(says_f):
    model = labeller(says_f)
    lengths = np.random.default_rng(0).integers(4_000, 15 * RATE, 100).tolist()
    groups = list(model._groups(lengths))
    assert sorted(index for group in groups for index in group) == list(range(100))
    assert max(len(group) for group in groups) <= 8
    assert max(len(group) * max(lengths[index] for index in group) for group in groups) <= 20 * RATE


def test_where_memory_is_short_fewer_clips_are_heard_at_once(tmp_path, monkeypatch):
    model = labeller(write_checkpoint(tmp_path / "m", ["male", "female"]), min_score=0.0)
    clips = clips_of(0.5, 0.6, 0.7, 0.8, 0.9)
    expected = model.label(clips)
    forward, sizes = type(model._model).forward, []

    def narrow(self, input_values, **other):
        sizes.append(len(input_values))
        if len(input_values) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, input_values, **other)

    monkeypatch.setattr(type(model._model), "forward", narrow)
    for label, whole in zip(ShrinkingBatches(60 * RATE).map(clips, model.label), expected, strict=True):
        assert label.raw == whole.raw
        assert label.score == pytest.approx(whole.score, abs=1e-5)
    assert max(sizes) > 2 >= sizes[-1]


# what is heard


def test_the_middle_of_a_long_clip_is_heard(tmp_path):
    model = labeller(write_checkpoint(tmp_path / "m", ["male", "female"]), min_score=0.0, max_s=1.0)
    (clip,) = clips_of(3.0)
    assert model.label([clip]) == model.label([clip[RATE : 2 * RATE]])
    assert model.label([clip])[0].score != model.label([clip[:RATE]])[0].score


def test_a_model_of_another_rate_is_given_that_rate(tmp_path, one_clip):
    folder = write_checkpoint(tmp_path / "m", ["male", "female"])
    (at_16_khz,) = labeller(folder, min_score=0.0).label([soxr.resample(one_clip[0], RATE, 8_000).astype(np.float32)])
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8_000, return_attention_mask=True).save_pretrained(folder)
    (at_8_khz,) = labeller(folder, min_score=0.0).label(one_clip)
    assert (at_8_khz.raw, at_8_khz.score) == (at_16_khz.raw, pytest.approx(at_16_khz.score, abs=1e-6))


def test_the_scores_are_those_of_the_model(tmp_path, one_clip):
    folder = write_checkpoint(tmp_path / "m", ["a", "b", "c"])
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(**extractor(one_clip, sampling_rate=RATE, return_tensors="pt")).logits[0]
    best = int(logits.argmax())
    (label,) = labeller(folder, "emotion", min_score=0.0).label(one_clip)
    assert label == SpokenLabel("abc"[best], "abc"[best], pytest.approx(torch.softmax(logits, 0)[best].item()))
    several = write_checkpoint(tmp_path / "s", ["a", "b", "c"], problem_type="multi_label_classification")
    (label,) = labeller(several, "emotion", min_score=0.0).label(one_clip)
    assert label.score == pytest.approx(torch.sigmoid(logits)[best].item())


def test_no_clips_no_labels(says_f):
    assert labeller(says_f, values={"F": "female"}).label([]) == []


def test_a_short_clip_is_unknown_and_the_others_are_not(says_f, one_clip):
    short = np.zeros(3_999, dtype=np.float32)
    first, second, third = labeller(says_f).label([short, *one_clip, short])
    assert first == third == SpokenLabel(None, None, None, "too_short")
    assert (second.value, second.raw, second.reason) == ("female", "F", None)
    assert second.score > 0.99


def test_silence_is_not_labelled(says_f, one_clip):
    (loud,) = clips_of(3.0)
    around = np.concatenate([loud, np.zeros(15 * RATE, dtype=np.float32), loud])  # (15 s are heard)
    faint, just = ((one_clip[0] * (level / np.sqrt(np.mean(one_clip[0] ** 2)))) for level in (0.99e-4, 1.01e-4))
    labels = labeller(says_f).label([np.zeros(RATE, dtype=np.float32), *one_clip, around, faint, just])
    assert [label.reason for label in labels] == ["silent", None, "silent", "silent", None]
    assert labels[0] == SpokenLabel(None, None, None, "silent")
    assert [label.value for label in labels if label.reason is None] == ["female"] * 2


def test_less_probable_labels_stay_unknown(tmp_path, one_clip):
    folder = write_checkpoint(tmp_path / "m", ["male", "female"])
    (sure,) = labeller(folder, min_score=0.0).label(one_clip)
    (unsure,) = labeller(folder, min_score=sure.score + 1e-4).label(one_clip)
    assert unsure == SpokenLabel(None, sure.raw, sure.score, "low_score")
    (just,) = labeller(folder, min_score=sure.score).label(one_clip)
    assert just.value == sure.raw


def test_a_score_that_is_no_number_is_no_label(says_f, one_clip):
    broken = np.full(RATE, np.nan, dtype=np.float32)
    bad, good = labeller(says_f).label([broken, *one_clip])
    assert bad == SpokenLabel(None, None, None, "non_finite")
    assert good.value == "female"


# the words


@pytest.mark.parametrize(
    ("column", "label", "value", "reason"),
    [
        ("gender", "Male", "male", None),
        ("gender", "F", "female", None),
        ("gender", "other", None, "unmapped"),
        ("gender", "unknown", None, "unknown"),
        ("age", "fourties", "forties", None),
        ("age", "34", "thirties", None),
        ("age", "child", None, "unmapped"),
        ("accent", "US  English\n", "US English", None),
        ("accent", "NA", None, "unknown"),
        ("emotion", "Happy", "happy", None),
        ("emotion", "LABEL_3", None, "unmapped"),
        ("spoken_language", "deu", "de", None),
        ("spoken_language", "English", "en", None),
        ("spoken_language", "pt-BR", "pt", None),
        ("spoken_language", "cmn", "cmn", None),
        ("spoken_language", "Tamil", None, "unmapped"),
    ],
)
def test_labels_become_the_corpora_s_words(tmp_path, one_clip, column, label, value, reason):
    known = {"gender": "male", "age": "teens", "accent": "Irish", "emotion": "sad", "spoken_language": "fr"}[column]
    folder = write_checkpoint(tmp_path / "m", [known, label], winner=label)
    (heard,) = labeller(folder, column).label(one_clip)
    assert (heard.value, heard.raw, heard.reason) == (value, label, reason)


@pytest.mark.parametrize(
    ("column", "given", "value", "reason"),
    [
        ("gender", "M", "male", None),
        ("gender", None, None, "unknown"),
        ("age", "fifties", "fifties", None),
        ("emotion", "Joy", "joy", None),
        ("accent", "Scottish", "Scottish", None),
        ("spoken_language", "sw", "sw", None),
    ],
)
def test_values_say_what_labels_mean(tmp_path, one_clip, column, given, value, reason):
    folder = write_checkpoint(tmp_path / "m", ["LABEL_0", "LABEL_1"], winner="LABEL_1")
    other = {"gender": "female", "age": "teens"}.get(column, "de")
    (heard,) = labeller(folder, column, values={"LABEL_1": given, "LABEL_0": other}).label(one_clip)
    assert (heard.value, heard.raw, heard.reason) == (value, "LABEL_1", reason)


def test_values_of_labels_that_are_not_there_are_an_error(says_f):
    with pytest.raises(ValueError, match=r"gender: model .*no label 'W'; its labels are F, M, other"):
        labeller(says_f, values={"W": "female"})


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("gender", "woman", "female, male"),
        ("age", "old", "teens, twenties"),
        ("spoken_language", "Klingon", "ISO 639"),
        ("emotion", "unknown", "null for unknown"),
    ],
)
def test_values_outside_the_vocabulary_are_an_error(says_f, column, value, allowed):
    with pytest.raises(ValueError, match=rf"{column}: model .*F: '{value}' is no {column}.*{allowed}.*F, M, other"):
        labeller(says_f, column, values={"F": value})


def test_a_model_without_a_usable_label_is_an_error(tmp_path):
    folder = write_checkpoint(tmp_path / "m", [f"LABEL_{n}" for n in range(25)])
    with pytest.raises(ValueError, match=r"LABEL_0, LABEL_1, .*LABEL_19 and 5 more.*is a gender; say in values"):
        labeller(folder)


# what is no model


def test_a_regression_head_is_refused(tmp_path):
    with pytest.raises(ValueError, match="estimates a number"):
        labeller(write_checkpoint(tmp_path / "m", ["age"]), "age")
    with pytest.raises(ValueError, match="estimates a number"):
        labeller(write_checkpoint(tmp_path / "n", ["age", "gender"], problem_type="regression"), "age")


def test_a_model_that_was_never_trained_to_classify_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "m", ["male", "female"])
    model, _ = wav2vec2(["male", "female"])
    model.wav2vec2.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"not a trained Wav2Vec2ForSequenceClassification.*classifier\.bias"):
        labeller(folder)


@pytest.mark.parametrize("model", ["/no/such/folder", "./nowhere", "~/nowhere", "gender", "a/b/c", "a/"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_named(model):
    # (a config that is read away from the models is not checked against them)
    config = LabelConfig.model_validate({"column": "gender", "model": model}, context={"check_paths": False})
    with pytest.raises(ValueError, match=r"gender: model .*no such folder, nor a hub id"):
        label_identity(config)
    with pytest.raises(ValueError, match=r"gender: model .*no such folder, nor a hub id"):
        SpeakerLabeller(config, device="cpu")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        labeller(tmp_path)


def test_a_folder_has_no_revision(says_f):
    with pytest.raises(ValueError, match=r"revision v2 is of a hub id"):
        labeller(says_f, revision="v2")


def test_a_folder_without_an_extractor_is_named(says_f, tmp_path):
    folder = shutil.copytree(says_f, tmp_path / "m")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"gender: model .*preprocessor_config\.json"):
        labeller(folder)


def test_damaged_weights_are_named(says_f, tmp_path):
    folder = shutil.copytree(says_f, tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"gender: model {folder}: \w"):
        labeller(folder)


def test_code_in_pickled_weights_is_not_run(says_f, tmp_path, capfd):
    class Code:
        def __reduce__(self):
            return (print, ("code was run",))

    folder = shutil.copytree(says_f, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    for write in (torch.save, lambda value, file: pickle.dump(value, file, protocol=2)):
        content = io.BytesIO()
        write({"weights": Code()}, content)
        (folder / "pytorch_model.bin").write_bytes(content.getvalue())
        with pytest.raises(ValueError, match="gender: model "):
            labeller(folder)
    assert "code was run" not in capfd.readouterr().out


def test_code_of_a_checkpoint_is_not_run(says_f, tmp_path):
    folder = shutil.copytree(says_f, tmp_path / "m")
    mark = tmp_path / "run"
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Own: pass\n")
    text = (folder / "config.json").read_text()
    own = '"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}'
    (folder / "config.json").write_text(text.replace('"model_type": "wav2vec2"', own))
    with pytest.raises(ValueError, match="gender: model "):
        labeller(folder)
    assert not mark.exists()


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_is_named(says_f, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"gender: model .*sift-ray\[models\]"):
        labeller(says_f)


# who says so


def test_the_source_of_a_folder_is_its_name_and_its_content(says_f, tmp_path):
    source = labeller(says_f).source
    assert source == label_identity(LabelConfig(column="age", model=str(says_f)))
    name, _, digest = source.partition("@")
    assert (name, len(digest)) == ("says-f", 12)
    copy = shutil.copytree(says_f, tmp_path / "elsewhere" / "says-f")
    identity = LabelConfig(column="gender", model=str(copy))
    assert label_identity(identity) == source
    (copy / ".cache").write_text("left by a download")
    (copy / "README.md").write_text("not read")
    assert label_identity(identity) == source
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert label_identity(identity) != source


def test_the_source_is_of_what_is_loaded_alone(says_f, tmp_path):
    folder = shutil.copytree(says_f, tmp_path / "says-f")
    config = LabelConfig(column="gender", model=str(folder))
    source = label_identity(config)
    for name in ("training_args.bin", "optimizer.bin", "pytorch_model.bin", "trainer_state.json", "vocab.json"):
        (folder / name).write_bytes(b"1")
        assert label_identity(config) == source, name
    sources = {source}
    for name in ("config.json", "preprocessor_config.json", "processor_config.json", "model-00002-of-2.safetensors"):
        with (folder / name).open("ab") as file:
            file.write(b" ")
        sources.add(label_identity(config))
    assert len(sources) == 5


def test_pickled_weights_tell_a_model_that_has_no_others(says_f, tmp_path):
    folder = shutil.copytree(says_f, tmp_path / "says-f")
    (folder / "model.safetensors").unlink()
    config = LabelConfig(column="gender", model=str(folder))
    sources = {label_identity(config)}
    for content in (b"1", b"2"):
        (folder / "pytorch_model.bin").write_bytes(content)
        sources.add(label_identity(config))
    assert len(sources) == 3
    (folder / "training_args.bin").write_bytes(b"1")
    assert label_identity(config) in sources


def test_a_hub_id_is_identified_without_the_hub():
    assert label_identity(LabelConfig(column="gender", model="someone/voices")) == "someone/voices@main"
    config = LabelConfig(column="gender", model="someone/voices", revision="v2")
    assert label_identity(config) == "someone/voices@v2"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub as a download leaves it, and no network."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_the_source_of_a_hub_id_is_the_commit_that_was_loaded(hub, says_f, one_clip):
    place = hub / "models--someone--voices"
    shutil.copytree(says_f, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "v2").write_text(COMMIT)
    model = labeller("someone/voices", revision="v2")
    assert model.source == f"someone/voices@{COMMIT}"
    assert model.label(one_clip)[0].value == "female"


def test_a_hub_id_that_can_not_be_had_is_named(hub):
    with pytest.raises(ValueError, match=r"features\.labels, gender: model someone/nothing: \w"):
        labeller("someone/nothing")
