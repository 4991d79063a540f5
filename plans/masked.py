"""MiniLM as a masked language model, and what it forgets: `python plans/materials.py`, then `python plans/masked.py`.

MiniLM comes without a language head. One is trained here over its frozen body, on prose of which 60 documents are held
out, and stored with the body as a base of its own. Then the study `plans/masked.toml` tunes and scores it; its records
are kept in `docs/records/masked`. Every stage is skipped where its result is there.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, set_seed

import assay
from assay.records import Run, Scores
from assay.records.record import write_text

HERE = Path(__file__).resolve().parent
MATERIALS = HERE / "materials"
BODY, BASE = MATERIALS / "minilm-l6", MATERIALS / "minilm-l6-masked"
RECORDS = HERE.parent / "docs" / "records" / "masked"
SEED = 0
HELD_OUT, CHARACTERS = 60, 200  # documents, and how much of each: a pseudo-loss costs a run of the text for every token
LENGTH, WINDOWS = 64, 16  # tokens a window of the prose, windows a run
PASSES, MASKED = 2, 0.25  # over the prose, each with other tokens masked; a frozen body learns nothing from easier ones
EPOCHS, BATCH, RATE = 4, 256, 1e-3  # of the head, over the masked places
FLOOR = 0.05  # of the mean variance, added to every direction's before it is divided by it


def split() -> list[str]:
    """The prose that the head learns from; what is held out becomes a file of its own, cut between words."""
    with (MATERIALS / "prose.whole.jsonl").open(encoding="utf8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    drawn = random.Random(SEED).sample(texts, len(texts))
    short = [text[:CHARACTERS].rsplit(" ", 1)[0] for text in drawn[:HELD_OUT]]
    held_out = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in short)
    write_text(MATERIALS / "prose.heldout.jsonl", held_out)
    return drawn[HELD_OUT:]


def windows_of(texts: list[str], tokenizer: Any) -> torch.Tensor:
    """The prose in windows of equal length between BERT's marks; the rest of each document is left out."""
    room, windows = LENGTH - 2, []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        pieces = [ids[start : start + room] for start in range(0, len(ids) - room + 1, room)]
        windows += [[tokenizer.cls_token_id, *piece, tokenizer.sep_token_id] for piece in pieces]
    return torch.tensor(windows)


def masked_places(windows: torch.Tensor, model: Any, mask: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The body's last hidden state at every masked place, and the token that belongs there."""
    hidden, truth = [], []
    for start in range(0, PASSES * len(windows), WINDOWS):
        batch = windows[torch.arange(start, start + WINDOWS) % len(windows)].clone()
        asked = torch.rand(batch.shape) < MASKED
        asked[:, [0, -1]] = False
        truth.append(batch[asked])
        batch[asked] = mask
        with torch.inference_mode():
            hidden.append(model.bert(input_ids=batch).last_hidden_state[asked])
        if start % (20 * WINDOWS) == 0:
            print(f"window {start} of {PASSES * len(windows)}", flush=True)
    return torch.cat(hidden).clone(), torch.cat(truth)


def train_head(texts: list[str]) -> None:
    """A language head over the frozen body; its last matrix is the body's own embeddings, and stays so.

    MiniLM's states at a mask are nearly the same everywhere, so the head learns from whitened ones; the whitening is
    then folded into its first layer. Tokens that the prose never has are left out while it learns, and keep the bias of
    half an occurrence.
    """
    set_seed(SEED)
    tokenizer, model = AutoTokenizer.from_pretrained(BODY), AutoModelForMaskedLM.from_pretrained(BODY).eval()
    hidden, truth = masked_places(windows_of(texts, tokenizer), model, tokenizer.mask_token_id)
    mean, (variances, directions) = hidden.mean(0), torch.linalg.eigh(torch.cov(hidden.T))
    whitening = directions @ torch.diag((variances + FLOOR * variances.mean()).rsqrt()) @ directions.T
    states = (hidden - mean) @ whitening
    seen, positions = truth.unique(return_inverse=True)
    bias = torch.nn.Parameter(((positions.bincount() + 0.5) / len(truth)).log())
    head, embeddings = model.cls.predictions, model.get_input_embeddings().weight.detach()
    torch.nn.init.constant_(head.transform.LayerNorm.weight, 0.1)  # so that the bias leads at the start
    optimizer = torch.optim.AdamW([*head.transform.parameters(), bias], lr=RATE, weight_decay=0.0)
    order = [batch for _ in range(EPOCHS) for batch in torch.randperm(len(truth)).split(BATCH)]
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(order))
    for step, batch in enumerate(order):
        logits = head.transform(states[batch]) @ embeddings[seen].T + bias
        loss = torch.nn.functional.cross_entropy(logits, positions[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step} of {len(order)}, loss {loss.item():.3f}", flush=True)
    dense, unseen = head.transform.dense, torch.tensor(0.5 / len(truth)).log()
    with torch.no_grad():
        dense.bias -= dense.weight @ whitening @ mean
        dense.weight.copy_(dense.weight @ whitening)
        head.bias.fill_(unseen)[seen] = bias
        head.decoder.bias.copy_(head.bias)
    partial = BASE.with_name(f".{BASE.name}.partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(BASE)


def frequencies(texts: list[str]) -> dict[str, float]:
    """What word frequencies alone say of the held-out prose: counts of the other prose, and half an occurrence more."""
    tokenizer = AutoTokenizer.from_pretrained(BODY)
    counts = Counter(token for text in texts for token in tokenizer(text, add_special_tokens=False).input_ids)
    with (MATERIALS / "prose.heldout.jsonl").open(encoding="utf8") as lines:
        held_out = [json.loads(line)["text"] for line in lines]
    asked = [token for text in held_out for token in tokenizer(text, add_special_tokens=False).input_ids]
    whole = sum(counts.values()) + 0.5 * len(tokenizer)
    nats = -sum(math.log((counts[token] + 0.5) / whole) for token in asked)
    return {"tokens": len(asked), "nats_a_token": nats / len(asked)}


def keep(home: Path) -> None:
    """The records of every run that is done, by its arm."""
    write_text(RECORDS / "frequencies.json", json.dumps(frequencies(split())) + "\n")
    for path in sorted(home.glob("*/scores.json")):
        run, scores = Run.read(path.parent / "model" / "run.json"), Scores.read(path)
        rank = run.arm.get("method.rank")
        arm = run.method if rank is None else f"{run.method}-r{rank}"
        for name in ("scores.json", "audit.json"):
            write_text(RECORDS / f"{arm}.{name}", (path.parent / name).read_text(encoding="utf8"))
        write_text(RECORDS / arm / "run.json", run.to_json())
        print(arm, scores.forgetting and (scores.forgetting.mean, scores.forgetting.interval))


def main() -> int:
    """Make what is not there yet, and run the study."""
    if not BASE.exists():
        train_head(split())
    record = assay.study(HERE / "masked.toml", watch=lambda now: print(now.done, now.total, now.said, flush=True))
    keep(HERE / "studies" / "masked")
    print(f"{len(record.runs)} runs, {len(record.failed)} failed")
    return 1 if record.failed else 0


if __name__ == "__main__":
    sys.exit(main())
