"""Random models and a tokenizer of a few words, built in a test's own folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

WORDS = ["<end>", "<begin>", "<unknown>", *"abcdefghijklmnopqrstuvwxyz", "yes", "no"]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; padding is the end of text, as in SmolLM2."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unknown>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", pad_token="<end>", bos_token="<begin>", unk_token="<unknown>"
    )


def llama(folder: Path, seed: int = 0, positions: int = 64) -> Path:
    """A two-layer decoder with tied embeddings, and its tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def bert(folder: Path, seed: int = 0, headed: bool = False, tokens: int = len(WORDS)) -> Path:
    """A two-layer encoder, with or without a classification head, and its tokenizer."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tokens,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        pad_token_id=0,
        initializer_range=0.3,
    )
    (BertForSequenceClassification(config) if headed else BertModel(config)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def masked_bert(folder: Path, seed: int = 0, positions: int = 32) -> Path:
    """A two-layer encoder with a language head; its tokenizer puts texts between marks, as BERT's does."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS) + 1,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        pad_token_id=0,
        initializer_range=0.3,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    masking_tokenizer().save_pretrained(folder)
    return folder


def masking_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, between `<begin>` and `<end>`, and a token for a mask."""
    made = tokenizer()
    made.add_special_tokens({"mask_token": "<mask>"})
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", 1), ("<end>", 0)]
    )
    return made


def with_other_tokens(folder: Path) -> Path:
    """A copy of a model beside it, whose tokenizer gives another token for a word."""
    other = folder.with_name(f"{folder.name}-with-other-tokens")
    shutil.copytree(folder, other)
    file = other / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf8").replace('"a":', '"#":').replace('"b":', '"a":'), encoding="utf8")
    return other


def other_family(folder: Path, family: str) -> Path:
    """A two-layer model of another family, as it is published: GPT-2 with `Conv1D`, Mixtral with fused experts."""
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    body = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, **sizes}
    builders = {
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, **sizes)),
        "roberta": lambda: RobertaForMaskedLM(RobertaConfig(max_position_embeddings=64, **body)),
        "mixtral": lambda: MixtralForCausalLM(MixtralConfig(num_key_value_heads=1, num_local_experts=2, **body)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(num_key_value_heads=1, **body)),
    }
    builders[family]().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def lines(path: Path, rows: list[dict[str, str]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    return path


def letters(count: int, length: int, seed: int = 0) -> str:
    """Random words, `count` to `length` of them."""
    generator = torch.Generator().manual_seed(seed)
    wanted = int(torch.randint(count, length + 1, (1,), generator=generator))
    return " ".join(WORDS[3 + int(i)] for i in torch.randint(0, 26, (wanted,), generator=generator))


def scored_place(folder: Path) -> Path:
    """The folder, with a base, rows to be answered yes or no, and text: what models are trained and scored on."""
    llama(folder / "base")
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(30)]
    lines(folder / "rows.jsonl", rows)
    lines(folder / "text.jsonl", [{"text": letters(5, 30, seed)} for seed in range(6)])
    return folder
