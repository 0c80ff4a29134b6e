"""The catalog, its data version, and the split: by piece, and once a piece has a part it keeps it."""

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DamagedData, ParamsError
from tasks.takes import SplitParams, Take, data_version, part_of, read_catalog, split

PARAMS = SplitParams(salt="audiate", train_percent=60, validation_percent=20, min_pieces=0)
NAMES = st.text("abcdefghij_0123456789", min_size=1, max_size=12)


def take(name, *, piece=None, part=None, digest="d", duration_s=1.0):
    return Take(name=name, kind="score", piece=piece or name, part=part, digest=digest, duration_s=duration_s)


@pytest.mark.parametrize(
    # `printf audiatePIECE | sha256sum`, as a number, modulo 100: 59, 60, 79, 80
    ("piece", "part"),
    [("canon_22", "train"), ("canon_38", "validation"), ("canon_282", "validation"), ("canon_122", "test")],
)
def test_a_pieces_bucket_is_the_sha256_of_salt_and_piece(piece, part):
    assert part_of(piece, None, PARAMS) == part


def test_many_pieces_are_shared_out_as_requested():
    parts = [part_of(f"piece {number}", None, PARAMS) for number in range(5000)]
    for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert parts.count(part) / len(parts) == pytest.approx(share, abs=0.025)  # four standard deviations


@given(st.sets(NAMES, min_size=1, max_size=20), st.sets(NAMES, max_size=20))
def test_new_takes_never_move_an_old_one(old, new):
    before = split([take(name) for name in old], PARAMS)
    after = split([take(name) for name in old | new], PARAMS)
    assert {name: after[name] for name in old} == before


@given(st.lists(NAMES, min_size=2, max_size=10, unique=True), NAMES)
def test_all_takes_of_a_piece_are_in_one_part(names, piece):
    assert len(set(split([take(name, piece=piece) for name in names], PARAMS).values())) == 1


def test_a_fixed_part_holds_for_every_take_of_its_piece_whatever_the_salt():
    takes = [take("a", piece="p"), take("b", piece="p", part="test"), take("c", piece="p")]
    for salt in "xyz":
        parts = split(takes, PARAMS.model_copy(update={"salt": salt}))
        assert parts == {"a": "test", "b": "test", "c": "test"}


def test_two_fixed_parts_for_one_piece_are_refused():
    with pytest.raises(ParamsError, match=r"piece p is fixed to both train and test, expected one part"):
        split([take("a", piece="p", part="train"), take("b", piece="p", part="test")], PARAMS)


SIX = [take(name) for name in ("frere_jacques_round", "ode_to_joy", "scales", "greensleeves", "x", "y")]


@pytest.mark.parametrize("salt", ["a", "audiate", "5", "6", "x"])
def test_too_few_pieces_in_a_part_are_refused_and_the_salt_that_is_proposed_works(salt):
    params = PARAMS.model_copy(update={"salt": salt, "min_pieces": 2})  # 2 of 6 in each part: few salts do
    with pytest.raises(ParamsError, match=rf"split.salt '{salt}' leaves [01] of 6 pieces for \w+, expected") as refused:
        split(SIX, params)
    other = re.search(r"salt '([^']+)' would do", str(refused.value))[1]
    parts = list(split(SIX, params.model_copy(update={"salt": other})).values())
    assert [parts.count(part) for part in ("train", "validation", "test")] == [2, 2, 2]


def test_where_no_salt_can_work_none_is_proposed():
    params = PARAMS.model_copy(update={"train_percent": 100, "validation_percent": 0, "min_pieces": 1})
    with pytest.raises(ParamsError, match="for validation, expected at least 1; no salt will do: add pieces, or fix"):
        split(SIX, params)


@given(st.dictionaries(NAMES, NAMES, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_the_data_version_rests_on_names_and_digests_in_any_order(digests, shuffling):
    takes = [take(name, digest=digest) for name, digest in digests.items()]
    shuffled = [take(t.name, digest=t.digest, part="test", duration_s=9.0) for t in takes]
    shuffling.shuffle(shuffled)
    assert data_version(shuffled) == data_version(takes)
    assert data_version([*takes, take("another")]) != data_version(takes)
    changed = random.Random(1).randrange(len(takes))
    other = [take(t.name, digest=t.digest + "!" * (row == changed)) for row, t in enumerate(takes)]
    assert data_version(other) != data_version(takes)


def test_swapped_digests_are_another_data_version():
    assert data_version([take("a", digest="1"), take("b", digest="2")]) != data_version(
        [take("a", digest="2"), take("b", digest="1")]
    )


def row(name):
    return {"take": name, "kind": "score", "piece": name, "part": None, "digest": "d", "duration_s": 1.0, "title": "?"}


def test_the_catalog_is_read_in_order_of_name(tmp_path):
    (tmp_path / "catalog.json").write_text(json.dumps([row("b"), row("a")]))
    assert read_catalog(tmp_path) == [take("a"), take("b")]


def test_scores_and_captures_are_distinguished_and_both_make_the_data_version(tmp_path):
    rows = [row("b") | {"kind": "capture"}, row("a")]
    (tmp_path / "catalog.json").write_text(json.dumps(rows))
    takes = read_catalog(tmp_path)
    assert [(t.name, t.data_set) for t in takes] == [("a", "scores"), ("b", "captures")]
    assert data_version(takes) != data_version(takes[:1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps([row("a") | {"kind": "film"}]), "take a is a 'film', expected one of score, capture"),
        (None, "is missing: run audiate ingest first"),
        ('[{"take": "a"', "is not a catalog"),
        ('[{"take": "a"}]', "is not a catalog"),
        ('{"take": "a"}', "is not a catalog"),
        (json.dumps([row("../a")]), "names take '../a', expected letters"),
        (json.dumps([row(7)]), "names take 7, expected letters"),
    ],
)
def test_a_catalog_that_is_none_is_named(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(DamagedData, match=re.escape(reason)):
        read_catalog(tmp_path)
