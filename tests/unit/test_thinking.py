import pytest

from actors.thinking import think_tokens


@pytest.mark.parametrize(
    ("pieces", "is_open", "count"),
    [
        (["<think>", " hm", "</think>", " 4"], False, 3),
        (["<think>", " hm", "</", "think", ">\n", "4"], False, 5),
        (["hm", "</think>", "4", "</think>", "5"], True, 2),
        (["</think>"], False, 1),
        (["<think>", " hm"], False, 2),
        (["hm", " hm"], True, 2),
        (["4", "!"], False, 0),
        ([], False, 0),
    ],
)
def test_thinking_ends_with_its_first_closing_tag(pieces: list[str], is_open: bool, count: int):
    def text_of(ids: tuple[int, ...]) -> str:
        return "".join(pieces[id] for id in ids)

    assert think_tokens(tuple(range(len(pieces))), is_open, text_of) == count
