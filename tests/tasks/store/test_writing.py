"""A disk that is full, in a process whose files may not grow: the same refusal, without being root."""

import subprocess
import sys

import numpy as np
import pytest

from tasks.store.arrays import open_arrays, write_arrays
from tasks.store.audio import read_audio, write_flac
from tasks.store.tables import read_table, write_table
from tasks.store.writing import WriteError, writing

LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from tasks.errors import PipelineError
from tasks.store.arrays import write_arrays
from tasks.store.audio import write_flac
from tasks.store.tables import write_table

noise = np.random.default_rng(0).uniform(-1, 1, 400_000).astype(np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
path = Path(sys.argv[2])
try:
    if sys.argv[1] == "table":
        write_table(path, {"x": noise})
    elif sys.argv[1] == "arrays":
        write_arrays(path, {"x": noise}, chunk_lengths={"x": 4000}, attributes={})
    else:
        write_flac(path, noise, 48000)
except PipelineError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("kind", ["table", "arrays", "flac"])
def test_a_full_disk_is_one_clear_line_nothing_is_left_and_a_second_try_completes(tmp_path, kind):
    path = tmp_path / f"made.{kind}"
    done = subprocess.run([sys.executable, "-c", LIMITED, kind, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"WriteError {path} cannot be written")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert not path.exists()

    sound = np.zeros(1000, np.float32)
    if kind == "table":
        write_table(path, {"x": sound})
        assert len(read_table(path)["x"]) == 1000
    elif kind == "arrays":
        write_arrays(path, {"x": sound}, chunk_lengths={"x": 100}, attributes={})
        assert len(open_arrays(path)["x"][:]) == 1000
    else:
        write_flac(path, sound, 48000)
        assert len(read_audio(path)[0]) == 1000


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "nowhere" / "t.parquet"
    with pytest.raises(WriteError, match=r"nowhere/t\.parquet cannot be written: .*No such file"):
        write_table(path, {"x": np.zeros(3)})


def test_an_interrupted_write_is_removed_and_the_interruption_goes_on(tmp_path):
    path = tmp_path / "half"

    def interrupted():
        with writing(path):
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not path.exists()
