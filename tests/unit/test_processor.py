from pathlib import Path

import pytest

from configs.processor import computes_bfloat16


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu sse2 avx2 fma", False),
        ("flags\t\t: fpu avx2 avx512f avx512bw amx_bf16", True),
        ("Features\t: fp asimd", False),
        ("Features\t: fp asimd bf16 sve", True),
        ("model name\t: a processor called avx512bw", False),
        ("", False),
    ],
)
def test_the_processors_own_list_tells(tmp_path: Path, line: str, expected: bool):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n")

    assert computes_bfloat16(cpuinfo) is expected


def test_a_system_without_that_list_is_taken_to_imitate_it(tmp_path: Path):
    assert not computes_bfloat16(tmp_path / "none")
