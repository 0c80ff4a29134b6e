"""The programs that stages use: which versions run here, and whether they are the ones that set-up saw.

``python -m tasks.tools`` writes data/tools.json. DVC counts it among the dependencies of the stages that use a tool,
so that another ffmpeg, FluidSynth or SoundFont makes them run again.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tasks.errors import PipelineError, ToolError
from tasks.step import file_sha256, write_whole

TOOLS_FILE = Path("data/tools.json")


def _ffmpeg() -> str:
    from tasks.media.process import ffmpeg_version

    return ffmpeg_version()


def _fluidsynth() -> str:
    from tasks.instruments.synth import fluidsynth_version

    return fluidsynth_version()


def _soundfont() -> str:
    from tasks.instruments.synth import find_soundfont

    return file_sha256(find_soundfont())


TOOLS: Mapping[str, Callable[[], str]] = {"ffmpeg": _ffmpeg, "fluidsynth": _fluidsynth, "soundfont": _soundfont}


def running_tools(names: Iterable[str] = TOOLS) -> dict[str, str]:
    """Return the version or sha256 of each tool as it runs now.

    Raises:
        ToolError: one is missing; the message says what to install.
    """
    return {name: TOOLS[name]() for name in sorted(names)}


def check_tools(names: Iterable[str], path: Path = TOOLS_FILE) -> dict[str, str]:
    """Return the versions of the tools that a stage uses, held against what set-up wrote.

    Raises:
        ToolError: a tool is missing, or another one than set-up saw, or set-up has not run.
    """
    running = running_tools(names)
    if not running:
        return {}
    try:
        expected = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        raise ToolError(f"{path} is missing or unreadable: run make setup") from None
    for name, version in running.items():
        if expected.get(name) != version:
            raise ToolError(
                f"{name} is {version}, but {path} says {expected.get(name)}: run make setup, then dvc repro"
            )
    return running


if __name__ == "__main__":
    try:
        write_whole(TOOLS_FILE, json.dumps(running_tools(), indent=1, sort_keys=True) + "\n")
    except PipelineError as problem:
        sys.exit(f"setup: {problem}")
