"""Numbers as people write them in a config."""

import pytest

from scalinglaws.common.fields import parse_count, parse_rate


def test_numbers_may_be_written_in_the_fields_ways():
    for text, value in [
        ("8M", 8_000_000),
        ("1e9", 10**9),
        ("2^19", 2**19),
        ("0.5M", 500_000),
        (7, 7),
        ("1_000", 1000),
        (2e6, 2_000_000),
    ]:
        assert parse_count(text) == value
    for text in ["8 apples", "1.5", "-3", "2^x"]:
        with pytest.raises(ValueError, match="whole number"):
            parse_count(text)


def test_rates_may_be_written_without_a_point():
    assert parse_rate("1e-3") == 0.001 and parse_rate(0.5) == 0.5 and parse_rate("fast") == "fast"
