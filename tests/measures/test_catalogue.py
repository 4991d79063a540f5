from __future__ import annotations

from assay.measures.catalogue import describe_measures
from assay.records.audit import Measures


def test_every_measure_is_a_field_of_the_record_with_a_source() -> None:
    found = describe_measures()
    assert {name for name, _, _ in found} <= set(Measures.model_fields)
    assert all(source and text for _, source, text in found)
