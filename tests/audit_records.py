"""Audits with plausible values, made without any model: what the tests of the page read."""

from __future__ import annotations

import math
import random

from assay.records import Audit, Chance, Coverage, Direction, MatrixAudit, Provenance, Setting, Source

ROLES = {
    "query": ("self_attn.q_proj", 576, 576),
    "key": ("self_attn.k_proj", 192, 576),
    "value": ("self_attn.v_proj", 192, 576),
    "output": ("self_attn.o_proj", 576, 576),
    "gate": ("mlp.gate_proj", 1536, 576),
    "up": ("mlp.up_proj", 1536, 576),
    "down": ("mlp.down_proj", 576, 1536),
}


def direction(rng: random.Random, position: int, sigma: float, strange: float, eps: float, side: str) -> Direction:
    """One direction; `strange` is the probability of an intruder, and one in thirty is known by bounds alone."""
    cosine = rng.uniform(0.08, 0.45) if rng.random() < strange else 1 - rng.expovariate(12) % 0.45
    bounded = rng.random() < 1 / 30
    bounds = (max(0.0, cosine - 0.12), min(1.0, cosine + 0.12)) if bounded else (cosine - 1e-4, min(1.0, cosine + 1e-4))
    verdict = "intruder" if bounds[1] < eps else "matched" if bounds[0] >= eps else "undecided"
    return Direction(
        position=position,
        side=side,
        sigma=sigma,
        cosine=None if bounded else cosine,
        cosine_bounds=bounds,
        cluster=(position, position + 1) if bounded else None,
        verdict=verdict,
        decided_by="cluster" if bounded else "vector",
        update_share=rng.random() * 0.2,
    )


def matrix(
    rng: random.Random,
    name: str,
    role: str,
    layer: int | None,
    shape: tuple[int, int],
    *,
    k: int = 10,
    eps: tuple[float, ...] = (0.5,),
    side: str = "left",
    strange: float = 0.1,
    chance: bool = False,
) -> MatrixAudit:
    """One matrix whose count, energy share and counts for each eps follow from its directions."""
    top = rng.uniform(4, 30)
    base = tuple(top * (j + 1) ** -0.55 for j in range(k))
    tuned = tuple(value * rng.uniform(1.0, 1.03) for value in base)
    sides = ("left", "right") if side == "both" else (side,)
    directions = tuple(
        direction(rng, j + 1, value, strange * (1.6 if j > k / 2 else 0.5), eps[0], one)
        for one in sides
        for j, value in enumerate(tuned)
    )
    counted = [d for d in directions if d.side == sides[0]]
    counts = {
        f"{e:g}": (
            sum(d.cosine_bounds[1] < e for d in counted),
            sum(d.cosine_bounds[0] < e <= d.cosine_bounds[1] for d in counted),
        )
        for e in eps
    }
    energy = math.fsum(d.sigma**2 for d in counted)
    surely = math.fsum(d.sigma**2 for d in counted if d.verdict == "intruder")
    possibly = math.fsum(d.sigma**2 for d in counted if d.verdict != "matched")
    count, undecided = counts[f"{eps[0]:g}"]
    intruders = {d.position for d in counted if d.verdict != "matched"}
    return MatrixAudit(
        name=name,
        role=role,
        layer=layer,
        shape=shape,
        orientation="outputs x inputs (Linear)",
        scale=2.0,
        rank=8,
        relative_norm=(relative_norm := rng.uniform(0.004, 0.05) * (1 + strange)),
        rounding_floor=1e-7,
        effective_rank=rng.uniform(2, 7.5),
        stable_rank=rng.uniform(1.2, 4),
        energy_rank=rng.randint(2, 6),
        count=count,
        undecided=undecided,
        counts=counts,
        energy_share=surely / energy if energy else None,
        energy_share_bounds=(surely / energy, possibly / energy) if energy else None,
        intruder_update_share=rng.random(),
        chance=Chance(draws=20, rank=8, seed=0, median=rng.randint(0, 2), percentile_95=rng.randint(2, 3))
        if chance
        else None,
        directions=directions,
        sigma_base=base,
        sigma_tuned=tuned,
        sigma_update=tuple(value * 0.02 for value in base[:8]),
        similarity=tuple(
            tuple(
                rng.uniform(0, 0.12) if j + 1 in intruders else max(0.0, math.exp(-3 * abs(i - j)) - rng.random() * 0.1)
                for j in range(k)
            )
            for i in range(k)
        ),
        amplification=3.4,
        amplification_rank=8,
        solver="exact",
        products=48,
        decompositions=2,
        base_norm=(base_norm := rng.uniform(20, 80)),
        update_norm=relative_norm * base_norm,
        digest="b3a1f0c2",
    )


def audit(
    layers: int = 30,
    *,
    k: int = 10,
    eps: tuple[float, ...] = (0.5,),
    side: str = "left",
    seed: int = 0,
    strange: float = 0.12,
    chance: bool = False,
    base: str = "HuggingFaceTB/SmolLM2-135M",
    tuned: str = "smollm2-sql-lora-r8",
    prefix: str = "model.layers",
    roles: int = len(ROLES),
) -> Audit:
    """An audit of a Llama-like model with 7 matrices a layer."""
    rng = random.Random(seed)
    matrices = tuple(
        matrix(
            rng,
            f"{prefix}.{layer}.{path}.weight",
            role,
            layer,
            (out, into),
            k=k,
            eps=eps,
            side=side,
            strange=strange * (2.2 * layer / max(layers, 1) if role in ("value", "down", "output") else 0.3),
            chance=chance,
        )
        for layer in range(layers)
        for role, (path, out, into) in list(ROLES.items())[:roles]
    )
    coverage = {
        m.name: Coverage(status="analysed", files="both", reason="adapter, scale 2", matters=True) for m in matrices
    }
    for layer in range(layers):
        coverage[f"{prefix}.{layer}.input_layernorm.weight"] = Coverage(status="unchanged", files="base")
    coverage["model.embed_tokens.weight"] = Coverage(
        status="skipped", files="base", reason="embeddings are left out unless asked for"
    )
    return Audit(
        provenance=Provenance.of(
            ("torch", "numpy"),
            {
                "k": Setting(value=k, origin="default"),
                "eps": Setting(value=list(eps), origin="given"),
                "solver": Setting(value="exact", origin="derived"),
            },
        ),
        base=Source(name=base, revision="93efa2f", digest="a41c77d2"),
        tuned=(Source(name=tuned, digest="5f2e0b19"),),
        kind_of_update="adapter",
        model_type="llama",
        k=k,
        eps=eps,
        side=side,
        matrices=matrices,
        coverage=coverage,
        notes=(
            "The adapter's scale is 2 (alpha 16, rank 8).",
            "The output head is tied to the embeddings and was left out.",
        ),
        seconds=41.7,
    )
