"""Tiny random LMs in the formats of real ones, made on the spot (tests only)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHAT = (
    "{% for m in messages %}<start> {{ m['role'] }} {{ m['content'] }}"
    "{% if not loop.last or add_generation_prompt %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<start> assistant {% endif %}"
)
SPECIAL = ["<start>", "<end>"]
WIDTH, LAYERS, HEADS, INNER = 32, 2, 4, 64


def tokens() -> list[str]:
    """Every byte, one pair that a merge needs, and the marks of a chat."""
    from tokenizers.pre_tokenizers import ByteLevel

    return [*sorted(ByteLevel.alphabet()), "tr", *SPECIAL]


def tiny_folder(folder: Path) -> Path:
    """A random Qwen2 that spells with bytes, in Hugging Face's format."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    vocabulary = {token: n for n, token in enumerate(tokens())}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=[("t", "r")], unk_token=None, eos_token="<end>", pad_token="<end>"
    )
    tokenizer.chat_template = CHAT
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start>"]})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def tiny_gguf(path: Path) -> Path:
    """A random Qwen2 that spells with bytes, as a GGUF file with quantized weights."""
    import gguf

    known = tokens()
    dice = np.random.default_rng(0)
    out = gguf.GGUFWriter(str(path), "qwen2")
    out.add_context_length(512)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_freq_base(10_000.0)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(known)
    out.add_token_types([1] * 257 + [3] * len(SPECIAL))
    out.add_token_merges(["t r"])
    out.add_eos_token_id(known.index("<end>"))
    out.add_chat_template(CHAT)

    def add(name: str, *shape: int) -> None:
        values = dice.normal("norm" in name, 0.2, shape).astype(np.float32)
        if len(shape) == 1:
            out.add_tensor(name, values)
            return
        kind = gguf.GGMLQuantizationType.Q8_0
        out.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", len(known), WIDTH)
    add("output.weight", len(known), WIDTH)
    add("output_norm.weight", WIDTH)
    for n in range(LAYERS):
        for part in ("attn_q", "attn_k", "attn_v"):
            add(f"blk.{n}.{part}.weight", WIDTH, WIDTH)
            add(f"blk.{n}.{part}.bias", WIDTH)
        add(f"blk.{n}.attn_output.weight", WIDTH, WIDTH)
        add(f"blk.{n}.ffn_gate.weight", INNER, WIDTH)
        add(f"blk.{n}.ffn_up.weight", INNER, WIDTH)
        add(f"blk.{n}.ffn_down.weight", WIDTH, INNER)
        add(f"blk.{n}.attn_norm.weight", WIDTH)
        add(f"blk.{n}.ffn_norm.weight", WIDTH)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
