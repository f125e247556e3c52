"""What the machine has."""

import os
from pathlib import Path


def memory_available(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int:
    """Bytes that this process may still take: what is free, within its control group's limit."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        pass  # not Linux: all that the machine has
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        parts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        # Files that were read count as used; the system drops them when memory is wanted.
        used -= int(parts["active_file"]) + int(parts["inactive_file"])
    except (OSError, ValueError, KeyError):  # no group, or "max"
        return free
    return max(0, min(free, limit - used))


def in_bytes(count: float) -> str:
    """`1.25 GB`, `93.1 MB`"""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
