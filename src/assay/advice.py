"""Advice on alpha, rank and scale of a LoRA: before training from the base alone, after it from the adapter."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay.audits import known_of_base
from assay.counsels import counsels_of
from assay.errors import InputError, MismatchError, SettingError
from assay.linalg import BoundedEstimate, LowRank, select_solver
from assay.measures.spectra import update_spectrum
from assay.measures.threshold import ESTIMATOR, critical_norm
from assay.records import Advice, Correlation, Provenance, Source
from assay.records.advice import Counsel, MatrixAdvice
from assay.records.correlation import SweptRun
from assay.records.record import settings_of
from assay.settings import check_count
from assay.studies.checkpoint_advice import checkpoints_of
from assay.weights.architecture import read_architecture
from assay.weights.bases import refuse_other_base
from assay.weights.pairing import pair
from assay.weights.sides import Pairing, Scope
from assay.weights.spectra_cache import SpectraCache
from assay.weights.updates import AbstractPair, AdapterPair

# Where a rule is from, and the model that its figures are of; a theorem's and a threshold's are of none.
V3 = "arXiv 2410.21228v3, Fig. 4, of RoBERTa-base"
RS = "arXiv 2312.03732, Thm 3.2, in the limit of large ranks"
IT = "arXiv 2607.23711, computed for this base"
LL = "arXiv 2405.09673, of Llama-2-7B"
# v3 Fig. 4: with alpha = 2r, many intruders up to rank 16, none or very few at 64.
FEW_FROM = 64
_PACKAGES = ("torch", "transformers", "peft", "safetensors")


def advise(
    base: str | Path | None,
    tuned: str | Path | None = None,
    *,
    other_base: bool = False,
    rank: int | None = None,
    alpha: float | None = None,
    rslora: bool = False,
    k: int = 10,
    eps: float = 0.5,
    matrices: str | Sequence[str] | None = None,
    runs: str | Path | Sequence[str | Path] | None = None,
    cache: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Advice:
    """Caps of alpha by matrix, and advice on rank and scale, each with its source and what this model shows.

    Before training (no `tuned`) nothing is known of sigma_1(BA), and the caps are relative: updates of matrices of one
    shape are taken to grow alike, and one whose threshold is under the median of its shape has its alpha lowered by
    that factor, unless the median lies within the bounds of its own estimate, which cannot tell the two apart. After
    training a cap is alpha times the multiplier at which the update would be at its threshold.

    Args:
        base: folder or hub id; None for the one that an adapter names.
        tuned: a LoRA adapter.
        rank, alpha, rslora: what is planned, before training; rank is 8 and alpha 2 rank unless given. An adapter has
            its own.
        other_base: whether the base is meant though the adapter was trained on another.
        k, eps: of the count.
        matrices: shell patterns on names or roles.
        runs: the record of `assay.correlate` over runs of this base: rate, rank, alpha, targets and steps are advised
            where its runs show one value to be better (`assay.counsels`), and not where they do not. The folder of a
            study: which stored checkpoint to keep (`assay.studies.checkpoint_advice`). Or several of both.
        cache: keep and use what is known of the base's spectra.
        progress: called with what is being done.

    Raises:
        SettingError: neither a base nor an adapter, settings without meaning, or a plan beside an adapter.
        InputError: the tuned model is not a LoRA adapter, or has DoRA; the record cannot be read.
        MismatchError: the runs are of another base.

    Example:
        >>> assay.advise("base/", rank=16).alpha_pattern  # doctest: +SKIP
        {'layers.0.self_attn.q_proj': 21.3}
    """
    began = time.perf_counter()
    if base is None and tuned is None:
        raise SettingError("neither a base nor an adapter", wanted="one of them")
    if tuned is not None and (rank is not None or alpha is not None or rslora):
        raise SettingError(
            "a planned rank, alpha or scale beside an adapter, which has its own",
            remedy="leave them out, or ask for advice from the base alone",
        )
    plan = _planned(8 if rank is None else rank, alpha, rslora)
    given: dict[str, Any] = {"other_base": other_base, "rank": rank, "alpha": alpha, "rslora": rslora}
    given |= {"k": k, "eps": eps, "matrices": matrices}
    given["runs"] = [Path(path).name for path in _several(runs)] or None
    check_count(k, eps)
    patterns = (matrices,) if isinstance(matrices, str) else None if matrices is None else tuple(matrices)
    found = pair(base, tuned if tuned is not None else str(base), scope=Scope(matrices=patterns))
    if tuned is not None and base is not None and found.kind != "checkpoint":
        refuse_other_base(found.tuned[0].folder, found.base.folder, found.base.source, other_base)
    pairs = _adaptable(found) if tuned is None else _adapted(found, str(tuned))
    measured, kept_ones, checkpointed = _measured(_several(runs), found.base.described())
    if not pairs:
        raise SettingError("no matrix fits", wanted="a base with linear layers, patterns that fit one")
    kept, looked = SpectraCache.default() if cache else None, []
    for position, entry in enumerate(pairs):
        if progress is not None:
            progress(f"matrix {position + 1} of {len(pairs)}: {entry.name}")
        looked.append(_look(entry, plan if tuned is None else _trained(entry), tuned is not None, k, eps, kept))
    capped = _capped(looked, relative=tuned is None)
    plan = _Plan(
        round(statistics.median(one.plan.rank for one in looked)),
        statistics.median(one.plan.alpha for one in looked),
        looked[0].plan.rslora,
    )
    found.refuse_changed()
    return Advice(
        provenance=Provenance.of(_PACKAGES, settings_of(advise, given)),
        base=found.base.described(),
        tuned=None if tuned is None else found.tuned[0].described(),
        rank=plan.rank,
        alpha=plan.alpha,
        rslora=plan.rslora,
        k=k,
        eps=eps,
        estimator=ESTIMATOR,
        alpha_pattern=_pattern(capped, plan.alpha),
        counsels=(
            *(_on_alpha(capped, tuned is None), _on_rank(looked, plan, tuned is None), _on_scale(plan)),
            *counsels_of(measured),
            *kept_ones,
        ),
        runs=len(measured),
        checkpointed=checkpointed,
        matrices=tuple(capped),
        seconds=time.perf_counter() - began,
    )


@dataclass(frozen=True)
class _Plan:
    """Rank, alpha and kind of scale of one module."""

    rank: int
    alpha: float
    rslora: bool

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


@dataclass(frozen=True)
class _Looked:
    """One matrix, its threshold, and its update if there is one."""

    entry: AbstractPair
    plan: _Plan
    threshold: BoundedEstimate | None
    sigma: float | None
    energy_rank: float | None


def _several(runs: str | Path | Sequence[str | Path] | None) -> list[str | Path]:
    return [] if runs is None else [runs] if isinstance(runs, str | Path) else list(runs)


def _measured(paths: Sequence[str | Path], base: Source) -> tuple[list[SweptRun], list[Counsel], int]:
    """The runs of correlations' records, advice on checkpoints from studies' folders, and how many arms it is about."""
    swept = {run.key: run for path in paths if not Path(path).is_dir() for run in _runs_of(path, base)}
    found = [checkpoints_of(path, base) for path in paths if Path(path).is_dir()]
    return list(swept.values()), [one for counsels, _ in found for one in counsels], sum(arms for _, arms in found)


def _runs_of(path: str | Path, base: Source) -> tuple[SweptRun, ...]:
    """The runs of a correlation's record, which are of this base."""
    record = Correlation.read(path)
    if record.base.digest != base.digest:
        raise MismatchError(
            f"the runs began from {record.base.name}, another base than {base.name}",
            wanted="runs of this base: what they show holds for theirs",
            where=str(path),
        )
    return record.runs


def _planned(rank: int, alpha: float | None, rslora: bool) -> _Plan:
    """Advice on a planned LoRA, before training."""
    plan = _Plan(rank, 2.0 * rank if alpha is None else alpha, rslora)
    if rank < 1 or not 0.0 < plan.alpha < math.inf:
        raise SettingError(f"rank is {rank}, alpha {plan.alpha:g}", wanted="finite numbers above zero")
    return plan


def _adaptable(found: Pairing) -> list[AbstractPair]:
    """The base's matrices that PEFT can give an alpha: experts that transformers fuses have no module of their own."""
    architecture = read_architecture(found.base.folder, found.base.config)
    return [entry for entry in found.pairs if architecture.has(entry.slot.canonical)]


def _adapted(found: Pairing, where: str) -> list[AbstractPair]:
    """The matrices that an adapter changes by factors; those that it stores whole have no alpha."""
    pairs = [entry for entry in found.pairs if isinstance(entry, AdapterPair) and entry.terms]
    if found.pairs and not pairs:
        raise InputError("not a LoRA adapter", wanted="one, whose alpha can be capped", where=where)
    if any(factors.magnitude is not None for entry in pairs for _, factors, _ in entry.terms):
        raise InputError(
            "an adapter with DoRA, whose update does not grow with alpha alone",
            wanted="LoRA or rsLoRA",
            remedy="ask for advice from the base alone, or audit the adapter: its table says how far past it is",
            where=where,
        )
    return list(pairs)


def _trained(entry: AbstractPair) -> _Plan:
    """An adapter's choices for one matrix: alpha is read back from PEFT's own scale."""
    if not isinstance(entry, AdapterPair):
        raise TypeError(f"{entry.name} is not stored in factors")
    adapter, factors, _ = entry.terms[0]
    rank, rslora = adapter.stored.tensors[factors.A].shape[0], bool(adapter.settings.get("use_rslora"))
    return _Plan(rank, factors.scale * (rank**0.5 if rslora else rank), rslora)


def _look(entry: AbstractPair, plan: _Plan, is_trained: bool, k: int, eps: float, kept: SpectraCache | None) -> _Looked:
    operators = entry.load(torch.float32, torch.device("cpu"))
    spectrum, _ = known_of_base(entry, operators, kept)
    solver = select_solver(operators.base.shape)
    threshold = critical_norm(spectrum(operators.base, solver), operators.base.shape, k=k, eps=eps)
    if not is_trained:
        return _Looked(entry, plan, threshold, None, None)
    update = operators.update
    if isinstance(update, LowRank) and update.frobenius() == 0.0:
        return _Looked(entry, plan, threshold, 0.0, None)
    known = update_spectrum(update, 1, solver)
    return _Looked(entry, plan, threshold, float(known.sigma[0]), known.energy_rank.value)


def _capped(looked: Sequence[_Looked], relative: bool) -> list[MatrixAdvice]:
    """Every matrix with its cap: alpha times how far it may grow, where that is less than it did."""
    by_shape: dict[tuple[int, int], list[float]] = {}
    for one in looked:
        if one.threshold is not None:
            by_shape.setdefault(one.entry.shape, []).append(one.threshold.value)
    found = []
    for one in looked:
        threshold, multiplier = one.threshold, None
        if threshold is not None and relative:
            middle = statistics.median(by_shape[one.entry.shape])
            factor = threshold.value / middle if threshold.upper < middle else 1.0
        else:
            multiplier = threshold.value / one.sigma if threshold is not None and one.sigma else None
            factor = 1.0 if multiplier is None else multiplier
        found.append(
            MatrixAdvice(
                name=one.entry.name,
                role=one.entry.slot.role,
                layer=one.entry.slot.layer,
                shape=one.entry.shape,
                module=one.entry.slot.canonical.removesuffix(".weight"),
                threshold=threshold.value if threshold else None,
                threshold_bounds=(threshold.lower, threshold.upper) if threshold else None,
                sigma=one.sigma,
                multiplier=multiplier,
                alpha=one.plan.alpha,
                cap=cap if (cap := float(f"{one.plan.alpha * factor:.3g}")) < one.plan.alpha else None,
            )
        )
    return found


def _pattern(matrices: Sequence[MatrixAdvice], alpha: float) -> dict[str, float]:
    """The caps, and the alpha of those without one that had another than the others: the pattern replaces PEFT's."""
    found = {one.module: one.alpha if one.cap is None else one.cap for one in matrices}
    # Alpha is read back from a scale, so that it differs in its last digits.
    return {name: value for name, value in found.items() if value and not math.isclose(value, alpha, rel_tol=1e-6)}


def _on_alpha(matrices: Sequence[MatrixAdvice], relative: bool) -> Counsel:
    capped = [one for one in matrices if one.cap is not None]
    unknown = sum(one.threshold is None for one in matrices)
    none = f"; no estimate for {unknown}" if unknown else ""
    if relative:
        if not capped:
            says, evidence = "No cap: no threshold is told from its shape's.", "every median is within the bounds"
            return Counsel(topic="alpha", says=says, evidence=f"{evidence} of the estimates{none}", source=IT)
        least = min(one.cap / one.alpha for one in capped if one.cap and one.alpha)
        return Counsel(
            topic="alpha",
            says=f"Cap alpha in {len(capped)} of {len(matrices)} matrices, those with a threshold under their shape's.",
            evidence=f"the lowest threshold is {least:.2f} of the median of its shape{none}",
            source=IT,
        )
    past = max((1 / one.multiplier for one in matrices if one.multiplier), default=0.0)
    return Counsel(
        topic="alpha",
        says=f"Cap alpha in {len(capped)} of {len(matrices)} matrices." if capped else "No cap: none is past it.",
        evidence=f"the update furthest along is at {past:.2g} times its threshold{none}",
        source=IT,
    )


def _on_rank(looked: Sequence[_Looked], plan: _Plan, before: bool) -> Counsel:
    known = [one.energy_rank for one in looked if one.energy_rank is not None]
    if before or not known:
        says = "Rank 64 or more at alpha = 2r had few intruders or none in RoBERTa-base, ranks up to 16 had many."
        if plan.rank >= FEW_FROM:
            says = f"Keep rank {plan.rank}: at alpha = 2r, RoBERTa-base had few intruders or none from {FEW_FROM} on."
        evidence = f"planned: rank {plan.rank}, alpha {plan.alpha:g}; the base alone does not show a task's rank"
        return Counsel(topic="rank", says=says, evidence=evidence, source=V3)
    middle = statistics.median(known)
    evidence = f"median of {len(known)} matrices: {middle:g} of {plan.rank} directions hold 90% of the update's energy"
    if plan.rank > 1 and middle <= plan.rank / 2:
        says = f"A rank of {max(1, round(middle))} would hold 90% of what was learned."
    elif plan.rank < FEW_FROM:
        says = "The update uses its rank: a larger one spreads it over more directions."
    else:
        says = "The update uses its rank."
    return Counsel(topic="rank", says=says, evidence=evidence, source=f"{V3}; {LL}")


def _on_scale(plan: _Plan) -> Counsel:
    evidence = f"the scale is {plan.scale:.3g} (alpha {plan.alpha:g}, rank {plan.rank}{', rsLoRA' * plan.rslora})"
    if plan.rslora and plan.alpha >= 2 * plan.rank and plan.rank > 1:
        says = "Hold alpha fixed over ranks: with rsLoRA and alpha = 2r the scale grows with the root of the rank."
    elif not plan.rslora and plan.scale < 1:
        says = "Use rsLoRA, or alpha = 2r: with alpha fixed, alpha / r falls faster than a stable scale, 1 / sqrt(r)."
    else:
        says = "Keep it."
    return Counsel(topic="scale", says=says, evidence=evidence, source=RS)
