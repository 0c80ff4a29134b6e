"""A figure through commits that git really made."""

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.figures import FigureError
from tasks.history import history, plot
from tasks.versions.commits import commits_that_changed, contents
from tasks.versions.history import WORKSPACE, HistoryError

START = datetime(2026, 1, 1, tzinfo=UTC)


def imported(folder, versions):
    """Make a repository with one commit a version: file name to text; all through one `git fast-import`."""
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    stream = []
    for number, files in enumerate(versions):
        seconds = int((START + timedelta(days=number)).timestamp())
        message = f"night {number}"
        stream.append(f"commit refs/heads/main\ncommitter a <a@b.c> {seconds} +0000\ndata {len(message)}\n{message}\n")
        for path, text in files.items():
            stream.append(f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n")
    subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, check=True, input="".join(stream).encode())
    subprocess.run(["git", "reset", "-q", "--hard"], cwd=folder, check=True)


def version(f1, data_version):
    return {
        "dvc.lock": f"schema: '2.0' # {f1}",
        "data/metrics/net.json": json.dumps({"net": {"f1": f1}, "blind": {"f1": f1 / 2}}),
        "data/metrics/data.json": json.dumps({"data_version": data_version, "hours": 1.0}),
    }


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imported(
        tmp_path,
        [
            {"README.md": "nothing yet"},
            {"dvc.lock": "schema: '2.0'", "data/metrics/net.json": "{}"},
            version(0.25, "v1"),
            {"README.md": "words"},
            version(0.75, "v2"),
        ],
    )
    return tmp_path


def test_each_version_has_its_value_its_data_version_its_commit_and_its_date(project):
    points = history("net/net/f1")
    assert [(point.value, point.data_version, point.subject) for point in points] == [
        (None, None, "night 1"),
        (0.25, "v1", "night 2"),
        (0.75, "v2", "night 4"),
    ]
    assert points[-1].at == "2026-01-05T00:00:00+00:00"
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert points[-1].commit == head


def test_a_family_s_own_system_needs_no_name_and_others_and_the_data_have_figures_too(project):
    assert history("net/f1") == history("net/net/f1")
    assert [point.value for point in history("net/blind/f1")] == [None, 0.125, 0.375]
    assert [point.value for point in history("data/hours")] == [None, 1.0, 1.0]


def test_what_stands_here_counts_once_it_is_another(project):
    assert [point.commit == WORKSPACE for point in history("net/f1")] == [False] * 3
    Path("data/metrics/net.json").write_text(json.dumps({"net": {"f1": 0.875}}))
    last = history("net/f1")[-1]
    assert (last.commit, last.value, last.data_version) == (WORKSPACE, 0.875, "v2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net/net/f2", "expected one such as net/net/f1"),
        ("nte/nte/f1", "expected one such as net/net/METRIC"),
        ("net", "is no figure"),
        ("net\nnet/f1", "is no figure"),
    ],
)
def test_an_unknown_figure_is_one_line_with_those_that_are_like_it(project, name, said):
    with pytest.raises(FigureError, match=said) as raised:
        history(name)
    assert "\n" not in str(raised.value)


def test_outside_a_repository_it_says_so(tmp_path):
    with pytest.raises(HistoryError, match="git log"):
        history("net/net/f1", root=tmp_path)


def test_it_is_drawn_as_the_suffix_says(project):
    plot(history("net/f1"), "net/f1", project / "out.png")
    assert (project / "out.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"expected \.png, \.svg or \.pdf"):
        plot(history("net/f1"), "net/f1", project / "out.txt")


def test_contents_come_in_order_and_a_file_that_was_not_there_is_none(project):
    first, last = (commits_that_changed(["README.md"])[place].commit for place in (0, -1))
    assert contents([f"{first}:./README.md", f"{first}:./dvc.lock", f"{last}:./README.md", "nothing:./x"]) == [
        b"nothing yet",
        None,
        b"words",
        None,
    ]


def test_two_hundred_versions_take_less_than_five_seconds(tmp_path):
    imported(tmp_path, [version(number / 200, f"v{number // 3}") for number in range(200)])
    start = time.monotonic()
    points = history("net/net/f1", root=tmp_path)
    assert time.monotonic() - start < 5
    assert [point.value for point in points] == [number / 200 for number in range(200)]
