"""How many threads the compiled kernels start with."""

import os
from pathlib import Path

MOST = 1024  # LG_MAX_THREADS in csrc/pool.h


def _quota(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the control group grants (its versions 2 and 1), inf if it sets no limit."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return float("inf")
    try:
        granted = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return float("inf")
    return granted if granted > 0 else float("inf")


def default_threads() -> int:
    """LITEGPT_NUM_THREADS, else the processors that this process may use, by affinity and quota.

    A variable that isn't an integer from 1 to 1024: ValueError.
    """
    wanted = os.environ.get("LITEGPT_NUM_THREADS")
    if wanted:
        if not wanted.isdecimal() or not 1 <= int(wanted) <= MOST:
            raise ValueError(
                f"LITEGPT_NUM_THREADS must be an integer from 1 to {MOST}, not {wanted!r}"
            )
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return max(1, min(processors, MOST, round(_quota() + 0.49) if _quota() < MOST else MOST))
