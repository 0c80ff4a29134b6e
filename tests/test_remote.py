"""An S3-compatible remote: what one clone pushes, another pulls, byte for byte. The server is moto's, on loopback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tasks.versions.publish import default_remote, push

pytestmark = pytest.mark.slow

BUCKET = "takes"


@pytest.fixture
def endpoint(monkeypatch):
    """Start an S3 server with an empty bucket, and hold credentials for it in the environment alone."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "for-this-test-only")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "for-this-test-only")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
    yield url
    server.stop()


def run(folder, *command, fails=False):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert bool(done.returncode) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def commit(folder, message):
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", message)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_one_clone_pushes_to_s3_another_pulls(endpoint, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    raw = first / "data" / "raw"
    for number in range(3):
        take = raw / f"take_{number}"
        take.mkdir(parents=True)
        (take / "cam_a.mp4").write_bytes(os.urandom(20_000))
        (take / "mic_a.wav").write_bytes(bytes([number]) * 5_000)
    run(first, "git", "init", "-q")
    run(first, "dvc", "init", "-q")
    run(first, "dvc", "remote", "add", "-d", "shelf", f"s3://{BUCKET}/audiate")
    run(first, "dvc", "remote", "modify", "shelf", "endpointurl", endpoint)
    run(first, "dvc", "add", "-q", "data/raw")
    commit(first, "three takes")
    config = (first / ".dvc" / "config").read_text()
    assert "for-this-test-only" not in config  # credentials are the environment's, never git's
    assert default_remote(first) == "shelf"
    push(root=first)

    run(tmp_path, "git", "clone", "-q", str(first), str(second))
    assert not (second / "data" / "raw").exists()
    run(second, "dvc", "pull", "-q")
    assert files_of(second / "data" / "raw") == files_of(raw)

    # The other way round: a take that the second adds reaches the first.
    shutil.copytree(second / "data" / "raw" / "take_0", second / "data" / "raw" / "take_3")
    run(second, "dvc", "add", "-q", "data/raw")
    commit(second, "a fourth")
    push(root=second)
    run(first, "git", "pull", "-q", str(second), "HEAD")
    run(first, "dvc", "pull", "-q")
    assert files_of(raw) == files_of(second / "data" / "raw")
    assert len(list(raw.iterdir())) == 4
