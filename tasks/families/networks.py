"""Networks of families: written, read, put on an accelerator, and made to repeat their numbers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from tasks.errors import DamagedData
from tasks.families.trained import UNREADABLE, Needed, load_trained, no_longer_read, save_trained

N = TypeVar("N", bound=torch.nn.Module)


def save_network(stem: Path, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write a network's state and the facts beside it, as `save_trained` does.

    Args:
        stem: the path without its suffix, ``out / SYSTEM``.
        state: tensors by name, on any accelerator.
        facts: what JSON can hold: the network's config, fitted thresholds.
    """
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in state.items()}
    save_trained(stem, arrays, facts)


def load_network(stem: Path, make: Callable[[dict[str, Any]], N], needed: Needed) -> tuple[N, dict[str, Any]]:
    """Read what `save_network` wrote.

    Args:
        stem: the path without its suffix.
        make: makes an untrained network from the facts, whose lists are tuples.
        needed: facts that must be there beside those that ``make`` reads; by name, what each is read with.

    Returns:
        The network in evaluation mode, and the facts.

    Raises:
        DamagedData: a file is missing or damaged, or describes another network than its weights are of.
    """
    arrays, facts = load_trained(stem, needed)
    try:
        network = make(facts)
    except UNREADABLE as error:
        raise no_longer_read(stem, error) from None
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    fill_network(network, state, source=stem.with_name(f"{stem.name}.safetensors"))
    return network.eval(), facts


def fill_network(network: torch.nn.Module, state: Mapping[str, torch.Tensor], *, source: Path) -> None:
    """Give ``network`` the weights of ``state``, read from ``source``.

    Raises:
        DamagedData: a weight is missing, unknown, of another shape, or not finite.
    """
    wanted = network.state_dict()
    if strange := sorted(wanted.keys() ^ state.keys()):
        where = "missing from the file" if strange[0] in wanted else "unknown to the network"
        raise DamagedData(f"{source}: weight {strange[0]} is {where}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            found, expected = tuple(tensor.shape), tuple(wanted[name].shape)
            raise DamagedData(f"{source}: weight {name} has shape {found}, expected {expected}")
        if not torch.isfinite(tensor).all():
            raise DamagedData(f"{source}: weight {name} is not finite")
    network.load_state_dict(dict(state))


def torch_device(accelerator: str) -> torch.device:
    """Return where Lightning's word puts a network: ``cpu``, ``gpu``, or ``auto``, a GPU if there is one."""
    if accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")


@contextmanager
def deterministic_torch(*, seed: int, n_threads: int) -> Iterator[None]:
    """Let torch give the same numbers every time inside the block, and leave its state as it was.

    Weights are drawn from torch's global generator, so that is forked for the block. One CPU thread count
    gives one result; on a GPU, kernels without a deterministic form still run.
    """
    threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # a property of a module: mypy does not see it
    was_filled = memory.fill_uninitialized_memory
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(mode=not torch.cuda.is_available())
        # Nothing here reads what it has not written, and filling every new tensor costs a tenth of a step.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(mode=was_deterministic, warn_only=warned_only)
            memory.fill_uninitialized_memory = was_filled
