"""The audit of a model: every matrix of a base and its tuned counterpart, into one record."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from assay.engines.engine import AbstractEngine, Item
from assay.errors import AssayError, EngineError, SettingError, ValuesError
from assay.io import digests
from assay.linalg import AbstractOperator, Solver, Triplets, base_triplets, sigma_min_bound
from assay.linalg.devices import device_of
from assay.linalg.nf4 import nf4_error
from assay.measures.matrix import Question, SigmaMin, Spectrum, measure_matrix
from assay.records import Audit, MatrixAudit, Partial, Provenance, Setting, Source
from assay.records.record import as_given, settings_of
from assay.settings import check_count
from assay.weights.checkpoints import FLOATS
from assay.weights.pairing import Tuned, pair
from assay.weights.sides import Pairing, Scope
from assay.weights.spectra_cache import SpectraCache
from assay.weights.stored_precision import kept_share
from assay.weights.updates import AbstractPair, Operators

Progress = Callable[[int, int, str], None]  # matrices done, of how many, the one that comes next
PACKAGES = ("torch", "transformers", "peft", "safetensors")
_SHARDS_A_SLOT = 4  # so that slots are all at work until near the end, and each shard is worth its start
# Found by looking at what a shard imports on its way; six seconds, which shards share.
_IMPORTS = ("transformers.modeling_utils", "peft", "assay.audits")
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def audit(
    base: str | Path | None,
    tuned: Tuned,
    *,
    k: int = 10,
    eps: float | Sequence[float] = 0.5,
    side: Literal["left", "right", "both"] = "left",
    solver: Solver = "auto",
    precision: Literal["float32", "float64"] = "float32",
    adapter: str | None = None,
    matrices: str | Sequence[str] | None = None,
    include: str | Sequence[str] = (),
    chance: int = 0,
    seed: int = 0,
    base_bits: Literal[4] | None = None,
    device: str = "cpu",
    cache: bool = True,
    resume: str | Path | None = None,
    engine: AbstractEngine | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Say what fine-tuning did to every weight matrix of a model.

    Args:
        base: folder or hub id (`org/name@revision`) of the base; None for the one that an adapter names.
        tuned: a full or merged checkpoint, an adapter, or `[(adapter, weight), ...]` for a weighted sum of adapters.
        k: how many leading directions of each matrix are judged.
        eps: a direction is an intruder if its largest overlap with the base is under this; several give counts for
            each, and the first gives the verdicts.
        side: left (outputs), right (inputs), or both; with both, the counts are left's.
        solver: "certified" proves its verdicts from a few products with each matrix; "exact" takes dense
            decompositions; "auto" chooses by size. What the certified one leaves open is done by the exact one.
        precision: float32 first, with float64 for the matrices it leaves undecided; or float64 throughout.
        adapter: which one, if the folder holds several.
        matrices: shell patterns on stored names or roles, to look at some matrices only.
        include: also "embeddings", "heads".
        chance: random updates to draw for each matrix's chance level (20 or more mean something); 0 for none.
        seed: of those draws.
        base_bits: 4 to set the model against the base that a QLoRA run saw: its blocks' matrices rounded to NF4.
        device: where the arithmetic is done.
        cache: keep what is known of the base's spectra in the user's cache folder, and use what is kept there.
        resume: a file for matrices that are done: after a kill, the same call goes on where it stood. It is left there:
            delete it when the record is saved.
        engine: measures the matrices in shards, each in a process or on a node of its own; here, unless given. The
            record is the same.
        progress: called before every matrix, or after every shard.

    Returns:
        The record, with a verdict and its bounds for every direction, and every stored tensor accounted for.

    Raises:
        InputError: with the file, the tensor, what was wanted and the remedy. Nothing is written.

    Example:
        >>> record = assay.audit("base/", "adapter/")  # doctest: +SKIP
        >>> record.count, record.undecided, len(record.matrices)  # doctest: +SKIP
        (0, 0, 210)
        >>> record.save("audit.json")  # doctest: +SKIP
    """
    started = time.perf_counter()
    thresholds = tuple(eps) if isinstance(eps, Sequence) else (eps,)
    include = (include,) if isinstance(include, str) else tuple(include)
    _check(k, thresholds, side, solver, precision, chance, base_bits)
    patterns = (matrices,) if isinstance(matrices, str) else None if matrices is None else tuple(matrices)
    given: dict[str, Any] = {"k": k, "eps": eps, "side": side, "solver": solver, "precision": precision}
    given |= {"adapter": adapter, "matrices": matrices, "include": include}
    given |= {"chance": chance, "seed": seed, "base_bits": base_bits, "device": device}
    scope = Scope(include, patterns)
    found = pair(base, tuned, adapter, scope)
    question = Question(k, thresholds, side, solver, _PRECISIONS[precision], chance, seed)
    if base_bits is not None:
        found.round_base()
    sources = (found.base.described(), tuple(side.described() for side in found.tuned))
    settings = settings_of(audit, given)
    if not isinstance(tuned, str | Path):
        settings |= as_given({"weights": [weight for _, weight in tuned]})
    partial = _partial(resume, found, sources, settings) if resume is not None else None
    kept = SpectraCache.default() if cache else None
    if engine is None:
        measured = _measure_all(found, question, device_of(device), kept, partial, progress)
    else:
        folders = tuple(side.folder for side in found.tuned)
        weights = None if isinstance(tuned, str | Path) else tuple(weight for _, weight in tuned)
        whole = Shard(found.base.folder, folders, weights, (), scope, question, base_bits, device, cache)
        measured = _measure_on(engine, whole, [entry.name for entry in found.pairs], partial, progress)
    for matrix in measured:
        if matrix.update_norm == 0.0:
            found.coverage[matrix.name] = found.coverage[matrix.name].model_copy(update={"status": "unchanged"})
    _compare(found)
    found.refuse_changed()
    return Audit(
        provenance=Provenance.of(PACKAGES, settings, seed if chance else None),
        base=sources[0],
        tuned=sources[1],
        kind_of_update=found.kind,
        model_type=found.model_type,
        k=k,
        eps=thresholds,
        side=side,
        matrices=tuple(measured),
        coverage=dict(sorted(found.coverage.items())),
        base_norm=_base_norm(found, sources[0], measured, kept),
        base_entries=_base_entries(found, measured),
        notes=tuple(found.notes + _notes(found, measured)),
        seconds=time.perf_counter() - started,
    )


def _check(
    k: int, eps: tuple[float, ...], side: str, solver: str, precision: str, chance: int, base_bits: int | None
) -> None:
    """Refuse settings that have no meaning, before anything is read."""
    check_count(k, *eps)
    for name, value, allowed in (
        ("side", side, ("left", "right", "both")),
        ("solver", solver, ("auto", "exact", "certified")),
        ("precision", precision, tuple(_PRECISIONS)),
        ("base_bits", base_bits, (None, 4)),
    ):
        if value not in allowed:
            raise SettingError(f"{name} is {value!r}", wanted=f"one of {', '.join(map(str, allowed))}")
    if not isinstance(chance, int) or chance < 0:
        raise SettingError(f"chance is {chance!r}", wanted="a number of draws, or 0 for none")


def _partial(
    path: str | Path, found: Pairing, sources: tuple[Source, tuple[Source, ...]], settings: dict[str, Setting]
) -> Partial[MatrixAudit]:
    """The matrices that are done of the same audit: of the same weights, configurations and settings."""
    asked = {name: setting.value for name, setting in settings.items()}
    described = [source.model_dump() for source in (sources[0], *sources[1])]
    configurations = [side.config for side in (found.base, *found.tuned)]  # an adapter's is in its source
    return Partial.open(path, [described, configurations, asked], MatrixAudit)


def _measure_all(
    found: Pairing,
    question: Question,
    device: torch.device,
    kept: SpectraCache | None,
    partial: Partial[MatrixAudit] | None,
    progress: Progress | None,
) -> list[MatrixAudit]:
    """Measure every pair; the next one is read while this one is computed."""
    done = partial.done if partial is not None else {}
    measured, total = [], len(found.pairs)
    waiting = deque(entry for entry in found.pairs if entry.name not in done)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(waiting[0].load, question.dtype, device) if waiting else None
        for position, entry in enumerate(found.pairs):
            if entry.name in done:
                measured.append(done[entry.name])
                continue
            if progress is not None:
                progress(position, total, entry.name)
            waiting.popleft()
            operators = coming.result() if coming is not None else entry.load(question.dtype, device)
            coming = reader.submit(waiting[0].load, question.dtype, device) if waiting else None
            measured.append(_measure(entry, operators, question, kept))
            found.refuse_changed()  # before it is kept as a matrix of these files
            if partial is not None:
                partial.add(measured[-1])
    if progress is not None:
        progress(total, total, "")
    return measured


def _key_of(entry: AbstractPair, operators: Operators) -> str:
    """Cache key of a base matrix: its bytes with shape, precision and orientation, which equal bytes do not share."""
    shape = "x".join(map(str, operators.base.shape)) + ("t" if entry.slot.transposed else "")
    return f"{operators.digest}-{operators.stored}-{shape}"


@dataclass(frozen=True)
class Shard:
    """Some matrices of an audit, to be measured elsewhere.

    Attributes:
        base: its folder; tuned: the folders of what was tuned; weights: of their sum, None where there is no sum.
        names: the matrices; scope: what the audit looks at.
        question, base_bits, device, cache: as for the audit.
    """

    base: Path
    tuned: tuple[Path, ...]
    weights: tuple[float, ...] | None
    names: tuple[str, ...]
    scope: Scope
    question: Question
    base_bits: Literal[4] | None
    device: str
    cache: bool

    def at(self, places: Mapping[Path, Path]) -> Shard:
        """Shard of the same matrices where the folders lie elsewhere."""
        tuned = tuple(places.get(folder, folder) for folder in self.tuned)
        return replace(self, base=places.get(self.base, self.base), tuned=tuned)

    def item(self, number: int) -> Item:
        """The shard as an engine takes it."""
        inputs = (self.base, *self.tuned)
        return Item(f"shard {number}", measure_shard, self, inputs, imports=_IMPORTS)


def measure_shard(shard: Shard) -> list[MatrixAudit] | AssayError:
    """Measure the matrices of a shard; an error of ours is an answer, which the audit raises."""
    try:
        if shard.weights is None:
            found = pair(shard.base, shard.tuned[0], None, shard.scope)
        else:
            found = pair(shard.base, list(zip(shard.tuned, shard.weights, strict=True)), None, shard.scope)
        if shard.base_bits is not None:
            found.round_base()
        wanted = set(shard.names)
        found.pairs[:] = [entry for entry in found.pairs if entry.name in wanted]
        kept = SpectraCache.default() if shard.cache else None
        return _measure_all(found, shard.question, device_of(shard.device), kept, None, None)
    except AssayError as error:
        return error


def _measure_on(
    engine: AbstractEngine,
    whole: Shard,
    names: Sequence[str],
    partial: Partial[MatrixAudit] | None,
    progress: Progress | None,
) -> list[MatrixAudit]:
    """Measure matrices in shards on an engine. Layers are alike: dealt out in turn, shards take about as long."""
    done = dict(partial.done) if partial is not None else {}
    left = [name for name in names if name not in done]
    count = min(len(left), _SHARDS_A_SLOT * max(1, engine.capacity().slots))
    for number in range(count):
        engine.submit(replace(whole, names=tuple(left[number::count])).item(number))
    for _ in range(count):
        ended = engine.wait()
        if isinstance(ended.value, AssayError):
            raise ended.value
        if ended.value is None:
            raise EngineError(
                f"{ended.key} of the audit was ended by {ended.crash}",
                wanted="its matrices",
                remedy="run the same command again: what is measured is kept where there is an output folder",
            )
        for matrix in ended.value:
            done[matrix.name] = matrix
            if partial is not None:
                partial.add(matrix)
        if progress is not None:
            progress(len(done), len(names), ended.key)
    return [done[name] for name in names]


def known_of_base(entry: AbstractPair, operators: Operators, kept: SpectraCache | None) -> tuple[Spectrum, SigmaMin]:
    """Triplets of one pair's base and the bound on its least singular value, from where they are kept."""

    key = _key_of(entry, operators)

    def spectrum(matrix: AbstractOperator, solver: Solver) -> Triplets:
        def make() -> Triplets:
            return base_triplets(matrix, solver=solver, dtype=matrix.dtype)

        made_in = str(matrix.dtype).removeprefix("torch.")
        return make() if kept is None else kept.triplets(f"{key}-{solver}-{made_in}", make)

    def sigma_min() -> float:
        def make() -> float:
            return sigma_min_bound(operators.base)

        return make() if kept is None else kept.number(f"{key}-sigma-min", make)

    return spectrum, sigma_min


def _measure(entry: AbstractPair, operators: Operators, question: Question, kept: SpectraCache | None) -> MatrixAudit:
    """Measure one pair, and put it into the record's shape."""
    known = known_of_base(entry, operators, kept)
    try:
        measures = measure_matrix(operators.base, operators.update, operators.tuned, question, *known)
    except ValuesError as error:  # the tensors as stored are finite: what is computed of them is not
        raise ValuesError(error.found, wanted=error.wanted, remedy=error.remedy, where=entry.name) from None
    measures = measures.model_copy(update=_of_stored(entry, operators, measures.update_norm, kept))
    return MatrixAudit(
        name=entry.name,
        role=entry.slot.role,
        layer=entry.slot.layer,
        shape=operators.base.shape,
        orientation=entry.slot.orientation,
        scale=operators.scale,
        rounding_floor=operators.rounding_floor,
        digest=operators.digest,
        **dict(measures),
    )


def _of_stored(
    entry: AbstractPair, operators: Operators, update_norm: float, kept: SpectraCache | None
) -> dict[str, float | None]:
    """Measures that depend on how the base is stored: entries left as they were, and the yardstick of four bits."""
    stored = FLOATS[operators.stored]
    sparsity = kept_share(operators.base.matrix, operators.tuned, stored) if update_norm else 1.0
    if entry.name in entry.base.in_nf4:  # rounding again moves nothing
        return {"update_sparsity": sparsity, "quantisation_ratio": None}

    def make() -> float:
        return nf4_error(operators.base.matrix.T if entry.slot.transposed else operators.base.matrix)

    error = (make() if kept is None else kept.number(f"{_key_of(entry, operators)}-nf4", make)) if update_norm else 0.0
    return {"update_sparsity": sparsity, "quantisation_ratio": error / update_norm if update_norm else None}


def _base_norm(found: Pairing, base: Source, measured: list[MatrixAudit], kept: SpectraCache | None) -> float | None:
    """`||W0||_F` over all matrices in scope; what no adapter changes of a base is added up once and kept."""
    if found.kind == "none":
        return None
    squares = [matrix.base_norm**2 for matrix in measured]
    if found.untouched:
        known = (str(base.digest), *filter(None, [base.settings]), *found.untouched)  # in NF4 its numbers are others
        key = digests.of_bytes("\n".join(known).encode())
        make = found.untouched_square
        squares.append(make() if kept is None else kept.number(f"{key}-untouched", make))
    return math.sqrt(math.fsum(squares))


def _base_entries(found: Pairing, measured: list[MatrixAudit]) -> int | None:
    """Entries of all matrices in scope, as their shapes have them."""
    if found.kind == "none":
        return None
    shapes = [matrix.shape for matrix in measured] + [found.base.tensors[name].shape for name in found.untouched]
    return sum(map(math.prod, shapes))


def _compare(found: Pairing) -> None:
    """Tell unchanged from changed among the tensors that are no matrix to analyse."""
    tuned = found.tuned[0]
    for name, other, entry in found.to_compare:
        first, second = found.base.read(name), tuned.read(other)
        equal = first.dtype == second.dtype and bool(torch.equal(first, second))
        key = other if entry.files == "tuned" else name
        found.coverage[key] = entry.model_copy(update={"status": "unchanged", "matters": False}) if equal else entry


def _notes(found: Pairing, measured: list[MatrixAudit]) -> list[str]:
    """Remarks on the audit as a whole."""
    notes = []
    changed = [matrix for matrix in measured if matrix.update_norm > 0]
    if measured and not changed:
        notes.append(f"The update is zero: none of the {len(measured)} matrices differs from the base.")
    elif len(changed) < len(measured):
        notes.append(f"{len(measured) - len(changed)} of the {len(measured)} matrices are unchanged.")
    floors = [matrix for matrix in changed if matrix.rounding_floor]
    close = [m for m in floors if (m.relative_norm or 0.0) < 3 * (m.rounding_floor or 0.0)]
    if close:
        notes.append(
            f"In {len(close)} matrices the update is less than three times as large as what rounding to the stored "
            f"precision causes by itself (relative norm about {max(m.rounding_floor or 0.0 for m in close):.1g})."
        )
    if not measured and found.kind != "none":
        notes.append("No matrix was analysed: see coverage for the reasons.")
    return notes
