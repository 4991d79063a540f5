"""The page of a reward model and of a policy: what was judged, and what their runs measured."""

from __future__ import annotations

from arm_records import BASE, PROVENANCE, model, run
from assay.records import RewardScore, Scores, WinRate
from assay.render.html import report


def judged(name: str, **parts: object) -> Scores:
    return Scores(provenance=PROVENANCE, base=BASE, tuned=model(name), forgetting=None, task=None, seconds=1.0, **parts)


def test_what_was_judged_is_on_the_page() -> None:
    reward = RewardScore(
        task=model("pairs.jsonl"),
        how="pairs",
        examples=4,
        truncated=0,
        accuracy=0.75,
        interval=(0.3, 0.95),
        margin=0.431,
        margin_interval=(-0.1, 0.9),
        log_loss=0.617,
        calibration_error=0.123,
        margins=(1.0, 1.0, 0.5, -0.8),
    )
    wins = WinRate(
        prompts=model("prompts.jsonl"),
        judge=model("the-judge"),
        examples=2,
        max_tokens=4,
        temperature=1.0,
        chat=False,
        seed=0,
        rate=0.75,
        interval=(0.5, 1.0),
        ties=1,
        base_reward=0.125,
        tuned_reward=0.625,
        difference=0.5,
        difference_interval=(0.0, 1.0),
        base_length=4.0,
        tuned_length=4.0,
        constant=True,
        base_rewards=(0.0, 0.25),
        tuned_rewards=(0.0, 1.25),
    )
    policy = run("policy").model_copy(update={"measured": {"reward": (0.0, 0.5), "kl": (0.0, 0.25)}})
    other = {**policy.conditions, "policy.beta": 0.05}
    plain = run("reward")
    records = [
        judged("reward", reward=reward),
        plain,
        judged("policy", wins=wins),
        policy.model_copy(update={"conditions": other}),
    ]
    html = str(report(records).html)
    for shown in ("What was judged?", "0.617", "the-judge", "one and the same reply", "kl, mean of the last steps"):
        assert shown in html
