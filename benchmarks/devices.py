"""Random devices through ingest and synchronize: none stops its take, and none changes its neighbours.

    python -m benchmarks.devices [--count 2000] [--seed 0]

A take has two microphones whose places are known, and one random device: a camera or a microphone of any length from
nothing to a minute, rate, channels, sound and format, sometimes cut off. It may be refused or unrelated; what must hold
is that the take is ingested and synchronized, that the two microphones come out the same to the byte, that
``audiate sync`` answers for every file, and that no take costs 30 s of CPU time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.ingest import IngestParams, find_sources, ingest_kind, write_catalog
from tasks.params import read_params, section_values
from tasks.registry import kind_module
from tasks.synchronize import SynchronizeParams, sync_files
from tasks.takes import read_catalog

RATE = 16_000
PARAMS = Path(__file__).parent.parent / "params.yaml"
LONGEST_S = 30.0
FORMATS = {"wav": ("PCM_U8", "PCM_16", "PCM_24", "FLOAT"), "flac": ("PCM_16", "PCM_24")}

microphones = st.fixed_dictionaries(
    {
        "role": st.just("mic"),
        "duration_s": st.one_of(st.floats(0, 3), st.floats(0, 60)),
        "rate": st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
        "channels": st.integers(1, 6),
        "sound": st.sampled_from(["event", "noise", "tone", "silence", "constant", "click", "loud"]),
        "container": st.sampled_from(sorted(FORMATS)),
        "subtype": st.integers(0, 3),
        "kept": st.sampled_from([1.0, 1.0, 1.0, 0.7, 0.1]),
    }
)
cameras = st.fixed_dictionaries(
    {
        "role": st.just("cam"),
        "n_pictures": st.one_of(st.integers(1, 40), st.integers(1, 300)),
        "picture_rate": st.sampled_from(["1", "5", "10", "24000/1001", "25", "60"]),
        "moves": st.booleans(),
        "size": st.sampled_from([(16, 16), (64, 48), (48, 64)]),
        "container": st.sampled_from(["mp4", "mkv", "avi"]),
        "sound": st.one_of(st.none(), microphones),
        "kept": st.sampled_from([1.0, 1.0, 1.0, 0.7, 0.3]),
    }
)


def event(duration_s: float, random_seed: int) -> NDArray[np.float32]:
    """Return bursts of noise at uneven moments."""
    rng = np.random.default_rng(random_seed)
    audio = 1e-3 * rng.standard_normal(round(duration_s * RATE))
    at_s = 0.2
    while at_s < duration_s - 0.3:
        at = round(at_s * RATE)
        audio[at : at + 4000] += 0.3 * rng.standard_normal(4000) * np.exp(-np.arange(4000) / 700)
        at_s += rng.uniform(0.1, 0.9)
    return audio.clip(-1, 1).astype(np.float32)


def sound_of(about: dict[str, Any], world: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, channels) samples."""
    rng = np.random.default_rng(1)
    time_s = np.arange(round(about["duration_s"] * about["rate"])) / about["rate"]
    if about["sound"] == "event":
        one = np.interp(time_s + 1.0, np.arange(len(world)) / RATE, world)
    elif about["sound"] in ("noise", "loud"):
        one = rng.standard_normal(len(time_s)) * (0.05 if about["sound"] == "noise" else 10)
    elif about["sound"] == "tone":
        one = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    else:
        one = np.full(len(time_s), 0.25 if about["sound"] == "constant" else 0.0)
        if about["sound"] == "click" and len(one):
            one[len(one) // 2] = 1.0
    return np.repeat(one.clip(-1, 1).astype(np.float32)[:, None], about["channels"], axis=1)


def write_device(about: dict[str, Any], folder: Path, world: NDArray[np.float32]) -> Path:
    """Write a random device's file."""
    container = about["container"]
    path = folder / f"{about['role']}_random.{container}"
    if about["role"] == "mic":
        subtype = FORMATS[container][about["subtype"] % len(FORMATS[container])]
        soundfile.write(path, sound_of(about, world), about["rate"], subtype=subtype)
    else:
        width, height = about["size"]
        rng = np.random.default_rng(2)
        levels = rng.integers(0, 255, (about["n_pictures"] if about["moves"] else 1, 4, 4), np.uint8)
        pictures = np.resize(levels, (about["n_pictures"], 4, 4)).repeat(height // 4, axis=1).repeat(width // 4, axis=2)
        command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray"]
        command += ["-s", f"{width}x{height}", "-r", about["picture_rate"], "-i", "pipe:0"]
        if about["sound"] is not None and len(sound_of(about["sound"], world)):
            with_sound = about["sound"] | {"role": "mic", "kept": 1.0}
            command += ["-i", str(write_device(with_sound, Path(), world)), "-ar", "44100", "-c:a", "aac"]
        command += ["-c:v", "mpeg4", "-pix_fmt", "yuv420p", str(path)]
        subprocess.run(command, input=pictures.tobytes(), check=True)
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * about["kept"])])
    return path


def place(about: dict[str, Any] | None, world: NDArray[np.float32]) -> tuple[dict[str, Any], str, str]:
    """Ingest and synchronize one take in an empty folder.

    Returns:
        What is known of its two microphones; the random device's verdict in the take, and by ``audiate sync``.
    """
    params = read_params(PARAMS)
    values: Any = section_values(params, "ingest")
    # A device of which most is missing quarantines its take on purpose: here such a one goes on to be placed.
    values["hold_back"] = {"truncated": 1.0, "clipped": 1.0, "silent": False, "master_missing": True}
    ingest = IngestParams.parse(values, "ingest")
    synchronize = SynchronizeParams.parse(section_values(params, "synchronize"), "synchronize")
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        folder = Path("data/raw/a")
        folder.mkdir(parents=True)
        Path("data/sample").mkdir()
        (folder / "take.yaml").write_text("master: mic_near\n")
        soundfile.write(folder / "mic_near.wav", world[: 20 * RATE], RATE, subtype="PCM_16")
        soundfile.write(folder / "mic_room.wav", world[2 * RATE : 18 * RATE] * 0.5, RATE, subtype="PCM_16")
        path = None if about is None else write_device(about, folder, world)
        sources, refused = find_sources(size=ingest.size)
        assert not refused, refused
        out = Path("data/ingested/a")
        out.mkdir(parents=True)
        ingest_kind("captures").ingest_take(sources[0], out, ingest.of_a_take())
        write_catalog(Path("data/ingested"), ["a"])
        placed = Path("data/synchronized/a")
        placed.mkdir(parents=True)
        kind_module("captures", "synchronize").synchronize_take(read_catalog()[0], placed, synchronize)
        devices = json.loads((placed / "clock.json").read_text())["devices"]
        verdict = devices.pop(path.stem, {"verdict": "refused"})["verdict"] if path else ""
        by_hand = ""
        if path:
            report = sync_files(folder / "mic_near.wav", [path, folder / "mic_room.wav"], params=synchronize).as_json()
            by_hand = str(report["others"][0]["status"])
            assert report["others"][1]["status"] == "locked", report
    return devices, verdict, by_hand


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    world = event(62.0, 0)
    alone = place(None, world)[0]
    verdicts: Counter[tuple[str, str]] = Counter()
    slowest_s = 0.0

    @seed(arguments.seed)
    @settings(
        max_examples=arguments.count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(about=st.one_of(microphones, cameras))
    def no_device_stops_a_take(about: dict[str, Any]) -> None:
        nonlocal slowest_s
        before_s = sum(os.times()[:4])
        devices, *found = place(about, world)
        slowest_s = max(slowest_s, sum(os.times()[:4]) - before_s)  # CPU time, so that a busy machine changes nothing
        assert devices == alone, (about, devices)
        assert slowest_s < LONGEST_S, about
        verdicts[found[0], found[1]] += 1

    no_device_stops_a_take()
    total = sum(verdicts.values())
    print(f"{total} devices, none stopped its take or changed its neighbours; slowest {slowest_s:.1f} s of CPU")
    print("in the take, by hand:", ", ".join(f"{one}, {two}: {n}" for (one, two), n in verdicts.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
