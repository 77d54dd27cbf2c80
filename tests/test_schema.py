import pyarrow as pa
import pytest

from sift_ray.features.feasible import feasible
from sift_ray.schema import ANNOTATIONS, ATTRIBUTE_COLUMNS, BACKEND_MEASURES, MEASURES, WORD


def numbers(fields: pa.Schema | pa.StructType) -> set[str]:
    return {field.name for field in fields if pa.types.is_floating(field.type)}


def test_every_number_has_a_unit_and_a_range() -> None:
    assert numbers(ANNOTATIONS) | numbers(WORD) == set(MEASURES)
    assert set(ATTRIBUTE_COLUMNS.values()) <= set(MEASURES)
    for measure in (*MEASURES.values(), *BACKEND_MEASURES.values()):
        assert measure.unit
        assert measure.low < measure.high


@pytest.mark.parametrize("backend", BACKEND_MEASURES)
def test_a_backends_range_lies_in_its_columns(backend: str) -> None:
    own = BACKEND_MEASURES[backend]
    column = MEASURES[own.column]
    assert column.low <= own.low < own.high <= column.high


def test_what_is_out_of_range_is_unknown() -> None:
    assert feasible("quality", 4.9, "dnsmos_ovrl") == 4.9
    assert feasible("quality", 4.9, "squim_pesq") is None
    assert feasible("snr_db", 90.0) == 90.0
    assert feasible("snr_db", 90.0, "brouhaha_snr") is None
    for value in (float("nan"), float("inf"), -1.0, None):
        assert feasible("quality", value) is None
