"""The inbox: what has settled, what was reported before, and what a commit message holds."""

import json
import os
import time

import pytest

from tasks.add import AddRow
from tasks.step import Verified
from tasks.watch import (
    InboxError,
    Memory,
    find_entries,
    first_reported,
    is_handled,
    remember,
)

SETTLE_S = 60.0


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def memory(tmp_path):
    return Memory.read(tmp_path / "state")


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(entries):
    return [entry.name for entry in entries]


def settled(memory, inbox, *, in_s):
    ready, waiting = memory.settled(find_entries(inbox), settle_s=SETTLE_S, now_s=time.time() + in_s)
    return names(ready), {entry.name: entry.reason for entry in waiting}


def test_a_folder_is_taken_in_once_nothing_of_it_has_changed_for_long_enough(memory, inbox):
    put(inbox / "t" / "cam_a.mp4")
    ready, waiting = settled(memory, inbox, in_s=SETTLE_S - 5)
    assert (ready, "expected 60 s of rest" in waiting["t"]) == ([], True)
    assert settled(memory, inbox, in_s=SETTLE_S + 1) == (["t"], {})


def test_one_file_that_is_still_written_holds_its_folder_back_and_no_other(memory, inbox):
    put(inbox / "old" / "a.mid")
    put(inbox / "new" / "a.mid")
    time.sleep(0.3)
    put(inbox / "new" / "b.mid")
    newest_s = (inbox / "new" / "b.mid").stat().st_ctime
    ready, waiting = memory.settled(find_entries(inbox), settle_s=SETTLE_S, now_s=newest_s + SETTLE_S - 0.1)
    assert (names(ready), names(waiting)) == (["old"], ["new"])


def test_a_copy_that_keeps_old_times_is_new_all_the_same(memory, inbox):
    path = put(inbox / "t" / "cam_a.mp4")
    os.utime(path, (1, 1))
    assert settled(memory, inbox, in_s=0)[0] == []


def test_a_camera_with_a_clock_in_the_future_settles_when_two_runs_see_the_same(memory, inbox):
    path = put(inbox / "t" / "cam_a.mp4")
    tomorrow = time.time() + 86_400
    os.utime(path, (tomorrow, tomorrow))
    assert settled(memory, inbox, in_s=0)[0] == []
    memory.save()
    again = Memory.read(memory.folder)
    assert settled(again, inbox, in_s=SETTLE_S - 1)[0] == []
    assert settled(again, inbox, in_s=SETTLE_S + 1)[0] == ["t"]


def test_what_grew_between_two_runs_starts_to_settle_anew(memory, inbox):
    path = put(inbox / "t" / "cam_a.mp4")
    tomorrow = time.time() + 86_400
    os.utime(path, (tomorrow, tomorrow))
    settled(memory, inbox, in_s=0)
    put(path, b"more")
    os.utime(path, (tomorrow, tomorrow))
    assert settled(memory, inbox, in_s=SETTLE_S + 1)[0] == []
    assert settled(memory, inbox, in_s=2 * SETTLE_S + 2)[0] == ["t"]


@pytest.mark.parametrize(
    "name", ["a.mp4.part", "a.TMP", "a.mp4.crdownload", ".a.mp4.Xy12zQ", "a.mp4.filepart", "deep/b.mp4.partial"]
)
def test_a_name_of_a_copy_under_way_never_settles(memory, inbox, name):
    put(inbox / "t" / "cam_a.mp4")
    put(inbox / "t" / name)
    ready, waiting = settled(memory, inbox, in_s=10 * SETTLE_S)
    assert (ready, "is still being copied" in waiting["t"]) == ([], True)


def test_an_empty_folder_is_left_for_the_next_run(memory, inbox):
    (inbox / "t").mkdir()
    assert settled(memory, inbox, in_s=10 * SETTLE_S) == ([], {"t": "is empty"})


def test_folders_of_folders_are_looked_into_and_what_the_system_hides_is_not(inbox):
    put(inbox / "monday" / "take_1" / "a.mid")
    put(inbox / "monday" / "take_2" / "a.mid")
    put(inbox / "single.mid")
    put(inbox / ".DS_Store")
    put(inbox / "take_3" / "a.mid")
    put(inbox / "take_3" / ".DS_Store")
    entries = find_entries(inbox)
    assert names(entries) == ["monday/take_1", "monday/take_2", "single.mid", "take_3"]
    assert [len(entry.files) for entry in entries] == [1, 1, 1, 1]


def test_the_digest_follows_the_names_and_the_bytes_and_nothing_else(inbox, tmp_path):
    path = put(inbox / "one" / "a.mid", b"1")
    verified = Verified(tmp_path / "verified.json")

    def digest():
        (entry,) = find_entries(inbox)
        return entry.digest(verified)

    first = digest()
    os.utime(path, (1, 1))
    assert digest() == first
    path.write_bytes(b"2")
    assert digest() != first
    path.write_bytes(b"1")
    assert digest() == first
    (inbox / "one").rename(inbox / "two")  # the same bytes under another name are another take
    assert digest() != first


def test_links_pipes_and_names_that_are_no_text_are_entries_and_are_never_read(inbox, tmp_path):
    put(tmp_path / "secret" / "inner.txt")
    (inbox / "link").symlink_to(tmp_path / "secret")
    (inbox / "t").mkdir()
    os.mkfifo(inbox / "t" / "cam_a.mp4")
    (inbox / "t" / "inside").symlink_to(tmp_path / "secret")
    put(inbox / "t" / os.fsdecode(b"\xff\n.mp4"))
    entries = find_entries(inbox)
    assert [(entry.name, sorted(kind for *_, kind in entry.files)) for entry in entries] == [
        ("link", ["link"]),
        ("t", ["file", "link", "special"]),
    ]
    assert len({entry.digest(Verified(tmp_path / "v.json")) for entry in entries}) == 2
    json.dumps([entry.signature for entry in entries])


def test_an_inbox_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InboxError, match=r"absent is no folder, expected the inbox") as caught:
        find_entries(tmp_path / "absent")
    assert "\n" not in str(caught.value)


def refused(take, kind="TRUNCATED", reason="ends early"):
    return AddRow(take=take, state="quarantined", kind=kind, reason=reason, source=f"inbox/{take}")


def test_what_was_refused_is_reported_once_until_its_bytes_or_the_rules_change(memory, inbox):
    put(inbox / "t" / "a.mid")
    (entry,) = find_entries(inbox)
    rows = [refused("t"), AddRow(take="u", state="added")]
    assert remember(memory, entry, "digest", rows, policy="rules", at="now") == [rows[0]]
    memory.save()
    again = Memory.read(memory.folder)
    assert is_handled(again, "digest", policy="rules")
    assert not is_handled(again, "other", policy="rules")
    assert not is_handled(again, "digest", policy="other rules")
    assert remember(again, entry, "digest", rows, policy="other rules", at="then") == []
    assert remember(again, entry, "digest", [refused("t", reason="another")], policy="x", at="then") != []
    assert again.quarantined["digest"]["at"] == "now"


def test_ingests_refusals_are_reported_once(memory):
    rows = [{"take": "t", "kind": "NO_DEVICE", "reason": "why", "more": "x"}]
    reported = [{"take": "t", "kind": "NO_DEVICE", "reason": "why"}]
    assert first_reported(memory, rows, at="now") == reported
    memory.save()
    assert first_reported(Memory.read(memory.folder), rows, at="now") == []


def test_a_memory_that_was_cut_short_counts_as_empty(memory):
    memory.handled["digest"] = {"policy": "rules"}
    memory.save()
    path = memory.folder / "handled.json"
    path.write_text(path.read_text()[:-5])
    assert Memory.read(memory.folder).handled == {}
