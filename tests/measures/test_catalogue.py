from __future__ import annotations

from assay.records import MatrixAudit
from assay.records.audit import Measures
from assay.records.measures import MEASURES, describe_measures
from assay.views.measured import columns


def test_a_field_says_what_its_measure_is() -> None:
    """One definition: field, schema, catalogue and column say the same words."""
    properties = MatrixAudit.model_json_schema(mode="serialization")["properties"]
    for one in MEASURES.values():
        assert properties[one.name]["title"] == one.title
        assert properties[one.name]["description"].startswith(one.says)
        assert one.source in properties[one.name]["description"]
    assert [column.title for column in columns()] == [
        one.title for one in MEASURES.values() if one.written and one.of == "intruders"
    ]


def test_every_measure_is_a_field_of_the_record_with_a_source() -> None:
    found = describe_measures()
    assert {name for name, _, _ in found} <= {*Measures.model_fields, *Measures.model_computed_fields}
    assert all(source and text for _, source, text in found)
