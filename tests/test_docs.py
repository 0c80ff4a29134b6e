"""Documents: links lead somewhere, what is shown was run, the reference is that of the code, the site builds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.reference import FOLDER
from flows.reference import PAGES as REFERENCE

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for folder in (".", "docs", "docs/*", "benchmarks", "data/sample")
    for page in sorted(PROJECT.glob(f"{folder}/*.md"))
]


def anchors(page):
    """Return the names that a page's headings have as anchors."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_every_link_leads_to_a_file_or_a_heading(page):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short():
    lines = (PROJECT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 240  # a line of a table; prose wraps


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_is_that_of_the_code(name):
    assert (PROJECT / FOLDER / name).read_text() == REFERENCE[name](), "run python -m flows.reference"


def test_every_array_that_is_documented_is_one_that_the_code_names():
    page = (PROJECT / "docs/reference/arrays.md").read_text()
    for kind, reader in (("scores", "segments"), ("captures", "views"), ("ensembles", "ensembles")):
        (section,) = re.findall(rf"^### {kind}\n(.*?)^(?:#|Attributes)", page, re.MULTILINE | re.DOTALL)
        names = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        files = f"tasks/kinds/{kind}/chunk.py", f"tasks/store/{reader}.py"
        source = "".join((PROJECT / name).read_text() for name in files)
        assert len(names) > 4
        for name in names:
            assert re.search(rf'"{re.sub(r"_(CAMERA|K)$", "", name)}(_{{|")', source), (kind, name)


def test_every_error_that_is_explained_is_one_of_the_code():
    page = (PROJECT / "docs/troubleshooting.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    files = (path for folder in ("flows", "tasks") for path in sorted((PROJECT / folder).rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in files))  # texts over several lines
    assert len(rows) > 12
    for row in rows:
        for words in re.findall(r"`(.*?)`", row):
            assert words in source, words


def test_the_site_builds_without_a_warning_and_loads_nothing_from_the_network(tmp_path):
    program = shutil.which("mkdocs", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.fail("MkDocs is not installed, and the documents are built by it: ./setup.sh docs")
    command = [program, "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    built = sorted(tmp_path.rglob("*.html"))
    assert len(built) > 30
    for path in built:
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\s\"'>]+)", path.read_text()
        )
        assert not loaded, (path.name, loaded)


@pytest.fixture
def clone(tmp_path):
    """A project as a clone is, with the files that git tracks and nothing that was computed."""
    for name in ("flows", "tasks", "models", ".dvc", "data/raw", "tests/tasks/families"):
        ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    for name in (
        "audiate.py",
        "constraints.txt",
        "dvc.yaml",
        "params.yaml",
        "pyproject.toml",
        ".dvcignore",
        ".gitignore",
    ):
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def run_blocks(page, folder):
    """Run the shell blocks of a page one after another, and return what they printed."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", (PROJECT / "docs/tutorials" / page).read_text(), re.MULTILINE | re.DOTALL
    )
    assert blocks
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = (
        os.environ | who | {"PATH": path, "PYTHONPATH": str(folder), "DVC_NO_ANALYTICS": "1", "COLUMNS": "110"}
    )
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(command, cwd=folder, env=environment, check=True)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(blocks)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_musicians_tutorial_runs(tmp_path):
    printed = run_blocks("musician.md", tmp_path)
    page = (PROJECT / "docs/tutorials/musician.md").read_text()
    shown = re.findall(r"^(?:keyboard:|wrote) .*$", page, re.MULTILINE)
    assert len(shown) == 5
    for line in shown:  # the page shows what was printed
        assert line in printed
    assert "onset_s,offset_s,pitch,velocity,amplitude" in printed
    for name in ("heard.mp4", "heard.mid", "heard.png", "keys.png", "sound.mid"):
        assert (tmp_path / name).stat().st_size > 100, name


@pytest.mark.slow
def test_the_labs_tutorial_runs(clone):
    printed = run_blocks("lab.md", clone)
    assert re.search(r"mic_phone.m4a │ locked │ 1\.300\d* ", printed)
    assert "1 added, 0 known, 0 quarantined" in printed
    assert {path.name for path in (clone / "data/raw/monday_1").iterdir()} == {
        "mic_room.wav",
        "mic_phone.m4a",
        "take.yaml",
    }
    assert (clone / "data/raw.dvc").is_file()


@pytest.mark.slow
def test_the_researchers_tutorial_runs(data_sets, clone):
    printed = run_blocks("researcher.md", clone)
    assert "examples would be written" in printed
    assert "(4, 48, 3, 40, 40) (4, 48, 5)" in printed
    assert "# Training examples exported by audiate" in printed
    assert re.search(r"^3 passed", printed, re.MULTILINE)
    assert len(list(clone.glob("examples/captures_marimba-18/train/*/*.npz"))) == 12
