"""What is known of a patient, as numbers."""

import numpy as np
import pytest

from ml.metadata import ENCODINGS, encoding


def test_the_published_vector_has_nineteen_entries_in_their_order() -> None:
    spec = encoding("ham-19")
    assert spec.count == 19
    assert spec.fields == ("age", "sex", "localization")
    encoded = spec.encode({"age": "68.9", "sex": "male", "localization": "back"})
    assert encoded.vector[0] == pytest.approx(1.0)
    named = {unit for unit, value in zip(spec.units, encoded.vector, strict=True) if value == 1}
    assert {"sex is male", "localization is back"} <= named
    assert encoded.vector[1:].sum() == 2
    assert encoded.missing == ()


@pytest.mark.parametrize("value", [None, "", "unknown", "old", "nan", float("nan")])
def test_what_is_not_understood_is_missing(value: object) -> None:
    spec = encoding("age-sex-site-20")
    encoded = spec.encode({"age": value, "sex": value, "localization": value})
    assert encoded.missing == spec.fields
    units = [unit for unit, entry in zip(spec.units, encoded.vector, strict=True) if entry]
    assert units == ["age is missing", "sex is unknown", "localization is unknown"]


def test_a_blanked_field_is_as_if_nobody_knew_it() -> None:
    spec = encoding("age-sex-site-20")
    raw = {"age": 40, "sex": "Female", "localization": " face "}
    rows = np.stack([spec.encode(raw).vector] * 2)
    for name in spec.fields:
        expected = spec.encode({**raw, name: None}).vector
        assert np.array_equal(spec.blank(rows, name)[1], expected)
    assert np.array_equal(rows[0], spec.encode(raw).vector), "the rows themselves stay"
    with pytest.raises(KeyError, match="eye"):
        spec.blank(rows, "eye")


def test_every_unit_is_of_its_own() -> None:
    for spec in ENCODINGS.values():
        assert len(set(spec.units)) == spec.count == len(spec.encode({}).vector)


def test_an_unknown_encoding_names_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="known are none, ham-19"):
        encoding("ham-8")
