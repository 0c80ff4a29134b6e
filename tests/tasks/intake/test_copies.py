"""One recording in two containers is one; what is remembered is not read again."""

import shutil

from tasks.intake.copies import Contents
from tasks.media.probe import NO_LIMITS
from tasks.step import file_sha256


def test_a_recording_is_known_in_another_container_and_read_once(media, tmp_path):
    path = tmp_path / "state" / "streams.json"
    streams = Contents(path, NO_LIMITS)
    digests = {name: streams.of(media / name, name) for name in ("cam0.mp4", "remuxed.mkv", "cam1.mp4")}
    assert digests["cam0.mp4"] == digests["remuxed.mkv"] != digests["cam1.mp4"]
    other = Contents(path, NO_LIMITS)
    other.of(media / "cam2.mp4", "cam2.mp4")
    streams.save()
    other.save()
    gone = tmp_path / "gone.mp4"
    again = Contents(path, NO_LIMITS)
    assert [again.of(gone, name) for name in digests] == list(digests.values())
    assert again.of(gone, "cam2.mp4") is not None


def test_what_is_no_recording_has_no_digest_and_a_torn_memory_is_none(media, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    path = tmp_path / "streams.json"
    path.write_text('{"a": "b')
    streams = Contents(path, NO_LIMITS)
    assert streams.of(broken, file_sha256(broken)) is None
    shutil.copy(media / "cam0.mp4", broken)
    assert streams.of(broken, file_sha256(broken)) is not None
