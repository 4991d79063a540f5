"""A repair from files to files: read the path, choose a point, write it, and look again at what was written."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from assay.dials.matched import points_of_budget
from assay.dials.matrices import Looking, analyse, distance, verdicts
from assay.dials.paths import Matrix
from assay.dials.reading import KEEPS, Bench, read_path
from assay.dials.run import PACKAGES, check_points, read_asked
from assay.errors import InputError, SettingError
from assay.linalg.devices import device_of
from assay.measures.matrix import Question
from assay.measures.repair import Scaling, Which, edited, returned
from assay.models.deltas import refuse_other_computation
from assay.models.loading import Place, find_pair, labels_of
from assay.records import Dial, MatrixRepair, Provenance, Repair, Setting, Source
from assay.repairs.writing import refuse_unwritable, write_repaired
from assay.settings import Batches, check_count, check_seed
from assay.weights.bases import refuse_other_base
from assay.weights.checkpoints import identified
from assay.weights.pairing import pair
from assay.weights.rewriting import refuse_existing, whole_folder
from assay.weights.sides import Pairing, Scope
from assay.weights.spectra_cache import SpectraCache
from assay.weights.updates import AbstractPair, AdapterPair, Operators

RECORD = "repair.json"


def repair(
    base: str | Path | None,
    tuned: str | Path,
    out: str | Path | None = None,
    *,
    other_base: bool = False,
    keep: float = 0.7,
    which: Which = "all",
    rank: int | None = None,
    k: int = 10,
    eps: float = 0.5,
    side: Literal["left", "right"] = "left",
    adapter: str | None = None,
    matrices: str | Sequence[str] | None = None,
    include: Sequence[str] = (),
    even_unchanged: bool = False,
    text: str | Path | None = None,
    task: str | Path | None = None,
    at: float | Sequence[float] = KEEPS,
    budget: str | None = None,
    device: str = "cpu",
    cache: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Repair:
    """Scale the intruder dimensions of a tuned model: write one point of a dial by intruders.

    Every matrix with intruders becomes `W0 + dW + (keep - 1) sum_i u_i sigma_i v_i^T`, with triplets of `W0 + dW`.
    An adapter stays an adapter, at rank r plus the number of intruders, which is exact; a checkpoint stays one, shard
    by shard. Whatever is not edited is carried over bit for bit.

    Args:
        base: folder or hub id; None for the one that an adapter names.
        tuned: a LoRA adapter, or a full or merged checkpoint.
        other_base: whether the base is meant though the adapter was trained on another.
        out: folder to write, with `repair.json` in it; None to write nothing.
        keep: what is left of every intruder: 1 changes nothing, 0 removes it.
        which: all intruders, or the top one of each matrix.
        rank: of the edited factors of an adapter; None for the exact ones. The error is in the record.
        k, eps, side, adapter, matrices, include, device, cache: as for `assay.audit`.
        even_unchanged: write a copy even if there is nothing to edit.
        text, task: as for `assay.score`: loss and accuracy against keep, for the repair, each control and, with both,
            the way back to the base.
        at: the keeps of that dial, or one; `keep` is one of them. Without a text and a task only `keep` is looked at.
        budget: `task<=1%`: take the keep of least loss that costs at most one point of accuracy, in place of `keep`;
            nothing is written where none is shown to beat the tuned model and the way back at equal task score.
        seed: of the random directions and of the bootstraps.
        progress: called with what is being done.

    Raises:
        SourceError: `out` exists, or a model cannot be opened.
        AdapterError: a kind that cannot be repaired as an adapter (DoRA; PiSSA and OLoRA that were not converted), with
            the remedy.
        QuantisedError: the base's weights are packed.
        SettingError: settings without meaning.

    Example:
        >>> r = assay.repair("base/", "adapter/", "repaired/", keep=0.7)  # doctest: +SKIP
        >>> r.count, r.at("intruders").count, r.at("equal-removal").relative_norm  # doctest: +SKIP
        (15, 12, 0.041)

    Sources: arXiv 2410.21228v3, section 5 and App. G.
    """
    began = time.perf_counter()
    at = tuple(at) if isinstance(at, Sequence) else (at,)
    given = {name: _listed(value) for name, value in locals().items() if name in _SETTINGS}
    tell = progress or (lambda _: None)
    target = Path(out) if out is not None else None
    _check(keep, rank, target, at)
    check_count(k, eps)
    check_seed(seed)
    points_of_budget(budget, text is not None and task is not None)
    patterns = (matrices,) if isinstance(matrices, str) else None if matrices is None else tuple(matrices)
    scope = Scope(tuple(include), patterns)
    found = pair(base, tuned, adapter, scope)
    if found.kind != "checkpoint" and base is not None:
        refuse_other_base(found.tuned[0].folder, found.base.folder, found.base.source, other_base)
    if found.kind == "none":
        raise InputError("the method changes no weight matrix: there is nothing to repair", where=str(tuned))
    home, place = find_pair(base, tuned if adapter is None else Path(tuned, adapter), other_base)
    asked = read_asked(home, place, text, task, Batches())
    if asked is not None:
        refuse_other_computation(home, place)
    kept, question = SpectraCache.default() if cache else None, Question(k=k, eps=(eps,), side=side, seed=seed)
    looking = Looking("intruders", question, which, device_of(device), kept)
    looked_at = analyse(found.pairs, looking, tell)
    plan = [matrix for matrix in looked_at if matrix.intruders is not None]
    keeps = (keep,) if asked is None else tuple(sorted({*map(float, at), *(() if budget is not None else (keep,))}))
    if target is not None:
        refuse_unwritable(found, plan, keep if budget is None else min(keeps), rank)
    dial: Dial | None = None
    if plan:
        bench = Bench(home, place, asked, looking, device, progress)
        reading = read_path(bench, found.pairs, found.pairs, keeps, budget, looked_at)
        dial = reading.record(Provenance.of(PACKAGES, _settings(given), seed), began)
    elif asked is not None:
        found.notes.append("Nothing was measured: without an intruder every keep is the tuned model.")
    chosen = keep if budget is None or dial is None else dial.pick
    finish = _Finish(found, looking, looked_at, chosen)
    rest = (dial, rank, found.notes, given, began)
    if target is None or not (plan or even_unchanged) or chosen is None:
        return finish.record(None, finish.judged_in_memory(), *rest)
    tell("writing")
    with whole_folder(target) as folder:
        write_repaired(found, plan, tuned, adapter, chosen if plan else 1.0, rank, folder, target)
        found.refuse_changed()
        source = identified(Source(name=target.resolve().name), folder.glob("*.safetensors"), folder)
        record = finish.record(source, finish.judged_in_files(folder, scope), *rest)
        record.save(folder / RECORD)
    return record


_SETTINGS = (
    *("other_base", "keep", "which", "rank", "k", "eps", "side", "adapter", "matrices", "include", "even_unchanged"),
    *("at", "budget", "device"),
)


def _check(keep: float, rank: int | None, out: Path | None, at: Sequence[float]) -> None:
    """Refuse settings that have no meaning, before anything is read."""
    check_points("intruders", (keep, *at))
    if rank is not None and (rank < 1 or out is None):
        raise SettingError(f"rank is {rank}", wanted="at least 1, and a folder to write")
    if out is not None:
        refuse_existing(out)


def _listed(value: Any) -> Any:
    """A value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _settings(given: dict[str, Any]) -> dict[str, Setting]:
    """Settings of the call, each marked if it is the default of `repair`'s own signature."""
    defaults = inspect.signature(repair).parameters
    return {
        name: Setting(value=value, origin="default" if value == _listed(defaults[name].default) else "given")
        for name, value in given.items()
    }


class _Finish:
    """The record of a repair that was carried out, or not."""

    def __init__(self, found: Pairing, looking: Looking, looked_at: Sequence[Matrix], keep: float | None) -> None:
        self.found, self.looking, self.looked_at, self.keep = found, looking, looked_at, keep

    @property
    def edited(self) -> list[tuple[Matrix, Scaling]]:
        """The matrices that are edited, with what is scaled; none where no keep was chosen."""
        if self.keep is None:
            return []
        return [(matrix, matrix.intruders) for matrix in self.looked_at if matrix.intruders is not None]

    def judged_in_memory(self) -> list[MatrixRepair]:
        """Every edited matrix as it would be."""
        found = []
        for matrix, intruders in self.edited:
            operators = matrix.entry.load(self.looking.question.dtype, self.looking.device)
            update = edited(operators.update, intruders.at(self.keep or 0.0))
            found.append(self._matrix(matrix, intruders, matrix.entry, operators, update))
        return found

    def judged_in_files(self, folder: Path, scope: Scope) -> list[MatrixRepair]:
        """Every edited matrix as it was written, read back through PEFT's own rules of scale."""
        written = {entry.name: entry for entry in pair(self.found.base.folder, folder, None, scope).pairs}
        found = []
        for matrix, intruders in self.edited:
            entry = written[matrix.entry.name]
            stored = entry.load(self.looking.question.dtype, self.looking.device)
            one = self._matrix(matrix, intruders, entry, stored, stored.update)
            update = matrix.entry.load(torch.float64, self.looking.device).update
            wanted = edited(update, intruders.at(self.keep or 0.0))
            error = distance(stored.update, wanted) / (wanted.frobenius() or 1.0)
            found.append(one.model_copy(update={"rank_after": _stored_rank(entry), "error": error}))
        return found

    def _matrix(
        self, matrix: Matrix, intruders: Scaling, entry: AbstractPair, operators: Operators, update: Any
    ) -> MatrixRepair:
        """One edited matrix, judged again with its repaired update."""
        side, slot = self.looking.side, matrix.entry.slot
        judged = self.looking.judge(entry, operators, update)
        after, undecided = verdicts(judged.on(side))
        return MatrixRepair(
            name=matrix.entry.name,
            role=slot.role,
            layer=slot.layer,
            shape=matrix.entry.shape,
            scaled=intruders.count,
            before=matrix.count,
            after=after,
            after_undecided=undecided,
            returned=returned(judged, side, intruders),
            rank_before=_stored_rank(matrix.entry),
            rank_after=None,
            update_norm=matrix.update_norm,
            repaired_norm=update.frobenius(),
            edit_norm=intruders.norm(self.keep or 0.0),
            error=None,
        )

    def record(
        self,
        out: Source | None,
        matrices: list[MatrixRepair],
        dial: Dial | None,
        rank: int | None,
        notes: list[str],
        given: dict[str, Any],
        began: float,
    ) -> Repair:
        """The record."""
        found, question = self.found, self.looking.question
        base, tuned = found.base.described(), found.tuned[0].described()
        home = Place(found.base.folder, base, is_adapter=False)
        place = Place(found.tuned[0].folder, tuned, found.kind != "checkpoint", home)
        base_norm = math.sqrt(math.fsum(matrix.base_norm**2 for matrix in self.looked_at))
        update_norm = math.sqrt(math.fsum(matrix.update_norm**2 for matrix in self.looked_at))
        return Repair(
            provenance=Provenance.of(PACKAGES, _settings(given), question.seed),
            base=base,
            tuned=tuned,
            out=out,
            labels=labels_of(place) or (),
            kind_of_update="checkpoint" if found.kind == "checkpoint" else "adapter",
            keep=self.keep,
            which=self.looking.which,
            rank=rank,
            k=question.k,
            eps=question.eps[0],
            side=self.looking.side,
            analysed=len(self.looked_at),
            matrices=tuple(matrices),
            count=sum(matrix.count for matrix in self.looked_at),
            undecided=sum(matrix.undecided for matrix in self.looked_at),
            relative_norm=update_norm / base_norm if base_norm else 0.0,
            dial=dial,
            notes=tuple(notes + self._notes(out, matrices, dial)),
            seconds=time.perf_counter() - began,
        )

    def _notes(self, out: Source | None, matrices: list[MatrixRepair], dial: Dial | None) -> list[str]:
        """Remarks on the repair as a whole."""
        notes = []
        if dial is None:
            done = "an unchanged copy was written" if out is not None else "nothing was written"
            notes.append(f"None of the {len(self.looked_at)} matrices has an intruder: {done}.")
        elif dial.verdict is not None:
            notes.append(f"Budget {dial.budget}: {dial.verdict}.")
        if open_ones := sum(matrix.undecided for matrix in self.looked_at):
            notes.append(f"Undecided, and left as they are: {_number(open_ones, 'direction')}.")
        if back := sum(matrix.returned for matrix in matrices if self.keep == 0):
            notes.append(f"Of the directions that were removed, {back} came back as intruders.")
        if risen := sum(matrix.after - matrix.returned for matrix in matrices):
            notes.append(
                f"What is left has {_number(risen, 'intruder')} not among those that were scaled: further down before, "
                "or not chosen."
            )
        if out is not None and self.found.tuned[0].source.revision is not None:
            notes.append("The tuned model came from the hub: its weights and configuration were copied, nothing else.")
        return notes


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _stored_rank(entry: AbstractPair) -> int | None:
    """Columns of the stored factors; None for a matrix that is stored whole."""
    if not isinstance(entry, AdapterPair) or not entry.terms:
        return None
    return sum(int(adapter.stored.tensors[factors.A].shape[0]) for adapter, factors, _ in entry.terms)
