"""One-line faults planted in a copy of the sources: the tests named beside each must fail on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLANTED = "tests/measures/test_planted.py"
ADAPTERS = "tests/weights/test_adapters_against_peft.py"

# fault: file, what is there, what is put in its place, the tests that must notice
FAULTS: dict[str, tuple[str, str, str, str]] = {
    "padding by its token": (
        "behaviour/forgetting.py",
        '* inputs["attention_mask"][:, 1:]',
        "* (targets != model.config.pad_token_id)",
        "tests/test_behaviour.py::test_losses_equal_the_models_own",
    ),
    "a token that is not masked": (
        "behaviour/masked.py",
        '    inputs["input_ids"][rows, at] = mask\n',
        "",
        "tests/test_masked.py::test_pseudo_losses_equal_a_naive_loop_at_any_size_of_batch",
    ),
    "answers kept for other weights": (
        "behaviour/passes.py",
        "question = [self.identity, one.digest,",
        "question = [one.digest,",
        "tests/test_scoring_goes_on.py::test_answers_to_another_question_are_not_taken",
    ),
    "choices by their length that are not": (
        "behaviour/tasks/likelihood.py",
        "np.argmax(each / np.array(lengths))",
        "np.argmax(each)",
        "tests/test_tasks.py::test_choices_are_the_likeliest_whole_and_by_the_character",
    ),
    "replies padded on the right": (
        "models/generation.py",
        "[[*(pad,) * gap, *ids] for gap",
        "[[*ids, *(pad,) * gap] for gap",
        "tests/test_tasks.py::test_greedy_replies_are_those_of_one_token_after_the_other",
    ),
    "the next task begins at the base again": (
        "studies/continual.py",
        "        if position:\n",
        "        if False:\n",
        "tests/test_continual.py::test_a_merged_body_is_the_tuned_models_own",
    ),
    "a partial correlation that is not": (
        "studies/correlation.py",
        "(xy - xz * yz)",
        "(xy - xz * xz)",
        "tests/test_correlation.py::test_rho_is_scipys_and_the_partial_one_that_of_residual_ranks",
    ),
    "the last directions instead of the first": (
        "dials/paths.py",
        "(part[..., : int(point.x)] for part in matrix.svd)",
        "(part[..., int(point.x) :] for part in matrix.svd)",
        "tests/dials/test_rank.py::test_a_point_is_the_model_with_truncated_matrices",
    ),
    "a loss on the prompt": (
        "data/examples.py",
        "(*(IGNORED,) * len(prompt), *answer)",
        "(*prompt, *answer)",
        "tests/test_data.py::test_the_loss_is_on_the_answer_and_its_end",
    ),
    "normalisation learns": (
        "methods/full.py",
        "model.requires_grad_(False)",
        "model.requires_grad_(True)",
        "tests/test_training.py::test_only_matrices_of_the_body_learn",
    ),
    "heads drawn apart": (
        "training/loop.py",
        "        set_seed(spec.seed)\n        model = load_base",
        "        model = load_base",
        "tests/test_training.py::test_a_new_head_starts_equal_and_learns_in_every_arm",
    ),
    "a rank-stable scale without its root": (
        "methods/rslora.py",
        '{"use_rslora": True}',
        '{"use_rslora": False}',
        "tests/test_methods.py::test_the_scale_of_rslora_is_alpha_by_the_root_of_the_rank",
    ),
    "the first factors stay in a converted adapter": (
        "methods/variants.py",
        "torch.cat([value, -first[name]], dim=1)",
        "torch.cat([value, 0 * first[name]], dim=1)",
        "tests/test_methods.py::test_what_is_stored_is_what_was_learned",
    ),
    "an A that learns": (
        "methods/b_only.py",
        "parameter.requires_grad_(False)",
        "parameter.requires_grad_(True)",
        "tests/test_methods.py::test_b_only_freezes_an_orthonormal_a",
    ),
    "logits of a prefix taken for the text's": (
        "behaviour/batches.py",
        'every[:, -inputs["input_ids"].shape[1] :]',
        'every[:, : inputs["input_ids"].shape[1]]',
        "tests/test_methods.py::test_losses_with_a_prefix_are_those_of_the_texts_own_tokens",
    ),
    "dropout drawn anew after a stop": (
        "training/resuming.py",
        "        torch.set_rng_state(self.tensors[_CPU])\n",
        "",
        "tests/test_training.py::test_every_step_can_be_the_last_before_a_stop",
    ),
    "a schedule that begins anew after a stop": (
        "training/resuming.py",
        '"last_epoch": self.step,',
        "",
        "tests/test_training.py::test_every_step_can_be_the_last_before_a_stop",
    ),
    "a layer under another's name": (
        "weights/merged_layers.py",
        'module.endswith(f".{target}")',
        "False",
        "tests/weights/test_merged_layers.py",
    ),
    "a search that stops at the edge": (
        "studies/tuning.py",
        "for place in (best - 1, best + 1) if",
        "for place in () if",
        "tests/test_tuning.py::test_the_search_ends_at_the_least_loss_that_it_may_reach",
    ),
    "rates judged on what was learned": (
        "studies/tuning.py",
        "if (position in held_out) == wanted]",
        "]",
        "tests/test_tuning.py::test_held_out_rows_are_no_longer_learned_and_every_class_stays",
    ),
    "a classifier's loss times the number of processes": (
        "training/loop.py",
        '"average_tokens_across_devices": objective_of(spec.data) == "causal-lm"',
        '"average_tokens_across_devices": True',
        "tests/test_many_processes.py::test_two_processes_train_what_one_trains",
    ),
    "rejected texts before chosen ones": (
        "data/examples.py",
        "[pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]",
        "[pair.rejected for pair in pairs] + [pair.chosen for pair in pairs]",
        "tests/test_rewards.py::test_a_reward_model_learns_and_is_scored_as_it_judges",
    ),
    "a reference that learns": (
        "training/policy.py",
        "value.requires_grad_(learns[name])",
        "value.requires_grad_(True)",
        "tests/test_policies.py::test_gradients_reach_only_what_the_method_declares",
    ),
    "a reference that is seen through dropout": (
        "training/policy.py",
        "    _without_dropout(model)\n",
        "",
        "tests/test_policies.py::test_a_policy_that_has_not_learned_is_its_reference_though_the_base_has_dropout",
    ),
    "equal rewards that count as lost": (
        "behaviour/winning.py",
        "(second > first) + 0.5 * (second == first)",
        "(second > first) * 1.0",
        "tests/test_policies.py::test_wins_are_paired_and_equal_rewards_count_half",
    ),
    "a baseline that is paid for": (
        "training/policy.py",
        "(target - expected.detach()) * spoken",
        "(target - expected) * spoken",
        "tests/test_policies.py::test_the_gradient_of_reinforce_is_by_hand",
    ),
    "every matrix where attention was asked for": (
        "methods/adapting.py",
        "return attention_matrices(model)",
        "return body_matrices(model)",
        "tests/test_rewards.py::test_only_what_the_method_declares_learns",
    ),
    "a rate that forgets its alpha": (
        "studies/plan.py",
        "[product / alpha for product in products]",
        "list(products)",
        "tests/test_studies.py::test_alpha_times_rate_is_constant_over_ranks",
    ),
    "scores of other questions taken for done": (
        "studies/worker.py",
        "return judged and found == [digests.of_files([file]) if file else None for file in files]",
        "return True",
        "tests/test_studies.py::test_new_scores_are_taken_when_the_questions_change",
    ),
    "a live adapter without its scale": (
        "training/monitor.py",
        "[scale * B for B, _, scale in factors]",
        "[B for B, _, scale in factors]",
        "tests/test_monitor.py::test_an_adapter_is_measured_as_its_audit_measures_it",
    ),
    "a monitor behind the trackers": (
        "training/monitor.py",
        "[self, *(callback for callback in handler.callbacks if callback is not self)]",
        "[*(callback for callback in handler.callbacks if callback is not self), self]",
        "tests/test_monitor.py::test_an_adapter_is_measured_as_its_audit_measures_it",
    ),
    "a frozen factor that is not stored": (
        "methods/low_rank.py",
        'if value.requires_grad or ".lora_A." in name',
        "if value.requires_grad",
        "tests/test_estimates.py::test_counts_are_those_of_the_run",
    ),
    "documents and tokens resampled apart": (
        "behaviour/intervals.py",
        "paired=True",
        "paired=False",
        "tests/test_behaviour.py::test_totals_and_weights_are_resampled_together",
    ),
    "a repaired adapter at its old scale": (
        "weights/rewriting.py",
        '(rank**0.5 if adapter.settings.get("use_rslora") else rank)',
        "rank",
        "tests/repairs/test_identity.py::test_only_intruders_are_edited_and_by_the_formula",
    ),
    "the update's own triplets are scaled": (
        "measures/repair.py",
        "    exact = tuned.to(torch.float64)\n",
        "    exact = judged.parts.update.to(torch.float64)\n",
        "tests/repairs/test_identity.py::test_only_intruders_are_edited_and_by_the_formula",
    ),
    "a shrink of another size": (
        "dials/paths.py",
        "times(update, point.factor or 0.0)",
        "times(update, point.x)",
        "tests/dials/test_intruders.py::test_every_control_is_equal_in_what_its_name_says",
    ),
    "a removal of another energy": (
        "dials/matrices.py",
        'energy["outside"] if control == "equal-removal" else energy["whole"]',
        'energy["whole"]',
        "tests/dials/test_intruders.py::test_every_control_is_equal_in_what_its_name_says",
    ),
    "a removal that takes the intruders too": (
        "measures/repair.py",
        "return LowRank(factor * B + (1 - factor) * basis @ (basis.T @ B), A, update.scale)",
        "return LowRank(factor * B, A, update.scale)",
        "tests/dials/test_intruders.py::test_an_equal_removal_leaves_the_intruders_part_alone",
    ),
    "neighbours of another energy": (
        "measures/repair.py",
        "sigma[-1] = math.sqrt(max(0.0, wanted - before))",
        "pass",
        "tests/dials/test_intruders.py::test_every_control_is_equal_in_what_its_name_says",
    ),
    "an amplification that is called a shrink": (
        "dials/matrices.py",
        "if 0 <= removed <= available:",
        "if removed <= available:",
        "tests/dials/test_intruders.py::test_a_path_that_adds_energy_has_no_shrink",
    ),
    "an amplified update that is picked": (
        "dials/matched.py",
        'point.path == "size" and point.x > 1',
        "False",
        "tests/dials/test_matched.py::test_an_amplified_update_is_never_picked",
    ),
    "a way back that is read at its highest size": (
        "dials/matched.py",
        "above = (scores >= goal - hair).argmax(0)",
        "above = np.full(scores.shape[1], len(grid) - 1)",
        "tests/dials/test_matched.py::test_a_point_beside_the_way_back",
    ),
    "a verdict on a score that is not reached": (
        "dials/matched.py",
        "if low > 0 and reached >= LEVEL:",
        "if low > 0:",
        "tests/dials/test_matched.py::test_a_point_beside_the_way_back",
    ),
    "a path that scales matrices alone": (
        "dials/engine.py",
        'if point.path == "size":',
        'if point.path == "size" and entry is not None:',
        "tests/dials/test_size.py::test_x1_is_the_trained_model_and_x0_the_base",
    ),
    "a multiplier upside down": (
        "measures/threshold.py",
        "return Estimate(norm.value / largest,",
        "return Estimate(largest / norm.value,",
        "tests/measures/test_threshold.py::test_the_multiplier_of_an_audit_is_one_at_the_threshold",
    ),
    "wrong side": (
        "measures/intruders.py",
        'if side == "right":',
        'if side == "left":',
        f"{PLANTED}::test_exactly_as_many_as_were_planted",
    ),
    "missing scale": (
        "weights/adapters.py",
        "scale, rank = asked[module]",
        "scale, rank = 1.0, asked[module][1]",
        f"{ADAPTERS}::test_an_adapter_equals_its_merged_weights",
    ),
    "rule without the square root": (
        "weights/adapters.py",
        "alpha / rank**0.5 if",
        "alpha / rank if",
        "tests/weights/test_adapters.py",
    ),
    "transposed Conv1D": (
        "weights/architecture.py",
        'return "linear", True, False',
        'return "linear", False, False',
        f"{ADAPTERS}::test_an_adapter_equals_its_merged_weights",
    ),
    "dropped absolute value": (
        "linalg/windows.py",
        "parts = coefficients.unflatten",
        "parts = coefficients.clamp(min=0).unflatten",
        PLANTED,
    ),
    "one direction too few": (
        "measures/intruders.py",
        "min(k, len(tuned.sigma))",
        "min(k - 1, len(tuned.sigma))",
        f"{PLANTED}::test_exactly_as_many_as_were_planted",
    ),
    "null directions match": (
        "linalg/windows.py",
        "alive = (base.sigma > _null_level(base))",
        "alive = (base.sigma >= 0)",
        f"{PLANTED}::test_null_directions_of_the_base_match_nothing",
    ),
    "bounds without the angle": (
        "linalg/triplets.py",
        "twice, room = 2 * residual,",
        "twice, room = 0 * residual,",
        f"{PLANTED}::test_equal_values_are_judged_as_one_space",
    ),
    "a witness that need not be alone": (
        "linalg/witness.py",
        "outside = residual / gap if gap > 0 else 1.0",
        "outside = 0.0",
        "tests/linalg/test_shifts.py::test_two_equal_values_have_no_witness",
    ),
    "a proof that needs no factor": (
        "linalg/shifted.py",
        "            return math.inf\n",
        "            return shift\n",
        "tests/linalg/test_inverted.py::test_a_missed_vector_has_no_proof",
    ),
    "a factor without its error": (
        "linalg/shifted.py",
        "return ROUNDING_FACTOR * seen + hidden",
        "return hidden",
        "tests/linalg/test_inverted.py::test_a_wrong_factor_widens_the_bound",
    ),
    "a witness that is lost with its part": (
        "linalg/overlaps.py",
        "max(abs(along), float(torch.linalg.vector_norm(parts)))",
        "float(torch.linalg.vector_norm(parts))",
        "tests/linalg/test_shifts.py::test_a_vector_without_its_witness_bounds_the_others",
    ),
    "products without their rounding": (
        "linalg/sketch.py",
        "return ROUNDING_FACTOR * worst",
        "return 0.0 * worst",
        "tests/linalg/test_shifts.py::test_a_sketch_sees_the_rounding_of_products",
    ),
    "what an adapter leaves over, in part": (
        "linalg/certified.py",
        "square = outside.rest**2 + max(",
        "square = max(",
        "tests/linalg/test_certified.py::test_bounds_hold",
    ),
    "a Krylov space that is not kept orthogonal": (
        "linalg/certificate.py",
        "self.K[-RECENT:] if self.U.shape[1] else self.K",
        "self.K[-RECENT:]",
        "tests/linalg/test_shifts.py::test_what_few_products_leave_open_is_decided_by_shifts",
    ),
    "a product without its last rows": (
        "linalg/operators.py",
        "torch.cat([product, W[whole:] @ X])",
        "torch.cat([product, 0 * W[whole:] @ X])",
        "tests/linalg/test_dense.py::test_long_rows_make_the_same_products",
    ),
    "a skipped matrix closes its gate": (
        "weights/checkpoint_pairs.py",
        "matters = slot.body and",
        "matters = False and",
        "tests/weights/test_full_checkpoints.py",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault: str, tmp_path: Path) -> None:
    file, right, wrong, tests = FAULTS[fault]
    shutil.copytree(ROOT / "src", tmp_path / "src")
    path = tmp_path / "src" / "assay" / file
    text = path.read_text()
    assert text.count(right) == 1, f"{file} no longer has the one line that this fault changes"
    path.write_text(text.replace(right, wrong))
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", *(f"{ROOT}/{part}" for part in tests.split())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 1, done.stdout[-2000:]
