"""Policies: both algorithms, what of them learns, their reference, and what cannot be used."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from assay.audits import audit
from assay.behaviour.intervals import proportion
from assay.behaviour.scoring import score
from assay.behaviour.tasks.task import Asking
from assay.behaviour.winning import read_contest, win_rate
from assay.data.examples import Prompt
from assay.errors import InputError, MismatchError, SettingError
from assay.models.generation import Drawing, draw, log_probabilities
from assay.models.rewards import exact_number, reward_of
from assay.records import Run, Source
from assay.settings import Generation
from assay.studies.run import study
from assay.training.loop import Job
from assay.training.policy import collapsed_at, reinforce_loss
from assay.training.run import train
from models_in_miniature import letters, lines, llama, other_family, tokenizer
from processes import kill_after
from test_training import StoppedError, stop_at

SPEC = """
base = "base"
objective = "policy"
[data]
kind = "prompts"
path = "prompts.jsonl"
max_length = 12
[training]
steps = {steps}
batch_size = 3
decay = "constant"
checkpoint_every = 2
[policy]
reward = "{reward}"
algorithm = "{algorithm}"
replies = 4
reply_tokens = 5
[method]
lr = 1e-2
{method}
"""
LORA = 'name = "lora"\nrank = 2\ntargets = "attention"'
FULL = 'name = "full"'
REWARD = """
base = "base"
[data]
kind = "pairs"
path = "pairs.jsonl"
max_length = 12
[training]
steps = 3
batch_size = 2
[method]
name = "full"
lr = 1e-2
"""
LIKES = "test_policies:likes_yes"
BOTH = pytest.mark.parametrize("algorithm", ["rloo", "reinforce"])
ARMS = pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])


def likes_yes(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [float(completion.split().count("yes")) for completion in completions]


def likes_nothing(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [float("nan")] * len(prompts)


def likes_too_few(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [1.0]


def says_nothing(prompts: list[str], completions: list[str], **_: Any) -> None:
    pass


def says_words(prompts: list[str], completions: list[str], **_: Any) -> list[str]:
    return ["good"] * len(prompts)


def write(
    folder: Path,
    name: str,
    method: str,
    algorithm: str = "rloo",
    steps: int = 4,
    reward: str = LIKES,
) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(SPEC.format(method=method, algorithm=algorithm, steps=steps, reward=reward), encoding="utf8")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    llama(tmp_path / "base")
    lines(tmp_path / "prompts.jsonl", [{"prompt": letters(2, 6, seed)} for seed in range(20)])
    return tmp_path


@BOTH
@ARMS
def test_a_policy_comes_to_say_what_is_rewarded(place: Path, algorithm: str, method: str) -> None:
    spec = write(place, "run", method.replace('targets = "attention"', ""), algorithm, steps=25)
    if method == LORA:  # a small adapter of a small model needs a larger rate
        spec.write_text(spec.read_text(encoding="utf8").replace("lr = 1e-2", "lr = 4e-2"), encoding="utf8")
    record = train(spec)
    rewards, kl = record.measured["reward"], record.measured["kl"]
    assert len(rewards) == len(kl) == len(record.losses) == 25
    assert sum(rewards[-5:]) > 2 * sum(rewards[:5]) + 1
    assert kl[0] == pytest.approx(0, abs=1e-5)
    assert kl[-1] > 0.1
    assert all(0 < share <= 1 for share in record.measured["distinct"])
    assert record.policy is not None
    assert record.policy.reference_unchanged
    copied = record.policy.reference_bytes
    assert (copied > 0) == (method == FULL)
    assert (record.policy.value_parameters > 0) == (algorithm == "reinforce")
    assert sum(matrix.relative_norm for matrix in audit(place / "base", place / "runs/run").matrices) > 0


@BOTH
@ARMS
def test_gradients_reach_only_what_the_method_declares(place: Path, algorithm: str, method: str) -> None:
    record = train(write(place, "run", method, algorithm))
    base = load_file(place / "base/model.safetensors")
    if method == FULL:
        tuned = load_file(place / "runs/run/model.safetensors")
        changed = {name for name in base if not torch.equal(base[name], tuned[name])}
        assert changed == {name for name in base if "proj" in name}
        return
    stored = load_file(place / "runs/run/adapter_model.safetensors")
    assert {name.split(".")[-3] for name in stored} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert record.trained.parameters == sum(value.numel() for value in stored.values())
    assert not any(".ref." in name for name in (*record.trained.tensors, *record.trained.frozen))


@BOTH
def test_the_reference_of_a_full_policy_is_a_copy_that_stays_the_base(
    place: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    make = Job._trainer

    def keep(job: Job, *given: Any) -> Any:
        kept.append(make(job, *given))
        return kept[-1]

    monkeypatch.setattr(Job, "_trainer", keep)
    train(write(place, "run", FULL, algorithm))
    reference = kept[0].ref_model.state_dict()
    base = load_file(place / "base/model.safetensors")
    assert all(torch.equal(reference[name], value) for name, value in base.items())
    assert not any(value.grad is not None for value in kept[0].ref_model.parameters())


def test_an_altered_reference_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Job._trainer

    def alter(job: Job, *given: Any) -> Any:
        trainer = make(job, *given)
        trainer.ref_model.model.norm.weight.data[0] += 1e-3
        return trainer

    monkeypatch.setattr(Job, "_trainer", alter)
    policy = train(write(place, "run", FULL)).policy
    assert policy is not None
    assert policy.reference_unchanged is False


@BOTH
@ARMS
def test_a_policy_that_has_not_learned_is_its_reference_though_the_base_has_dropout(
    place: Path, algorithm: str, method: str
) -> None:
    other_family(place / "base", "gpt2")
    assert train(write(place, "run", method, algorithm, steps=1)).measured["kl"] == pytest.approx([0], abs=1e-6)


@BOTH
def test_without_beta_nothing_is_said_of_a_divergence(place: Path, algorithm: str) -> None:
    spec = write(place, "run", FULL, algorithm, steps=2)
    spec.write_text(spec.read_text(encoding="utf8").replace("replies = 4", "replies = 4\nbeta = 0.0"), encoding="utf8")
    record = train(spec)
    assert "kl" not in record.measured
    assert record.policy is not None
    assert (record.policy.reference, record.policy.reference_unchanged) == ("none", None)


@BOTH
@ARMS
def test_a_stopped_policy_goes_on_to_the_weights_of_one_that_was_not(place: Path, algorithm: str, method: str) -> None:
    spec = write(place, "run", method, algorithm, steps=5)
    whole = train(spec, place / "whole")
    for step in (2, 4):
        with pytest.raises(StoppedError):
            train(spec, place / "stopped", progress=stop_at(step))
    again = train(spec, place / "stopped")
    assert again.weights_digest == whole.weights_digest
    assert again.measured == whole.measured
    assert again.batch_hashes == whole.batch_hashes


def test_two_arms_are_asked_the_same_and_a_reward_is_a_condition(place: Path) -> None:
    lora, full = train(write(place, "lora", LORA)), train(write(place, "full", FULL))
    assert lora.pair_key == full.pair_key
    assert lora.batch_hashes == full.batch_hashes
    assert lora.conditions["policy.reward"] == "test_policies:likes_yes"
    assert lora.conditions["policy.beta"] == 0.05


def test_both_stages_end_to_end(place: Path) -> None:
    """A reward model, two policies that learn from it as a study, and a judge that tells who wins."""
    texts = [letters(2, 6, seed) for seed in range(24)]
    lines(place / "pairs.jsonl", [{"chosen": f"{text} yes yes", "rejected": f"{text} no"} for text in texts])
    lines(place / "prose.jsonl", [{"text": text} for text in texts])
    reward = """
base = "base"
[data]
kind = "pairs"
path = "pairs.jsonl"
max_length = 12
[training]
steps = 30
batch_size = 4
[method]
name = "lora"
rank = 2
lr = 2e-2
"""
    for name, seed in (("reward", 0), ("judge", 1)):
        (place / f"{name}.toml").write_text(f"seed = {seed}\n{reward}", encoding="utf8")
        train(place / f"{name}.toml", place / name)
    (place / "plan.toml").write_text(
        """
base = "base"
steps = [20]
[training]
batch_size = 3
[policy]
reward = "reward"
reply_tokens = 5
[[tasks]]
name = "yes"
data = { kind = "prompts", path = "prompts.jsonl", max_length = 12 }
prompts = "prompts.jsonl"
judge = "judge"
max_tokens = 5
text = "prose.jsonl"
[[arms]]
method = "full"
rate = { policy = "fixed", lr = 1e-2 }
[[arms]]
method = "lora"
rank = 2
rate = { policy = "fixed", lr = 2e-2 }
""",
        encoding="utf8",
    )
    record = study(place / "plan.toml", place / "study")
    assert not record.failed, [path.read_text() for path in (place / "study").glob("*/failure*.json")]
    for run in record.runs:
        folder = place / "study" / run.key
        learned, found = Run.read(folder / "model/run.json"), json.loads((folder / "scores.json").read_text())
        assert sum(learned.measured["reward"][-5:]) > sum(learned.measured["reward"][:5])
        assert found["wins"]["rate"] > 0.5
        assert found["wins"]["judge"]["name"] == "judge"
        assert found["forgetting"]["mean"] != 0
        assert learned.policy is not None
        assert learned.policy.reward.name == "reward"
    again = study(place / "plan.toml", place / "study")
    assert again.runs == record.runs


def test_a_killed_policy_goes_on(place: Path) -> None:
    spec = write(place, "run", LORA, steps=30, reward="assay.models.rewards:exact_number")
    rows = [{"prompt": letters(2, 6, seed), "answer": "1"} for seed in range(20)]
    lines(place / "prompts.jsonl", rows)
    text = spec.read_text(encoding="utf8").replace("max_length", 'columns = ["answer"]\nmax_length')
    spec.write_text(text, encoding="utf8")
    kill_after(spec, place / "killed", 5)
    assert list((place / ".killed.partial").rglob("*.safetensors"))
    assert train(spec, place / "killed").weights_digest == train(spec, place / "whole").weights_digest


def test_rloo_is_paid_the_objective_over_the_other_replies(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`(1 - beta) r - beta log(pi / pi_ref)` of every whole reply, less its mean over the others to the same prompt."""
    from trl import RLOOTrainer

    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    compute, words, how = RLOOTrainer._compute_loss, tokenizer(), Drawing(5, (0,), temperature=1.0)

    def keep(trainer: Any, model: Any, inputs: Any) -> Any:
        asked, replies = (
            [tuple(ids[mask.bool()].tolist()) for ids, mask in zip(*sides, strict=True)]
            for sides in ((inputs[f"{name}_ids"], inputs[f"{name}_mask"]) for name in ("prompt", "completion"))
        )
        rewards = torch.tensor(likes_yes([], words.batch_decode(replies, skip_special_tokens=True)))
        with torch.no_grad():
            before = log_probabilities(trainer.ref_model, asked, replies, how)
        target = 0.95 * rewards - 0.05 * (inputs["old_logps"] - before)
        same = torch.tensor([[one == other for other in asked] for one in asked]).float()  # TRL shuffles the replies
        assert same.sum() == 3 * 4 * 4
        seen.append((inputs["advantages"].clone(), target - (same @ target - target) / 3))
        return compute(trainer, model, inputs)

    monkeypatch.setattr(RLOOTrainer, "_compute_loss", keep)
    train(write(place, "run", FULL, steps=4))
    assert len(seen) == 4
    assert all(torch.allclose(found, wanted, atol=1e-5) for found, wanted in seen)


def test_reinforce_is_paid_the_objective(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`(1 - beta) r - beta log(pi / pi_ref)` of every whole reply; the run records the same rewards and divergences."""
    paid: list[float] = []

    def keep(target: torch.Tensor, expected: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
        paid.append(float(target.mean()))
        return reinforce_loss(target, expected, spoken)

    monkeypatch.setattr("assay.training.policy.reinforce_loss", keep)
    found = train(write(place, "run", LORA, "reinforce")).measured
    each = zip(found["reward"], found["kl"], found["length"], strict=True)
    assert paid == pytest.approx([0.95 * reward - 0.05 * kl * length for reward, kl, length in each], abs=1e-5)


def test_log_probabilities_are_those_that_replies_are_drawn_from(place: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32).eval()
    how = Drawing(4, (0,), temperature=0.7)
    prompts = [(3, 4, 5), (6, 7), (8,)]
    torch.manual_seed(0)
    replies = draw(model, prompts, how)
    assert all(0 < len(reply) <= 4 and 0 not in reply[:-1] for reply in replies)
    found = log_probabilities(model, prompts, replies, how)
    for prompt, reply, value in zip(prompts, replies, found, strict=True):
        logits = model(torch.tensor([[*prompt, *reply]])).logits.detach()[0, len(prompt) - 1 : -1] / 0.7
        spoken = torch.log_softmax(logits, dim=-1)
        wanted = sum(float(spoken[i, token]) for i, token in enumerate(reply))
        assert float(value.detach()) == pytest.approx(wanted, rel=1e-4)


def test_the_gradient_of_reinforce_is_by_hand() -> None:
    target = torch.tensor([1.0, 0.0, 0.5])
    expected = torch.tensor([0.5, 0.5, 0.0], requires_grad=True)
    spoken = torch.tensor([-3.0, -1.0, -2.0], requires_grad=True)
    reinforce_loss(target, expected, spoken).backward()
    assert spoken.grad is not None
    assert expected.grad is not None
    assert torch.allclose(spoken.grad, -(target - expected.detach()) / 3)
    assert torch.allclose(expected.grad, 2 * (expected.detach() - target) / 3)


def test_collapse_is_told_from_where_it_lasts() -> None:
    one = 1 / 12
    assert collapsed_at([0.5, one, 0.4, one, one, one], 3, 4) == 4
    assert collapsed_at([one, one, one, one, one, 0.5], 3, 4) is None
    assert collapsed_at([0.5, 0.5, 0.5, one, one], 3, 4) is None
    assert collapsed_at([0.25] * 9, 1, 4) is None  # equal replies to one prompt may be right


def test_a_policy_that_collapses_is_reported(place: Path) -> None:
    # A model to which all words are one: it says the same to everything.
    config = json.loads((place / "base/config.json").read_text()) | {"tie_word_embeddings": False}
    (place / "base/config.json").write_text(json.dumps(config), encoding="utf8")
    tensors = load_file(place / "base/model.safetensors")
    words = tensors["model.embed_tokens.weight"]
    tensors |= {"lm_head.weight": words.clone(), "model.embed_tokens.weight": words[5:6].repeat(len(words), 1)}
    save_file(tensors, place / "base/model.safetensors", metadata={"format": "pt"})
    spec = write(place, "run", FULL, steps=4)
    text = spec.read_text(encoding="utf8").replace("reply_tokens = 5", "reply_tokens = 2\ntemperature = 1e-6")
    spec.write_text(text, encoding="utf8")
    record = train(spec)
    assert record.policy is not None
    assert record.policy.collapsed == 1
    assert any("collapsed" in note for note in record.notes)
    single = write(place, "single", FULL, steps=4)
    single.write_text(text.replace("batch_size = 3", "batch_size = 1"), encoding="utf8")
    record = train(single)
    assert record.policy is not None
    assert record.policy.collapsed is None
    assert any("From step 1 on, all replies of a step were the same" in note for note in record.notes)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("test_policies:likes_nothing", "the reward of 12 of 12 replies is nan"),
        ("test_policies:likes_too_few", "gave 1 values for 12 replies"),
        ("test_policies:says_nothing", "gave a NoneType that holds no numbers"),
        ("test_policies:says_words", "gave a list that holds no numbers"),
    ],
)
@BOTH
def test_a_reward_without_a_number_for_each_reply_is_refused(
    place: Path, algorithm: str, reward: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        train(write(place, "run", LORA, algorithm, reward=reward))
    assert not (place / "runs/run").exists()


def test_rewards_that_are_not_there_or_speak_otherwise_are_refused(place: Path) -> None:
    with pytest.raises(SettingError, match=r"no function 'test_policies:absent'.* has no attribute 'absent'"):
        train(write(place, "run", LORA, reward="test_policies:absent"))
    with pytest.raises(MismatchError, match="gives no score"):
        train(write(place, "run", LORA, reward="base"))
    other = llama(place / "other")
    words = json.loads((other / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(words), encoding="utf8")
    with pytest.raises(MismatchError, match="another tokenizer than the policy"):
        train(write(place, "run", LORA, reward="other"))


def test_a_function_is_found_in_the_working_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user has it who calls the installed command, whose own folder is first on Python's path."""
    (place / "own_reward.py").write_text("def one(completions, **_):\n    return [1] * len(completions)\n")
    (place / "own_broken.py").write_text("import no_such_library\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(place))])
    monkeypatch.chdir(place)
    assert reward_of("own_reward:one", tokenizer())([Prompt((3,), "a", {})], [(4,)]) == [1.0]
    with pytest.raises(SettingError, match=r"'own_broken:one' \(No module named 'no_such_library'\)"):
        reward_of("own_broken:one", tokenizer())


def test_a_reward_model_with_too_few_positions_is_refused(place: Path) -> None:
    llama(place / "short", positions=16)
    lines(place / "pairs.jsonl", [{"chosen": "a yes", "rejected": "a no"}, {"chosen": "b yes", "rejected": "b no"}])
    (place / "reward.toml").write_text(REWARD.replace('"base"', '"short"'), encoding="utf8")
    train(place / "reward.toml", place / "reward")
    with pytest.raises(MismatchError, match="takes 16 tokens, and a prompt with its reply may have 17"):
        train(write(place, "run", LORA, reward="reward"))
    with pytest.raises(MismatchError, match="takes 16 tokens, and a prompt with its reply may have 18"):
        score(
            place / "base",
            place / "base",
            prompts=place / "prompts.jsonl",
            judge=str(place / "reward"),
            generation=Generation(max_tokens=12),
        )


def test_prompts_that_do_not_fit_are_refused(place: Path) -> None:
    lines(place / "blank.jsonl", [{"prompt": " "}, {"prompt": "a"}])
    blank = write(place, "blank", LORA)
    blank.write_text(blank.read_text(encoding="utf8").replace("prompts.jsonl", "blank.jsonl"), encoding="utf8")
    with pytest.raises(InputError, match="1 of 2 texts have no token, first row 1"):
        train(blank)
    with pytest.raises(InputError, match=r"blank.jsonl, line 1: the prompt has no token"):
        score(
            place / "base",
            place / "base",
            prompts=place / "blank.jsonl",
            judge=LIKES,
            generation=Generation(max_tokens=6),
        )
    spec = write(place, "run", LORA)
    text = spec.read_text(encoding="utf8")
    spec.write_text(text.replace("max_length = 12", "max_length = 5"), encoding="utf8")
    with pytest.raises(InputError, match=r"of 20 prompts are too long, first row \d+ of 6 tokens"):
        train(spec)
    spec.write_text(text.replace("reply_tokens = 5", "reply_tokens = 60"), encoding="utf8")
    with pytest.raises(SettingError, match="at most 64 positions together"):
        train(spec)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (LORA, 'name = "pissa"\nrank = 2', "'method.name' is 'pissa': a policy needs full, or LoRA"),
        (LORA, 'name = "prefix-layer"', "'method.name' is 'prefix-layer'"),
        ("rank = 2", "rank = 2\ndropout = 0.1", "'method.dropout' is 0.1"),
        ("replies = 4", "replies = 1", "'policy.replies' is 1"),
        ("[policy]", "[polics]", "'policy' is missing|no setting 'polics'"),
        ('kind = "prompts"', 'kind = "text"', "'objective' is 'policy'.*'policy' is for data of the kind 'prompts'"),
    ],
)
def test_settings_without_meaning_are_refused(place: Path, old: str, new: str, said: str) -> None:
    spec = write(place, "run", LORA)
    spec.write_text(spec.read_text(encoding="utf8").replace(old, new), encoding="utf8")
    with pytest.raises(SettingError, match=said):
        train(spec)


def test_exact_numbers_are_told_from_others() -> None:
    said = ["The answer is 1,234.", "#### 1234", "12 and then #### 1234.0", "1235", "none", "-1234"]
    found = exact_number(["?"] * 6, said, answer=["some work #### 1234"] * 6)
    assert found == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_reward_model_reads_prompt_and_reply_without_its_end(place: Path) -> None:
    pairs = [{"chosen": f"{letters(2, 6, seed)} yes", "rejected": f"{letters(2, 6, seed)} no"} for seed in range(9)]
    lines(place / "pairs.jsonl", pairs)
    (place / "reward.toml").write_text(REWARD, encoding="utf8")
    train(place / "reward.toml", place / "reward")
    reward = reward_of(str(place / "reward"), tokenizer())
    ids = tuple(tokenizer()("a b").input_ids)
    prompt, yes = Prompt(ids, "a b", {}), tokenizer().convert_tokens_to_ids("yes")
    ended, open_ended, longer = reward([prompt] * 3, [(yes, 0), (yes,), (yes, yes)])
    assert ended == pytest.approx(open_ended, abs=1e-6)
    assert longer != pytest.approx(open_ended, abs=1e-6)


def test_wins_are_paired_and_equal_rewards_count_half(place: Path) -> None:
    asking = Asking(tokenizer(), max_tokens=2, window=64)
    lines(place / "few.jsonl", [{"prompt": "a b c"}, {"prompt": "b"}, {"prompt": "c"}, {"prompt": "d"}])
    contest = read_contest(place / "few.jsonl", replace(asking, window=4), 1.0)
    yes, other = tokenizer().convert_tokens_to_ids(["yes", "z"])
    base = [(other,), (yes,), (other,), (other, yes)]
    tuned = [(yes,), (other,), (other,), (yes, yes)]
    judge = reward_of(LIKES, tokenizer())
    found = win_rate(Source(name="few.jsonl"), contest, judge, base, tuned)
    assert found.base_rewards == (0, 1, 0, 1)
    assert found.tuned_rewards == (1, 0, 0, 2)
    assert (found.rate, found.ties, found.difference) == ((1 + 0 + 0.5 + 1) / 4, 1, 0.25)
    assert found.truncated == 1
    assert not found.constant
    assert win_rate(Source(name="few.jsonl"), contest, judge, base, [(yes,)] * 4).constant


def test_a_column_that_no_row_need_fill_is_not_asked_for(place: Path) -> None:
    rows = [{"prompt": "a", "notes": "", "answer": "yes"}, {"prompt": "b", "notes": "b", "answer": "no"}]
    contest = read_contest(lines(place / "odd.jsonl", rows), Asking(tokenizer(), max_tokens=2, window=64), 1.0)
    assert [set(prompt.columns) for prompt in contest.prompts] == [{"answer"}] * 2


def test_a_win_at_every_prompt_is_not_a_certain_one(place: Path) -> None:
    contest = read_contest(place / "prompts.jsonl", Asking(tokenizer(), max_tokens=2, window=64), 1.0)
    yes, other = tokenizer().convert_tokens_to_ids(["yes", "z"])
    every, none = [(yes,)] * 20, [(other,)] * 20
    judge = reward_of(LIKES, tokenizer())
    wilson = proportion(20, 20)
    assert win_rate(Source(name="p"), contest, judge, none, every).interval == pytest.approx(wilson)
    low, high = win_rate(Source(name="p"), contest, judge, every, every).interval
    assert (low, high) == pytest.approx((wilson[0] / 2, 1 - wilson[0] / 2))


def test_the_base_against_itself_is_a_tie(place: Path) -> None:
    found = score(
        place / "base",
        place / "base",
        prompts=place / "prompts.jsonl",
        judge="test_policies:likes_yes",
        generation=Generation(max_tokens=6),
    ).wins
    assert found is not None
    assert found.rate == 0.5
    assert found.ties == found.examples == 20
    assert found.difference == 0
    with pytest.raises(SettingError, match="judge belongs to prompts"):
        score(place / "base", place / "base", judge="test_policies:likes_yes")


def test_trl_still_has_what_the_policy_relies_on() -> None:
    """What training/policy.py relies on inside of TRL; tried with 1.16."""
    import inspect

    from trl import RLOOTrainer

    source = inspect.getsource(RLOOTrainer)
    assert 'model.add_adapter("ref", default_config)' in source
    assert 'use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None)' in source
    assert "self._tokenize_prompts(prompts)" in source
