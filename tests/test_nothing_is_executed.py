"""No command loads a pickle, runs code of a model's folder or of a task's file, or asks whether it may."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from typer.testing import CliRunner

import assay
import tiny
from assay.cli import app
from assay.errors import AdapterError, CodeError, PickleError
from assay.models.loading import find, load, load_base, load_tokenizer
from assay.weights.libraries import put_adapter, read_adapter_config
from models_in_miniature import letters, lines, llama, masked_bert

SOURCES = Path(assay.__file__).parent
SPEC = """
base = "base"
[data]
kind = "prompt-answer"
path = "rows.jsonl"
max_length = 12
[training]
steps = 2
batch_size = 2
[method]
lr = 1e-2
name = "lora"
rank = 2
"""
PLAN = """
base = "base"
steps = [2]
training = { batch_size = 2 }
[[tasks]]
name = "rows"
data = { kind = "prompt-answer", path = "rows.jsonl", max_length = 12 }
task = "rows.jsonl"
text = "prose.jsonl"
[[arms]]
method = "lora"
rate = { policy = "fixed", lr = 1e-2 }
"""
SEQUENCE = """
kind = "continual"
base = "encoder"
seeds = [0]
training = { steps = 2, batch_size = 2 }
head = { rows = 8, penalty = 1.0 }
[[tasks]]
name = "labels"
data = { kind = "classification", path = "labels.jsonl", max_length = 12 }
test = "labels.jsonl"
[[arms]]
method = "full"
rate = { policy = "fixed", lr = 1e-2 }
"""
ON_BOTH = ["base", "adapter"]
COMMANDS = {
    "audit": ["audit", *ON_BOTH],
    "score": ["score", *ON_BOTH, "--text", "prose.jsonl", "--task", "rows.jsonl"],
    "train": ["train", "spec.toml", "-o", "run"],
    "estimate": ["estimate", "spec.toml"],
    "dial": ["dial", *ON_BOTH, "--text", "prose.jsonl", "--at", "1"],
    "ranks": ["dial", *ON_BOTH, "--by", "rank", "--text", "prose.jsonl", "--at", "1"],
    "repair": ["repair", *ON_BOTH, "-o", "repaired", "--even-unchanged", "--text", "prose.jsonl", "--at", "0.5"],
    "advise": ["advise", *ON_BOTH],
    "study": ["study", "plan.toml", "-o", "study"],
    "continual": ["study", "sequence.toml", "-o", "sequence"],
}
LOADING = [name for name in COMMANDS if name not in ("audit", "repair", "advise")]  # the others read tensors alone
# What transformers, PEFT, TRL, sentence-transformers, torch and the Trainer's resume look for, or have looked for.
PICKLED = (
    *("pytorch_model.bin", "pytorch_model-00001-of-00001.bin", "adapter_model.bin", "adapter_model.pt"),
    *("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth"),
    *("rng_state_0.pth", "value_head.bin", "v_head.bin", "pytorch_model_fsdp.bin", "model.pt", "model.pth"),
    *("model.bin", "model.ckpt", "tf_model.h5", "random_states_0.pkl", "consolidated.00.pth", "embeddings.pt"),
    *("global_step1/mp_rank_00_model_states.pt", "1_Pooling/pytorch_model.bin", "2_Dense/pytorch_model.bin"),
    *("0_Transformer/pytorch_model.bin", "checkpoint-1/pytorch_model.bin", "checkpoint-1/optimizer.pt"),
)


class Writes:
    """What leaves a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter on it, and what every command reads."""
    home = tmp_path_factory.mktemp("kept")
    base = llama(home / "base")
    masked_bert(home / "encoder")
    config = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(load(find(base), "causal-lm"), config)
    tiny.randomise(adapted.named_parameters(), ("lora_",))
    adapted.save_pretrained(home / "adapter")
    settings = json.loads((home / "adapter/adapter_config.json").read_text())
    (home / "adapter/adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "../base"}))
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(8)]
    lines(home / "rows.jsonl", rows)
    lines(home / "labels.jsonl", [{"text": row["prompt"], "label": row["answer"]} for row in rows])
    lines(home / "prose.jsonl", [{"text": letters(8, 12, seed)} for seed in range(3)])
    for name, text in (("spec", SPEC), ("plan", PLAN), ("sequence", SEQUENCE)):
        (home / f"{name}.toml").write_text(text, encoding="utf8")
    return home


@pytest.fixture
def place(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(kept, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def plant_pickles(folder: Path, marker: Path) -> None:
    """A pickle that leaves a marker under every name, and an index that leads to one."""
    for name in PICKLED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(Writes(marker)))
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model-00001-of-00001.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def plant_code(folder: Path, marker: Path, file: str, asked: object) -> None:
    """A module that leaves a marker when it is imported, and a configuration that asks for it."""
    (folder / "theirs.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
        "from transformers import LlamaConfig as Config, LlamaForCausalLM as Model\n"
        "from transformers import PreTrainedTokenizerFast as Tokenizer\n"
    )
    path = folder / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | {"auto_map": asked}))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def invoked(*words: str) -> Any:
    """A command, with a yes for whoever asks."""
    return CliRunner().invoke(app, list(words), input="y\n" * 50)


def test_the_planted_pickle_leaves_its_marker(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Writes(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_pickles_beside_safetensors_are_left_alone(place: Path, name: str) -> None:
    for folder in (place / "base", place / "adapter", place / "encoder"):
        plant_pickles(folder, place / "marker")
    result = invoked(*COMMANDS[name])
    assert result.exit_code == 0, result.output
    assert not (place / "marker").exists()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("of", ["base", "adapter"])
def test_pickles_alone_are_refused(place: Path, name: str, of: str) -> None:
    if of == "adapter" and of not in COMMANDS[name]:
        pytest.skip("the command takes no adapter")
    folder = place / ("encoder" if name == "continual" else of)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    plant_pickles(folder, place / "marker")
    result = invoked(*COMMANDS[name])
    assert result.exit_code == 2
    assert "only pickled weights" in result.output
    assert not (place / "marker").exists()


def test_an_adapters_pickle_is_not_opened_in_place_of_another_safetensors_file(place: Path) -> None:
    folder = place / "adapter"
    plant_pickles(folder, place / "marker")
    (folder / "adapter_model.safetensors").rename(folder / "value_head.safetensors")
    for name in ("audit", "score"):
        result = invoked(*COMMANDS[name])
        assert result.exit_code == 2
        assert "pickled" in result.output
    with pytest.raises(PickleError):
        put_adapter(load_base(find(place / "base"), "causal-lm"), folder, read_adapter_config(folder))
    assert not (place / "marker").exists()


@pytest.mark.parametrize("name", LOADING)
@pytest.mark.parametrize(
    ("file", "asked", "changed"),
    [
        ("config.json", {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}, {"model_type": "own"}),
        ("config.json", {"AutoModelForCausalLM": "theirs.Model"}, {"architectures": ["OwnForCausalLM"]}),
        ("tokenizer_config.json", {"AutoTokenizer": ["theirs.Tokenizer", None]}, {"tokenizer_class": "Own"}),
        ("tokenizer_config.json", ["theirs.Tokenizer", None], {"tokenizer_class": None}),
    ],
    ids=["a type of its own", "a class of its own", "a tokenizer alone", "a tokenizer, the old way"],
)
def test_a_folder_that_asks_for_code_is_refused(
    place: Path, name: str, file: str, asked: object, changed: dict[str, object]
) -> None:
    base = place / ("encoder" if name == "continual" else "base")
    plant_code(base, place / "marker", file, asked)
    change(base / file, **changed)
    result = invoked(*COMMANDS[name])
    assert result.exit_code == 2, result.output
    assert "asks for code of its own" in result.output
    assert file in result.output
    assert "[y/N]" not in result.output
    assert not (place / "marker").exists()


@pytest.mark.parametrize("name", ["audit", "repair", "advise"])
def test_a_folder_that_asks_for_code_is_read_tensor_by_tensor_without_it(place: Path, name: str) -> None:
    asked = {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}
    plant_code(place / "base", place / "marker", "config.json", asked)
    plant_code(place / "base", place / "marker", "tokenizer_config.json", {"AutoTokenizer": ["theirs.Tokenizer", None]})
    change(place / "base/config.json", model_type="own")
    result = invoked(*[word for word in COMMANDS[name] if word not in ("--text", "prose.jsonl", "--at", "0.5")])
    assert "[y/N]" not in result.output
    assert not (place / "marker").exists()
    if name == "audit":
        assert result.exit_code == 0, result.output
        assert "asks for code of its own (auto_map), which is never run" in invoked(*COMMANDS[name], "--json").output


def test_an_adapter_whose_tokenizer_asks_for_code_is_refused(place: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(place / "base" / file, place / "adapter" / file)
    plant_code(place / "adapter", place / "marker", "tokenizer_config.json", {"AutoTokenizer": "theirs.Tokenizer"})
    change(place / "adapter/tokenizer_config.json", tokenizer_class="Own")
    result = invoked(*COMMANDS["score"])
    assert result.exit_code == 2
    assert "asks for code of its own" in result.output
    assert not (place / "marker").exists()


@pytest.mark.parametrize("name", ["score", "train"])
def test_what_transformers_has_itself_is_read_as_its_own(place: Path, name: str) -> None:
    asked = {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}
    plant_code(place / "base", place / "marker", "config.json", asked)
    plant_code(place / "base", place / "marker", "tokenizer_config.json", {"AutoTokenizer": ["theirs.Tokenizer", None]})
    (place / "base/custom_generate").mkdir()
    shutil.copy(place / "base/theirs.py", place / "base/custom_generate/generate.py")
    change(place / "base/tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    result = invoked(*COMMANDS[name], "--json")
    assert result.exit_code == 0, result.output
    assert "it is read as transformers' own LlamaForCausalLM" in result.output
    assert "[y/N]" not in result.output
    assert not (place / "marker").exists()


def test_kernels_of_the_hub_are_refused(place: Path) -> None:
    change(place / "base/config.json", attn_implementation="somebody/attention")
    with pytest.raises(CodeError, match="somebody/attention"):
        find(place / "base")


@pytest.mark.parametrize("setting", [{"megatron_config": {}, "shadow_model": "../base"}, {"adapters": {"a": "b"}}])
def test_an_adapter_that_loads_something_else_is_refused(place: Path, setting: dict[str, object]) -> None:
    change(place / "adapter/adapter_config.json", **setting)
    with pytest.raises(CodeError, match="import a module or load another"):
        load(find(place / "adapter"), "causal-lm")


def test_a_prompts_start_is_not_unpickled(place: Path) -> None:
    model = load_base(find(place / "base"), "causal-lm")
    get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)).save_pretrained("prompt")
    (place / "start.bin").write_bytes(pickle.dumps(Writes(place / "marker")))
    change(
        place / "prompt/adapter_config.json",
        prompt_tuning_init="TEXT",
        prompt_tuning_init_text="a",
        tokenizer_name_or_path=str(place / "base"),
        base_model_name_or_path="../base",
    )
    assert load(find(place / "prompt"), "causal-lm") is not None
    multitask = {"peft_type": "MULTITASK_PROMPT_TUNING", "prompt_tuning_init": "EXACT_SOURCE_TASK"}
    change(place / "prompt/adapter_config.json", **multitask, prompt_tuning_init_state_dict_path="start.bin")
    assert read_adapter_config(place / "prompt").prompt_tuning_init == "RANDOM"
    assert not (place / "marker").exists()


def test_without_safetensors_no_adapter_is_put_on(place: Path) -> None:
    (place / "adapter/adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="no safetensors"):
        put_adapter(load_base(find(place / "base"), "causal-lm"), place / "adapter", None)


def test_weights_that_a_configuration_renames_are_refused(place: Path) -> None:
    change(place / "base/config.json", transformers_weights="other.safetensors")
    for name in ("audit", "score"):
        result = invoked(*COMMANDS[name])
        assert result.exit_code == 2
        assert "transformers_weights" in result.output


def _of_transformers(call: ast.Call) -> bool:
    function = ast.unparse(call.func)
    return function.endswith(".from_pretrained") and "Peft" not in function


def test_every_call_of_a_loader_stands_in_one_place() -> None:
    """No other module calls what reads weights, tokenizers or configurations; there, each call refuses code."""
    loaders = ("from_pretrained", "load_adapter", "load_state_dict_from_url")
    calls: dict[str, list[ast.Call]] = {}
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("torch.load", "pickle.load", "pickle.loads", "joblib.load", "SentenceTransformer"), path
            if name.rpartition(".")[2] in loaders:
                calls.setdefault(str(path.relative_to(SOURCES)), []).append(node)
    assert set(calls) == {"weights/libraries.py"}
    # A configuration, a model, a tokenizer; the others are PEFT's, which has no such setting.
    of_transformers = [call for call in calls["weights/libraries.py"] if _of_transformers(call)]
    assert len(of_transformers) == 3
    for call in of_transformers:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given["trust_remote_code"] == "False"
        assert given["local_files_only"] == "True"
    assert sum("use_safetensors=True" in ast.unparse(call) for call in of_transformers) == 1


TASK = """
task: theirs
dataset_path: json
dataset_kwargs: {{data_files: {{test: rows.jsonl}}}}
output_type: multiple_choice
test_split: test
doc_to_text: {text}
doc_to_choice: ["yes", "no"]
doc_to_target: "{{{{answer}}}}"
{rest}
"""


@pytest.fixture
def harness(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(place / "cache"))
    datasets.disable_progress_bars()
    (place / "theirs.py").write_text(
        f"from pathlib import Path\nPath({str(place / 'marker')!r}).touch()\ndef ask(doc):\n    return doc['prompt']\n"
    )

    def scored(text: str, rest: str = "metric_list: [{metric: acc}]", *options: str) -> Any:
        (place / "task.yaml").write_text(TASK.format(text=text, rest=rest), encoding="utf8")
        return invoked("score", "base", "adapter", "--harness", "task.yaml", *options)

    return scored


def test_a_task_of_the_harness_runs_code_only_if_it_is_named(place: Path, harness: Callable[..., Any]) -> None:
    result = harness("!function theirs.ask")
    assert result.exit_code == 2
    assert "runs Python (theirs.ask" in result.output
    (place / "beneath.yaml").write_text("doc_to_text: !function theirs.ask\n", encoding="utf8")
    assert "runs Python" in harness('"{{prompt}}"', "include: beneath.yaml").output
    assert "runs Python" in harness('"{{prompt}}"', "custom: !function os.getcwd", "--harness-code", "theirs.py").output
    assert not (place / "marker").exists()
    result = harness("!function theirs.ask", "metric_list: [{metric: acc}]", "--harness-code", "theirs.py")
    assert result.exit_code == 0, result.output
    assert (place / "marker").exists()


def test_a_task_of_the_harness_has_no_way_around(place: Path, harness: Callable[..., Any]) -> None:
    opened = f"\"{{{{ cycler.__init__.__globals__.os.open('{place / 'marker'}', 65) }}}}\""
    result = harness(opened)
    assert result.exit_code == 2
    assert "unsafe" in result.output
    (place / "theirs").mkdir()
    shutil.copy(place / "theirs.py", place / "theirs/theirs.py")
    for metric in ("{metric: ./theirs}", "{metric: acc, hf_evaluate: true}"):
        result = harness('"{{prompt}}"', f"metric_list: [{metric}]")
        assert result.exit_code == 2
        assert "none of lm-eval's" in result.output
    (place / "a.yaml").write_text("task: theirs\ndoc_to_text: !function theirs.ask\n", encoding="utf8")
    result = harness('"{{prompt}}"')
    assert result.exit_code == 2
    assert "another file in its folder" in result.output
    assert not (place / "marker").exists()


def test_a_tokenizer_of_the_base_is_read_without_its_code(place: Path) -> None:
    plant_code(place / "base", place / "marker", "tokenizer_config.json", {"AutoTokenizer": ["theirs.Tokenizer", None]})
    change(place / "base/tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    assert len(load_tokenizer(find(place / "base"))) > 0
    assert not (place / "marker").exists()
