"""Devices and processes: the one place that makes a Fabric."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from dewedge.errors import InputError
from dewedge.learn.precision import Precision, preferred_precision
from dewedge.pipeline.config import ComputeSection, DeviceSection

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def choose_device(section: DeviceSection) -> torch.device:
    """The device of this configuration on this machine.

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
    """The precision of this configuration on this device."""
    return preferred_precision(device) if section.precision == "auto" else section.precision


def launch(section: ComputeSection) -> Fabric:
    """A launched Fabric; other processes, if any, start here and run the same command."""
    device = choose_device(section)
    found = torch.cuda.device_count() if device.type == "cuda" else section.devices
    if section.devices > found:
        raise InputError(
            f"--devices {section.devices}: expected at most {found}, the number of GPUs of this machine"
        )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    precision = choose_precision(section, device)
    # One process reconstructs, or refines the last tomogram, while the others wait.
    several = section.devices * section.nodes > 1
    strategy = DDPStrategy(timeout=timedelta(days=7)) if several else "auto"
    fabric = Fabric(
        accelerator=device.type,
        strategy=strategy,
        devices=section.devices,
        num_nodes=section.nodes,
        precision=precision,
    )
    fabric.launch()
    if not fabric.is_global_zero:
        logging.getLogger("dewedge").handlers.clear()
    return fabric


def log_device(fabric: Fabric, section: DeviceSection) -> None:
    """Log device, precision and number of processes."""
    device = fabric.device
    threads = f"CPU, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else threads
    logger.info("%s, %s, %d process(es)", name, choose_precision(section, device), fabric.world_size)


def on_first_process(fabric: Fabric, action: Callable[[], Result]) -> Result:
    """The result of ``action``, done by the first process alone; an `InputError` of it ends all of them."""
    if fabric.world_size == 1:
        return action()
    outcome: tuple[Result | None, str | None] = (None, None)
    if fabric.is_global_zero:
        try:
            outcome = (action(), None)
        except InputError as error:
            outcome = (None, str(error))
    result, message = fabric.broadcast(outcome)
    if message is not None:
        raise InputError(message)
    return result  # type: ignore[return-value]


def is_first_process() -> bool:
    """True unless a launcher's variables say otherwise; known before launching, too."""
    ranks = [os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((rank for rank in ranks if rank is not None), "0") == "0"
