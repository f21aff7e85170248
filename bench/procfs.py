"""Figures of running processes, from proc(5). Linux only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return ``pid`` and all its descendants, parents first."""
    pids = [pid]
    for each in pids:  # grows while it is walked
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        pids += map(int, children.split())
    return pids


def leaf(pid: int) -> int:
    """Return the descendant that has no child itself: the worker below a master.

    With several, the last one; ``pid`` itself where there is no master.
    """
    return tree(pid)[-1]


def cpu_seconds(pid: int) -> float:
    """Return the processor time of ``pid`` and its descendants so far; steps of 10 ms each."""
    return sum(user_and_kernel_seconds(pid))


def user_and_kernel_seconds(pid: int) -> tuple[float, float]:
    """As ``cpu_seconds``: of the programs' own code, and of the kernel on their behalf."""
    user = kernel = 0
    for each in tree(pid):
        try:
            # The command stands in parentheses and may hold spaces; utime and stime are 14 and 15.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user += int(fields[11])
        kernel += int(fields[12])
    return user / _TICKS_PER_SECOND, kernel / _TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Return the resident memory of one process; what the kernel holds for sockets is not in it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptor_count(pid: int) -> int:
    """Return the number of descriptors that ``pid`` holds open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTimes:
    """What a core has done since the machine started, in seconds.

    Attributes:
        processes: in processes, their system calls included.
        interrupts: in interrupts, which is where loopback delivers packets.
        stolen: taken by the host of a virtual machine.
        idle: nothing to do.
    """

    processes: float
    interrupts: float
    stolen: float
    idle: float

    def since(self, before: CoreTimes) -> CoreTimes:
        """Return what was done after ``before``."""
        return CoreTimes(
            processes=self.processes - before.processes,
            interrupts=self.interrupts - before.interrupts,
            stolen=self.stolen - before.stolen,
            idle=self.idle - before.idle,
        )

    @property
    def busy_share(self) -> float:
        total = self.processes + self.interrupts + self.stolen + self.idle
        return 1 - self.idle / total if total else 0.0


def core_times(core: int) -> CoreTimes:
    """Return the times of ``core``, in steps of 10 ms."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name == f"cpu{core}":
            user, nice, system, idle, waiting, hard, soft, stolen = map(int, numbers[:8])
            return CoreTimes(
                processes=(user + nice + system) / _TICKS_PER_SECOND,
                interrupts=(hard + soft) / _TICKS_PER_SECOND,
                stolen=stolen / _TICKS_PER_SECOND,
                idle=(idle + waiting) / _TICKS_PER_SECOND,
            )
    raise ValueError(f"there is no core {core}")


def busy_share_of_others(seconds: float = 1.0) -> float:
    """Return how busy the usable cores are while this process sleeps for ``seconds``, 0 to 1."""
    cores = os.sched_getaffinity(0)
    before = {core: core_times(core) for core in cores}
    time.sleep(seconds)
    return sum(core_times(core).since(before[core]).busy_share for core in cores) / len(cores)
