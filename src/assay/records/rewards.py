"""Rewards in the record of a score: quality of a reward model, and replies of both models judged by one."""

from __future__ import annotations

from typing import Literal

from assay.records.record import Interval, Part, Share, ShareInterval, Source


class RewardScore(Part):
    """Quality of a reward model, on pairs of which one side was chosen, or on replies with a thumb.

    Attributes:
        task: the file.
        how: pairs or thumbs.
        examples: number of pairs, or of replies.
        truncated: texts that were cut to the window.
        accuracy: share of positive margins, with a 95 % Wilson interval.
        margin: mean margin, with a 95 % bootstrap interval. A margin is the score of the chosen text minus that of the
            rejected one; of a single reply, its score if the thumb is up, minus its score if it is down.
        log_loss: mean of `-log sigmoid(margin)`, nats; ln 2 = 0.693 for a model that tells nothing apart.
        calibration_error: expected calibration error: over ten bins of equal width of the confidence
            `sigmoid(|margin|)`, the mean distance between confidence and accuracy, weighted by the bins' sizes.
        margins: example by example.
    """

    task: Source
    how: Literal["pairs", "thumbs"]
    examples: int
    truncated: int
    accuracy: Share
    interval: ShareInterval
    margin: float
    margin_interval: Interval
    log_loss: float
    calibration_error: float
    margins: tuple[float, ...]


class WinRate(Part):
    """Replies of both models to the same prompts, judged by a reward.

    Attributes:
        prompts: the prompts' file.
        judge: the reward model, or the function by its import path.
        examples: number of prompts, with one reply of each model, drawn from the same seeds: equal distributions reply
            equally, so that there are more ties than among replies drawn apart.
        truncated: prompts that lost their beginning to the window.
        max_tokens: where replies were cut; temperature: what logits were divided by; chat: whether the prompts were put
            into the model's chat template; seed: of the replies and the bootstraps.
        rate: share of prompts at which the tuned model's reply is rewarded more, equal ones counted half.
        interval: its 95 % bootstrap interval over prompts; where all ended alike, by Wilson's for one that did not.
        ties: prompts with equal rewards.
        base_reward, tuned_reward: mean rewards; difference: tuned minus base, paired, with its 95 % bootstrap interval.
        base_length, tuned_length: mean tokens of a reply.
        constant: whether the tuned model gave one and the same reply to all prompts.
        base_rewards, tuned_rewards: prompt by prompt.
    """

    prompts: Source
    judge: Source
    examples: int
    truncated: int = 0
    max_tokens: int
    temperature: float
    chat: bool
    seed: int
    rate: Share
    interval: ShareInterval
    ties: int
    base_reward: float
    tuned_reward: float
    difference: float
    difference_interval: Interval
    base_length: float
    tuned_length: float
    constant: bool
    base_rewards: tuple[float, ...]
    tuned_rewards: tuple[float, ...]
