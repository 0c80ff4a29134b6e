"""The same recording in another container: recognized by its packets."""

import hashlib
from pathlib import Path

import ffmpeg

from tasks.media.probe import MediaPolicy, patience_s, probe
from tasks.media.process import SAFE_INPUT, MediaError, compiled, fault_of, run, shown, token


def stream_digest(path: Path, *, policy: MediaPolicy) -> str:
    """Return a sha256 over the packets of a file's first video and audio stream: the same after re-muxing.

    Raises:
        MediaError: as in `tasks.media.probe.probe`; its packets cannot be read.
        ToolError: ffmpeg is not installed or did not answer.
    """
    facts = probe(path, policy=policy)
    source = ffmpeg.input(token(path), **SAFE_INPUT)
    streams = [source[str(stream.index)] for stream in (facts.video, facts.audio) if stream is not None]
    if not streams:
        raise MediaError(f"{shown(path)}: holds neither pictures nor sound", kind="NO_STREAM")
    # Containers pack H.264 in two ways; this is the one that both can be brought to.
    options = {"bsf:v": "h264_mp4toannexb"} if facts.video is not None and facts.video.codec == "h264" else {}
    output = ffmpeg.output(*streams, "pipe:", format="streamhash", hash="sha256", c="copy", **options)
    output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error")
    ran = run(compiled(output), timeout_s=patience_s(policy))
    if ran.returncode or not ran.stdout:
        found = fault_of(ran.stderr, "they are damaged")
        raise MediaError(f"{shown(path)}: its packets cannot be read: {found}", kind="DAMAGED_STREAM")
    return hashlib.sha256(ran.stdout).hexdigest()
