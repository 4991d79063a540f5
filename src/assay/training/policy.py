"""A policy learns from rewards: TRL's RLOO, or REINFORCE with a value model, on the same ordered prompts."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch

from assay.data.examples import SCORE, Example, Prompt, collate, padding_id, prompt_ids
from assay.errors import SettingError
from assay.models.ends import ends_of, without_end
from assay.models.generation import Drawing, Ids, draw, log_probabilities
from assay.models.loading import Place, load_base
from assay.models.rewards import Reward, reward_of, reward_source
from assay.models.wrapped import inner_model
from assay.records.run import PolicyRun
from assay.training.spec import PolicySettings, Spec
from assay.training.trainers import Note, Ordered

_CONSTANT_STEPS = 3  # a single step of equal replies can be chance


def policy_trainer(
    model: Any, arguments: dict[str, Any], examples: Ordered, tokenizer: Any, note: Note, spec: Spec, base: Place
) -> Any:
    """The trainer of the algorithm that is asked for."""
    settings = _settings(spec)
    _without_dropout(model)
    rows = Ordered([{"prompt": examples[i].text, "example": examples[i]} for i in range(len(examples))])
    longest = spec.data.max_length + settings.reply_tokens
    ends, asked = _ends(model, tokenizer), reward_of(settings.reward, tokenizer, str(model.device), longest)

    def without_ends(prompts: Sequence[Prompt], replies: Sequence[Ids]) -> Sequence[float]:
        """Replies as scoring has them judged."""
        return asked.judge(prompts, [without_end(reply, ends) for reply in replies])

    reward = replace(asked, judge=without_ends)
    make = _rloo if settings.algorithm == "rloo" else _reinforce
    trainer = make(model, arguments, rows, tokenizer, reward, spec, base)
    pad, repeated = padding_id(tokenizer), settings.replies if settings.algorithm == "rloo" else 1

    def collator(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        note(collate([Example(row["example"].input_ids, 0) for row in batch[::repeated]], pad))
        return batch

    trainer.data_collator = collator
    return trainer


def _ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a reply, as TRL takes them."""
    return ends_of(model, [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])


def _without_dropout(model: Any) -> None:
    """Keep dropout out of a policy's training: replies, their probabilities and those of the reference are the models'.

    With it, a policy that is still its reference would already diverge from it.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):  # Llama's kind has no module for it
            module.attention_dropout = 0.0


def distinct(replies: Sequence[Ids]) -> float:
    """Share of the replies that are different."""
    return len(set(map(tuple, replies))) / len(replies)


def _rloo(
    model: Any, arguments: dict[str, Any], rows: Ordered, tokenizer: Any, reward: Reward, spec: Spec, base: Place
) -> Any:
    """TRL's RLOOTrainer; the reference is the model with its adapter disabled, or a copy that TRL loads."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    class Policy(RLOOTrainer):  # type: ignore[misc]  # its base has no types
        """TRL is imported late, so its subclass is made late."""

        def _tokenize_prompts(self, prompts: list[str]) -> Any:
            """Prompts as every other part of assay has them: no ending, the same beginning."""
            return [list(prompt_ids(tokenizer, prompt)) for prompt in prompts], None, {}

    # TRL names what it logs of a reward after its function; its own `reward` is weighted by 1 - beta.
    def judge(example: list[Prompt], completion_ids: list[list[int]], log_metric: Any, **_: Any) -> list[float]:
        replies = [tuple(ids) for ids in completion_ids]
        log_metric("distinct", distinct(replies))
        return reward(example, replies)

    settings = _settings(spec)
    learns = {name: value.requires_grad for name, value in model.named_parameters()}
    trainer = Policy(
        model=model,
        args=RLOOConfig(
            **arguments | {"per_device_train_batch_size": spec.training.batch_size * settings.replies},
            num_generations=settings.replies,
            max_completion_length=settings.reply_tokens,
            beta=settings.beta,
            reward_weights=[1 - settings.beta],
            temperature=settings.temperature,
            shuffle_dataset=False,
            disable_dropout=False,
        ),
        reward_funcs=judge,
        train_dataset=Dataset.from_dict({"prompt": [""]}),
        processing_class=copy.deepcopy(tokenizer),
    )
    trainer.train_dataset = rows
    if "ref" in getattr(model, "peft_config", {}):
        # TRL copies an adapter that it did not make itself; this one is new, so the base is its reference.
        model.delete_adapter("ref")
        for name, value in model.named_parameters():
            value.requires_grad_(learns[name])
    return trainer


def reinforce_loss(target: torch.Tensor, expected: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
    """`mean (V - R)^2 - mean (R - V) log pi`: the value learns from the first term alone, the policy from the second.

    Args:
        target: R, what every reply got; expected: V, of its prompt; spoken: log pi, nats a reply.
    """
    missed = torch.nn.functional.mse_loss(expected, target)
    return missed - ((target - expected.detach()) * spoken).mean()


class _PolicyAndValue(torch.nn.Module):
    """Policy and value model of REINFORCE: the value model tells what to expect of a prompt."""

    def __init__(self, policy: Any, value: Any) -> None:
        super().__init__()
        self.policy, self.value, self.config = policy, value, policy.config


def _reinforce(
    model: Any, arguments: dict[str, Any], rows: Ordered, tokenizer: Any, reward: Reward, spec: Spec, base: Place
) -> Any:
    """REINFORCE: `-(R - V(prompt)) log pi(reply)` with `R = (1 - beta) r - beta log(pi / pi_ref)`; V by squared error.

    The value model is prepared by the same method as the policy, so with LoRA both have their own small adapter.
    Source: arXiv 2403.10704, §3.2.
    """
    from transformers import Trainer, TrainingArguments

    settings, device = _settings(spec), str(model.device)
    pad = padding_id(tokenizer)
    how = Drawing(settings.reply_tokens, _ends(model, tokenizer), pad, settings.temperature)
    value = load_base(base, "sequence-classification", SCORE, device)
    value.config.pad_token_id = pad
    frozen = None
    if settings.beta and not spec.method.keeps_base:
        frozen = load_base(base, "causal-lm", device=device).eval().requires_grad_(False)

    class Policy(Trainer):  # type: ignore[misc]  # its base has no types
        """transformers is imported late, so its subclass is made late."""

        ref_model = frozen
        measured: ClassVar[dict[str, list[float]]] = defaultdict(list)

        def compute_loss(self, model: Any, inputs: list[dict[str, Any]], *_: Any, **__: Any) -> torch.Tensor:
            prompts = [row["example"] for row in inputs for _ in range(settings.replies)]
            asked = [prompt.input_ids for prompt in prompts]
            replies = draw(model.policy, asked, how)
            rewards = torch.tensor(reward(prompts, replies), device=device)
            spoken = log_probabilities(model.policy, asked, replies, how)
            divergence = torch.zeros_like(rewards)
            if settings.beta:
                with torch.no_grad(), nullcontext() if frozen is not None else model.policy.disable_adapter():
                    before = log_probabilities(frozen or model.policy, asked, replies, how)
                divergence = spoken.detach() - before
            target = (1 - settings.beta) * rewards - settings.beta * divergence
            batch = collate([Example(ids, 0) for ids in asked], pad)
            inside = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
            expected = model.value(**inside).logits.squeeze(-1)
            tokens = sum(map(len, replies))
            found = {
                "rewards/judge/mean": float(rewards.mean()),
                "completions/mean_length": tokens / len(replies),
                "distinct": distinct(replies),
            }
            if settings.beta:
                found["kl"] = float(divergence.sum()) / tokens
            for name, value in found.items():
                self.measured[name].append(value)
            return reinforce_loss(target, expected, spoken)

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            logs.update({name: found.pop() for name, found in self.measured.items() if found})
            super().log(logs, start_time)

    return Policy(
        model=_PolicyAndValue(model, spec.method.prepare(value)),
        args=TrainingArguments(**arguments),
        train_dataset=rows,
    )


def _settings(spec: Spec) -> PolicySettings:
    if spec.policy is None:
        raise SettingError("'policy' is missing", wanted="a table that says what rewards a policy")
    return spec.policy


def policy_run(trainer: Any, model: Any, spec: Spec, base: Place, measured: dict[str, list[float]]) -> PolicyRun | None:
    """Reference, value model and variety of replies of a policy's training; None where no policy learned.

    Args:
        trainer: as it was trained.
        model: the policy.
        spec, base: what was trained on what.
        measured: at every step, by name.
    """
    if spec.policy is None:
        return None
    settings, copied = spec.policy, trainer.ref_model
    kind: Literal["adapter disabled", "frozen copy", "none"] = "none"
    if settings.beta:
        kind = "frozen copy" if copied is not None else "adapter disabled"
    reference = copied if copied is not None else model if spec.method.keeps_base else None
    value = trainer.model.value if isinstance(trainer.model, _PolicyAndValue) else torch.nn.Module()
    size = sum(tensor.numel() * tensor.element_size() for tensor in copied.parameters()) if copied is not None else 0
    return PolicyRun(
        reward=reward_source(settings.reward),
        reference=kind,
        reference_bytes=size,
        reference_unchanged=None if reference is None else _is_base(reference, base),
        value_parameters=sum(tensor.numel() for tensor in value.parameters() if tensor.requires_grad),
        collapsed=collapsed_at(measured["distinct"], spec.training.batch_size, settings.replies),
    )


def collapsed_at(spread: Sequence[float], prompts: int, replies: int) -> int | None:
    """The step (from 1) from which on all replies of every step were equal; None if they were not in the last three.

    Replies to one prompt may rightly be equal, so one prompt a step tells nothing.
    """
    return constant_from(spread, prompts * replies) if prompts > 1 else None


def constant_from(spread: Sequence[float], replies: int) -> int | None:
    """The step (from 1) from which on all replies of a step were equal; None if they were not in the last three.

    Args:
        spread: the share of the replies that are different, step by step.
        replies: of a step.
    """
    constant = 0
    for share in reversed(spread):
        if share * replies > 1 + 1e-6:
            break
        constant += 1
    return len(spread) - constant + 1 if constant >= min(_CONSTANT_STEPS, len(spread)) else None


def _is_base(model: Any, base: Place) -> bool:
    """True if a model, adapters left out, is the stored base bit for bit."""
    inner = inner_model(model)
    own = {name.replace(".base_layer.", "."): value for name, value in inner.state_dict().items()}
    return all(torch.equal(own[name].cpu(), value) for name, value in load_base(base, "causal-lm").state_dict().items())
