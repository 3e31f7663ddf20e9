"""What this machine's processor computes itself."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

_HAS_BFLOAT16 = {
    "flags": "avx512bw",  # x86: with it the kernels widen in registers, without it value by value
    "Features": "bf16",  # ARM
}


def computes_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """False: matrix products in bfloat16 take many times as long as in float32 here."""
    if not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text().splitlines():
        name, _, values = line.partition(":")
        if _HAS_BFLOAT16.get(name.strip()) in values.split():
            return True
    return False
