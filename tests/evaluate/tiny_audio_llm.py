"""A random audio language model of one layer each for hearing and speaking, made and served within a test."""

from __future__ import annotations

from pathlib import Path

from ..instruct.tiny_llm import byte_tokenizer

AUDIO = "<|AUDIO|>"
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{% if p['type'] == 'text' %}{{ p['text'] }}{% else %}<|audio_bos|><|AUDIO|><|audio_eos|>\n{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_audio_llm(folder: Path, seed: int = 0) -> Path:
    """Save a Qwen2-Audio with a byte-level tokenizer (a token a byte) into `folder`; return the folder."""
    import torch
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioEncoderConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        Qwen2Config,
        WhisperFeatureExtractor,
    )

    tokenizer = byte_tokenizer(CHAT, AUDIO, "<|audio_bos|>", "<|audio_eos|>")
    hearing = WhisperFeatureExtractor(feature_size=16)
    Qwen2AudioProcessor(hearing, tokenizer, chat_template=CHAT).save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen2AudioConfig(
        audio_config=Qwen2AudioEncoderConfig(
            num_mel_bins=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32, d_model=32
        ).to_dict(),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=4096,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            tie_word_embeddings=False,
        ).to_dict(),
        audio_token_index=tokenizer.convert_tokens_to_ids(AUDIO),
    )
    model = Qwen2AudioForConditionalGeneration(config)
    with torch.no_grad():  # else what it hears is too faint beside what it reads
        model.model.multi_modal_projector.linear.weight *= 50
        model.lm_head.weight[tokenizer.eos_token_id] = 0  # else it hardly says a word
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder
