"""Make the table of partials that comes with the program, ``models/pretrained/partials.safetensors``.

python -m benchmarks.partials --lineage A.sf2 B.sf2 --lineage PATCHES [--out FILE]

A lineage is one or more sources that share samples: SoundFonts, or folders of Gravis UltraSound patches. The mean of
its sources counts once. Each instrument of the orchestra is played by each source, note by note, and the levels of its
harmonics are measured; no sample is copied. The bundled TimGM6mb.sf2 is named ``bundled``. Prints the file's sha256,
which ``tasks/pretrained.py`` holds.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._patches import STAND_INS, PatchSampler
from tasks.instruments.synth import Synthesizer, find_soundfont
from tasks.partials.spectra import mean_spectra, measure, spectra_to_bytes
from tasks.pretrained import FOLDER

SAMPLE_RATE = 22_050
GAIN = 0.4
SMOOTHING = 2.0  # semitones
BUNDLED = "bundled"


def main() -> int:
    """Measure, write the table and print its sha256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lineage", nargs="+", action="append", required=True, metavar="SOURCE")
    parser.add_argument("--out", type=Path, default=FOLDER / "partials.safetensors")
    arguments = parser.parse_args()
    content = spectra_to_bytes(mean_spectra([of_lineage(names) for names in arguments.lineage], smoothing=SMOOTHING))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(content)
    print(f"{arguments.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    return 0


def of_lineage(names: list[str]) -> dict[str, NDArray[np.float32]]:
    """Return the mean level (P, H) in decibels of each instrument that the sources have."""
    tables = [measured(Path(name) if name != BUNDLED else find_soundfont()) for name in names]
    codes = [code for code in tables[0] if all(code in table for table in tables)]
    return {code: np.asarray(np.mean([table[code] for table in tables], axis=0), np.float32) for code in codes}


def measured(source: Path) -> dict[str, NDArray[np.float32]]:
    """Measure a SoundFont, or a folder of patches without the instruments that it has no patch of."""
    if source.is_dir():
        table = measure(PatchSampler(source, SAMPLE_RATE), sample_rate=SAMPLE_RATE)
        return {code: levels for code, levels in table.items() if code not in STAND_INS}
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    with Synthesizer(source, sha256=sha256, sample_rate=SAMPLE_RATE, gain=GAIN) as synthesizer:
        return measure(synthesizer, sample_rate=SAMPLE_RATE)


if __name__ == "__main__":
    raise SystemExit(main())
