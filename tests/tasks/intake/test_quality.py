"""What holds a take back, and what is only flagged."""

import pytest

from tasks.errors import ParamsError
from tasks.intake.quality import HoldBackParams, QualityError, check_quality

NEVER = HoldBackParams(truncated=1.0, clipped=1.0, silent=False, master_missing=False)
ROWS = [
    {
        "device": "cam_top",
        "state": "used",
        "flags": ["truncated"],
        "facts": {"declared_s": 10.0, "truncated_at_s": 4.0, "audio": None},
    },
    {
        "device": "mic",
        "state": "used",
        "flags": ["silent"],
        "facts": {"truncated_at_s": None, "audio": {"clipped": 0.2}},
    },
    {"device": "mic_far", "state": "refused", "flags": [], "facts": None},
]


@pytest.mark.parametrize(
    ("params", "kind", "words"),
    [
        (
            {"truncated": 0.5},
            "TRUNCATED",
            r"^raw/a/cam_top: ends at 4\.000 s of the 10\.000 s that its header declares",
        ),
        (
            {"clipped": 0.1},
            "CLIPPED",
            r"^raw/a/mic: 0\.2000 of its samples are clipped, expected at most ingest\.hold_back",
        ),
        ({"silent": True}, "SILENT", r"^raw/a/mic: is silent, expected sound"),
        ({"master_missing": True}, "MASTER_MISSING", r"^raw/a: its master mic_far is missing or cannot be used"),
    ],
)
def test_each_fault_holds_a_take_back_when_the_parameters_say_so(params, kind, words):
    check_quality(ROWS, where="raw/a", master="mic_far", params=NEVER)
    with pytest.raises(QualityError, match=words) as caught:
        check_quality(ROWS, where="raw/a", master="mic_far", params=NEVER.model_copy(update=params))
    assert caught.value.kind == kind


def test_what_stays_within_the_parameters_comes_in():
    params = HoldBackParams(truncated=0.7, clipped=0.2, silent=False, master_missing=True)
    check_quality(ROWS, where="raw/a", master="mic", params=params)
    check_quality(ROWS, where="raw/a", master=None, params=params)


def test_a_header_that_says_otherwise_of_a_whole_file_holds_nothing_back():
    whole = {"device": "cam_b", "state": "used", "flags": ["declared_otherwise"], "facts": {"audio": None}}
    whole["facts"] |= {"declared_s": 12.0, "truncated_at_s": None}
    params = NEVER.model_copy(update={"truncated": 0.1})
    check_quality([whole], where="raw/a", master=None, params=params)


def test_a_share_is_at_most_one():
    values = NEVER.model_dump() | {"truncated": 50}
    with pytest.raises(ParamsError, match=r"ingest\.hold_back\.truncated: .* less than or equal to 1, found 50"):
        HoldBackParams.parse(values, "ingest.hold_back")
