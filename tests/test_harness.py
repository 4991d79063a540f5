"""Tasks of lm-eval from local files, on a base and a tuned model, paired by document; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")

from assay.behaviour.harness import harness_pass
from assay.behaviour.scoring import score
from assay.behaviour.tasks import choose, read_task
from assay.errors import InputError, MismatchError, SettingError
from assay.models.loading import find, load, load_tokenizer
from assay.records import Scores
from assay.settings import HarnessTasks
from models_in_miniature import letters, lines, llama, with_other_tokens

YAML = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: {kind}
test_split: test
doc_to_text: "{{{{question}}}}"
{rest}
"""
CHOICE = "doc_to_choice: choices\ndoc_to_target: answer\nmetric_list: [{metric: acc}, {metric: acc_norm}]"


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {
            "question": letters(2, 9, seed),
            "choices": [letters(1, 2, seed), letters(1, 2, seed + 50)],
            "answer": seed % 2,
        }
        for seed in range(20)
    ]
    return lines(tmp_path / "choices.jsonl", rows)


def task(
    folder: Path, data: Path, name: str = "local_choice", kind: str = "multiple_choice", rest: str = CHOICE
) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(YAML.format(name=name, data=data, kind=kind, rest=rest), encoding="utf8")
    return str(path)


def adapter(folder: Path, base: Path) -> Path:
    """LoRA factors on a base, not merged."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["q_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(load(find(base), "causal-lm"), config)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            value.data += 0.5
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    return folder


def test_both_models_are_scored_as_the_harness_scores_them(tmp_path: Path, data: Path) -> None:
    base = llama(tmp_path / "base")
    tuned = adapter(tmp_path / "adapter", base)
    path = task(tmp_path, data)
    scores = score(None, tuned, harness=HarnessTasks([path]))
    assert [(one.task, one.metric) for one in scores.harness] == [("local_choice", "acc"), ("local_choice", "acc_norm")]
    # Two oracles: the harness's own mean, and our own kinds of task, whose choices it calls acc and acc_norm.
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    for side, folder in (("base", base), ("tuned", tuned)):
        model, tokenizer = load(find(folder), "causal-lm"), load_tokenizer(find(base))
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
        own = simple_evaluate(model=lm, tasks=["local_choice"], task_manager=manager, bootstrap_iters=0)
        for one, how in zip(scores.harness, ("multiple-choice", "multiple-choice-by-length"), strict=True):
            assert getattr(one, side) == pytest.approx(own["results"]["local_choice"][f"{one.metric},none"])
            asked = read_task(data, tokenizer, how=how)
            right = [choice == truth for choice, truth in zip(choose(model, asked), asked.truth, strict=True)]
            assert getattr(one, f"{side}_values") == tuple(map(float, right))
    first = scores.harness[0]
    assert first.difference == pytest.approx(first.tuned - first.base)
    assert first.p_value is not None
    assert first.base_values != first.tuned_values
    scores.save(tmp_path / "scores.json")
    assert Scores.read(tmp_path / "scores.json") == scores
    assert str(tmp_path) not in (tmp_path / "scores.json").read_text()


def test_generated_replies_and_metrics_without_documents(tmp_path: Path, data: Path) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    match = (
        'doc_to_target: "{{choices[0]}}"\ngeneration_kwargs: {max_gen_toks: 3, until: ["yes"], do_sample: false}\n'
        "metric_list: [{metric: exact_match}]"
    )
    rolling = 'doc_to_target: "{{question}}"\nmetric_list: [{metric: word_perplexity}]'
    paths = [
        task(tmp_path, data, "local_match", "generate_until", match),
        task(tmp_path, data, "local_rolling", "loglikelihood_rolling", rolling),
    ]
    scores = score(base, tuned, harness=HarnessTasks(paths, limit=5))
    assert [(one.task, one.metric, len(one.base_values)) for one in scores.harness] == [
        ("local_match", "exact_match", 5)
    ]
    assert any("word_perplexity has no value for each document" in note for note in scores.notes)


def test_what_the_harness_cannot_do_is_one_error(tmp_path: Path, data: Path) -> None:
    base = llama(tmp_path / "base")
    (tmp_path / "nameless.yaml").write_text("output_type: multiple_choice\n", encoding="utf8")
    with pytest.raises(InputError, match="names no task"):
        score(base, base, harness=HarnessTasks([str(tmp_path / "nameless.yaml")]))
    with pytest.raises(InputError, match="lm-eval could not run it"):
        score(base, base, harness=HarnessTasks([task(tmp_path, tmp_path / "nowhere.jsonl", "lost")]))
    absent = CHOICE.replace("doc_to_target", 'description: "{{absent}}"\ndoc_to_target')
    with pytest.raises(InputError, match="UndefinedError: 'absent'"):
        score(base, base, harness=HarnessTasks([task(tmp_path, data, "absent", rest=absent)]))
    with pytest.raises(InputError, match="KeyError: 'validation'"):
        score(
            base,
            base,
            harness=HarnessTasks([task(tmp_path, data, "splitless", rest=CHOICE + "\nvalidation_split: validation")]),
        )
    with pytest.raises(InputError, match="one document"):
        score(base, base, harness=HarnessTasks([task(tmp_path, data, "short")], limit=1))
    with pytest.raises(InputError, match="lm-eval could not run it"):  # code of a reply is run by no one
        score(base, base, harness=HarnessTasks([task(tmp_path, data, "unsafe", rest=CHOICE + "\nunsafe_code: true")]))


def test_two_tokenizers_are_refused(tmp_path: Path, data: Path) -> None:
    base = llama(tmp_path / "base")
    tuned = with_other_tokens(base)
    with pytest.raises(MismatchError, match="different tokens"):
        score(base, tuned, harness=HarnessTasks([task(tmp_path, data)]))


def test_without_the_harness_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("assay.behaviour.harness.version", missing)
    with pytest.raises(SettingError, match=r"lm-eval is not installed.*eval"):
        harness_pass("hellaswag", None, None)
