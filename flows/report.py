"""Stage ``report``: everything before it -> data/report, one page to look at and listen to."""

import sys
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.run import Sections, one_at_a_time, run_stage
from tasks.params import read_params
from tasks.report import ReportParams, write_report
from tasks.step import whole_folder
from tasks.tools import check_tools


@task(task_run_name="write the page", persist_result=False, cache_policy=NO_CACHE)
def write_page(params: ReportParams) -> None:
    """Write the page and its media."""
    with whole_folder(Path("data/report")) as half:
        write_report(half, data=Path("data"), dvc_file=Path("dvc.yaml"), all_params=read_params(), params=params)


@flow(name="report", flow_run_name="report")
def report(params: ReportParams) -> None:
    """Make the page."""
    check_tools(["ffmpeg"])
    with one_at_a_time("report"):
        write_page(params)


def main() -> int:
    """Run the stage as dvc.yaml calls it."""
    sections: Sections = {"params": ("report", ReportParams)}
    return run_stage(report, "report", sections)


if __name__ == "__main__":
    sys.exit(main())
