"""How many threads a process may use, decided once."""

from __future__ import annotations

import os

# Of OpenMP; of Slurm, PBS, Grid Engine and LSF.
VARIABLES = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "PBS_NUM_PPN", "NSLOTS", "LSB_DJOB_NUMPROC")


def allotted_threads() -> int:
    """Return the first of these that says a number: OMP_NUM_THREADS, the scheduler, the CPU affinity."""
    for name in VARIABLES:
        given = os.environ.get(name, "").split(",")[0]  # OpenMP takes a number for each level
        if given.isdigit() and int(given) > 0:
            return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
