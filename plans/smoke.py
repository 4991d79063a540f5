"""Build the model and the data of the smoke plan on the spot, and run it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import assay

WORDS = ["<end>", "<unknown>", *"abcdefghijklmnopqrstuvwxyz", "yes", "no"]


def build(folder: Path) -> None:
    """A two-layer decoder with its tokenizer, questions with an answer, and prose, all random."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unknown>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")
    tokenizer.save_pretrained(folder / "base")
    texts = [" ".join(WORDS[2 + int(i)] for i in torch.randint(0, 26, (12,))) for _ in range(24)]
    rows = [{"prompt": text, "answer": "yes" if text < "m" else "no"} for text in texts]
    for name, lines in (("rows", rows), ("prose", [{"text": text} for text in texts])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf8")


def main() -> int:
    """Build, run, and say what failed."""
    here = Path(__file__).parent
    if not (here / "smoke").exists():
        build(here / "smoke")
    record = assay.study(here / "smoke.toml")
    print(f"{len(record.runs)} runs, {len(record.failed)} failed")
    return 1 if record.failed else 0


if __name__ == "__main__":
    sys.exit(main())
