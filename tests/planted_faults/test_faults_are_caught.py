"""One-line faults planted in a copy of the sources: the tests named beside each must fail on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLANTED = "tests/measures/test_planted.py"
FIELD = "tests/weights/test_files_in_the_field.py"
ADAPTERS = "tests/weights/test_adapters_against_peft.py"

# fault: file, what is there, what is put in its place, the tests that must notice
FAULTS: dict[str, tuple[str, str, str, str]] = {
    "an inconclusive gate that passes in CI": (
        "render/junit.py",
        'if gate.outcome == "held":',
        'if gate.outcome != "crossed":',
        "tests/render/test_gates_for_ci.py::test_a_gate_is_a_case_that_passed_failed_or_could_not_be_told",
    ),
    "a run without an audit left out of its study's gates": (
        "studies/folders.py",
        "for file in files]\n\n\ndef file_name",
        "for file in files if file.exists()]\n\n\ndef file_name",
        "tests/render/test_gates_for_ci.py::test_a_run_that_was_not_audited_leaves_its_study_s_gates_open",
    ),
    "a base that guesses ruined by tuning": (
        "records/cautions.py",
        'return "" if _guesses(base_loss, vocabulary) else',
        'return "" if False else',
        "tests/test_cautions.py::test_a_model_is_ruined_by_its_text_or_by_one_reply",
    ),
    "a tensor written over the one behind it": (
        "merging.py",
        "        if ours != theirs:",
        "        if False:",
        "tests/test_merging.py::test_a_tensor_of_another_shape_is_refused",
    ),
    "scores of files that are not asked any more": (
        "studies/worker.py",
        "scores is not None and self.asked.answered_by(scores) else None",
        "scores is not None else None",
        "tests/test_studies.py::test_scores_of_files_that_were_changed_are_not_those_of_the_study",
    ),
    "other rows under a comparison that has begun": (
        "studies/compare.py",
        'elif file.read_text(encoding="utf8") != content:',
        "elif False:",
        "tests/test_compare.py::test_what_a_folder_holds_is_never_written_over",
    ),
    "an arm without a number that nobody names": (
        "studies/verdicts.py",
        "[*left_out, *(without if units else [])]",
        "left_out",
        "tests/test_verdicts.py::test_an_arm_without_a_number_is_left_out_by_name",
    ),
    "patterns under names that the adapter was not trained under": (
        "weights/rewriting.py",
        'f"^{adapter.spelled.get(name, name)}"',
        'f"^{name}"',
        "tests/repairs/test_files.py::test_an_adapter_of_other_names_is_repaired_under_them",
    ),
    "a stored head whose classes are put in the data's order": (
        "training/loaded.py",
        "    if found <= set(theirs):\n        return theirs",
        "    if found <= set(theirs):\n        return ()",
        "tests/test_classes.py::test_a_stored_head_keeps_its_classes_where_it_learns_more",
    ),
    "a snapshot that does not know its classes": (
        "models/loading.py",
        'if place.folder.parent.name == "steps" else place.folder',
        "if False else place.folder",
        "tests/test_classes.py::test_a_stored_head_keeps_its_classes_where_it_learns_more",
    ),
    "answers of another window taken over": (
        "behaviour/masked.py",
        'digest_of("pseudo-loss", mask, sequences, places, batches)',
        'digest_of("pseudo-loss", mask, batches)',
        "tests/test_masked.py::test_answers_in_other_windows_are_not_taken_over",
    ),
    "a character that XML cannot hold": (
        "render/junit.py",
        'return _NO_XML.sub("\\ufffd", text)',
        "return text",
        "tests/render/test_gates_for_ci.py::test_xml_holds_any_name",
    ),
    "a result for a gate that is held": (
        "render/sarif.py",
        'for one, gate in asked if gate.outcome != "held"]',
        "for one, gate in asked]",
        "tests/render/test_gates_for_ci.py::test_sarif_names_the_file_and_the_tensors_of_what_is_not_held",
    ),
    "the matrices that are least past a gate": (
        "views/checked.py",
        'reverse=gate.operator.startswith(">")',
        'reverse=gate.operator.startswith("<")',
        "tests/render/test_gates_for_ci.py::test_a_gate_is_a_case_that_passed_failed_or_could_not_be_told",
    ),
    "an outcome of an earlier run that a failing one leaves": (
        "cli/checking.py",
        "        file.unlink(missing_ok=True)",
        "        continue",
        "tests/render/test_gates_for_ci.py::test_no_outcome_of_an_earlier_run_is_left_and_nothing_else_is_written_over",
    ),
    "settings of replies that learned embeddings lose": (
        "models/generation.py",
        "{model, inner_model(model)}",
        "{model}",
        "tests/test_generation.py::test_replies_are_those_of_every_prompt_alone",
    ),
    "padding between what is learned and the text": (
        "models/generation.py",
        "    if not is_prompt_learning(model):",
        "    if True:",
        "tests/test_generation.py::test_replies_are_those_of_every_prompt_alone",
    ),
    "keys of all but the prompt's last two tokens": (
        "models/generation.py",
        "cache.batch_repeat_interleave(times)",
        "cache.batch_repeat_interleave(times), cache.crop(-1)",
        "tests/test_generation.py::test_a_prompt_that_is_asked_several_times_is_read_once",
    ),
    "a divergence from tuned to base": (
        "behaviour/divergence.py",
        "(p.exp() * (p - q))",
        "(q.exp() * (q - p))",
        "tests/test_divergence.py::test_it_is_that_of_the_models_own_logits",
    ),
    "an output layer that is not held against the logits": (
        "behaviour/divergence.py",
        "if len(hidden) and makes:",
        "if len(hidden):",
        "tests/test_divergence.py::test_logits_that_are_changed_after_the_layer_have_none",
    ),
    "positions counted from the beginning": (
        "behaviour/divergence.py",
        "off = len(row) - width",
        "off = 0",
        "tests/test_divergence.py::test_it_is_that_of_the_models_own_logits",
    ),
    "a checkpoint advised where several are left": (
        "studies/checkpoint_advice.py",
        "if len(left) != 1:",
        "if not left:",
        "tests/test_checkpoint_advice.py::test_a_trade_and_equal_ones_are_not_decided",
    ),
    "a ruined checkpoint among the choices": (
        "studies/checkpoint_advice.py",
        "if scores is not None and not _ruined(scores):",
        "if scores is not None:",
        "tests/test_checkpoint_advice.py::test_a_ruined_checkpoint_is_no_choice_and_one_alone_is_none",
    ),
    "the base's own outputs for what the update adds": (
        "behaviour/activation_drift.py",
        "_squares(kept).view(taken.shape)], dim=-1)",
        "_squares(kept).view(taken.shape) + change], dim=-1)",
        "tests/test_activation_drift.py::test_an_adapter_is_that_of_hooks_and_dense_updates",
    ),
    "a bias among what the base puts out": (
        "behaviour/activation_drift.py",
        "output.float() if module.bias is None else output.float() - module.bias.float()",
        "output.float()",
        "tests/test_activation_drift.py::test_a_checkpoint_and_matrices_that_are_stored_transposed",
    ),
    "the first token's sink of attention counted": (
        "behaviour/activation_drift.py",
        "taken[:, 0] = False",
        "taken[:, 0] = True",
        "tests/test_activation_drift.py::test_an_adapter_is_that_of_hooks_and_dense_updates",
    ),
    "what one update adds kept for another": (
        "behaviour/activation_drift.py",
        'digest_of("activation drift", ids, batches, self.tuned)',
        'digest_of("activation drift", ids, batches)',
        "tests/test_activation_drift.py::test_it_goes_on_and_nothing_drifts_beside_itself",
    ),
    "a matrix that did not change left out of the whole": (
        "behaviour/activation_drift.py",
        "pooled(np.full(len(slots), True))",
        "pooled(changed)",
        "tests/test_activation_drift.py::test_an_adapter_is_that_of_hooks_and_dense_updates",
    ),
    "one of several equal directions taken for the space": (
        "measures/principal.py",
        "        rank -= 1",
        "        break",
        "tests/measures/test_principal.py::test_a_cut_cluster_is_left_out",
    ),
    "the right share from the left vectors": (
        "measures/principal.py",
        "dW.matmul(Q_right))",
        "dW.rmatmul(Q_left))",
        "tests/measures/test_principal.py::test_shares_and_drift_are_those_of_a_dense_svd",
    ),
    "a drift without what its values are off by": (
        "measures/principal.py",
        "(math.sqrt(p) * _error(one) for one in (first, second))",
        "(-1e-3, -1e-3)",
        "tests/measures/test_principal.py::test_shares_and_drift_are_those_of_a_dense_svd",
    ),
    "the threshold of the longer side over the shorter": (
        "measures/noise.py",
        "return omega(min(shape) / max(shape)) * median",
        "return omega(1.0) * median",
        "tests/measures/test_noise.py::test_planted_directions_are_counted",
    ),
    "the mean of the law for its median": (
        "measures/noise.py",
        "return math.sqrt(factor / median)",
        "return math.sqrt(factor)",
        "tests/measures/test_noise.py::test_omega_is_near_the_published_polynomial",
    ),
    "a median of a third of the values": (
        "linalg/quadrature.py",
        "half = self.count / 2",
        "half = self.count / 3",
        "tests/linalg/test_quadrature.py::test_the_truth_is_inside",
    ),
    "what is below the noise kept": (
        "dials/paths.py",
        "int((matrix.svd[1] > point.x * matrix.noise).sum())",
        "int((matrix.svd[1] <= point.x * matrix.noise).sum())",
        "tests/dials/test_by_noise.py::test_a_point_is_the_model_with_what_is_above",
    ),
    "an adapter of low rank read along its noise": (
        "dials/reading.py",
        "if changed and bare == len(changed):",
        "if bare > len(changed):",
        "tests/dials/test_by_noise.py::test_an_adapter_of_low_rank_has_no_noise",
    ),
    "a trade taken for better": (
        "counsels.py",
        "if kept * learned < 0:",
        "if kept * learned < -1:",
        "tests/test_counsels.py::test_two_runs_are_compared_in_both",
    ),
    "advice that is judged on the half that it was made from": (
        "counsels.py",
        "rest = order[: len(runs) // 2], order[len(runs) // 2 :]",
        "rest = order[: len(runs) // 2], order[: len(runs) // 2]",
        "tests/test_counsels.py::test_a_half_is_judged_on_the_other",
    ),
    "a rewind that spends no budget": (
        "dials/matched.py",
        "scores[-1] - allowed)",
        "scores[-1])",
        "tests/dials/test_matched.py::test_the_rewind_is_the_smallest_size_within_the_budget",
    ),
    "a base in four bits that is read as it is stored": (
        "audits.py",
        "    if base_bits is not None:\n        found.round_base()\n",
        "",
        "tests/test_audits.py::test_a_base_in_four_bits_is_what_bitsandbytes_gives_back",
    ),
    "blocks of another size": (
        "linalg/nf4.py",
        "BLOCK = 64",
        "BLOCK = 128",
        "tests/linalg/test_nf4.py",
    ),
    "entries compared in the precision of the arithmetic": (
        "weights/stored_precision.py",
        "(tuned.to(stored) == base.to(stored))",
        "(tuned == base)",
        "tests/test_totals.py::test_entries_are_compared_in_the_stored_precision",
    ),
    "the sparsity of the adapted matrices alone": (
        "records/totals.py",
        "(entries or sum(",
        "(0 or sum(",
        "tests/test_totals.py::test_sparsity_is_that_of_the_files",
    ),
    "matrices that count alike whatever their update": (
        "records/totals.py",
        "return matrix.update_norm**2",
        "return 1.0",
        "tests/test_totals.py::test_totals_are_those_of_one_large_matrix",
    ),
    "an arm that is taken without a test": (
        "studies/verdicts.py",
        "shown = adjusted < LEVEL and better > 0",
        "shown = better > 0",
        "tests/test_verdicts.py::test_what_two_seeds_show_against_each_other_is_not_shown",
    ),
    "the arm that forgets most": (
        "studies/verdicts.py",
        '"keeping": (-1, SMALLEST_LOSS)',
        '"keeping": (1, SMALLEST_LOSS)',
        "tests/test_verdicts.py::test_arms_that_are_clearly_apart_are_named",
    ),
    "a model preferred though it is behind by another measure": (
        "studies/verdicts.py",
        "all(one.difference > -smallest for smallest, one in found)",
        "True",
        "tests/test_verdicts.py::test_a_trade_leaves_both",
    ),
    "a work that was stopped taken for done": (
        "studies/graph.py",
        "if until < math.inf and not error and not work.is_whole():",
        "if False:",
        "tests/test_compare.py::test_a_work_whose_time_is_up_is_neither_done_nor_failed",
    ),
    "a stop that is filed as a failure": (
        "studies/worker.py",
        "        except StoppedError:\n            return\n",
        "",
        "tests/test_compare.py::test_a_work_whose_time_is_up_is_neither_done_nor_failed",
    ),
    "checkpoints of several bases": (
        "studies/checkpoints.py",
        "if theirs.source.digest != home.digest:",
        "if False:",
        "tests/test_checkpoints.py::test_checkpoints_of_another_base_are_refused",
    ),
    "the last checkpoint twice": (
        "studies/checkpoints.py",
        "        if weights != last:\n",
        "        if True:\n",
        "tests/test_checkpoints.py::test_a_trainers_checkpoints_are_scored_as_each_alone",
    ),
    "checkpoints in the order of their names": (
        "studies/checkpoints.py",
        "found.sort(key=lambda one: one.steps or 0)",
        "found.sort(key=lambda one: -(one.steps or 0))",
        "tests/test_checkpoints.py::test_a_trainers_checkpoints_are_scored_as_each_alone",
    ),
    "a held-out test of one answer": (
        "studies/held_out.py",
        "dict.fromkeys([*first.values(), *drawn])",
        "dict.fromkeys(drawn)",
        "tests/test_compare.py::test_the_plan_is_a_studys_and_rows_are_held_out_once",
    ),
    "a plan that is overwritten": (
        "studies/compare.py",
        "    if there != words:\n",
        "    if False:\n",
        "tests/test_compare.py::test_another_plan_is_refused_with_the_difference",
    ),
    "a norm over the adapted matrices alone": (
        "records/audit.py",
        "base = base if told is None else told**2",
        "base = base",
        "tests/test_audits.py::test_the_relative_norm_is_over_the_same_set_in_an_adapter_and_merged",
    ),
    "records of other matrices compared": (
        "records/audit.py",
        '"set of matrices": audit.in_scope,',
        '"set of matrices": 0,',
        "tests/test_audits.py::test_records_are_compared_by_the_matrices_that_were_measured",
    ),
    "a weighted sum without its weights": (
        "weights/updates.py",
        "B * (weight * factors.scale)",
        "B * factors.scale",
        "tests/test_merging.py::test_a_weighted_sum_is_the_sum_of_the_updates",
    ),
    "a merge that passes over a head of the adapter's own": (
        "merging.py",
        "taken = {key for _, key in found.replaced.values()} | adapter.unused.keys()",
        "taken = set(adapter.stored.tensors)",
        "tests/test_merging.py::test_what_the_base_has_no_place_for_is_refused",
    ),
    "a caution that is not beside the name": (
        "views/arms.py",
        "arm=self.number, rest=in_short(self.of(Scores)))",
        "arm=self.number)",
        "tests/test_cautions.py::test_the_caution_stands_beside_the_name_in_every_table",
    ),
    "pictures of the first matrix in place of the worst of all arms": (
        "views/audit.py",
        "chosen = max(common",
        "chosen = min(common",
        "tests/views/test_joined_page.py::test_every_arm_is_pictured_on_one_matrix",
    ),
    "an item that looks for its files where the worker stands": (
        "engines/process.py",
        "        os.chdir(home)",
        "        pass",
        "tests/engines/test_ray_engine.py::test_paths_are_those_of_the_folder_that_it_was_asked_from",
    ),
    "an item that gets on and is given up": (
        "engines/cluster.py",
        "losses = attempt if task.reached() == before else 1",
        "losses = attempt",
        "tests/engines/test_ray_engine.py::test_an_item_that_gets_on_between_its_losses_is_not_given_up",
    ),
    "a merge without the rounding of its base": (
        "measures/merge.py",
        "off = (base.to(held_in).double() - base).abs()",
        "off = torch.zeros_like(base)",
        "tests/test_merge_check.py::test_what_peft_merges_is_merged",
    ),
    "a merge with twice the update": (
        "measures/merge.py",
        "multiple = float((moved * dW).sum()) / square",
        "multiple = float((moved * dW).sum()) / norm",
        "tests/test_merge_check.py::test_another_scale_is_named_with_its_multiple",
    ),
    "what else a merge changed": (
        "merge_check.py",
        "    compared.add([(pair.name, pair.tuned_name) for pair in theirs.values()])\n",
        "",
        "tests/test_merge_check.py::test_what_else_changed_is_named",
    ),
    "replies that end at the tokenizer's token alone": (
        "models/generation.py",
        "    ends = ends_of(model, how.ends)\n    return",
        "    ends = how.ends\n    return",
        "tests/test_tasks.py::test_a_reply_ends_where_the_model_says_too",
    ),
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
    "runs of one arm taken for independent": (
        "studies/correlation.py",
        'return f"{run.method} {sorted(run.arm.items())}"',
        "return run.key",
        "tests/test_correlation.py::test_runs_of_one_arm_are_resampled_together",
    ),
    "losses that are not pooled as the scores are": (
        "studies/matching.py",
        'np.einsum("cij,cj->ci", alike, losses) / alike.sum(axis=2)',
        "losses",
        "tests/test_curves.py::test_the_regression_is_scikit_learns",
    ),
    "many differences, uncorrected": (
        "behaviour/comparisons.py",
        "(len(p_values) - rank) * p_values[place]",
        "p_values[place]",
        "tests/test_comparisons.py::test_holm_rejects_what_its_steps_reject",
    ),
    "a difference named that is too small": (
        "views/paired.py",
        "abs(self.mean) < self.smallest",
        "False",
        "tests/test_comparisons.py::test_a_difference_is_not_named_for_being_one_of_many_or_too_small",
    ),
    "a sequence that works where the study is": (
        "studies/continual.py",
        "home=places[self.folder].parent",
        "home=self.work.home",
        "tests/test_continual.py::test_a_sequence_whose_files_lie_elsewhere_is_the_same",
    ),
    "a function that no process can import": (
        "engines/process.py",
        'if function.__module__ == "__main__":',
        "if False:",
        "tests/engines/test_local_engine.py::test_a_function_of_the_program_itself_is_refused",
    ),
    "work that was taken for lost and goes on": (
        "engines/process.py",
        "(claim is None or claim.exists())",
        "True",
        "tests/engines/test_proxy.py::test_work_that_was_taken_for_lost_ends",
    ),
    "a reply to another call": (
        "engines/proxy.py",
        "if number == self._number:",
        "if True:",
        "tests/engines/test_proxy.py::test_results_and_errors_come_back_and_it_is_closed_at_the_end",
    ),
    "weights that are put elsewhere and come back all the same": (
        "engines/files.py",
        "if name not in left}",
        "}",
        "tests/engines/test_travelling_files.py::test_weights_go_to_an_address_and_a_file_says_where",
    ),
    "a trained pooler that travels": (
        "studies/continual.py",
        "        _give_back_pooler(body, self.base)\n",
        "",
        "tests/test_continual.py::test_a_trained_pooler_does_not_travel_to_the_next_task",
    ),
    "the next rate up": (
        "studies/tuning.py",
        "            best -= 1\n",
        "            best += 1\n",
        "tests/test_tuning.py::test_a_rate_that_ruins_at_full_length_is_not_taken",
    ),
    "the last directions instead of the first": (
        "dials/paths.py",
        "(part[..., : int(point.x)] for part in matrix.svd)",
        "(part[..., int(point.x) :] for part in matrix.svd)",
        "tests/dials/test_rank.py::test_a_point_is_the_model_with_truncated_matrices",
    ),
    "a loss on what the user says": (
        "data/chats.py",
        'if message["role"] != "assistant" or turn < first:',
        "if turn < first:",
        "tests/test_formats_of_data.py::test_the_loss_of_a_chat_is_on_the_assistants_turns_and_their_ends",
    ),
    "a prompt that is not put before its replies": (
        "data/kinds.py",
        "asked + text_in(row, column, where)",
        "text_in(row, column, where)",
        "tests/test_formats_of_data.py::test_a_prompt_beside_two_replies_is_put_before_both_in_training_and_in_scores",
    ),
    "parts of a batch summed": (
        "training/trainers.py",
        "    if isinstance(examples[0].labels, int):\n",
        "    if False:\n",
        "tests/test_precision.py::test_a_batch_in_parts_is_the_same_step",
    ),
    "an adapter that is not taken off": (
        "models/shared.py",
        "self._base, self._adapted = self._adapted.unload(), None",
        "self._adapted = None",
        "tests/test_many_models.py::test_a_base_is_itself_again_when_an_adapter_is_taken_off",
    ),
    "a loss on the prompt": (
        "data/kinds.py",
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
        " if (position in held_out) == wanted",
        "",
        "tests/test_tuning.py::test_held_out_rows_are_no_longer_learned_and_every_class_stays",
    ),
    "a classifier's loss times the number of processes": (
        "training/trainers.py",
        "        trainer.model_accepts_loss_kwargs = False\n    return trainer",
        "        trainer.model_accepts_loss_kwargs = True\n    return trainer",
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
        "return judged and read and found == [source_of(file).digest if file else None for file in files]",
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
        "sigma *= math.sqrt(wanted / float(energy[-1]))",
        "sigma *= 1.0",
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
        "tests/dials/test_matched.py::test_the_size_is_the_smallest_that_reaches_the_score",
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
        "tests/dials/test_size.py::test_a_classifier_is_dialled_with_a_task_under_the_head_that_was_tuned",
    ),
    "a multiplier upside down": (
        "measures/threshold.py",
        "return BoundedEstimate(norm.value / largest,",
        "return BoundedEstimate(largest / norm.value,",
        "tests/measures/test_threshold.py::test_the_multiplier_of_an_audit_is_one_at_the_threshold",
    ),
    "wrong side": (
        "measures/intruders.py",
        'if side == "right":',
        'if side == "left":',
        f"{PLANTED}::test_exactly_as_many_as_were_planted",
    ),
    "missing scale": (
        "weights/scales.py",
        "scale, rank = asked[module]",
        "scale, rank = 1.0, asked[module][1]",
        f"{ADAPTERS}::test_an_adapter_equals_its_merged_weights",
    ),
    "rule without the square root": (
        "weights/scales.py",
        "alpha / stored**0.5 if",
        "alpha / stored if",
        "tests/weights/test_adapters.py",
    ),
    "transposed Conv1D": (
        "weights/architecture.py",
        'return "linear", True, False',
        'return "linear", False, False',
        f"{ADAPTERS}::test_an_adapter_equals_its_merged_weights",
    ),
    "dropped absolute value": (
        "linalg/spectral_projectors.py",
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
        "linalg/spectral_projectors.py",
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
    "a proof that needs no factor": (
        "linalg/shifted_gram.py",
        "            return math.inf\n",
        "            return shift\n",
        "tests/linalg/test_shift_invert_lanczos.py::test_a_missed_vector_has_no_proof",
    ),
    "a factor without its error": (
        "linalg/shifted_gram.py",
        "(ROUNDING_FACTOR * seen + hidden)",
        "hidden",
        "tests/linalg/test_shift_invert_lanczos.py::test_a_wrong_factor_widens_the_bound",
    ),
    "products without their rounding": (
        "linalg/rounding_estimate.py",
        "return ROUNDING_FACTOR * worst",
        "return 0.0 * worst",
        "tests/linalg/test_rounding_estimate.py::test_a_sketch_sees_the_rounding_of_products",
    ),
    "what an adapter leaves over, in part": (
        "linalg/block_krylov.py",
        "square = outside.remainder**2 + max(",
        "square = max(",
        "tests/linalg/test_block_krylov.py::test_bounds_hold",
    ),
    "a Gram matrix that is asked too late": (
        "linalg/escalation.py",
        '"Gram eigendecomposition") if gram else bounded',
        '"Gram eigendecomposition") if False else bounded',
        "tests/linalg/test_escalation.py",
    ),
    "a bound on sigma_min that its factor's error widens": (
        "linalg/sigma_min.py",
        "math.sqrt(part * mean - error)",
        "math.sqrt(part * mean + 9 * mean)",
        "tests/linalg/test_sigma_min.py",
    ),
    "an update whose larger values are not counted": (
        "linalg/svd_update.py",
        "if above != count:",
        "if False:",
        "tests/linalg/test_svd_update.py::test_a_leading_direction_that_the_iteration_missed_is_seen",
    ),
    "a product without its last rows": (
        "linalg/operators.py",
        "torch.cat([product, W[whole:] @ X])",
        "torch.cat([product, 0 * W[whole:] @ X])",
        "tests/linalg/test_operators.py::test_long_rows_make_the_same_products",
    ),
    "code of a model's folder is asked for and not refused": (
        "weights/libraries.py",
        "if asked and not (",
        "if False and not (",
        "tests/test_nothing_is_executed.py::test_a_folder_that_asks_for_code_is_refused",
    ),
    "a loader that may ask for code": (
        "weights/libraries.py",
        "AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)",
        "AutoTokenizer.from_pretrained(folder, local_files_only=True)",
        "tests/test_nothing_is_executed.py::test_every_call_of_a_loader_stands_in_one_place",
    ),
    "a pickle in place of an adapter's safetensors": (
        "weights/libraries.py",
        "if not (folder / ADAPTER_FILE).is_file():",
        "if False:",
        "tests/test_nothing_is_executed.py::test_an_adapters_pickle_is_not_opened_in_place_of_another_safetensors_file",
    ),
    "a prompt that starts from a pickle": (
        "weights/libraries.py",
        'config.prompt_tuning_init = "RANDOM"',
        "pass",
        "tests/test_nothing_is_executed.py::test_a_prompts_start_is_not_unpickled",
    ),
    "a task's function that nobody asked for": (
        "behaviour/task_files.py",
        "    for function in _functions(found):\n        _refuse_unasked(function, path, code)\n",
        "",
        "tests/test_nothing_is_executed.py::test_a_task_of_the_harness_runs_code_only_if_it_is_named",
    ),
    "templates outside of their sandbox": (
        "behaviour/task_files.py",
        "lm_eval.utils.env = boxed",
        "lm_eval.utils.env = own",
        "tests/test_nothing_is_executed.py::test_a_task_of_the_harness_has_no_way_around",
    ),
    "two models in one folder": (
        "weights/model_files.py",
        "if len(own) > 1:",
        "if False:",
        "tests/weights/test_which_files.py::test_an_adapter_beside_a_whole_model_is_asked_about",
    ),
    "an index beside another file": (
        "weights/model_files.py",
        "and shards != [MODEL_FILE]:",
        "and False:",
        "tests/weights/test_which_files.py::test_one_file_beside_an_index_of_others_is_refused",
    ),
    "an adapter on any base": (
        "weights/bases.py",
        "why = None if insisted else _why_other(update, home, source)",
        "why = None",
        "tests/weights/test_which_files.py::test_the_record_beside_an_adapter_says_whose_it_is",
    ),
    "a base that changes unseen": (
        "io/stamps.py",
        "same = _stamp(path) == stamp",
        "same = True",
        "tests/weights/test_which_files.py::test_a_base_that_changes_while_it_is_read_makes_no_record",
    ),
    "tokens without an embedding": (
        "models/loading.py",
        "    _refuse_more_tokens(place, tokenizer)\n",
        "",
        "tests/weights/test_which_files.py::test_more_tokens_than_embeddings_is_a_mismatch",
    ),
    "an output into a model's folder": (
        "cli/destinations.py",
        "    _refuse_inside_a_model(output, kind)\n",
        "",
        "tests/cli/test_outputs.py::test_nothing_is_written_over_or_into_a_model",
    ),
    "an output over any file": (
        "cli/destinations.py",
        "if path.stat().st_size and not _is_earlier(path, kind):",
        "if False:",
        "tests/cli/test_outputs.py::test_an_output_is_new_or_an_earlier_one_of_its_kind[dial]",
    ),
    "a closed pipe that is a gate": (
        "render/terminal.py",
        "        raise BrokenPipeError\n",
        "        super().on_broken_pipe()\n",
        "tests/cli/test_outputs.py::test_a_closed_pipe_is_no_verdict",
    ),
    "a skipped matrix closes its gate": (
        "weights/checkpoint_pairs.py",
        "matters = slot.body and",
        "matters = False and",
        "tests/weights/test_full_checkpoints.py",
    ),
    "a compiled model's names": (
        "weights/names.py",
        '"_orig_mod", ',
        "",
        f"{FIELD}::test_names_come_home",
    ),
    "an adapter's name left in its keys": (
        "weights/names.py",
        "_NAMED.sub(_without_name, found)",
        "found",
        f"{FIELD}::test_names_come_home",
    ),
    "a language model that has not moved": (
        "weights/names.py",
        '("model", "language_model", "text_model")',
        "()",
        f"{FIELD}::test_a_language_model_is_found_where_it_is_now",
    ),
    "the first of several modules that fit": (
        "weights/adapter_pairs.py",
        "if len(fitting) != 1:",
        "if not fitting:",
        f"{FIELD}::test_names_that_fit_several_modules_are_refused",
    ),
    "two modules that become one": (
        "weights/adapter_pairs.py",
        "taken.setdefault(place, module) != module",
        "False",
        f"{FIELD}::test_two_modules_that_mean_one_are_refused",
    ),
    "a model run under names that PEFT does not find": (
        "models/renamed.py",
        "if not modules or (",
        "if True or (",
        f"{FIELD}::test_a_model_is_run_with_the_names_that_are_audited",
    ),
    "alphas by the base's names": (
        "weights/scales.py",
        "by_rule(adapter.settings, adapter.spelled.get(module, module))",
        "by_rule(adapter.settings, module)",
        f"{FIELD}::test_alphas_are_those_of_the_names_it_was_trained_under",
    ),
    "alpha 0 of a trained adapter": (
        "weights/scales.py",
        "if scale == 0.0 and",
        "if False and",
        f"{FIELD}::test_settings_from_which_no_update_follows_are_refused",
    ),
    "a setting of a newer PEFT": (
        "weights/adapter_settings.py",
        'name.startswith("use_") or ',
        "",
        f"{FIELD}::test_settings_from_which_no_update_follows_are_refused",
    ),
    "a module that was not saved": (
        "weights/adapter_pairs.py",
        "self.missing[name] = reason",
        "pass",
        f"{FIELD}::test_a_module_without_tensors_opens_gates",
    ),
    "a tensor that nothing reads": (
        "weights/adapter_pairs.py",
        'is called so", matters=True)',
        'is called so")',
        f"{FIELD}::test_a_tensor_that_nothing_reads_opens_gates",
    ),
    "scales taken for matrices": (
        "weights/quantised.py",
        "found.setdefault(name, owners[owner])",
        "pass",
        f"{FIELD}::test_scales_beside_codes_are_no_matrices",
    ),
    "a terminal without the intervals": (
        "render/terminal.py",
        "_said(terminal, cell.plain)",
        "_said(terminal, cell.text)",
        "tests/render/test_alike.py::test_every_number_is_written_alike[sweep/curves.json]",
    ),
    "Markdown without the intervals": (
        "render/markdown.py",
        "    text = given.plain",
        "    text = given.text",
        "tests/render/test_alike.py::test_every_number_is_written_alike[sweep/curves.json]",
    ),
    "a table cut at the width of a page": (
        "render/terminal.py",
        "room = max(terminal.width, least)",
        "room = terminal.width",
        "tests/render/test_alike.py::test_a_row_of_a_table_wider_than_a_page_keeps_its_name",
    ),
    "a share that is carried in per cent": (
        "views/cells.py",
        "return value(given, formats.share)",
        "return value(None if given is None else 100 * given, lambda share: formats.share(share / 100))",
        "tests/render/test_page.py::test_the_headline_has_the_records_figures",
    ),
    "a page's details told on a terminal": (
        "render/terminal.py",
        "if not column.detail]",
        "if column]",
        "tests/views/test_a_new_kind.py",
    ),
    "a kind whose module has no view accepted": (
        "views/registry.py",
        "    if kind not in _VIEWS:\n        raise",
        "    if False:\n        raise",
        "tests/views/test_a_new_kind.py",
    ),
}


@pytest.fixture(scope="session")
def forks() -> Iterator[subprocess.Popen[str]]:
    """A process that forks, with the large libraries imported, for every run of tests."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).parent / "child.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault: str, forks: subprocess.Popen[str], tmp_path: Path) -> None:
    file, right, wrong, tests = FAULTS[fault]
    source, output = tmp_path / "src", tmp_path / "output"
    shutil.copytree(ROOT / "src", source)
    path = source / "assay" / file
    text = path.read_text()
    assert text.count(right) == 1, f"{file} no longer has the one line that this fault changes"
    path.write_text(text.replace(right, wrong))
    assert forks.stdin is not None
    assert forks.stdout is not None
    asked = (str(source), str(ROOT), [f"{ROOT}/{part}" for part in tests.split()], str(output))
    forks.stdin.write(json.dumps(asked) + "\n")
    forks.stdin.flush()
    code = int(forks.stdout.readline())
    said = output.read_text()
    # 1: tests failed; a test that is not there any more (4), or stops for another reason, has caught nothing.
    assert code == 1, said[-2000:]
    assert "\nFAILED " in said or "\nERROR " in said, said[-2000:]
