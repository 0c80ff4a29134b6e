"""The step under kill, edit, delete and clean rebuild."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tasks import step
from tasks.errors import BadInput, DamagedData, PipelineError, ToolError
from tasks.params import Section
from tasks.step import Job, Verified, compute, contents_digest, is_valid, job_key, prune, read_receipt

PROJECT = Path(__file__).resolve().parents[2]


class Params(Section):
    repeat: int


@dataclass(frozen=True, kw_only=True)
class Item:
    name: str
    source: str


def double(item, out, params):
    text = Path(item.source).read_text() * params.repeat
    (out / "nested").mkdir()
    (out / "nested" / "text.txt").write_text(text)
    (out / "size.txt").write_text(str(len(text)))


def refuse(item, out, params):
    (out / "half.txt").write_text("half")
    raise BadInput("the file is empty, expected notes", kind="EMPTY")


def fail(item, out, params):
    (out / "half.txt").write_text("half")
    raise RuntimeError("a bug")


@pytest.fixture
def job(tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("abc")
    item = Item(name="a", source=str(source))
    return Job(
        stage="double", item=item, work=double, params=Params(repeat=2), inputs=(source,), out_dir=tmp_path / "out"
    )


@pytest.fixture
def verified(tmp_path):
    return Verified(tmp_path / "verified.json")


@pytest.fixture
def key(monkeypatch):
    # This test's own work stands outside the project's packages; a fixed digest takes the place of its code's.
    monkeypatch.setattr(step, "code_digest", lambda *modules: "code")
    return lambda job: job_key(job, Verified(Path(os.devnull)))


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_computed_take_is_valid_and_its_receipt_tells_each_output(job, key, verified):
    assert compute(job, key(job)).state == "computed"
    assert is_valid(job.folder, key(job), verified)
    outputs = read_receipt(job.folder, verified)["outputs"]
    assert outputs["size.txt"] == {"size": 1, "sha256": hashlib.sha256(b"6").hexdigest()}
    assert sorted(outputs) == ["nested/text.txt", "size.txt"]


def test_the_same_job_makes_the_same_bytes(job, key, tmp_path):
    compute(job, key(job))
    again = replace(job, out_dir=tmp_path / "again")
    compute(again, key(again))
    assert tree(job.folder) == tree(again.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda job: replace(job, params=Params(repeat=3)),
        lambda job: replace(job, stage="other"),
        lambda job: replace(job, tools={"ffmpeg": "6"}),
        lambda job: replace(job, item=replace(job.item, source=job.item.source + "x")),
        lambda job: Path(job.item.source).write_text("abd") and job,
    ],
    ids=["params", "stage", "tool", "item", "input"],
)
def test_the_key_changes_with_everything_the_outputs_follow_from(job, key, change):
    assert key(job) != key(change(job))


def test_the_key_does_not_change_with_time_or_touch(job, key):
    before = key(job)
    os.utime(job.item.source, (1, 1))
    assert key(job) == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "size.txt").unlink(), "missing"),
        (lambda folder: (folder / "more.txt").write_text("x"), "not in the receipt"),
        (lambda folder: (folder / "size.txt").write_text(""), "has 0 bytes, its receipt says 1"),
        (lambda folder: (folder / "size.txt").write_text("7"), "was changed after it was made"),
        (lambda folder: (folder / "_receipt.json").unlink(), "never finished"),
        (lambda folder: (folder / "_receipt.json").write_text("{"), "is not a receipt"),
    ],
    ids=["deleted", "added", "truncated", "edited", "no receipt", "half a receipt"],
)
def test_damage_to_an_output_is_noticed_and_named(job, key, verified, damage, said):
    compute(job, key(job))
    assert is_valid(job.folder, key(job), verified)
    damage(job.folder)
    assert not is_valid(job.folder, key(job), verified)
    with pytest.raises(DamagedData, match=said):
        contents_digest(job.folder, verified)


def test_an_edit_of_equal_length_with_its_mtime_set_back_is_noticed(job, key, verified):
    compute(job, key(job))
    assert is_valid(job.folder, key(job), verified)
    path = job.folder / "size.txt"
    stat = path.stat()
    path.write_text("7")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not is_valid(job.folder, key(job), verified)


def test_an_untouched_file_is_hashed_once(job, key, verified, monkeypatch):
    compute(job, key(job))
    assert is_valid(job.folder, key(job), verified)
    verified.save()
    monkeypatch.setattr(step, "file_sha256", lambda path: pytest.fail(f"read {path} again"))
    assert is_valid(job.folder, read_receipt(job.folder, verified)["key"], Verified(verified.path))


def test_bad_input_is_quarantined_and_leaves_nothing(job, key, tmp_path):
    compute(job, key(job))
    outcome = compute(replace(job, work=refuse), "key")
    assert (outcome.state, outcome.kind, outcome.reason) == (
        "quarantined",
        "EMPTY",
        "the file is empty, expected notes",
    )
    assert list(job.out_dir.iterdir()) == []


def test_a_failure_keeps_the_old_folder_and_no_half_one(job, key, verified):
    compute(job, key(job))
    before = tree(job.out_dir)
    with pytest.raises(RuntimeError, match="a bug"):
        compute(replace(job, work=fail), "other")
    assert tree(job.out_dir) == before


def test_work_that_writes_nothing_is_an_error(job):
    with pytest.raises(PipelineError, match="wrote nothing for take a"):
        compute(replace(job, work=lambda item, out, params: None), "key")


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(job):
    def write_to_a_full_disk(item, out, params):
        (out / "part.txt").write_text("part")
        with Path("/dev/full").open("w") as full:
            full.write("x")

    with pytest.raises(ToolError, match=r"the disk is full while writing .*out/a"):
        compute(replace(job, work=write_to_a_full_disk), "key")
    assert list(job.out_dir.iterdir()) == []


def test_prune_removes_what_is_gone_and_what_a_kill_left(tmp_path):
    for name in ("a", "b", ".a.partial", ".b.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("x")
    (tmp_path / "index.json").write_text("kept: a stage's own file")
    assert prune(tmp_path, ["a"]) == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "index.json"]


WORKER = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from tasks import step
from tasks.params import Section
from tasks.step import Job, Verified, compute, is_valid, job_key, prune

step.code_digest = lambda *modules: "code"

class Params(Section):
    n: int

@dataclass(frozen=True, kw_only=True)
class Item:
    name: str

def work(item, out, params):
    for part in range(8):
        (out / f"{part}.txt").write_text(f"{item.name} {part}\\n" * params.n)
        time.sleep(0.002)

def main():
    out = Path("out")
    out.mkdir(exist_ok=True)
    verified = Verified(Path("verified.json"))
    print("ready", flush=True)
    for name in "abcdefghij":
        job = Job(stage="s", item=Item(name=name), work=work, params=Params(n=int(sys.argv[1])), inputs=(), out_dir=out)
        key = job_key(job, verified)
        if not is_valid(job.folder, key, verified):
            compute(job, key)
    prune(out, "abcdefghij")
    verified.save()

main()
"""


def test_killed_at_random_moments_and_run_again_gives_the_same_bytes(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}

    def start(folder, n):
        folder.mkdir(exist_ok=True)
        worker = subprocess.Popen(
            [sys.executable, str(script), str(n)], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout.readline() == "ready\n"
        return worker

    def finish(folder, n):
        worker = start(folder, n)
        worker.communicate(timeout=60)
        assert worker.returncode == 0

    finish(tmp_path / "clean", 60)
    finish(tmp_path / "killed", 50)  # there is an older version to replace
    moments = random.Random(0)
    interrupted = 0
    for _ in range(12):
        worker = start(tmp_path / "killed", 60)
        time.sleep(moments.uniform(0.0, 0.12))
        interrupted += worker.poll() is None
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        for folder in (tmp_path / "killed" / "out").glob("[a-j]"):
            # Whatever stands under a take's name is whole, old or new.
            read_receipt(folder, Verified(tmp_path / "nothing.json"))
    assert interrupted >= 3
    finish(tmp_path / "killed", 60)
    assert tree(tmp_path / "killed" / "out") == tree(tmp_path / "clean" / "out")


def test_half_a_memory_of_hashes_costs_a_rehash_and_nothing_else(job, key, tmp_path):
    path = tmp_path / "verified.json"
    path.write_text('{"a": [1, 2')
    compute(job, key(job))
    assert is_valid(job.folder, key(job), Verified(path))


def test_write_whole_leaves_an_equal_file_alone(tmp_path):
    path = tmp_path / "a.json"
    step.write_whole(path, json.dumps(1))
    before = path.stat().st_mtime_ns
    step.write_whole(path, json.dumps(1))
    assert path.stat().st_mtime_ns == before


WRITER = """
import sys
from pathlib import Path
from tasks.step import whole_folder, write_whole

letter, kind, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(n):
    if kind == "file":
        write_whole(Path("shared.json"), letter * (1_000 + 5_000 * (number % 2)))
        found = Path("shared.json").read_text()
        assert len(found) in (1_000, 6_000) and len(set(found)) == 1, f"torn: {len(found)} of {set(found)}"
        continue
    with whole_folder(Path("shared") / letter) as half:
        (half / "a.txt").write_text(letter)
        (half / "b.txt").write_text(letter)
"""


@pytest.mark.parametrize(("kind", "n", "letters"), [("file", 1500, "ab"), ("folder", 100, "aa")])
def test_two_processes_that_write_the_same_never_tear_it(kind, n, letters, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, letter, kind, str(n)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
        )
        for letter in letters
    ]
    complaints = [writer.communicate(timeout=120)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], complaints
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == ({"shared.json"} if kind == "file" else {"shared/a/a.txt", "shared/a/b.txt"})


def test_a_folder_is_written_while_another_process_removes_what_it_takes_for_left_behind(tmp_path):
    clearing = (
        "from pathlib import Path\n"
        "from tasks.step import _remove_left_behind\n"
        "while not Path('stop').exists():\n"
        "    _remove_left_behind(Path('a'), but=Path('none'))\n"
    )
    clearer = subprocess.Popen(
        [sys.executable, "-c", clearing], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT)}
    )
    try:
        for number in range(400):
            with step.whole_folder(tmp_path / "a") as half:
                (half / "number.txt").write_text(str(number))
            assert (tmp_path / "a" / "number.txt").read_text() == str(number)
    finally:
        (tmp_path / "stop").touch()
    assert clearer.wait(timeout=60) == 0


def test_the_half_folder_of_a_process_at_work_is_not_removed(tmp_path):
    out = tmp_path / "out"
    with step.whole_folder(out) as first:
        (first / "x").write_text("first")
        with step.whole_folder(out) as second:
            (second / "x").write_text("second")
        assert tree(out) == {"x": b"second"}
        assert tree(first) == {"x": b"first"}
    assert tree(tmp_path) == {"out/x": b"first"}


def test_a_whole_folder_takes_the_place_of_the_old_one_and_a_failed_one_does_not(tmp_path):
    out = tmp_path / "deep" / "out"
    with step.whole_folder(out) as half:
        (half / "first.txt").write_text("1")
        assert not out.exists()
    assert tree(out) == {"first.txt": b"1"}
    (out.parent / ".out.0123.partial").mkdir()
    (out.parent / ".out.0123.partial" / "left by a kill").touch()

    def fail_with(error):
        with step.whole_folder(out) as half:
            (half / "second.txt").write_text("2")
            raise error

    for error, named in ((RuntimeError("a bug"), RuntimeError), (OSError(errno.ENOSPC, ""), ToolError)):
        with pytest.raises(named):
            fail_with(error)
        assert tree(tmp_path) == {"deep/out/first.txt": b"1"}
    with step.whole_folder(out) as half:
        (half / "second.txt").write_text("2")
    assert tree(tmp_path) == {"deep/out/second.txt": b"2"}


@pytest.mark.parametrize("receipt", ["[]", '{"outputs": []}', '{"outputs": {"size.txt": 1}}', '{"outputs": {"a": {}}}'])
def test_a_receipt_of_another_shape_is_none(job, key, verified, receipt):
    compute(job, key(job))
    (job.folder / "_receipt.json").write_text(receipt)
    with pytest.raises(DamagedData, match="is not a receipt"):
        read_receipt(job.folder, verified)
