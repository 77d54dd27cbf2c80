"""Random CTC checkpoints of every kind that transformers has, small enough to run in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

LETTERS = "abcdefghijklmnopqrstuvwxyzáéíóúüñäöß'"
PHONES = (*"aeiouslmnptk", "β", "ɾ", "ɲ", "ɡ", "ʝ", "ʎ", "tʃ", "aɪ", "ð", "ɣ")
HOP = 320


def _small(size: int, **other: Any) -> dict[str, Any]:
    """What tiny models share, in wav2vec2's words."""
    return {
        "vocab_size": size,
        "pad_token_id": 0,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        **other,
    }


def _convolved(size: int, **other: Any) -> dict[str, Any]:
    return _small(size, conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, **other)


_LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_MASKED = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
_UNMASKED = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)


def wav2vec2(size: int) -> tuple[Any, Any]:
    return transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**_convolved(size, **_LAYER))), _MASKED


def wav2vec2_group(size: int) -> tuple[Any, Any]:
    return transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**_convolved(size))), _UNMASKED


def hubert(size: int) -> tuple[Any, Any]:
    return transformers.HubertForCTC(transformers.HubertConfig(**_convolved(size, **_LAYER))), _MASKED


def wavlm(size: int) -> tuple[Any, Any]:
    return transformers.WavLMForCTC(transformers.WavLMConfig(**_convolved(size, **_LAYER))), _MASKED


def data2vec(size: int) -> tuple[Any, Any]:
    return transformers.Data2VecAudioForCTC(transformers.Data2VecAudioConfig(**_convolved(size))), _MASKED


def wav2vec2_bert(size: int) -> tuple[Any, Any]:
    config = transformers.Wav2Vec2BertConfig(feature_projection_input_dim=160, **_small(size))
    return transformers.Wav2Vec2BertForCTC(config), transformers.SeamlessM4TFeatureExtractor()


ARCHITECTURES: dict[str, Callable[[int], tuple[Any, Any]]] = {
    made.__name__: made for made in (wav2vec2, wav2vec2_group, hubert, wavlm, data2vec, wav2vec2_bert)
}
HEAR_PADDING = {"wav2vec2_group", "data2vec"}


def write_ctc(
    folder: Path,
    tokens: Sequence[str] = tuple(LETTERS),
    architecture: Callable[[int], tuple[Any, Any]] = wav2vec2,
    *,
    delimiter: str | None = "|",
    tokenizer_class: str = "Wav2Vec2CTCTokenizer",
    seed: int = 0,
) -> Path:
    """Write a random checkpoint; see `save_ctc` for its tokens."""
    torch.manual_seed(seed)
    model, extractor = architecture(4 + bool(delimiter) + len(tokens))
    last = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(4.0)  # so that frames differ
    return save_ctc(folder, tokens, model, extractor, delimiter=delimiter, tokenizer_class=tokenizer_class)


def save_ctc(
    folder: Path,
    tokens: Sequence[str],
    model: Any,
    extractor: Any,
    *,
    delimiter: str | None = "|",
    tokenizer_class: str = "Wav2Vec2CTCTokenizer",
) -> Path:
    """Save a checkpoint whose outputs are `<pad>` (the blank), `<s>`, `</s>`, `<unk>`, the delimiter and `tokens`."""
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    names = ["<pad>", "<s>", "</s>", "<unk>", *([delimiter] if delimiter else []), *tokens]
    numbers = {name: number for number, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    settings = {"tokenizer_class": tokenizer_class, "word_delimiter_token": delimiter}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def noises(*seconds: float, seed: int = 1) -> list[NDArray[np.float32]]:
    """Return clips of noise under a tone that comes and goes, each another one."""
    draw = np.random.default_rng(seed)
    clips = []
    for length_s in seconds:
        time = np.arange(round(length_s * 16_000)) / 16_000
        tone = np.sin(2 * np.pi * draw.uniform(80, 400) * time) * (np.sin(2 * np.pi * draw.uniform(1, 4) * time) > 0)
        clips.append((0.2 * tone + draw.normal(0, draw.uniform(0.001, 0.1), len(time))).astype(np.float32))
    return clips
