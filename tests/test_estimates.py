"""Estimates against what runs measured: counts to the number, peak memory within a stated tolerance."""

from __future__ import annotations

import ctypes
import json
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from assay.errors import SettingError, SourceError
from assay.estimates import estimate
from assay.methods import METHODS, AnyMethod
from assay.training.run import train
from assay.training.spec import Spec, parse_spec
from models_in_miniature import bert, letters, lines, llama, other_family, tokenizer
from processes import apart
from test_methods import CASES, FITTING

# The estimate is the sum of parts that are not all there at once, so it may be over; what it must not be is far under.
LEAST, MOST = 0.9, 1.35

UNBUILT = ("shira",)  # PEFT looks at weights to build them
BUILT = {name: (name, family) for name, family in reversed(CASES) if name not in UNBUILT}


REWARD = "assay.models.rewards:exact_number"


def measure(
    sender: Connection, home: Path, family: str, name: str, more: dict[str, object], policy: dict[str, object]
) -> None:
    """Send what is estimated and what is measured of a run whose activations are large beside the libraries."""
    # glibc returns what is freed at once, so that the peak is what the run holds and not what the allocator keeps.
    for parameter, value in ((-3, 65_536), (-1, 0), (-2, 0)):  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        ctypes.CDLL(None).mallopt(parameter, value)
    sizes = {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 4}
    kinds = {"llama": (LlamaForCausalLM, LlamaConfig), "bert": (BertModel, BertConfig)}
    model, config = kinds[family]
    settings = config(**sizes, num_hidden_layers=4, max_position_embeddings=256, pad_token_id=0)
    model(settings).save_pretrained(home / "base")
    tokenizer().save_pretrained(home / "base")
    rows = [(letters(60, 65, seed), "kz"[seed % 2]) for seed in range(20)]
    lines(
        home / "rows.jsonl",
        [{"text": text, "label": label, "prompt": text[:56], "answer": "1"} for text, label in rows],
    )

    def spec(batch: int) -> Spec:
        kind = "prompts" if policy else "text" if family == "llama" else "classification"
        data = {
            "kind": kind,
            "path": str(home / "rows.jsonl"),
            "max_length": 60,
            **({"columns": ["answer"]} if policy else {}),
        }
        training = {"steps": 2, "batch_size": batch, **more}
        tables = {"base": str(home / "base"), "data": data, "training": training, "method": {"name": name, "lr": 1e-3}}
        return parse_spec(tables | ({"policy": policy} if policy else {}))

    train(spec(1), home / "small")  # libraries that are loaded on first use are not the run's
    sender.send((estimate(spec(16)).peak_bytes, train(spec(16), home / "run").cost.peak_bytes))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process's peak memory")
@pytest.mark.parametrize(
    ("family", "name", "training", "policy"),
    [
        ("llama", "full", {}, {}),
        ("llama", "lora", {}, {}),
        ("bert", "bitfit", {}, {}),
        ("llama", "lora", {"precision": "bf16"}, {}),
        ("llama", "full", {"precision": "bf16"}, {}),
        ("llama", "lora", {"gradient_checkpointing": True}, {}),
        ("llama", "full", {}, {"reward": REWARD, "replies": 2, "reply_tokens": 30}),
        ("llama", "lora", {}, {"reward": REWARD, "replies": 2, "reply_tokens": 30, "algorithm": "reinforce"}),
    ],
)
def test_peak_memory_is_near_what_was_measured(
    tmp_path: Path, family: str, name: str, training: dict[str, object], policy: dict[str, object]
) -> None:
    process, answer = apart(measure, tmp_path, family, name, training, policy)
    estimated, measured = answer.recv()
    process.join()
    if measured is None:
        pytest.skip("this container does not let a process reset its peak")
    assert LEAST < estimated / measured < MOST, (estimated, measured)


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
# One family a method: the counts are taken from the parameters that a method makes, in whichever model.
@pytest.mark.parametrize(("name", "family"), BUILT.values())
def test_counts_are_those_of_the_run(tmp_path: Path, name: str, family: str) -> None:
    (llama if family == "llama" else bert)(tmp_path / "base")
    kind = "text" if family == "llama" else "classification"
    lines(tmp_path / "rows.jsonl", [{"text": letters(5, 9, s), "label": "kz"[s % 2]} for s in range(12)])
    method = {"name": name, "lr": 1e-3, **FITTING.get(name, {})}
    data = {"kind": kind, "path": str(tmp_path / "rows.jsonl"), "max_length": 8}
    training = {"steps": 1, "batch_size": 2}
    spec = parse_spec({"base": str(tmp_path / "base"), "data": data, "training": training, "method": method})
    expected, record = estimate(spec), train(spec, tmp_path / "run")
    assert expected.trainable == record.trained.parameters
    assert expected.stored == record.trained.stored
    assert expected.parameters == record.trained.parameters + sum(record.trained.frozen.values())
    assert 0 <= record.trained.stored_bytes - expected.stored_bytes < 20_000  # safetensors' header
    assert expected.optimizer_bytes == 2 * expected.gradient_bytes == 8 * record.trained.parameters
    assert expected.checkpoint_bytes == 12 * record.trained.parameters
    # What the run's own optimizer held: AdamW counts its steps beside each tensor's moments.
    assert record.cost.optimizer_bytes is not None
    assert record.cost.checkpoint_bytes is not None
    assert 0 < record.cost.optimizer_bytes - expected.optimizer_bytes < 4 * 200
    assert 0 < record.cost.checkpoint_bytes - expected.checkpoint_bytes < 4 * 200
    assert expected.activation_bytes > 0
    assert expected.step_flops is not None


@pytest.mark.parametrize("name", UNBUILT)
def test_what_cannot_be_built_without_weights_is_said(tmp_path: Path, name: str) -> None:
    llama(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(5, 9, s)} for s in range(12)])
    data = {"kind": "text", "path": str(tmp_path / "rows.jsonl"), "max_length": 8}
    tables = {"base": str(tmp_path / "base"), "data": data, "training": {"steps": 1, "batch_size": 1}}
    with pytest.raises(SettingError, match=f"cannot build {name} without weights"):
        estimate(parse_spec({**tables, "method": {"name": name, "lr": 1e-3, **FITTING.get(name, {})}}))


def test_data_that_are_not_there_are_said(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    data = {"kind": "text", "path": "absent.jsonl", "max_length": 8}
    tables = {"base": str(tmp_path / "base"), "data": data, "training": {"steps": 1, "batch_size": 1}}
    with pytest.raises(SourceError, match="no such file"):
        estimate(parse_spec({**tables, "method": {"name": "full", "lr": 1e-3}}))


def test_every_method_says_what_it_stores() -> None:
    assert all(TypeAdapter(AnyMethod).validate_python({"name": name, "lr": 1.0}).stored for name in METHODS)


def test_operations_of_a_step_are_those_of_its_products(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(30, 31, s)} for s in range(12)])
    data = {"kind": "text", "path": str(tmp_path / "rows.jsonl"), "max_length": 8}
    tables = {"base": str(base), "data": data, "training": {"steps": 1, "batch_size": 2}}
    found = estimate(parse_spec({**tables, "method": {"name": "full", "lr": 1e-3}})).step_flops
    # Two layers of width 16, one head of 8 for keys and values, 24 inside; 31 words at the end, whose matrix is frozen.
    layers = 2 * (16 * 16 * 2 + 16 * 8 * 2 + 16 * 24 * 3)
    products, output = 3 * 2 * 16 * layers, 2 * 2 * 16 * 16 * 31
    attention = 2 * 3 * 2 * (2 * 2) * (8 * 8) * 8 * 2  # layers, passes, products, (batch x heads), 8 x 8 places, width
    first = 2 * 16 * (16 * 16 + 16 * 8 * 2)  # the first layer's inputs need no gradient: nothing before them learns
    assert found is not None
    assert products + output - first <= found <= products + output + attention


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_that_reads_its_tokens_for_padding_is_estimated(tmp_path: Path, method: str) -> None:
    base = other_family(tmp_path / "base", "gpt2")
    lines(tmp_path / "rows.jsonl", [{"text": letters(5, 9, s)} for s in range(12)])
    data = {"kind": "text", "path": str(tmp_path / "rows.jsonl"), "max_length": 8}
    tables = {"base": str(base), "data": data, "training": {"steps": 1, "batch_size": 2}}
    assert estimate(parse_spec({**tables, "method": {"name": method, "lr": 1e-3}})).activation_bytes > 0


def test_what_fits_a_memory_is_said_for_every_combination(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(30, 31, s)} for s in range(12)])
    data = {"kind": "text", "path": str(tmp_path / "rows.jsonl"), "max_length": 16}
    training = {"steps": 1, "batch_size": 8}
    tables = {"base": str(base), "data": data, "training": training, "method": {"name": "lora", "lr": 1e-3}}
    spec = parse_spec(tables)
    alone = estimate(spec)
    assert alone.fits == ()
    plenty, little = estimate(spec, "12GB"), estimate(spec, "40kB")
    settings = {(fit.precision, fit.base_bits, fit.gradient_checkpointing) for fit in plenty.fits}
    numbers = ("float32", "bf16", "bf16-weights")
    assert settings == {(number, bits, again) for number in numbers for bits in (None, 4) for again in (False, True)}
    assert {fit.examples_at_once for fit in plenty.fits} == {8}
    assert {fit.examples_at_once for fit in little.fits} == {None}
    peaks = {(fit.precision, fit.base_bits, fit.gradient_checkpointing): fit.peak_bytes for fit in plenty.fits}
    # The whole batch in float32 is what is estimated anyway, but for how eight examples follow from two.
    assert peaks["float32", None, False] == pytest.approx(alone.peak_bytes, rel=0.02)
    for precision in ("float32", "bf16", "bf16-weights"):
        for bits in (None, 4):
            assert peaks[precision, bits, True] < peaks[precision, bits, False]
        assert peaks[precision, 4, False] < peaks[precision, None, False]
    assert peaks["bf16-weights", None, False] < peaks["bf16", None, False]
    # Room for the peak of four at once, and a little: so many, and no more.
    with_room = estimate(spec, f"{(alone.peak_bytes * 3) // 4} B")
    chosen = next(fit for fit in with_room.fits if (fit.precision, fit.base_bits) == ("float32", None))
    assert chosen.examples_at_once in (2, 4)
    assert chosen.peak_bytes <= alone.peak_bytes * 3 // 4
    with pytest.raises(SettingError, match="the memory is 'much'"):
        estimate(spec, "much")


def test_models_beside_a_policy_are_counted(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    lines(tmp_path / "pairs.jsonl", [{"chosen": letters(5, 9, s), "rejected": letters(5, 9, s + 20)} for s in range(9)])
    lines(tmp_path / "prompts.jsonl", [{"prompt": letters(5, 9, s), "answer": "1"} for s in range(9)])
    training, lora = {"steps": 1, "batch_size": 2}, {"name": "lora", "lr": 1e-3}

    def spec(method: dict[str, object], policy: dict[str, object]) -> Spec:
        data = {"kind": "prompts", "path": str(tmp_path / "prompts.jsonl"), "max_length": 16, "columns": ["answer"]}
        tables = {"base": str(base), "data": data, "training": training, "method": method}
        return parse_spec({**tables, "policy": {"replies": 2, "reply_tokens": 8, **policy}})

    pairs = {"kind": "pairs", "path": str(tmp_path / "pairs.jsonl"), "max_length": 16}
    judge = {"base": str(base), "data": pairs, "training": training, "method": lora}
    train(parse_spec(judge), tmp_path / "judge")
    whole = 4 * sum(value.numel() for value in LlamaForCausalLM.from_pretrained(base).parameters())
    headed = 4 * sum(
        value.numel() for value in AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).parameters()
    )
    alone = estimate(spec(lora, {"reward": REWARD}))
    assert (alone.frozen_bytes, alone.step_flops) == (0, None)  # its reference is itself, the adapter disabled
    judged = estimate(spec(lora, {"reward": str(tmp_path / "judge")}))
    assert judged.frozen_bytes == headed
    copied = estimate(spec({"name": "full", "lr": 1e-5}, {"reward": str(tmp_path / "judge")}))
    assert copied.frozen_bytes == whole + headed
    assert (
        copied.peak_bytes - estimate(spec({"name": "full", "lr": 1e-5}, {"reward": REWARD, "beta": 0.0})).peak_bytes
        == whole + headed
    )
    valued = estimate(spec(lora, {"reward": REWARD, "algorithm": "reinforce"}))
    run = train(spec(lora, {"reward": REWARD, "algorithm": "reinforce"}), tmp_path / "policy")
    assert run.cost.optimizer_bytes is not None
    assert run.cost.checkpoint_bytes is not None
    assert 0 < run.cost.optimizer_bytes - valued.optimizer_bytes < 4 * 400
    assert 0 < run.cost.checkpoint_bytes - valued.checkpoint_bytes < 4 * 400
    unpadded = spec(lora, {"reward": REWARD, "algorithm": "reinforce"}).model_dump()
    unpadded["base"] = str(other_family(tmp_path / "gpt2", "gpt2"))  # a model without a token to pad with
    assert estimate(parse_spec(unpadded)).peak_bytes > 0
    more = valued.optimizer_bytes // 8 - valued.trainable
    assert valued.notes == (f"{more:,} parameters of the value model learn beside them.",)
    on_cuda = estimate(spec(lora, {"reward": REWARD}), device="cuda")
    assert on_cuda.peak_bytes <= alone.peak_bytes
    with pytest.raises(SettingError, match="tpu"):
        estimate(spec(lora, {"reward": REWARD}), device="tpu")
    little, plenty = (estimate(spec(lora, {"reward": REWARD}), size).fits for size in ("10kB", "1GB"))
    assert [(fit.examples_at_once, fit.peak_bytes) for fit in (*little, *plenty)] == [
        (None, alone.peak_bytes),
        (2, alone.peak_bytes),
    ]


def test_full_tuning_has_no_base_in_codes(tmp_path: Path) -> None:
    base = llama(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(30, 31, s)} for s in range(12)])
    data = {"kind": "text", "path": str(tmp_path / "rows.jsonl"), "max_length": 16}
    tables = {"base": str(base), "data": data, "training": {"steps": 1, "batch_size": 2}}
    found = estimate(parse_spec({**tables, "method": {"name": "full", "lr": 1e-5}}), "1GB")
    assert {fit.base_bits for fit in found.fits} == {None}


def test_a_base_that_was_stored_while_it_learned_is_estimated_and_keeps_its_settings(tmp_path: Path) -> None:
    """transformers' Trainer turns `use_cache` off; without one it reads numbers that an estimate has not."""
    base = llama(tmp_path / "base")
    data = lines(tmp_path / "rows.jsonl", [{"prompt": letters(3, 9, seed), "answer": "a"} for seed in range(8)])
    tables = {
        "data": {"kind": "prompt-answer", "path": str(data), "max_length": 12},
        "training": {"steps": 1, "batch_size": 2},
    }
    spec = parse_spec(tables | {"base": str(base), "method": {"name": "full", "lr": 1e-3}})
    train(spec, tmp_path / "run")
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("base", "run"))
    assert before.get("use_cache", True) is after.get("use_cache", True) is True
    path = tmp_path / "base/config.json"
    path.write_text(json.dumps(before | {"use_cache": False}), encoding="utf8")
    assert estimate(spec).peak_bytes > 0
