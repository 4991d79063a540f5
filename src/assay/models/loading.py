"""Models and tokenizers, loaded to be run: a folder or a hub id, whole or as an adapter on its base."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from assay.errors import AdapterError, CheckpointError, MismatchError, SourceError
from assay.io import digests
from assay.io.stamps import Stamps
from assay.linalg.devices import device_of
from assay.models.precision import FLOAT32, Held, check_finite
from assay.models.unmerged import with_update
from assay.records import Repair, Run, Source
from assay.records.record import read_json
from assay.records.run import Objective
from assay.weights.adapters import named_base
from assay.weights.bases import refuse_other_base
from assay.weights.bitfit import bitfit_settings
from assay.weights.checkpoints import TOKENIZER_FILES, fetch_tokenizer, identified, locate, open_checkpoint, open_files
from assay.weights.libraries import code_not_run, read_model, read_tokenizer, refuse_code
from assay.weights.model_files import ADAPTER_CONFIG, BITFIT_CONFIG, MODEL_CONFIG, model_files

Head = Literal["causal-lm", "masked-lm", "sequence-classification"]  # what a model predicts
_HEADS: dict[Head, tuple[str, ...]] = {  # by the ending of the stored class
    "causal-lm": ("ForCausalLM", "LMHeadModel"),
    "masked-lm": ("ForMaskedLM", "ForPreTraining"),
    "sequence-classification": ("ForSequenceClassification",),
}


# What weights and texts are read by; what else lies beside a model (READMEs, records) changes nothing of it.
_READ_BY = (MODEL_CONFIG, ADAPTER_CONFIG, BITFIT_CONFIG, *TOKENIZER_FILES)


@dataclass(frozen=True)
class Place:
    """The folder of a model on this machine, and its source in records.

    Attributes:
        folder: its files.
        source: its name, revision and digest, without any path of this machine.
        is_adapter: whether it is an update that needs its base: a PEFT adapter, or BitFit's tensors.
        base: the base that was named for it; None for the one that it names itself.
        stamps: its weight files as they were when it was found.
    """

    folder: Path
    source: Source
    is_adapter: bool
    base: Place | None = None
    stamps: Stamps = field(default_factory=Stamps, compare=False)

    def settings(self) -> str:
        """Digest of the files that say how its weights and a text are read: its configuration and its tokenizer's."""
        return digests.of_files(path for path in self.folder.iterdir() if path.name in _READ_BY)

    def code_not_run(self) -> list[str]:
        """Remark on code that the folder asks for and that is not run."""
        return code_not_run(self.folder)


def find(reference: str | Path, start: Path | None = None) -> Place:
    """Find a model: a folder (relative to `start`), or a hub id `org/name@revision`.

    Raises:
        SourceError: neither a folder nor to be had from the hub.
        PickleError: only pickled weights, which are never loaded.
        CodeError: a folder that asks for code of its own, which is never run.
        QuantisedError: packed weights.
        CheckpointError: a folder without weights, or with files that are cut short or missing.
        RecordError: a configuration that is missing or no JSON object.
    """
    path = (start or Path()) / reference
    folder, source = locate(path if path.is_dir() else reference)
    files = model_files(folder)
    if files.folder != folder:
        source = source.model_copy(update={"name": f"{source.name}/{files.folder.name}"})
    refuse_code(files.folder)
    stamps = Stamps.of(files.weights)
    described = identified(source, files.weights, files.folder)
    place = Place(files.folder.resolve(), described, files.kind != "checkpoint", stamps=stamps)
    if place.is_adapter:
        open_files(files, source)
    else:
        open_checkpoint(folder)
        configuration(place)
    return place


def configuration(place: Place) -> dict[str, Any]:
    """A whole model's configuration.

    Raises:
        RecordError: there is none, or it is no JSON object.
    """
    return read_json(place.folder / MODEL_CONFIG, "a model's configuration")


def base_of(adapter: Place) -> Place:
    """The base of an adapter: the one that was named for it, or the path (from its folder) or hub id that it names.

    Raises:
        SourceError: it names none, as a whole model does, or one that is not there.
    """
    if not adapter.is_adapter:
        raise SourceError(
            "is a whole model, which names no base", wanted="a base and a tuned model", where=adapter.source.name
        )
    return adapter.base if adapter.base is not None else find(named_base(adapter.folder, adapter_settings(adapter)))


def find_pair(base: str | Path | None, tuned: str | Path, other_base: bool = False) -> tuple[Place, Place]:
    """Find a base and a tuned model; an adapter stands on the base that is named.

    Args:
        base: the base; None for the one that an adapter names.
        tuned: the tuned model.
        other_base: whether the base is meant though the adapter was trained on another.

    Raises:
        SourceError, PickleError, CheckpointError: as for `find` and `base_of`.
        MismatchError: the base is not the one that the adapter was trained on.
    """
    place = find(tuned)
    home = find(base) if base is not None else base_of(place)
    if not place.is_adapter or home.is_adapter:  # two tuned models side by side: each stands on its own base
        return home, place
    if base is not None:
        refuse_other_base(place.folder, home.folder, home.source, other_base)
    return home, replace(place, base=home)


def adapter_settings(place: Place) -> dict[str, Any]:
    """Base and task that an update names; BitFit's keys are PEFT's."""
    if (place.folder / BITFIT_CONFIG).exists():
        return bitfit_settings(place.folder)
    return read_json(place.folder / ADAPTER_CONFIG, "an adapter's configuration")


def load_tokenizer(place: Place) -> Any:
    """The tokenizer beside a model; for an adapter without one, its base's.

    Raises:
        CheckpointError: there is none, or one that cannot be read.
        MismatchError: it has more tokens than the model has embeddings.
    """
    if place.source.revision is not None:
        fetch_tokenizer(place.source)
    if not (place.folder / "tokenizer_config.json").exists() and not (place.folder / "tokenizer.json").exists():
        if place.is_adapter:
            return load_tokenizer(base_of(place))
        raise CheckpointError(
            "there is no tokenizer beside the model", wanted="tokenizer.json", where=place.source.name
        )
    tokenizer = read_tokenizer(place.folder, place.source.name)
    _refuse_more_tokens(place, tokenizer)
    return tokenizer


def _refuse_more_tokens(place: Place, tokenizer: Any) -> None:
    """Refuse a tokenizer with tokens for which the model has no embedding: the first such token would stop it."""
    config = configuration(base_of(place) if place.is_adapter else place)
    rows = config.get("vocab_size", (config.get("text_config") or {}).get("vocab_size"))
    tokens = 1 + max(tokenizer.get_vocab().values(), default=-1)
    if rows is not None and tokens > int(rows):
        raise MismatchError(
            f"the tokenizer has {tokens} tokens, and the model {rows} embeddings",
            wanted="a tokenizer and a model of one vocabulary",
            remedy="resize the base's embeddings (`resize_token_embeddings`), save it and tune that; or take the "
            "tokenizer that the base came with",
            where=place.source.name,
        )


def stored_objective(place: Place) -> Head | None:
    """The objective of a stored model; None for a body without a head, or with a head of another kind.

    An adapter that does not say it, such as any on a masked model, predicts what its base does.
    """
    if place.is_adapter:
        kind = adapter_settings(place).get("task_type")
        said: dict[str, Head] = {"CAUSAL_LM": "causal-lm", "SEQ_CLS": "sequence-classification"}
        return said.get(str(kind)) if kind else stored_objective(base_of(place))
    for name in configuration(place).get("architectures") or ():
        for head, endings in _HEADS.items():
            if name.endswith(endings):
                return head
    return None


def positions_of(place: Place) -> int | None:
    """Most tokens of text that a model takes at once; None where its configuration does not say.

    A learned prefix takes its positions from the text.
    """
    if place.is_adapter:
        limit = positions_of(base_of(place))
        taken = int(adapter_settings(place).get("num_virtual_tokens") or 0)
        return None if limit is None else limit - taken
    config = configuration(place)
    limit = config.get("max_position_embeddings", config.get("n_positions"))  # GPT-2's kin have their own names
    if limit is None:
        return None
    # RoBERTa and its kin number their positions from the one after the padding's.
    after_padding = "roberta" in str(config.get("model_type")) or config.get("model_type") == "camembert"
    return int(limit) - (int(config.get("pad_token_id") or 0) + 1 if after_padding else 0)


def head_for(objective: Objective) -> Head:
    """The head that an objective needs; a reward is the one output of a classification head."""
    return "causal-lm" if objective in ("causal-lm", "policy") else "sequence-classification"


def load_base(
    place: Place, objective: Head, labels: tuple[str, ...] = (), device: str = "cpu", held: Held = FLOAT32
) -> Any:
    """A whole model, in float32 unless it is held otherwise, with a head for the objective.

    Args:
        place: where it lies.
        objective: what it is to predict. A language model must be stored whole; a classification head that is not
            stored is drawn from torch's generator.
        labels: the classes of the head, in order; empty to take the head and the classes that are stored.
        device: where to put it.
        held: in which numbers.

    Raises:
        CheckpointError: weights are missing, so that some would be random; or transformers cannot read the model.
        MismatchError: the stored head has another number of classes; or a masked model is to write, or the reverse.
    """
    import transformers

    if (stored_objective(place), objective) in (("masked-lm", "causal-lm"), ("causal-lm", "masked-lm")):
        raise MismatchError(
            f"the model is a {stored_objective(place)}", wanted=f"a {objective}", where=place.source.name
        )
    kinds = {"causal-lm": "AutoModelForCausalLM", "masked-lm": "AutoModelForMaskedLM"}
    kind = getattr(transformers, kinds.get(objective, "AutoModelForSequenceClassification"))
    options: dict[str, Any] = {"output_loading_info": True}
    options |= held.options(device_of(device), objective == "sequence-classification")
    if labels:
        options["id2label"] = dict(enumerate(labels))
        options["label2id"] = {label: position for position, label in enumerate(labels)}
    if labels and stored_objective(place) == objective and _classes(place) != len(labels):
        raise MismatchError(
            f"the stored head has {_classes(place)} classes, the data {len(labels)}", where=place.source.name
        )
    model, report = read_model(kind, place.folder, place.source.name, **options)
    place.stamps.refuse_changed()
    prefix = f"{model.base_model_prefix}."
    # A head is drawn anew only for classes that are to be learned; BERT's pooler is drawn with it where it is missing.
    new_head = bool(labels) and objective == "sequence-classification"
    missing = [
        name for name in report["missing_keys"] if not new_head or (name.startswith(prefix) and "pooler" not in name)
    ]
    if missing:
        raise CheckpointError(
            f"{len(missing)} weights are missing, first {sorted(missing)[0]}",
            wanted=f"a whole model for {objective}",
            where=place.source.name,
        )
    return model if held.placed else model.to(device_of(device))


def _classes(place: Place) -> int:
    """Number of classes that a stored head tells apart."""
    return len(_named_classes(place))


def _named_classes(place: Place) -> tuple[str, ...]:
    """The classes of a stored head by its configuration, which leaves two unsaid; unnamed ones are `LABEL_0` and on."""
    named = configuration(place).get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(named[key] for key in sorted(named, key=int))


def labels_of(place: Place) -> tuple[str, ...] | None:
    """The classes of a stored head, in its order; classes without names are called by their positions, `0` and on.

    None without such a head; empty where nothing says what they are: of an adapter that was not trained here.
    """
    if stored_objective(place) != "sequence-classification":
        return None
    # What a run stored on the way lies in `steps/N` of its folder.
    home = place.folder.parent.parent if place.folder.parent.name == "steps" else place.folder
    for record in (place.folder / "run.json", home / "run.json"):
        if record.exists():
            return Run.read(record).labels
    if (place.folder / "repair.json").exists() and (kept := Repair.read(place.folder / "repair.json").labels):
        return kept
    if place.is_adapter:
        return ()
    labels = _named_classes(place)
    unnamed = all(label == f"LABEL_{i}" for i, label in enumerate(labels))
    return tuple(str(i) for i in range(len(labels))) if unnamed else labels


def load(
    place: Place,
    objective: Head,
    labels: tuple[str, ...] = (),
    device: str = "cpu",
    head_of: Place | None = None,
    held: Held = FLOAT32,
) -> Any:
    """A model as it was tuned, ready to be scored: a whole one, or an adapter on its base, unmerged.

    Args:
        place: where it lies.
        objective: what it is to predict.
        labels: the classes of a classification head.
        device: where to put it.
        head_of: for a tuned classifier that is to predict text: the language model whose head stands over its body.
            An adapter has its own base's. This is how the papers measure what a classifier forgot.
        held: in which numbers.

    Raises:
        CheckpointError, AdapterError, MismatchError: as for `load_base` and `with_update`; or a classifier whose base
            predicts no text.
        ValuesError: NaN or infinite weights, whose answers would be counted like any others.
    """
    if objective != "sequence-classification" and stored_objective(place) == "sequence-classification":
        model = _body_of_classifier(place, objective, device, head_of, held)
    elif place.is_adapter:
        home = load_base(base_of(place), objective, labels, device, held)
        model = with_update(home, place.folder, place.source.name)
        place.stamps.refuse_changed()
    else:
        model = load_base(place, objective, labels, device, held)
    check_finite(model, place.source.name)
    return model.eval()


def load_merged(place: Place, objective: Head, labels: tuple[str, ...] = (), device: str = "cpu") -> Any:
    """A model as it was tuned, its update merged into its own parameters.

    Raises:
        AdapterError: an adapter on an embedding that is the head as well: merged, it would be another model.
        CheckpointError, MismatchError, ValuesError: as for `load`.
    """
    model = load(place, objective, labels, device)
    if not hasattr(model, "merge_and_unload"):
        return model
    if _adapts_shared_ends(model):
        raise AdapterError(
            "an adapter on the embeddings, which are the head as well: merged, it changes both, and is another model",
            wanted="an adapter on other matrices, or a base with a head of its own",
            where=place.source.name,
        )
    return model.merge_and_unload()


def _adapts_shared_ends(model: Any) -> bool:
    """True if a PEFT model adds to one of two ends, embeddings and head, that are one matrix of its base."""
    from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    # Trained tokens take the place of rows, in both ends alike, whether they are merged or not.
    adapted = [
        end for end in (first, last) if isinstance(end, BaseTunerLayer) and not isinstance(end, TrainableTokensLayer)
    ]
    return bool(adapted) and last is not None and first.weight is last.weight


def _body_of_classifier(place: Place, objective: Head, device: str, head_of: Place | None, held: Held) -> Any:
    """A tuned classifier's body under the language head of its base."""
    home = base_of(place) if place.is_adapter else head_of
    if home is None or stored_objective(home) != objective:
        raise MismatchError(
            "the model classifies and predicts no text",
            wanted="a language model, or a classifier tuned from one",
            where=place.source.name,
        )
    model = load_base(home, objective, device=device, held=held)
    if place.is_adapter:
        return with_update(model, place.folder, place.source.name, of_classifier=True)
    body, tuned = (
        model.base_model,
        load_base(place, "sequence-classification", device=device, held=held).base_model.state_dict(),
    )
    if any(name not in tuned or tuned[name].shape != value.shape for name, value in body.state_dict().items()):
        raise MismatchError("the classifier's body is not the base's", where=place.source.name)
    body.load_state_dict(tuned, strict=False)  # BERT's pooler belongs to the classifier
    return model


def relative(folder: Path, start: Path) -> str:
    """A folder's path as seen from another, so that both can be moved together."""
    return os.path.relpath(folder, start)
