"""Stage ``train@FAMILY``: data/chunked -> data/trained/FAMILY."""

import sys
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.run import STATE, Sections, Settings, one_at_a_time, run_stage
from tasks.families import load_family
from tasks.numerics import NumericsParams
from tasks.params import Section
from tasks.train import train_family

CHUNKED = Path("data/chunked")


@task(task_run_name="fit {family}", persist_result=False, cache_policy=NO_CACHE)
def fit(family: str, params: Section, numerics: NumericsParams) -> None:
    """Fit one family."""
    train_family(
        family,
        params,
        data=CHUNKED / load_family(family).data,
        out=Path("data/trained") / family,
        resume_root=STATE / "resume",
        accelerator=Settings().accelerator,
        networks=numerics.networks,
    )


@flow(name="train", flow_run_name="train {family}")
def train(family: str, params: Section, numerics: NumericsParams) -> None:
    """Fit one family to the training takes."""
    with one_at_a_time(f"train@{family}"):
        fit(family, params, numerics)


def main(family: str) -> int:
    """Run the stage of one family as dvc.yaml calls it."""
    sections: Sections = {
        "params": (f"train.{family}", lambda: load_family(family).params_class),
        "numerics": ("numerics", NumericsParams),
    }
    return run_stage(train, f"train@{family}", sections, [family])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
