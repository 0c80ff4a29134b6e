"""Runs of Prefect that ended long ago are deleted; others stay, and so does a server that is not ours."""

from datetime import UTC, datetime

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Running

from flows.runs import trim_runs
from flows.server import prefect_server

pytestmark = pytest.mark.slow


@flow
def night() -> None:
    """Do nothing."""


def test_what_ended_before_is_deleted_and_what_came_later_or_still_runs_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))  # a server of its own: other tests ask theirs for their runs
    with prefect_server() as server, server.connected(), get_client(sync_client=True) as client:
        running = client.create_flow_run(night, state=Running())
        early = [client.create_flow_run(night, state=Completed()) for _ in range(3)]
        moment = datetime.now(UTC)
        late = client.create_flow_run(night, state=Completed())
        assert trim_runs(moment) == 3
        for run in early:
            with pytest.raises(ObjectNotFound):
                client.read_flow_run(run.id)
        assert client.read_flow_run(late.id).state_name == "Completed"
        assert client.read_flow_run(running.id).state_name == "Running"
        assert trim_runs(moment) == 0


def test_a_server_of_others_and_a_project_without_runs_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert trim_runs(datetime.now(UTC)) is None
    (tmp_path / "prefect.db").write_bytes(b"")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert trim_runs(datetime.now(UTC)) is None
