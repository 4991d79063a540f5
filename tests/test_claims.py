"""The page of claims: each verdict follows from its interval by one rule, and every number from a kept record."""

from __future__ import annotations

import gzip
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripts.evidence import claims_page, on_directions, on_forgetting, on_learning, on_weights
from scripts.evidence.differences import (
    apart,
    arm,
    joined,
    lost,
    mann_whitney,
    of_logarithms,
    over_seeds,
    paired,
    ratio,
    ratios,
    unequal,
)
from scripts.evidence.found import sentences
from scripts.evidence.kept import RECORDS, Kept, KeptRun, keep
from scripts.evidence.verdict import ABOVE, BELOW, CANT_TELL, Claim, Estimate, Finding, verdict

from arm_records import PROVENANCE, forgetting, run, scores, task_score
from assay.records import Study
from assay.records.study import Tuned
from audit_records import audit

CLAIMS = [claim for claims in claims_page.THEMES.values() for claim in claims]
MIRRORED = {"agrees": "disagrees", "disagrees": "agrees"}


@pytest.fixture(scope="module")
def found() -> list[tuple[Claim, Finding]]:
    return [(claim, one) for claim, ones in claims_page.findings(Kept()).items() for one in ones]


@pytest.mark.parametrize(
    ("interval", "says", "word"),
    [
        ((0.1, 0.2), ABOVE, "agrees"),
        ((0.1, 0.2), BELOW, "disagrees"),
        ((-0.1, 0.2), ABOVE, CANT_TELL),
        ((-0.1, 0.2), BELOW, CANT_TELL),
        ((0.0, 0.0), ABOVE, CANT_TELL),  # no intruder in either arm says nothing of which has more
        ((0.0, 0.2), ABOVE, CANT_TELL),
        ((-0.2, 0.0), ABOVE, CANT_TELL),
        ((6.0, 17.0), (5.6, 17.8), "agrees"),
        ((5.0, 17.0), (5.6, 17.8), CANT_TELL),
        ((1.0, 5.0), (5.6, 17.8), "disagrees"),
        ((18.0, 20.0), (5.6, 17.8), "disagrees"),
        ((math.nan, math.nan), ABOVE, CANT_TELL),
        (None, ABOVE, "no interval"),
    ],
)
def test_the_rule(interval: tuple[float, float] | None, says: tuple[float, float], word: str) -> None:
    assert verdict(interval, says) == word


def test_each_verdict_follows_from_its_interval(found: list[tuple[Claim, Finding]]) -> None:
    for claim, one in found:
        word, ends, (least, most) = claim.verdict(one), one.found.interval, claim.says
        if one.unlike:
            assert word == CANT_TELL
        elif ends is None:
            assert word == "no interval"
        else:
            inside, outside = least < ends[0] and ends[1] < most, ends[1] < least or most < ends[0]
            assert word == ("agrees" if inside else "disagrees" if outside else CANT_TELL)
            assert ends[0] <= one.found.value <= ends[1], one.what
        assert one.found.over, one.what


def test_a_claim_with_the_wrong_sign_has_the_other_verdict(found: list[tuple[Claim, Finding]]) -> None:
    signed = [(claim, one) for claim, one in found if claim.says in (ABOVE, BELOW)]
    decided = [(claim, one) for claim, one in signed if claim.verdict(one) in MIRRORED]
    assert len(decided) > 10
    for claim, one in decided:
        wrong = replace(claim, says=BELOW if claim.says == ABOVE else ABOVE)
        assert wrong.verdict(one) == MIRRORED[claim.verdict(one)]


def test_enough_claims_have_a_verdict(found: list[tuple[Claim, Finding]]) -> None:
    assert len({claim.words for claim, one in found if claim.verdict(one) in claims_page.DECIDED}) >= 16
    assert len({claim.words for claim in CLAIMS}) == len(CLAIMS)


def test_the_page_says_what_was_found(found: list[tuple[Claim, Finding]]) -> None:
    written = (RECORDS.parent / "claims.md").read_text(encoding="utf8")
    rows = [line.split(" | ") for line in written.splitlines() if line.startswith("| ")]
    kept = [row for row in rows if len(row) == 7 and row[0] not in ("| Claim", "| ---")]
    here = [(row[2], row[3].partition(":")[0]) for row in kept if row[3] != "not run"]
    assert here == [(claim.written(one.found), claim.verdict(one)) for claim, one in found]


def test_without_records_nothing_has_a_number_of_ours_or_a_verdict(tmp_path: Path) -> None:
    empty = Kept(tmp_path / "docs" / "records")
    none = claims_page.findings(empty)
    assert not any(none.values())
    page = claims_page.page(none)
    assert not re.search(r"\|\s*(agrees|disagrees|can't tell)", page)
    for claim in CLAIMS:
        assert f"| {claim.words} |" in page


def test_a_sentence_of_the_readme_holds_only_while_its_verdict_does(found: list[tuple[Claim, Finding]]) -> None:
    whole: dict[Claim, list[Finding]] = {claim: [] for claim in CLAIMS}
    for claim, one in found:
        whole[claim].append(one)
    assert sentences(whole) in (RECORDS.parent.parent / "README.md").read_text(encoding="utf8")
    claim = next(claim for claim in CLAIMS if claim.words == "The size of the update goes with forgetting")
    turned = Estimate(-0.1, (-0.2, -0.05), "examples")
    whole[claim] = [replace(one, found=turned) for one in whole[claim]]
    with pytest.raises(SystemExit, match="size of the update"):
        sentences(whole)


def kept_run(home: Path, method: str, seed: int, right: int, strange: float, **settings: float) -> KeptRun:
    """A run of ranks and scales, of which as many examples are answered rightly and directions are strange."""
    home.mkdir(parents=True)
    made = audit(4, seed=seed, strange=strange)
    (home / "audit.json.gz").write_bytes(gzip.compress(made.to_json().encode()))
    done = run(f"{method}-{seed}", method, seed=seed)
    arm = {name.replace("_", "."): value for name, value in settings.items()}
    done = done.model_copy(update={"arm": {"method.name": method, "method.lr": 1e-3, **arm}})
    return KeptRun(home, None, done, scores(f"{method}-{seed}", task_score(right)))


@pytest.fixture
def planted(tmp_path: Path) -> Kept:
    """LoRA of rank 1 has intruders and full tuning has none, at one score."""
    runs = []
    for seed in range(3):
        runs.append(kept_run(tmp_path / f"full-{seed}", "full", seed, 250 + seed, 0.0))
        low = kept_run(tmp_path / f"low-{seed}", "lora", seed, 251 + seed, 0.6, method_rank=1, method_alpha=2.0)
        runs.append(low)
    return Kept(tmp_path, {on_weights.STUDY: runs})


def test_intruders_of_planted_arms_agree_and_swapped_arms_disagree(planted: Kept) -> None:
    claim = on_weights.CLAIMS[0]
    (one,) = claim.find(planted)
    assert claim.verdict(one) == "agrees"
    swapped = [
        replace(entry, run=entry.done.model_copy(update={"method": other.method, "arm": other.done.arm}))
        for pair in zip(*[iter(planted.runs(on_weights.STUDY))] * 2, strict=True)
        for entry, other in (pair, pair[::-1])
    ]
    (other,) = claim.find(Kept(planted.root, {on_weights.STUDY: swapped}))
    assert claim.verdict(other) == "disagrees"
    assert other.found.value == -one.found.value


def test_arms_that_score_differently_are_not_compared_at_equal_score(planted: Kept) -> None:
    worse = [
        replace(entry, scores=scores("worse", task_score(150 + entry.seed))) if entry.method == "lora" else entry
        for entry in planted.runs(on_weights.STUDY)
    ]
    (one,) = on_weights.CLAIMS[0].find(Kept(planted.root, {on_weights.STUDY: worse}))
    assert on_weights.CLAIMS[0].verdict(one) == CANT_TELL
    assert one.unlike


@pytest.mark.parametrize(("seeds", "over"), [(1, "28 matrices, seed 0"), (2, "28 matrices in each of seeds 0 and 1")])
def test_of_fewer_than_three_seeds_the_interval_is_over_matrices(planted: Kept, seeds: int, over: str) -> None:
    few = [entry for entry in planted.runs(on_weights.STUDY) if entry.seed < seeds]
    (one,) = on_weights.CLAIMS[0].find(Kept(planted.root, {on_weights.STUDY: few}))
    audits = [(entry.audit.count, entry.method) for entry in few if entry.audit]
    assert one.found.value == sum(count if method == "lora" else -count for count, method in audits) / seeds
    assert one.found.over.startswith(over)
    assert on_weights.CLAIMS[0].verdict(one) == "agrees"


def test_ratios_of_updates_are_those_of_their_matrices(planted: Kept) -> None:
    runs = planted.done(on_weights.STUDY)
    full, low = arm(runs, "full"), arm(runs, "lora", 1)
    for seed, one in enumerate(ratios(full, low, on_weights.effective_rank)):
        both = [{m.name: m.effective_rank for m in arms[seed].audit.matrices} for arms in (full, low)]
        logs = [math.log(both[0][name] / both[1][name]) for name in both[0]]
        assert one.value == pytest.approx(sum(logs) / len(logs))
    assert of_logarithms(joined(ratios(full, full, on_weights.effective_rank))).interval == pytest.approx((1, 1))


def of_losses(home: Path, method: str, means: list[float]) -> dict[int, KeptRun]:
    made = {}
    for seed, mean in enumerate(means):
        done = run(f"{method}-{seed}", method, seed=seed)
        made[seed] = KeptRun(home, None, done, scores(f"{method}-{seed}", None, forgetting(mean, 0.01)))
    return made


def test_two_seeds_show_only_what_each_shows(tmp_path: Path) -> None:
    full, both, one = (of_losses(tmp_path, "full", means) for means in ([0.1, 0.1], [0.3, 0.2], [0.3, 0.0]))
    shown, not_shown = paired(both, full, lost), paired(one, full, lost)
    assert shown is not None
    assert not_shown is not None
    assert verdict(shown.interval, ABOVE) == "agrees"
    assert verdict(not_shown.interval, ABOVE) == CANT_TELL
    assert not_shown.value > 0


def test_arms_are_told_apart_by_rank_alpha_and_task(planted: Kept) -> None:
    runs = planted.done(on_weights.STUDY)
    assert sorted(arm(runs, "lora", 1, 2.0)) == [0, 1, 2]
    assert arm(runs, "lora", 1, 8.0) == arm(runs, "lora", 8) == arm(runs, "lora", task="other") == {}


def tuned(method: str, lr: float, task: str = "trec", **settings: float) -> Tuned:
    arm = {f"method.{name}": value for name, value in settings.items()}
    return Tuned(task=task, method=method, arm=arm, steps=150, seed=0, held_out=200, trials=(), lr=lr)


@pytest.mark.parametrize(
    ("rates", "again", "ten", "flat"),
    [
        ({1: 2e-3, 8: 2e-3, 64: 2e-3, 384: 2e-3}, 2e-3, "agrees", "agrees"),
        ({1: 6e-4, 8: 6e-4, 64: 6e-4, 384: 6e-4}, 6e-4, "disagrees", "agrees"),
        ({1: 2e-3, 8: 2e-3, 64: 6e-3, 384: 2e-2}, 2e-3, CANT_TELL, CANT_TELL),
        ({1: 2e-4, 8: 2e-3, 64: 2e-2, 384: 2e-1}, 2e-3, CANT_TELL, "disagrees"),
    ],
)
def test_rates_are_compared_where_they_are_tuned(
    rates: dict[int, float], again: float, ten: str, flat: str, tmp_path: Path
) -> None:
    """Over all ranks of a task, and of two more at one rank, which say nothing of ranks."""
    arms = [tuned("lora", lr, rank=rank, alpha=2.0 * rank) for rank, lr in rates.items()]
    other = tuned("lora", 1.0, rank=64, alpha=8.0)  # of another scale, which has no part in either claim
    more = [tuned("full", 2e-4, task) for task in ("subj", "cr")]
    more += [tuned("lora", again, task, rank=8, alpha=16.0) for task in ("subj", "cr")]
    study = Study(provenance=PROVENANCE, plan="p", runs=(), tuned=(tuned("full", 2e-4), other, *arms, *more))
    study.save(tmp_path / on_weights.STUDY / "study.json")
    for find, word in ((on_learning.tenfold, ten), (on_learning.rate_over_ranks, flat)):
        (one,) = find(Kept(tmp_path))
        claim = next(claim for claim in on_learning.CLAIMS if claim.find is find)
        assert claim.verdict(one) == word


def test_two_ranks_near_each_other_say_nothing_of_rates_over_ranks(tmp_path: Path) -> None:
    arms = tuple(tuned("lora", 2e-3, rank=rank, alpha=2.0 * rank) for rank in (1, 8))
    Study(provenance=PROVENANCE, plan="p", runs=(), tuned=arms).save(tmp_path / on_weights.STUDY / "study.json")
    assert on_learning.rate_over_ranks(Kept(tmp_path)) == []


def test_what_a_study_has_done_is_kept_and_read(planted: Kept, tmp_path: Path) -> None:
    source, home = tmp_path / "study", tmp_path / "records" / on_weights.STUDY
    first = planted.done(on_weights.STUDY)[0]
    assert first.audit is not None
    assert first.scores is not None
    first.done.save(source / "a" / "model" / "run.json")
    first.audit.save(source / "a" / "audit.json")
    first.scores.save(source / "a" / "scores.json")
    first.done.save(source / "b" / "model" / "run.json")
    (source / "trials" / "c").mkdir(parents=True)
    keep(source, home)
    one, other = Kept(home.parent).runs(on_weights.STUDY)
    assert (one.run, one.audit, one.scores) == (first.run, first.audit, first.scores)
    assert (other.run, other.audit, other.scores) == (first.run, None, None)
    assert sorted(path.name for path in (home / "a").iterdir()) == ["audit.json.gz", "run.json", "scores.json"]


def test_intervals_of_differences_and_ratios() -> None:
    less = apart((0.3, (0.2, 0.4)), (0.1, (0.0, 0.2)), "documents")
    assert less.interval == pytest.approx((0.2 - math.hypot(0.1, 0.1), 0.2 + math.hypot(0.1, 0.1)))
    skewed = apart((0.3, (0.25, 0.6)), (0.1, (0.08, 0.2)), "documents")
    assert skewed.interval == pytest.approx((0.2 - math.hypot(0.05, 0.1), 0.2 + math.hypot(0.3, 0.02)))
    twice = ratio([2.0, 2.0, 2.0])
    assert (twice.value, twice.interval) == (pytest.approx(2.0), pytest.approx((2.0, 2.0)))
    assert over_seeds([0.1, 0.2]).interval is None


def test_scores_are_the_same_within_five_points_and_only_where_that_is_known() -> None:
    assert not unequal(Estimate(0.0, (-0.04, 0.04), "seeds"))
    for other in (None, Estimate(0.0, None, "seeds"), Estimate(0.0, (-0.06, 0.04), "seeds")):
        assert unequal(other)


def test_first_directions_alone_are_set_beside_the_whole_update() -> None:
    """Read again from the records themselves, without the reading that the page is made by."""
    folder = RECORDS / "directions"
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("lora-r64.*.dial.json"))]
    lost = [
        next(
            point["accuracy"]["value"] - record["tuned_accuracy"]
            for point in record["points"]
            if (point["path"], point["x"]) == ("rank", 1)
        )
        for record in records
    ]
    assert len(lost) == 3
    (one,) = [found for found in on_directions.alone(1)(Kept()) if "LoRA r 64" in found.what]
    assert one.found.value == pytest.approx(sum(lost) / 3)
    assert one.found.interval is not None


def test_seeds_of_one_rate_stand_in_one_row() -> None:
    kept = Kept()
    scored = [one for one in kept.done("rates") if one.method == "lora" and one.scores is not None]
    arms = {(one.done.arm["method.rank"], one.done.arm["method.lr"]) for one in scored}
    assert len(on_forgetting.less_than_nearest(equal=True)(kept)) == len(arms)


def test_how_often_one_is_larger_has_an_interval_that_holds_the_truth() -> None:
    """Of normal numbers a standard deviation apart the truth is Phi(1 / sqrt(2)) = .760; 95 % of 400 are 380."""
    random = np.random.default_rng(0)
    truth, held = 0.76025, 0
    for _ in range(400):
        one, other = random.normal(1, 1, 8), random.normal(0, 1, 12)
        low, high = mann_whitney(one, other, "runs").interval or (0, 0)
        held += low <= truth <= high
        back = mann_whitney(other, one, "runs").interval or (0, 0)
        assert back == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert 360 <= held <= 396  # 380 less or plus four standard deviations of a count, 4.4 each, and ends in whole pairs
    assert mann_whitney([2, 3], [0, 1], "runs").interval != (1.0, 1.0)
