"""A family of one's own to begin with."""

from typing import Annotated

import typer

from flows.commands import DryRun, Json, app, print_json


@app.command("new-family")
def new_family(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the family: small letters, digits, underscores.")],
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Write adapter, network, section and test of a family that runs, and say what to change."""
    from flows.new_family import KIND, plan_family, write_family

    planned = plan_family(name)
    if not dry_run:
        write_family(planned)
    new, edited = (sorted(map(str, paths)) for paths in (planned.new, planned.edited))
    if as_json:
        print_json({"family": name, "data": KIND, "new": new, "edited": edited, "dry_run": dry_run})
        return
    would = "would write" if dry_run else "wrote"
    typer.echo(f"{would} {', '.join(new)}; {'would edit' if dry_run else 'edited'} {', '.join(edited)}")
    if not dry_run:
        typer.echo(
            f"It is least squares from a camera's pictures to note amplitudes, on {KIND}. Change:\n"
            f"  models/{name}.py          the network\n"
            f"  tasks/families/{name}.py  the params, fit and perform; another kind of data by its line `data`\n"
            f"  params.yaml, flows/presets/demo.yaml  the values of train.{name}\n"
            f"Then: pytest tests/tasks/families/test_{name}.py, audiate train {name}, audiate evaluate {name}; "
            "python -m flows.reference writes docs/reference anew.\n"
            "No other family is trained anew. To take all of it back: git checkout params.yaml flows tasks, and delete "
            "the three new files."
        )
