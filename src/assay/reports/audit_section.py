"""The section of a page that shows audits: a comparison where there are several, then each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from assay.records.audit import Audit
from assay.reports.charts import counts_against_eps, layer_maps, similarity, spectrum
from assay.reports.pictures import Picture
from assay.reports.summary import Summary


@dataclass(frozen=True)
class AuditView:
    """One audit with its pictures, as the template reads it."""

    summary: Summary
    maps: tuple[Picture, ...] = ()
    spectra: tuple[Picture, ...] = ()
    overlaps: Picture | None = None
    eps_curve: Picture | None = None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All of them, in the order of the page."""
        single = tuple(picture for picture in (self.eps_curve, self.overlaps) if picture is not None)
        return self.maps + self.spectra + single

    def without_maps(self) -> AuditView:
        """The same for a page that shows the maps elsewhere."""
        return replace(self, maps=())


def audit_views(audits: Sequence[Audit]) -> tuple[AuditView, ...]:
    """What the template shows of every audit."""
    return tuple(_view(Summary(audit, number)) for number, audit in enumerate(audits, start=1))


def _view(summary: Summary) -> AuditView:
    if summary.state != "ordinary":
        return AuditView(summary)
    worst = summary.worst[0]
    return AuditView(
        summary,
        maps=tuple(layer_maps(summary)),
        spectra=tuple(spectrum(summary, matrix, rank) for rank, matrix in enumerate(summary.pictured, start=1)),
        overlaps=similarity(summary, worst),
        eps_curve=counts_against_eps(summary),
    )


def differences(audits: Sequence[Audit]) -> list[str]:
    """What the audits do not share and must for their counts to be compared; those without matrices have no counts."""
    audits = [audit for audit in audits if audit.matrices]
    shared: dict[str, set[Any]] = {
        "base": {(audit.base.name, audit.base.revision, audit.base.digest) for audit in audits},
        "k": {audit.k for audit in audits},
        "eps": {audit.eps[:1] for audit in audits},
        "side": {"right" if audit.side == "right" else "left" for audit in audits},
        "set of matrices": {tuple(matrix.name for matrix in audit.matrices) for audit in audits},
    }
    return [name for name, values in shared.items() if len(values) > 1]
