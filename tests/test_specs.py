from __future__ import annotations

from pathlib import Path

import pytest

from assay.errors import SettingError, SourceError
from assay.methods import METHODS, AnyMethod
from assay.training.spec import parse_spec, read_spec

GOOD = {
    "base": "models/base",
    "data": {"kind": "prompt-answer", "path": "private/rows.jsonl", "max_length": 48},
    "training": {"steps": 3, "batch_size": 2},
    "method": {"name": "lora", "rank": 4, "lr": 1e-3},
}


def changed(**tables: object) -> dict[str, object]:
    return {
        key: {**GOOD[key], **value} if isinstance(value, dict) else value for key, value in {**GOOD, **tables}.items()
    }  # type: ignore[dict-item]


def test_a_good_specification_says_where_every_setting_comes_from() -> None:
    settings = parse_spec(GOOD).settings()
    assert (settings["method.rank"].value, settings["method.rank"].origin) == (4, "given")
    assert (settings["method.alpha"].value, settings["method.alpha"].origin) == (8.0, "derived")
    assert (settings["training.warmup"].value, settings["training.warmup"].origin) == (0.06, "default")
    assert settings["method.scale"].value == 2.0


def test_settings_hold_no_path() -> None:
    settings = parse_spec(changed(base="/home/somebody/models/base")).settings()
    assert settings["base"].value == "base"
    assert settings["data.path"].value == "rows.jsonl"


def test_unknown_keys_are_named_with_the_nearest_one_all_at_once() -> None:
    with pytest.raises(SettingError) as caught:
        parse_spec(changed(method={"rnak": 3, "lr": -1}, training={"step": 5}, sede=1))
    said = str(caught.value)
    assert "4 problems" in said
    assert "no setting 'method.rnak', did you mean 'rank'?" in said
    assert "no setting 'training.step', did you mean 'steps'?" in said
    assert "no setting 'sede', did you mean 'seed'?" in said
    assert "'method.lr' is -1: input should be greater than 0" in said


def test_an_option_of_another_method_is_unknown_here() -> None:
    with pytest.raises(SettingError, match=r"no setting 'method\.rank'"):
        parse_spec(changed(method={"name": "full", "rank": 4}))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"method": {"name": "loar", "lr": 1e-3}},
            "'method.name' is 'loar', did you mean 'lora'? wanted one of full, lora, rslora",
        ),
        ({"method": {"lr": 1e-3}}, "'method.name' is missing, wanted one of full, lora, rslora"),
        ({"data": {"kind": "pormpt-answer"}}, "did you mean 'prompt-answer'?"),
        ({"method": {"name": "lora"}}, "'method.lr' is missing"),
        ({"method": {"name": "lora", "lr": 1e-3, "rank": 0}}, "'method.rank' is 0"),
        ({"data": {"kind": "text", "path": "", "max_length": 4}}, "'data.path' is empty"),
        ({"validation": ""}, "'validation' is empty"),
        ({"seed": 2**32}, "'seed' is 4294967296: input should be less than 4294967296"),
        ({"training": {"steps": 0, "batch_size": 2}}, "'training.steps' is 0"),
        (
            {
                "method": {"name": "prefix-layer", "lr": 1e-3},
                "training": {"steps": 1, "batch_size": 2, "gradient_checkpointing": True},
            },
            "'training.gradient_checkpointing' is for other methods",
        ),
    ],
)
def test_what_cannot_be_is_said(tables: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_spec({**GOOD, **tables})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "name"),
    [
        ({"method": {"name": "lora", "lr": True}}, "method.lr"),
        ({"method": {"name": "lora", "lr": 1e-3, "rank": True}}, "method.rank"),
        ({"training": {"steps": True, "batch_size": 2}}, "training.steps"),
        ({"training": {"steps": "3", "batch_size": 2}}, "training.steps"),
        ({"data": {"kind": "prompt-answer", "path": "a.jsonl", "max_length": True}}, "data.max_length"),
        ({"seed": True}, "seed"),
    ],
)
def test_a_value_of_another_type_is_not_taken_for_a_number(tables: dict[str, object], name: str) -> None:
    with pytest.raises(SettingError, match=rf"1 problem in the specification: '{name}' is .*: input should be a valid"):
        parse_spec({**GOOD, **tables})
    whole = {"method": {"name": "lora", "lr": 1, "alpha": 8}, "training": {"steps": 3, "batch_size": 2, "warmup": 0}}
    assert parse_spec({**GOOD, **whole}).method.lr == 1.0


def test_files_that_are_no_specification(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        read_spec(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("base = ", encoding="utf8")
    with pytest.raises(SettingError, match="is not TOML"):
        read_spec(tmp_path / "broken.toml")


def test_the_registry_has_every_method_once() -> None:
    assert list(METHODS)[:3] == ["full", "lora", "rslora"]
    assert set(METHODS.values()) == set(AnyMethod.__args__)
    names = [name for kind in AnyMethod.__args__ for name in kind.model_fields["name"].annotation.__args__]
    assert len(names) == len(set(names)) == len(METHODS)
