"""A run's copy somewhere else: what is there at any moment is whole, and becomes a run again."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from actors.line_file import encode
from cluster import mirror, mirroring
from cluster import remote as remote_module
from cluster.checkpoint import CheckpointStore, TrainState, check
from cluster.fetch import fetch
from cluster.mirror import copy, require_mirror
from cluster.mirror_index import INDEX, read_index
from cluster.mirroring import Mirroring
from cluster.remote import Remote, RemoteError
from cluster.train import OutOfGrace, Run, Stopped
from configs.errors import UserError
from configs.run_files import read_manifest
from configs.schema import MirrorConfig
from tests.said import Laconic
from verifiers.durable import sync

pytest.importorskip("fsspec")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "runs/one"
    for folder in ("queue", "rollouts/meta", "evals", "logs"):
        (run / folder).mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"starts": [{"at": "now", "pid": 7}]}))
    (run / "resolved.yaml").write_text("steps: 9\n")
    (run / "evals/before.json").write_text("{}")
    (run / "queue/log-0001.jsonl").write_bytes(b"first\n")
    part(run, "part-1-0", b"rows")
    (run / "logs/queue.log").write_text("not to be copied")
    save(run, 2)
    return run


def save(run: Path, step: int, content: bytes | None = None, keep: int = 2) -> None:
    store = CheckpointStore(run / "checkpoints", keep=keep)
    folder = store.begin(step)
    (folder / "model").mkdir()
    (folder / "model/weights").write_bytes(content or bytes([step]) * 1000)
    store.commit(folder, TrainState(step=step, end_ticket=8 * step, seconds=1.0))


def part(run: Path, name: str, content: bytes, replaces: Sequence[str] = ()) -> Path:
    """As the recorder does it: the part first, then its line."""
    path = run / f"rollouts/meta/{name}.parquet"
    path.write_bytes(content)
    replaced = [f"rollouts/meta/{name}.parquet" for name in replaces]
    line = {"kind": "meta", "file": f"rollouts/meta/{name}.parquet", "replaces": replaced}
    with (run / "rollouts/manifest.jsonl").open("ab") as manifest:
        manifest.write(encode(line))
    return path


def stored(tmp_path: Path) -> list[str]:
    root = tmp_path / "store/one"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def fetch_into(url: str, folder: Path) -> Path:
    fetch(f"{url}/one", folder)
    return folder


def rows(run: Path) -> list[bytes]:
    return [(run / part["file"]).read_bytes() for part in read_manifest(run)]


def weights(run: Path, step: int) -> bytes:
    return (run / f"checkpoints/step-{step:06d}/model/weights").read_bytes()


def test_what_was_copied_becomes_the_same_run_again(tmp_path: Path, run: Path, url: str):
    found = copy(run, url)

    again = tmp_path / "elsewhere/one"
    fetched = fetch(f"{url}/one", again)

    assert (found.step, fetched.checkpoint, fetched.complaints) == (2, "step-000002", ())
    assert check(again / "checkpoints/step-000002") is None
    assert (again / "checkpoints/LATEST").read_text() == "step-000002"
    for name in (
        "run.json", "resolved.yaml", "evals/before.json", "queue/log-0001.jsonl",
        "rollouts/meta/part-1-0.parquet",
    ):  # fmt: skip
        assert (again / name).read_bytes() == (run / name).read_bytes()
    assert not (again / "logs").exists()
    assert not list(again.parent.glob("*.tmp*")) and not (run / "mirror.tmp").exists()
    assert copy(again, url).num_bytes == 0, "it goes on where the other one was"


def test_only_what_is_new_is_copied_and_pieces_stay_few(tmp_path: Path, run: Path, url: str):
    copy(run, url)
    assert copy(run, url).num_bytes == 0
    log = run / "queue/log-0001.jsonl"
    written = log.stat().st_size
    copied = 0
    for number in range(200):
        with log.open("ab") as file:
            file.write(b"%05d\n" % number)
        copied += copy(run, url).num_bytes

    remote = Remote(f"{url}/one")
    index = read_index(remote)
    assert index is not None
    assert len(index.files["queue/log-0001.jsonl"]) <= 9
    assert copied < 10 * (log.stat().st_size - written)
    assert set(stored(tmp_path)) == index.names() | {"index.json"}, "nothing is left behind"
    fetch(f"{url}/one", tmp_path / "again")
    assert (tmp_path / "again/queue/log-0001.jsonl").read_bytes() == log.read_bytes()


def test_newer_checkpoints_take_the_place_of_older_ones(tmp_path: Path, run: Path, url: str):
    for step in (4, 6, 8):
        copy(run, url)
        save(run, step)
    copy(run, url)

    index = read_index(Remote(f"{url}/one"))
    assert index is not None
    assert list(index.checkpoints) == ["step-000006", "step-000008"]
    assert not [name for name in stored(tmp_path) if "step-000002" in name]
    fetch(f"{url}/one", tmp_path / "older", step=6)
    assert weights(tmp_path / "older", 6) == bytes([6]) * 1000
    with pytest.raises(UserError, match="has no checkpoint of step 2"):
        fetch(f"{url}/one", tmp_path / "oldest", step=2)


def test_a_step_that_is_taken_again_has_its_new_weights(tmp_path: Path, run: Path, url: str):
    copy(run, url)
    save(run, 2, content=b"other weights")

    copy(run, url)

    fetch(f"{url}/one", tmp_path / "again")
    assert weights(tmp_path / "again", 2) == b"other weights"


@pytest.mark.parametrize("writes", range(5))
def test_whoever_dies_at_any_write_leaves_the_copy_of_the_time_before(
    tmp_path: Path, run: Path, url: str, writes: int, monkeypatch: pytest.MonkeyPatch
):
    copy(run, url)
    save(run, 2, content=b"taken again")
    with (run / "queue/log-0001.jsonl").open("ab") as log:
        log.write(b"second\n")
    left = [writes]

    def dying(method: Any) -> Any:
        def call(remote: Remote, *args: Any) -> Any:
            if not left[0]:
                raise RemoteError("it is gone")
            left[0] -= 1
            return method(remote, *args)

        return call

    with monkeypatch.context() as patched:
        for name in ("write", "put", "remove"):
            patched.setattr(Remote, name, dying(getattr(Remote, name)))
        with pytest.raises(RemoteError):
            copy(run, url)

    def there(folder: Path) -> tuple[bytes, bytes]:
        assert fetch(f"{url}/one", folder).complaints == ()
        return weights(folder, 2), (folder / "queue/log-0001.jsonl").read_bytes()

    old, new = (bytes([2]) * 1000, b"first\n"), (b"taken again", b"first\nsecond\n")
    assert there(tmp_path / "again") in (old, new)

    copy(run, url)
    assert there(tmp_path / "at last") == new


def test_a_damaged_checkpoint_is_passed_over_and_other_damage_is_told(
    tmp_path: Path, run: Path, url: str
):
    copy(run, url)
    save(run, 4)
    copy(run, url)
    [damaged] = tmp_path.glob("store/one/checkpoints/step-000004-*/model/weights")
    damaged.write_bytes(b"flipped")

    fetched = fetch(f"{url}/one", tmp_path / "again")

    assert fetched.checkpoint == "step-000002"
    assert fetched.complaints == ("step-000004 is damaged: model/weights has changed",)
    [piece] = (tmp_path / "store/one/files/queue").iterdir()
    piece.write_bytes(b"farst\n")
    with pytest.raises(UserError, match=r"log-0001.*has changed"):
        fetch(f"{url}/one", tmp_path / "not there")
    assert not (tmp_path / "not there").exists()
    piece.unlink()
    with pytest.raises(UserError, match=r"log-0001.*is missing"):
        fetch(f"{url}/one", tmp_path / "not there")


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, run: Path, url: str):
    copy(run, url)
    index = tmp_path / "store/one/index.json"
    values = json.loads(index.read_text())
    values["texts"]["../../outside"] = "x"
    index.write_text(json.dumps(values))

    with pytest.raises(UserError, match="leads out of the run's folder"):
        fetch(f"{url}/one", tmp_path / "deep/deep/again")

    assert not (tmp_path / "outside").exists()


def test_two_runs_of_one_name_are_not_mixed(tmp_path: Path, run: Path, url: str):
    require_mirror(url, run)
    copy(run, url)
    require_mirror(url, run)
    other = tmp_path / "other/one"
    shutil.copytree(run, other)
    (other / "run.json").write_text(json.dumps({"starts": [{"at": "later", "pid": 7}]}))

    for refuse in (require_mirror, lambda url, run: copy(run, url)):
        with pytest.raises(UserError, match="holds the copy of another run"):
            refuse(url, other)
    with pytest.raises(UserError, match="another run"):
        require_mirror(url, tmp_path / "new/one")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bucket/folder", "is no URL; write s3://bucket/folder or file:///folder"),
        ("s3://", "is no URL"),
        ("s4://bucket", "names no storage that is known"),
        ("s3://AKIA:secret@bucket/folder", "give it in the environment"),
    ],
)
def test_what_is_no_storage_is_refused_in_one_line(tmp_path: Path, url: str, said: str):
    with pytest.raises(UserError) as refused:
        require_mirror(url, tmp_path / "one")

    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert "secret@" not in str(refused.value)


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)

    with pytest.raises(UserError, match=r"s3:// needs the package s3fs") as refused:
        require_mirror("s3://bucket/folder", tmp_path / "one")

    assert "\n" not in str(refused.value)


def test_a_place_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(UserError, match="cannot write") as refused:
        require_mirror(f"file://{tmp_path}/file", tmp_path / "one")

    assert "\n" not in str(refused.value)


def test_a_place_that_cannot_be_listed_is_told_before_anything_starts(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Remote, "names", lambda remote, folder: [f"elsewhere/{folder}"])

    with pytest.raises(UserError, match="does not give back what was written there"):
        require_mirror(url, tmp_path / "one")


class Reports:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    async def changed(self, kind: str, note: str, **fields: object) -> None:
        self.said.append((kind, note))


async def test_the_copy_is_made_beside_the_run_and_once_more_for_what_came_meanwhile(
    tmp_path: Path, run: Path, url: str
):
    reports = Reports()
    copying = Mirroring(MirrorConfig(url=url), run, reports)

    copying.committed()
    save(run, 4)
    copying.committed()
    copying.committed()
    await copying.finish()
    await copying.close()

    kinds = [kind for kind, _ in reports.said]
    assert kinds in (["mirrored"], ["mirrored"] * 2), reports.said
    assert fetch(f"{url}/one", tmp_path / "again").checkpoint == "step-000004"


async def test_a_copy_that_fails_or_hangs_costs_the_run_one_line(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("no folder")
    reports = Reports()
    failing = Mirroring(MirrorConfig(url=f"file://{tmp_path}/file"), run, reports)
    await failing.finish()

    [(kind, note)] = reports.said
    assert kind == "mirror_failed" and "cannot read" in note and "\n" not in note

    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/__init__.py").touch()
    (tmp_path / "cluster/mirror.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(mirroring, "ROOT", tmp_path)
    hanging = Mirroring(MirrorConfig(url="file:///nowhere", timeout_s=0.5), run, reports)
    began = asyncio.get_running_loop().time()
    await hanging.finish()

    assert asyncio.get_running_loop().time() - began < 20
    assert "longer than mirror.timeout_s=0.5 s" in reports.said[-1][1]
    hanging.committed()
    await asyncio.sleep(0.05)
    await asyncio.wait_for(hanging.close(), 5)


def test_a_checkpoint_that_is_removed_while_it_is_copied_is_there_whole(
    tmp_path: Path, run: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    put = Remote.put

    def slow(remote: Remote, source: Path, name: str) -> None:
        for step in (4, 6):
            if not (run / f"checkpoints/step-{step:06d}").exists():
                save(run, step)
        put(remote, source, name)

    monkeypatch.setattr(Remote, "put", slow)

    assert copy(run, url).step == 2
    assert not (run / "checkpoints/step-000002").exists()
    assert fetch(f"{url}/one", tmp_path / "again").checkpoint == "step-000002"


def test_parts_that_are_merged_and_go_while_they_are_copied_are_there_whole(
    tmp_path: Path, run: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    put = Remote.put

    def merging(folder: Path) -> list[dict[str, Any]]:
        part(run, "merged", b"rows and rows", replaces=["part-1-0", "part-1-1"])
        return read_manifest(folder)

    def slow(remote: Remote, source: Path, name: str) -> None:
        for path in (run / "rollouts/meta").glob("part-*"):
            path.unlink()
        put(remote, source, name)

    part(run, "part-1-1", b" and rows")
    with monkeypatch.context() as patched:
        patched.setattr(mirror, "read_manifest", merging)
        patched.setattr(Remote, "put", slow)
        assert copy(run, url).complaints == ()

    assert rows(fetch_into(url, tmp_path / "before")) == [b"rows", b" and rows"]
    copy(run, url)
    again = fetch_into(url, tmp_path / "after")
    assert rows(again) == [b"rows and rows"]
    assert [path.name for path in (again / "rollouts/meta").iterdir()] == ["merged.parquet"]


def test_a_part_that_is_lost_here_stays_there(tmp_path: Path, run: Path, url: str):
    copy(run, url)
    (run / "rollouts/meta/part-1-0.parquet").unlink()

    assert copy(run, url).complaints == ()
    assert rows(fetch_into(url, tmp_path / "again")) == [b"rows"]


def test_only_parts_that_are_listed_and_not_replaced_are_copied(
    tmp_path: Path, run: Path, url: str
):
    part(run, "merged", b"rows", replaces=["part-1-0"])
    (run / "rollouts/meta/part-1-1.parquet").write_bytes(b"not yet listed")
    for name in ("lost", "lost too"):
        part(run, name, b"").unlink()

    [complaint] = copy(run, url).complaints

    assert "2 of the files" in complaint and "rollouts/meta/lost.parquet" in complaint
    names = [name for name in stored(tmp_path) if "/meta/" in name]
    assert len(names) == 1 and "merged" in names[0]
    (run / "rollouts/manifest.jsonl").write_text("no json\n")
    with pytest.raises(UserError, match=r"rollouts/manifest\.jsonl cannot be read: .* line 1"):
        copy(run, url)


def test_what_a_copy_left_that_was_cut_off_is_removed_by_the_next(
    tmp_path: Path, run: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    copy(run, url)
    write = Remote.write

    def dying(remote: Remote, name: str, content: bytes) -> None:
        if name == INDEX:
            raise RemoteError("it is gone")
        write(remote, name, content)

    save(run, 4)
    with (run / "queue/log-0001.jsonl").open("ab") as log:
        log.write(b"second\n")
    with monkeypatch.context() as patched:
        patched.setattr(Remote, "write", dying)
        with pytest.raises(RemoteError):
            copy(run, url)
    assert [name for name in stored(tmp_path) if "step-000004" in name]
    (tmp_path / "store/one/files/queue/half.tmp").touch()
    (tmp_path / "store/one/of somebody else").touch()
    save(run, 4, content=b"taken again")
    with (run / "queue/log-0001.jsonl").open("ab") as log:
        log.write(b"third\n")

    copy(run, url)

    index = read_index(Remote(f"{url}/one"))
    assert index is not None
    assert set(stored(tmp_path)) == index.names() | {"index.json", "of somebody else"}


def test_all_is_on_the_disk_before_the_index_is_and_that_before_anything_is_removed(
    tmp_path: Path, run: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    root = tmp_path / "store/one"
    synced: list[Path] = []

    def is_durable(path: Path) -> bool:
        """Itself, and then its name."""
        last = {path: place for place, path in enumerate(synced)}
        return path in last and last[path] < last.get(path.parent, -1)

    def note(path: Path) -> None:
        sync(path)
        synced.append(path.with_name(path.name.removesuffix(".tmp")))

    calls: list[str] = []
    write, remove = Remote.write, Remote.remove

    def writing(remote: Remote, name: str, content: bytes) -> None:
        if name == INDEX:
            calls.append("write")
            assert [path for path in [root, *root.rglob("*")] if not is_durable(path)] == []
        write(remote, name, content)

    def removing(remote: Remote, names: list[str]) -> None:
        calls.append("remove")
        assert is_durable(root / INDEX)
        remove(remote, names)

    monkeypatch.setattr(remote_module, "sync", note)
    monkeypatch.setattr(Remote, "write", writing)
    monkeypatch.setattr(Remote, "remove", removing)

    copy(run, url)

    assert calls == ["write", "remove"]


@pytest.mark.parametrize("content", [b"other\n", b"other\nlonger\n", b"fir\n"])
def test_a_file_that_was_cut_back_and_grown_again_is_copied_anew(
    tmp_path: Path, run: Path, url: str, content: bytes
):
    copy(run, url)
    (run / "queue/log-0001.jsonl").write_bytes(content)

    copy(run, url)

    assert (fetch_into(url, tmp_path / "again") / "queue/log-0001.jsonl").read_bytes() == content


def test_by_hand_from_the_command_line(tmp_path: Path, run: Path, url: str, laconic: Laconic):
    made = laconic("ckpt", "mirror", str(run), url)
    back = laconic("ckpt", "fetch", f"{url}/one", str(tmp_path / "again"))
    twice = laconic("ckpt", "fetch", f"{url}/one", str(tmp_path / "again"))
    nothing = laconic("ckpt", "fetch", f"{url}/two", str(tmp_path / "two"))

    assert "step 2 is at" in made.stdout
    assert "stands at step-000002; go on with --resume" in back.stdout
    assert (twice.code, nothing.code) == (2, 2)
    assert "exists; name a folder that does not" in twice.stderr
    assert "holds no copy of a run" in nothing.stderr


async def test_one_process_at_a_time_copies_a_run(
    tmp_path: Path, run: Path, url: str, laconic: Laconic
):
    reports = Reports()
    copying = Mirroring(MirrorConfig(url=url), run, reports)
    with held(run):
        by_hand = laconic("ckpt", "mirror", str(run), url)
        copying.committed()
        await asyncio.sleep(2)

        assert by_hand.code == 2
        assert "is being copied by another process; try again when" in by_hand.stderr
        assert not reports.said and read_index(Remote(f"{url}/one")) is None

    await copying.finish()

    assert {kind for kind, _ in reports.said} == {"mirrored"}, reports.said


@contextmanager
def held(run: Path) -> Iterator[None]:
    """By somebody else, who copies it."""
    script = (
        "import sys, fcntl; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(run / mirror.LOCK)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        yield
        holder.communicate()


def test_the_index_is_the_last_that_is_written(
    run: Path, url: str, monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []
    for method in ("write", "put"):
        real = getattr(Remote, method)
        place = {"write": 0, "put": 1}[method]

        def noted(remote: Remote, *args: Any, real: Any = real, place: int = place) -> Any:
            written.append(args[place])
            return real(remote, *args)

        monkeypatch.setattr(Remote, method, noted)

    copy(run, url)

    assert written[-1] == INDEX
    files = [name for name in written if name.startswith("checkpoints/")]
    assert [name.rpartition("/")[2] for name in files] == ["weights", "manifest.json"]


@pytest.mark.parametrize(
    ("end", "copies"),
    [
        (None, True),
        (Stopped(3), True),
        (OutOfGrace(1.0, 3), False),
        (RuntimeError("it died"), False),
    ],
)
async def test_the_end_of_a_run_is_copied_unless_there_is_no_time(
    run: Path, end: Exception | None, copies: bool, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []

    class Copying(Mirroring):
        async def finish(self) -> None:
            done.append("finish")

        async def close(self) -> None:
            done.append("close")

    training = object.__new__(Run)
    training._mirroring = Copying(MirrorConfig(), run, Reports())

    async def go() -> dict[str, Any]:
        if end is not None:
            raise end
        await training._mirroring.finish()
        return {}

    monkeypatch.setattr(training, "_go", go)
    with nullcontext() if end is None else pytest.raises(type(end)):
        await training.go()

    assert done == (["finish", "close"] if copies else ["close"])
