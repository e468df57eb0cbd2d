"""Devices and processes: the one place that makes a Fabric."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from dewedge.errors import InputError, LostProcessError
from dewedge.learn.precision import Precision, preferred_precision
from dewedge.runtime.cores import usable_cores
from dewedge.settings.sections import ComputeSection, DeviceSection

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def choose_device(section: DeviceSection) -> torch.device:
    """Choose the device of this configuration on this machine.

    Raises
    ------
    InputError
        If a CUDA device is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if section.device == "cuda" and not available:
        raise InputError(
            "--device cuda: expected a CUDA GPU, torch finds none; use --device cpu, or check the driver"
        )
    return torch.device("cuda" if available and section.device != "cpu" else "cpu")


def choose_precision(section: DeviceSection, device: torch.device) -> Precision:
    """Choose the precision of this configuration on this device.

    Raises
    ------
    InputError
        If it is ``16-mixed`` on a CPU.
    """
    if section.precision == "16-mixed" and device.type == "cpu":
        raise InputError("--precision 16-mixed: expected a CUDA GPU; on a CPU use bf16-mixed or 32-true")
    return preferred_precision(device) if section.precision == "auto" else section.precision


@contextmanager
def launched(section: ComputeSection) -> Iterator[Fabric]:
    """Give the Fabric of `launch` for the block, at whose beginning and end processes wait for each other.

    Not after an exception, which may be of one process alone. A block within another one leaves the
    processes connected.
    Gloo's threads let go of their last tensors a little late; one that does so while its interpreter ends
    aborts the process (https://github.com/pytorch/pytorch/pull/179291).

    Errors as `launch`.
    """
    is_within = torch.distributed.is_initialized()
    fabric = launch(section)
    # What the first one writes from now on, no other may find before it begins.
    fabric.barrier()
    yield fabric
    fabric.barrier()
    if fabric.world_size > 1 and not is_within:
        torch.distributed.destroy_process_group()


def launch(section: ComputeSection) -> Fabric:
    """Launch a Fabric; other processes, if any, start here and run the same command.

    Raises
    ------
    InputError
        If there are not so many GPUs, or torchrun or SLURM started another number of processes.
    """
    device = choose_device(section)
    started = started_processes()
    devices, nodes = section.devices, section.nodes
    if started is None and nodes > 1:
        raise InputError(f"--nodes {nodes}: expected to be started on every node, by torchrun or srun")
    if started is not None:
        if (devices, nodes) not in ((1, 1), started):
            raise InputError(
                f"--devices {devices} --nodes {nodes}: expected {started[0]} and {started[1]}, as torchrun "
                "or srun started processes, or neither flag"
            )
        devices, nodes = started
    found = torch.cuda.device_count() if device.type == "cuda" else devices
    if devices > found:
        raise InputError(
            f"{devices} processes on this node: expected at most {found}, the number of GPUs that each of "
            "them sees"
        )
    limit_threads(devices if started is None else 1)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # It tells which of the processes that Fabric started has ended.
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    # Of weights of 1 x 1 x 1 voxels, whose memory format is all one.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # One process reconstructs while the others wait; launchers end them sooner when one is killed.
    strategy = DDPStrategy(timeout=timedelta(days=7)) if devices * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=device.type,
        strategy=strategy,
        devices=devices,
        num_nodes=nodes,
        precision=choose_precision(section, device),
        # Without srun, Fabric would wait for the tasks of a SLURM job all the same.
        plugins=LightningEnvironment() if started is None else None,
    )
    fabric.launch()
    if not fabric.is_global_zero:
        logging.getLogger("dewedge").handlers.clear()
    return fabric


def limit_threads(processes: int) -> None:
    """Let torch have no more threads than cores, in each of the processes to start; OMP_NUM_THREADS wins.

    Torch itself knows of affinity, but neither of quotas nor of SLURM.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    threads = min(torch.get_num_threads(), usable_cores(processes))
    torch.set_num_threads(threads)
    if processes > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of the others, which start with it


def alone(fabric: Fabric, section: ComputeSection) -> Fabric:
    """Fabric of this process and its device alone; in what it does none of the others has a part.

    Errors as `choose_precision`.
    """
    if fabric.world_size == 1:
        return fabric
    device = fabric.device
    own = Fabric(
        accelerator=device.type,
        devices=[device.index] if device.type == "cuda" else 1,
        precision=choose_precision(section, device),
        # Else it would find those that a launcher started.
        plugins=LightningEnvironment(),
    )
    own.launch()
    return own


def started_processes() -> tuple[int, int] | None:
    """Processes of each node, and nodes, if torchrun or srun started this process as one of several.

    Raises
    ------
    InputError
        If srun was not told how many tasks each node has.
    """
    if torch.distributed.is_torchelastic_launched():
        of_node = int(os.environ["LOCAL_WORLD_SIZE"])
        return of_node, int(os.environ["WORLD_SIZE"]) // of_node
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    if "SLURM_STEP_ID" not in os.environ or tasks == 1:
        return None
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise InputError(f"{tasks} tasks of SLURM: expected --ntasks-per-node in the job, one for each GPU")
    of_node = int(os.environ["SLURM_NTASKS_PER_NODE"])
    return of_node, tasks // of_node


@contextmanager
def told_how_to_resume(command: str) -> Iterator[None]:
    """Tell how to continue when a signal, or the end of another process, interrupts the block.

    Raises
    ------
    KeyboardInterrupt
        For a signal.
    LostProcessError
        If another process has ended.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: {command}") from None
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        raise LostProcessError(
            f"process {rank} of {size} stops because another one has ended (its message, or the launcher's, "
            f"tells why); continue as it was started, or with: {command}"
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    """True for what torch raises, by NCCL or gloo, where another process is gone."""
    known = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    return known and torch.distributed.is_initialized()


def log_device(fabric: Fabric, section: DeviceSection, level: int = logging.INFO) -> None:
    """Log device, precision and number of processes; errors as `choose_precision`."""
    device = fabric.device
    threads = f"CPU, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else threads
    logger.log(level, "%s, %s, %d process(es)", name, choose_precision(section, device), fabric.world_size)


def on_first_process(fabric: Fabric, action: Callable[[], Result]) -> Result:
    """Return the result of ``action``, done by the first process alone; its `InputError` ends all of them."""
    if fabric.world_size == 1:
        return action()
    outcome: tuple[Result | None, InputError | None] = (None, None)
    if fabric.is_global_zero:
        try:
            outcome = (action(), None)
        except InputError as error:
            outcome = (None, error)
    result, fault = fabric.broadcast(outcome)
    if fault is not None:
        raise fault
    return result  # type: ignore[return-value]
