"""Which arm to take: planted arms that are equal, clearly apart, ruined, of one seed, two and five."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.records import Provenance, Run, Scores, Source, Study
from assay.records.cautions import ONE_REPLY
from assay.records.run import Cost
from assay.records.run import Trained as Learns
from assay.records.scores import DocumentLoss, Forgetting, TaskScore
from assay.records.study import Verdict
from assay.render.html import report
from assay.render.markdown import markdown
from assay.studies.arms import Trained, arms_of, result
from assay.studies.verdicts import BySeed, Measure, besides, choice, more_seeds, undominated, verdicts
from assay.views.by_arm import verdicts_in_words

EXAMPLES, DOCUMENTS = 200, 60
FILE = Source(name="file", digest="xxh3-128:0")


def task(right: np.ndarray) -> TaskScore:
    share = float(right.mean())
    nothing = dict.fromkeys(
        ("base_accuracy", "base_interval", "difference", "difference_interval", "only_base", "only_tuned", "p_value")
    )
    return TaskScore(
        task=FILE,
        how="answer likelihood",
        examples=len(right),
        truncated=0,
        answers=("no", "yes"),
        majority=0.5,
        tuned_accuracy=share,
        tuned_interval=(max(0.0, share - 0.05), min(1.0, share + 0.05)),
        truth=(1,) * len(right),
        base_choices=None,
        tuned_choices=tuple(int(one) for one in right),
        **nothing,  # type: ignore[arg-type]  # none of the base's numbers
    )


def text(nats: np.ndarray) -> Forgetting:
    documents = tuple(DocumentLoss(tokens=10, bytes=40, base=30.0, tuned=30.0 + 10 * float(each)) for each in nats)
    mean = float(nats.mean())
    return Forgetting(
        text=FILE,
        mean=mean,
        interval=(mean - 0.01, mean + 0.01),
        document_mean=mean,
        base_loss=3.0,
        tuned_loss=3.0 + mean,
        base_bits_per_byte=1.0,
        tuned_bits_per_byte=1.0,
        tokens=10 * len(nats),
        bytes=40 * len(nats),
        unscored_tokens=0,
        window=64,
        windows=len(nats),
        divided=0,
        documents=documents,
        resamples=10,
        seed=0,
    )


def trained(
    method: str, seed: int, accuracy: float, lost: float, seconds: float = 1.0, marks: tuple[str, ...] = ()
) -> Trained:
    """A run whose right answers and losses are drawn by its method and seed."""
    generator = np.random.default_rng([len(method), seed])
    right = generator.random(EXAMPLES) < accuracy
    scores = Scores.model_construct(
        task=task(right), forgetting=text(lost + generator.normal(0, 0.01, DOCUMENTS)), reward=None, wins=None
    )
    cost = Cost(
        seconds=9.0,
        step_seconds=seconds,
        tokens_per_second=1.0,
        start_bytes=None,
        peak_bytes=None,
        device="cpu",
        threads=1,
    )
    learns = Learns(parameters=10, stored=10, stored_bytes=40, tensors={}, frozen={})
    run = Run.model_construct(cost=cost, trained=learns)
    return Trained("t", method, {"method.name": method, "method.lr": 1e-3}, 8, seed, run, scores, None, marks)


def told(runs: list[Trained]) -> dict[str, Verdict]:
    return {verdict.what: verdict for verdict in verdicts("t", arms_of(runs)["t"])}


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_arms_that_are_clearly_apart_are_named(seeds: int) -> None:
    runs = [trained("full", seed, 0.9, 0.30, 3.0) for seed in range(seeds)]
    runs += [trained("lora", seed, 0.6, 0.05, 1.0) for seed in range(seeds)]
    found = told(runs)
    assert {what: verdict.best for what, verdict in found.items()} == {
        "learning": "full",
        "keeping": "lora",
        "cost": "lora",
    }
    assert not any(verdict.untold for verdict in found.values())
    beside = found["keeping"].beside[0]
    assert beside.difference > 0
    assert beside.seeds == seeds
    assert (beside.interval is None) == (seeds == 2)


MEASURES: tuple[Measure, ...] = ("learning", "keeping")


def units(right: dict[str, float], lost: dict[str, float]) -> list[dict[str, BySeed]]:
    """Measurements of models of one seed, by their accuracies and their nats a token."""
    found: list[dict[str, BySeed]] = [{}, {}]
    for name in right:
        one = trained(name, 0, right[name], lost[name])
        learned, kept = one.learned(), one.lost()
        assert learned is not None
        assert kept is not None
        found[0][name], found[1][name] = {0: learned}, {0: kept}
    return found


def taken(right: dict[str, float], lost: dict[str, float]) -> tuple[str, ...]:
    measured = units(right, lost)
    return undominated(MEASURES, [besides(what, each) for what, each in zip(MEASURES, measured, strict=True)])


def test_the_one_that_is_better_by_both_measures_is_taken() -> None:
    assert taken({"a": 0.6, "bb": 0.9, "ccc": 0.7}, {"a": 0.2, "bb": 0.05, "ccc": 0.1}) == ("bb",)


def test_a_trade_leaves_both() -> None:
    assert taken({"a": 0.6, "bb": 0.9, "ccc": 0.55}, {"a": 0.05, "bb": 0.2, "ccc": 0.3}) == ("a", "bb")


def test_one_that_is_behind_without_proof_is_not_preferred_for_the_other_measure() -> None:
    """Behind by some points that no test shows, it may still be the lesser model."""
    right, lost = {"a": 0.80, "bb": 0.84}, {"a": 0.05, "bb": 0.2}
    beside = besides("learning", units(right, lost)[0])["bb", "a"]
    assert not beside.shown
    assert beside.difference > 0.01
    assert taken(right, lost) == ("a", "bb")


def test_equals_are_all_left_and_every_pair_is_the_other_turned() -> None:
    right, lost = {"a": 0.8, "bb": 0.8}, {"a": 0.1, "bb": 0.1}
    assert taken(right, lost) == ("a", "bb")
    for what, each in zip(MEASURES, units(right, lost), strict=True):
        beside = besides(what, each)
        one, other = beside["a", "bb"], beside["bb", "a"]
        assert one.difference == -other.difference
        assert one.interval is not None
        assert other.interval == (-one.interval[1], -one.interval[0])
    assert choice("learning", {"a": units(right, lost)[0]["a"]}) is None


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_equal_arms_cannot_be_told(seeds: int) -> None:
    runs = [trained(method, seed, 0.75, 0.1) for method in ("full", "lora") for seed in range(seeds)]
    for verdict in told(runs).values():
        assert [one.arm for one in verdict.untold] == [one.arm for one in verdict.beside]
        assert all(one.why or one.more_seeds is None or one.more_seeds > 0 for one in verdict.beside)


def test_what_two_seeds_show_against_each_other_is_not_shown() -> None:
    runs = [trained("full", 0, 0.9, 0.1), trained("full", 1, 0.5, 0.1)]
    runs += [trained("lora", 0, 0.5, 0.1), trained("lora", 1, 0.89, 0.1)]
    assert told(runs)["learning"].untold


def test_a_ruined_arm_is_left_out_by_name() -> None:
    runs = [
        trained("full", 0, 0.9, 0.3),
        trained("lora", 0, 0.6, 0.1),
        trained("bitfit", 0, 0.5, 0.0, 0.1, (ONE_REPLY,)),
    ]
    found = told(runs)
    assert found["keeping"].best == "lora"
    assert all(verdict.left_out == (f"bitfit: {ONE_REPLY}",) for verdict in found.values())
    assert found["cost"].best != "bitfit"
    alone = told([runs[0], runs[2]])["cost"]
    assert (alone.best, alone.beside) == ("full", ())
    other = trained("ia3", 0, 0.5, 0.0, 0.1, (ONE_REPLY,))
    assert told([runs[2], other]) == {}
    rows = tuple(result("t", arm) for arm in arms_of(runs)["t"])
    shown = markdown(Study(provenance=Provenance.of((), {}), plan="plan", runs=(), arms=rows))
    assert "| bitfit ruined |" in shown
    assert "| full |" in shown


def test_an_arm_without_a_number_is_left_out_by_name() -> None:
    runs = [trained("full", 0, 0.9, 0.3), trained("lora", 0, 0.6, 0.1), trained("bitfit", 0, 0.5, 0.0)]
    runs[2] = replace(runs[2], scores=None)
    found = told(runs)
    for what in ("learning", "keeping"):
        assert found[what].left_out == ("bitfit: it has no number",)
    alone = told(runs[1:])["learning"]
    assert (alone.best, alone.beside, alone.left_out) == ("lora", (), ("bitfit: it has no number",))
    assert "learning" not in told([replace(run, scores=None) for run in runs])


def test_words_name_the_best_or_what_it_cannot_be_told_from() -> None:
    runs = [trained("full", 0, 0.9, 0.1, 3.0), trained("lora", 0, 0.6, 0.1), trained("bitfit", 0, 0.6, 0.3)]
    arms = arms_of(runs)["t"]
    record = Study(
        provenance=Provenance.of((), {}),
        plan="plan",
        runs=(),
        arms=tuple(result("t", arm) for arm in arms),
        verdicts=tuple(verdicts("t", arms)),
    )
    learning, keeping, cost = verdicts_in_words(record)
    assert learning.startswith("For learning, take full: accuracy ")
    assert "shown to be better than lora and bitfit. It rests on one seed" in learning
    assert keeping.startswith("For keeping what the base knew: can't tell ")
    assert "more seeds are needed" in keeping or "smallest worth naming" in keeping
    assert keeping.count("shown to be better than bitfit") == 1
    assert cost.startswith("For cost: can't tell ")
    assert "A step of full takes 200.0% longer" in cost
    for shown in (markdown(record), report(record).html):
        assert "Which arm to take?" in shown
    unscored = tuple(arm.model_copy(update={"score": None}) for arm in record.arms)
    untested = record.model_copy(update={"arms": unscored, "verdicts": record.verdicts[1:]})
    assert verdicts_in_words(untested)[0].startswith("For learning: no arm has a score.")


def test_seeds_are_joined_and_two_have_no_interval() -> None:
    runs = [trained("full", seed, 0.8, 0.1) for seed in range(3)]
    for count, over in ((1, "examples"), (2, "nothing"), (3, "seeds")):
        arm = result("t", arms_of(runs[:count])["t"][0])
        assert arm.score is not None
        assert arm.score.over == over
        assert len(arm.score.by_seed) == count
        assert (arm.score.interval is None) == (count == 2)
    assert arm.score.value == pytest.approx(np.mean(arm.score.by_seed), rel=1e-12)
    apart = [trained("full", seed, share, 0.1) for seed, share in enumerate((0.6, 0.9, 0.99))]
    found = result("t", arms_of(apart)["t"][0]).score
    assert found is not None
    assert found.interval is not None
    assert found.interval[0] < 0.6
    assert found.interval[1] == 1.0  # no share is more


def test_more_seeds_by_their_spread() -> None:
    assert more_seeds([0.02, 0.06], 1) == 3
    assert more_seeds([0.02, 0.06], 10) > 3  # type: ignore[operator]  # more pairs ask for more
    assert more_seeds([0.03], 1) is None
    assert more_seeds([-0.05, 0.0500001], 1) is None
