"""Weights that come with the program, and the content that each must have.

A run of the pipeline never reads them: commands do, where nothing of one's own was trained. A card beside each says
what it was made from, and by which command.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tasks.errors import DamagedData

FOLDER = Path(__file__).resolve().parents[1] / "models" / "pretrained"
PRETRAINED: Mapping[str, str] = {
    "partials.safetensors": "9a69e826c5389a21c59707e4d168f135cee331d2753040f4fdbff6f3f38fed04",
}
"""File name to the sha256 of its content."""


def read_pretrained(name: str) -> bytes:
    """Return the content of a file that comes with the program.

    Raises:
        DamagedData: it is missing, or is not what came with the program.
    """
    path = FOLDER / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedData(f"{path}, which comes with audiate, cannot be read: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != PRETRAINED[name]:
        raise DamagedData(
            f"{path} has sha256 {found[:12]}..., expected {PRETRAINED[name][:12]}...: damaged, or of another version"
        )
    return content
