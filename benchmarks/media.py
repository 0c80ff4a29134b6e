"""What reading recordings costs on one core: small grey pictures beside decoding alone, sound, and writing pictures.

    python -m benchmarks.media [--seconds 20] [--file VIDEO] [--sound-minutes 10]

CPU time of this process and of ffmpeg's, best of three, so that a busy machine changes little. The clip is ffmpeg's
moving test picture at 1080p, or a file of yours.
"""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from time import perf_counter

import numpy as np

from tasks.media.encode import encode_camera
from tasks.media.pictures import check_film, iter_pictures
from tasks.media.probe import NO_LIMITS, probe
from tasks.media.sound import iter_sound, read_sound

WIDTH, HEIGHT = 320, 180
FFMPEG = ["ffmpeg", "-nostdin", "-v", "error", "-y"]


def cpu_s(work: Callable[[], object], times: int = 3) -> float:
    """Return the least CPU time that the work took, its child processes' included."""
    taken = []
    for _ in range(times):
        before = os.times()
        work()
        after = os.times()
        taken.append(sum(after[:4]) - sum(before[:4]))
    return min(taken)


def ffmpeg(*arguments: object) -> None:
    subprocess.run([*FFMPEG, *map(str, arguments)], check=True)


def read_pictures(path: Path) -> int:
    return sum(len(pictures) for pictures, _ in iter_pictures(path, width=WIDTH, height=HEIGHT, policy=NO_LIMITS))


def reference_error(path: Path, n_pictures: int) -> tuple[float, float]:
    """Compare with the Y plane averaged by numpy; return the mean and largest difference in grey levels."""
    video = probe(path, policy=NO_LIMITS).video
    assert video is not None
    command = [*FFMPEG[:-1], "-i", path, "-frames:v", n_pictures, "-vf", "extractplanes=y", "-f", "rawvideo", "-"]
    raw = subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout
    luma = np.frombuffer(raw, np.uint8).reshape(-1, video.height, video.width)
    rows, columns = video.height // HEIGHT, video.width // WIDTH
    luma = luma[:, : rows * HEIGHT, : columns * WIDTH]
    mean = luma.reshape(len(luma), HEIGHT, rows, WIDTH, columns).mean(axis=(2, 4))
    small = next(iter_pictures(path, width=WIDTH, height=HEIGHT, policy=NO_LIMITS))[0][: len(mean)]
    error = np.abs(small - mean)
    return float(error.mean()), float(error.max())


def pictures(folder: Path, seconds: int, given: Path | None) -> None:
    path = given or folder / "film.mp4"
    if given is None:
        source = f"testsrc2=s=1920x1080:r=30:d={seconds},noise=alls=8:allf=t"
        ffmpeg(
            "-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "fast", "-crf", 23, "-pix_fmt", "yuv420p", path
        )
    n = read_pictures(path)
    alone = cpu_s(lambda: ffmpeg("-i", path, "-map", "0:v:0", "-f", "null", "-"))
    small = cpu_s(lambda: read_pictures(path))
    checked = cpu_s(lambda: check_film(path, NO_LIMITS), 1)
    print(f"decoding alone           {n / alone:7.1f} pictures/s of CPU")
    print(f"to {WIDTH}x{HEIGHT} grey          {n / small:7.1f}   {alone / small:.2f} of decoding alone (goal 0.85)")
    print(f"checked from end to end  {n / checked:7.1f}   {alone / checked:.2f}")
    mean, most = reference_error(path, 20)
    print(f"against the Y plane averaged by numpy: mean difference {mean:.3f}, largest {most:.2f} grey levels (goal 1)")


def sounds(folder: Path, minutes: float) -> None:
    source = f"anoisesrc=d={60 * minutes}:r=48000:a=0.3:seed=1,lowpass=f=3000"
    ffmpeg("-f", "lavfi", "-i", source, "-c:a", "aac", "-b:a", "128k", folder / "a.m4a")
    ffmpeg("-i", folder / "a.m4a", folder / "b.flac")
    every = {}
    for name in ("a.m4a", "b.flac"):
        taken = cpu_s(lambda name=name: read_sound(folder / name, sample_rate=16_000, policy=NO_LIMITS))
        alone = cpu_s(lambda name=name: ffmpeg("-i", folder / name, "-f", "null", "-"))
        every[name] = taken
        print(f"{name:7} to 16 kHz mono    {60 * minutes / taken:7.0f} s/s   {alone / taken:.2f} of decoding alone")
    print(
        f"the pair                 {60 * minutes / sum(every.values()):7.0f} s of the longer file a second (goal 700)"
    )
    blocks = cpu_s(lambda: sum(map(len, iter_sound(folder / "a.m4a", sample_rate=16_000, policy=NO_LIMITS))), 1)
    print(f"a.m4a in blocks          {60 * minutes / blocks:7.0f} s/s")


def writing(folder: Path) -> None:
    rng = np.random.default_rng(0)
    still = rng.integers(60, 200, (HEIGHT, WIDTH)).astype(np.uint8)
    still = (still // 8 + np.linspace(60, 150, WIDTH)).astype(np.uint8)
    n = 1000

    def moving():
        for k in range(n):
            picture = still.copy()
            picture[60:120, k % 250 : k % 250 + 40] = 220
            yield picture

    time_s = [Fraction(k * 1001, 30_000) for k in range(n)]
    taken = cpu_s(lambda: encode_camera(folder / "c.mp4", moving(), time_s=time_s, time_base=Fraction(1, 30_000)))
    print(f"camera {WIDTH}x{HEIGHT} written   {n / taken:7.0f} pictures/s of CPU (goal 1000)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="length of the clip that is made")
    parser.add_argument("--file", type=Path, help="a video to read instead")
    parser.add_argument("--sound-minutes", type=float, default=10)
    arguments = parser.parse_args()
    start = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder), arguments.seconds, arguments.file)
        sounds(Path(folder), arguments.sound_minutes)
        writing(Path(folder))
    print(f"({perf_counter() - start:.0f} s by the clock)")


if __name__ == "__main__":
    main()
