"""A repair from files to files: find, size, choose, write, and look again at what was written."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from assay.errors import InputError, SettingError
from assay.linalg import LowRank, Sum
from assay.linalg.devices import device_of
from assay.measures.matrix import Question
from assay.measures.repair import Which, edited, returned
from assay.models.loading import Place, find_pair, labels_of
from assay.records import ArmOutcome, MatrixRepair, Provenance, Repair, RepairCurve, Setting, Source
from assay.repairs.curve import Asked, Bench, measure_curve
from assay.repairs.plan import Plan, Planned, judge_update, make_plan, outcomes, verdicts
from assay.repairs.writing import refuse_unwritable, write_repaired
from assay.settings import check_count, check_seed
from assay.weights.bases import refuse_other_base
from assay.weights.checkpoints import identified
from assay.weights.pairing import pair
from assay.weights.rewriting import refuse_existing, whole_folder
from assay.weights.sides import Scope
from assay.weights.spectra_cache import SpectraCache
from assay.weights.updates import AbstractPair, AdapterPair

KEEPS = (0.0, 0.3, 0.5, 0.7, 0.9)
RECORD = "repair.json"
_PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "numpy", "scipy")


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
    window: int = 1024,
    batch_tokens: int = 1024,
    device: str = "cpu",
    cache: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Repair:
    """Scale the intruder dimensions of a tuned model, beside controls of the same norm.

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
        text: JSON Lines with a column `text`: the loss on it against keep, for the repair and each control.
        task: JSON Lines as for `assay.score`: the accuracy against keep.
        at: the keeps of that curve, or one; `keep` is one of them.
        budget: `task<=1%`: take the keep of least loss that costs at most one point of accuracy, in place of `keep`;
            nothing is written where none beats the uniform shrink.
        window, batch_tokens: as for `assay.score`.
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
        >>> r.count, r.outcome("repair").count, r.outcome("shrink").relative_norm  # doctest: +SKIP
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
    asked = Asked(text, task, _keeps(at, keep, budget), budget, window, batch_tokens, device, seed)
    asked.points()
    patterns = (matrices,) if isinstance(matrices, str) else None if matrices is None else tuple(matrices)
    scope = Scope(tuple(include), patterns)
    found = pair(base, tuned, adapter, scope)
    if found.kind != "checkpoint" and base is not None:
        refuse_other_base(found.tuned[0].folder, found.base.folder, found.base.source, other_base)
    if found.kind == "none":
        raise InputError("the method changes no weight matrix: there is nothing to repair", where=str(tuned))
    bench = None
    if text is not None or task is not None:
        bench = Bench.of(asked, *find_pair(base, tuned if adapter is None else Path(tuned, adapter), other_base))
    where, kept = device_of(device), SpectraCache.default() if cache else None
    question = Question(k=k, eps=(eps,), side=side, seed=seed)
    plan = make_plan(found, question, which, where, kept, lambda i, n, name: tell(f"matrix {i + 1} of {n}: {name}"))
    if target is not None:
        refuse_unwritable(plan, keep if budget is None else min(asked.keeps), rank)
    if bench is not None and not plan.edited:
        found.notes.append("Nothing was measured: without an intruder every keep is the tuned model.")
    curve = measure_curve(plan, bench, tell) if plan.edited and bench is not None else None
    chosen = keep if budget is None else curve.pick if curve is not None else None
    finish = _Finish(plan, curve, chosen, rank, given, began, where, kept)
    if target is None or not (plan.edited or even_unchanged) or (chosen is None and curve is not None):
        return finish.record(None, finish.judged_in_memory())
    tell("writing")
    with whole_folder(target) as folder:
        write_repaired(plan, tuned, adapter, 1.0 if chosen is None else chosen, rank, folder, target)
        found.refuse_changed()
        source = identified(Source(name=target.resolve().name), folder.glob("*.safetensors"), folder)
        record = finish.record(source, finish.judged_in_files(folder, scope))
        record.save(folder / RECORD)
    return record


_SETTINGS = (
    *("other_base", "keep", "which", "rank", "k", "eps", "side", "adapter", "matrices", "include", "even_unchanged"),
    *("at", "budget", "window", "batch_tokens", "device"),
)


def _check(keep: float, rank: int | None, out: Path | None, at: Sequence[float]) -> None:
    """Refuse settings that have no meaning, before anything is read."""
    if not all(math.isfinite(value) and 0.0 <= value <= 1.0 for value in (keep, *at)):
        raise SettingError(f"keep is {keep:g}, the curve's are {list(at)}", wanted="numbers from 0 to 1")
    if rank is not None and (rank < 1 or out is None):
        raise SettingError(f"rank is {rank}", wanted="at least 1, and a folder to write")
    if out is not None:
        refuse_existing(out)


def _listed(value: Any) -> Any:
    """A value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _keeps(at: Sequence[float], keep: float, budget: str | None) -> tuple[float, ...]:
    """The curve's keeps: those asked for, and the one that is written."""
    return tuple(sorted({*map(float, at), *(() if budget is not None else (float(keep),))}))


class _Finish:
    """The record of a plan that was carried out, or not."""

    def __init__(
        self,
        plan: Plan,
        curve: RepairCurve | None,
        keep: float | None,
        rank: int | None,
        given: dict[str, Any],
        began: float,
        device: torch.device,
        kept: SpectraCache | None,
    ) -> None:
        self.plan, self.curve, self.keep, self.rank = plan, curve, keep, rank
        self.given, self.began, self.device, self.kept = given, began, device, kept

    def judged_in_memory(self) -> list[MatrixRepair]:
        """Every edited matrix as it would be."""
        if self.keep is None:
            return []
        found = []
        for planned in self.plan.edited:
            operators = planned.entry.load(self.plan.question.dtype, self.device)
            update = edited(operators.update, planned.intruders.at(self.keep)).to(self.plan.question.dtype)
            judged = judge_update(planned.entry, operators, update, self.plan.question, self.kept)
            after = (*verdicts(judged, self.plan.side), returned(judged, self.plan.side, planned.intruders))
            found.append(self._matrix(planned, after, None, None))
        return found

    def judged_in_files(self, folder: Path, scope: Scope) -> list[MatrixRepair]:
        """Every edited matrix as it was written, read back through PEFT's own rules of scale."""
        if self.keep is None:
            return []
        written = {entry.name: entry for entry in pair(self.plan.found.base.folder, folder, None, scope).pairs}
        found = []
        for planned in self.plan.edited:
            entry = written[planned.entry.name]
            stored = entry.load(self.plan.question.dtype, self.device)
            update = planned.entry.load(torch.float64, self.device).update
            wanted = edited(update, planned.intruders.at(self.keep))
            error = _distance(stored.update.to(torch.float64), wanted) / (wanted.frobenius() or 1.0)
            judged = judge_update(entry, stored, stored.update, self.plan.question, self.kept)
            after = (*verdicts(judged, self.plan.side), returned(judged, self.plan.side, planned.intruders))
            found.append(self._matrix(planned, after, _stored_rank(entry), error))
        return found

    def _matrix(
        self, planned: Planned, after: tuple[int, int, int], rank: int | None, error: float | None
    ) -> MatrixRepair:
        entry, keep = planned.entry, 1.0 if self.keep is None else self.keep
        return MatrixRepair(
            name=entry.name,
            role=entry.slot.role,
            layer=entry.slot.layer,
            shape=entry.shape,
            scaled=planned.intruders.count,
            before=planned.count,
            after=after[0],
            after_undecided=after[1],
            returned=after[2],
            rank_before=_stored_rank(entry),
            rank_after=rank,
            update_norm=planned.update_norm,
            repaired_norm=planned.norm("repair", keep),
            edit_norm=planned.intruders.norm(keep),
            error=error,
        )

    def record(self, out: Source | None, matrices: list[MatrixRepair]) -> Repair:
        """The record, with the controls judged beside the repair."""
        plan, found = self.plan, self.plan.found
        arms: tuple[ArmOutcome, ...] = ()
        if plan.edited and self.keep is not None:
            left = sum(matrix.after for matrix in matrices), sum(matrix.after_undecided for matrix in matrices)
            arms = outcomes(plan, self.keep, left, self.device, self.kept)
        base, tuned = found.base.described(), found.tuned[0].described()
        home = Place(found.base.folder, base, is_adapter=False)
        place = Place(found.tuned[0].folder, tuned, found.kind != "checkpoint", home)
        defaults = inspect.signature(repair).parameters
        settings = {
            name: Setting(value=value, origin="default" if value == _listed(defaults[name].default) else "given")
            for name, value in self.given.items()
        }
        return Repair(
            provenance=Provenance.of(_PACKAGES, settings, plan.question.seed),
            base=base,
            tuned=tuned,
            out=out,
            labels=labels_of(place) or (),
            kind_of_update="checkpoint" if found.kind == "checkpoint" else "adapter",
            keep=self.keep,
            which=plan.which,
            rank=self.rank,
            k=plan.question.k,
            eps=plan.question.eps[0],
            side=plan.side,
            analysed=len(plan.analysed),
            matrices=tuple(matrices),
            count=sum(planned.count for planned in plan.analysed),
            undecided=sum(planned.undecided for planned in plan.analysed),
            relative_norm=plan.update_norm / plan.base_norm if plan.base_norm else 0.0,
            arms=arms,
            curve=self.curve,
            notes=tuple(found.notes + self._notes(out, matrices)),
            seconds=time.perf_counter() - self.began,
        )

    def _notes(self, out: Source | None, matrices: list[MatrixRepair]) -> list[str]:
        """What a reader must know of the whole."""
        plan, notes = self.plan, []
        if not plan.edited:
            done = "an unchanged copy was written" if out is not None else "nothing was written"
            notes.append(f"None of the {len(plan.analysed)} matrices has an intruder: {done}.")
        elif self.curve is not None and self.curve.verdict is not None:
            notes.append(f"Budget {self.curve.budget}: {self.curve.verdict}.")
        if open_ones := sum(planned.undecided for planned in plan.analysed):
            notes.append(f"Undecided, and left as they are: {_number(open_ones, 'direction')}.")
        if back := sum(matrix.returned for matrix in matrices if self.keep == 0):
            notes.append(f"Of the directions that were removed, {back} came back as intruders.")
        if risen := sum(matrix.after - matrix.returned for matrix in matrices):
            notes.append(
                f"What is left has {_number(risen, 'intruder')} not among those that were scaled: further down before, "
                "or not chosen."
            )
        if plan.edited and self.keep is not None and plan.multiplier(self.keep) > 1:
            notes.append("The repair makes the update larger, so the control of equal norm is no shrink but a stretch.")
        if out is not None and plan.found.tuned[0].source.revision is not None:
            notes.append("The tuned model came from the hub: its weights and configuration were copied, nothing else.")
        return notes


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _stored_rank(entry: AbstractPair) -> int | None:
    """Columns of the stored factors; None for a matrix that is stored whole."""
    if not isinstance(entry, AdapterPair) or not entry.terms:
        return None
    return sum(int(adapter.stored.tensors[factors.A].shape[0]) for adapter, factors, _ in entry.terms)


def _distance(one: Any, other: Any) -> float:
    """`||one - other||_F` of two updates, in factors where both are."""
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        B = torch.cat([one.scale * one.B, -other.scale * other.B.to(one.B)], dim=1)
        return LowRank(B, torch.cat([one.A, other.A.to(one.A)])).frobenius()
    return Sum(one, other.to(one.dtype), -1.0).frobenius()
