"""What `benchmarks.keyboard_films` sends a made film through before it is read: what the rig itself never draws."""

import subprocess
from dataclasses import replace
from pathlib import Path

from tasks.rig.made_films import FilmTruth

_CUT_S = (3.0, 5.0)  # from the keys to something else
_TITLE_S = 2.0
_BETWEEN = f"enable='between(t,{_CUT_S[0]},{_CUT_S[1]})'"

CAMERAS: dict[str, str] = {
    "exposure": "eq=brightness='0.07*sin(2*PI*t/5)':contrast='1+0.15*sin(2*PI*t/5)':eval=frame",
    "flicker": "eq=brightness='0.025*sin(2*PI*t*9.3)':eval=frame",
    "dark": "eq=gamma=0.55:brightness=-0.08",
    "bright": "eq=brightness=0.18:contrast=1.25",
    "grey": "hue=s=0",
    "noise": "noise=alls=25:allf=t",
    "blur": "gblur=sigma=1.6",
    "15-pictures": "fps=15",
    "interlaced": "fps=60,tinterlace=interleave_top",
    "by-hand": "crop=iw-16:ih-16:'8+2.5*sin(t*7)+2*sin(t*17.3)':'8+2.5*sin(t*5.3)+2*sin(t*13)'",
    "cutaway": f"cellauto=s=WxH:rate=30:rule=110[other];[in][other]overlay=shortest=1:{_BETWEEN},fps=30",
    "title": f"drawbox=w=iw:h=ih:color=0x202020:t=fill:enable='lt(t,{_TITLE_S})'",
}
"""Filters of ffmpeg by name; W and H stand for the film's size."""


def through(truth: FilmTruth, camera: str, size: tuple[int, int]) -> FilmTruth:
    """Write a film as another camera would have seen it, beside it, and return its truth.

    Args:
        truth: of the film.
        camera: of `CAMERAS`.
        size: of the film, width and height in pixels.
    """
    path = truth.path.with_name(f"{truth.path.stem}-{camera}.mp4")
    filters = CAMERAS[camera].replace("W", str(size[0])).replace("H", str(size[1]))
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(truth.path), "-vf", filters, "-an", "-threads", "1"]
    subprocess.run([*command, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", str(path)], check=True)
    hidden_s = {"cutaway": (_CUT_S,), "title": ((0.0, _TITLE_S),)}.get(camera, ())
    corners = None if camera == "by-hand" else truth.corners
    return replace(truth, path=path, hidden_s=(*truth.hidden_s, *hidden_s), corners=corners)


def size_of(film: Path) -> tuple[int, int]:
    """Return a film's width and height in pixels."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height", "-of"]
    shown = subprocess.run([*command, "csv=p=0", str(film)], check=True, capture_output=True, text=True).stdout
    width, height = shown.strip().split(",")[:2]
    return int(width), int(height)
