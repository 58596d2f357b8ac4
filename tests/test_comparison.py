"""Texts are compared as words and numbers."""

import pytest

from course_utils.coursework.source.values import Tolerance, agree, tolerance_from_tags


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("ELBO: -95.2 nats", "ELBO: -95.25 nats"),
        ("[ 0.944346, -1.737466]", "[0.944345,  -1.737470]"),
        ("1,234,567 images", "1,234,568 images"),
        ("−3.20", "-3.20"),
        ("1.5e-3 s", "1.5e-03 s"),
        ("nan", "nan"),
        ("Done: 300 of 300 steps.", "  0%|          | 0/300 [00:00<?, ?step/s]"),
        ("no numbers at all", "no  numbers\nat all"),
        (
            '<img src="data:image/png;base64,AAAA" alt="a curve">',
            '<img src="data:image/png;base64,BBBB=" alt="a curve">',
        ),
        ({"values": [1.0, 2.0]}, {"values": [1.0004, 2.0]}),
    ],
)
def test_agree(reference, found):
    assert agree(reference, found)


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("ELBO: -95.2 nats", "ELBO: -95.6 nats"),
        ("ELBO: -95.2 nats", "ELBO: 95.2 nats"),
        ("ELBO: 95.2 nats", "KL: 95.2 nats"),
        ("3 samples", "4 samples"),
        ("Done: 300 of 300 steps.", "  0%|          | 0/400 [00:00<?, ?step/s]"),
        ("1,234,567", "1,244,567"),
        ("0.5", "nan"),
        ("nan", "0.5"),
        ("1.5e-3", "1.5e-2"),
        ("[1.0, 2.0]", "[1.0, 2.0, 3.0]"),
        ("[1.0, 2.0]", "[2.0, 1.0]"),
        ("12 34", "1 234"),
        ('<img src="data:image/png;base64,AAAA" alt="a curve">', '<img src="data:image/png;base64,AAAA" alt="a bar">'),
        ({"values": [1.0, 2.0]}, {"values": [1.0, 2.1]}),
        ({"values": [1.0]}, {"numbers": [1.0]}),
        ("", "1"),
    ],
)
def test_disagree(reference, found):
    assert not agree(reference, found)


def test_tolerance_is_a_tolerance():
    assert agree("100.00000", "102.00000", Tolerance(rtol=0.02))
    assert not agree("100.00000", "102.10000", Tolerance(rtol=0.02))
    assert agree("0.10000", "0.60000", Tolerance(rtol=0.0, atol=0.5))
    assert not agree("0.10000", "0.60100", Tolerance(rtol=0.0, atol=0.5))


def test_tolerance_from_tags():
    assert tolerance_from_tags(["setup", "rtol=0.02", "atol=0.5"]) == Tolerance(0.02, 0.5)
    assert tolerance_from_tags([]) == Tolerance()
    with pytest.raises(ValueError, match="much"):
        tolerance_from_tags(["rtol=much"])
