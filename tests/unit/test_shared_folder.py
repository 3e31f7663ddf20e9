import fcntl
import os
import stat
from pathlib import Path

import pytest

from configs.errors import UserError
from learner.shared_folder import SharedFolder, remove_leftovers, require_room


def test_a_folder_is_private_named_after_its_run_and_goes_when_it_is_removed(tmp_path):
    folder = SharedFolder.make("my run/7", tmp_path)

    assert folder.path.name.startswith("laconic-my-run-7-")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    (folder.path / "v000001.safetensors").write_bytes(b"1")
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_owner_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    dead, alive = (SharedFolder.make("run", tmp_path) for _ in range(2))
    (dead.path / "v000001.safetensors").write_bytes(b"1")
    foreign = tmp_path / "somebody-elses"
    foreign.mkdir()
    os.close(dead.lock)  # as the kernel does when a process dies

    third = SharedFolder.make("run", tmp_path)

    assert set(tmp_path.iterdir()) == {alive.path, third.path, foreign}


def test_a_link_to_another_folder_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "laconic-run-1").symlink_to(target)

    remove_leftovers(tmp_path)

    assert target.exists()


def test_an_owner_holds_its_lock_under_the_final_name(tmp_path):
    folder = SharedFolder.make("run", tmp_path)

    other = os.open(folder.path, os.O_RDONLY)

    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_too_little_room_is_one_line_with_the_way_out():
    require_room(Path("/dev/shm"), 1)

    with pytest.raises(UserError, match=r"sync\.transport=shm needs .* MiB in /dev.*file") as error:
        require_room(Path("/dev/shm"), 10**18)

    assert "\n" not in str(error.value)
