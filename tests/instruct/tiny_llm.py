"""A random language model of one layer, small enough to be made and served within a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_tokenizer(chat: str, *more: str) -> Any:
    """A tokenizer of a token a byte, with a chat template; the first are special: padding, turns, and then `more`."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|im_start|>", "<|im_end|>", *more]
    bytes_only = ByteLevelBPETokenizer()
    bytes_only.train_from_iterator(["a"], vocab_size=256 + len(special), special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only._tokenizer,
        pad_token=special[0],
        bos_token=special[1],
        eos_token=special[2],
        additional_special_tokens=list(more),
        chat_template=chat,
    )


def save_tiny_llm(folder: Path, positions: int = 2048, seed: int = 0) -> Path:
    """Save a Llama with a byte-level tokenizer (a token a byte) and chat turns into `folder`; return the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer(CHAT)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder
