"""The reader of HDF5 files: what h5py writes for Keras is read, everything else is refused in a sentence and in bounds."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from fastcnn.saving import hdf5_reader


def written(fill: Callable[[h5py.File], object], **options: object) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def opened(data: bytes) -> hdf5_reader.Group:
    return hdf5_reader.File(data, "load_model", "m.h5").root


def walk(member: hdf5_reader.Group | hdf5_reader.Dataset, depth: int = 0) -> None:
    """Looks at everything, as no loader does."""
    _ = member.attributes
    if isinstance(member, hdf5_reader.Dataset):
        member.read()
    elif depth < 8:
        for name in member.names():
            walk(member.member(name), depth + 1)


def many_groups(file: h5py.File) -> None:
    for index in range(100):
        group = file.create_group(f"layers/dense_{index}/vars")
        group.attrs["name"] = f"dense_{index}"
        group["0"] = np.full((2, 3), index, np.float32)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "i4", "i8", "u1", "u8", ">i2"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_arrays_of_numbers(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    found = opened(written(lambda file: file.create_dataset("a", data=array))).dataset("a")
    assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
    np.testing.assert_array_equal(found.read(), array)


def test_groups_of_many_members() -> None:
    root = opened(written(many_groups))
    assert len(root.group("layers").names()) == 100
    for index in range(100):
        vars_ = root.group(f"layers/dense_{index}/vars")
        assert vars_.attributes == {"name": f"dense_{index}"}
        np.testing.assert_array_equal(vars_.dataset("0").read(), np.full((2, 3), index))
    assert root.has_path("layers/dense_3/vars/0")
    assert not root.has_path("layers/dense_3/vars/0/x")
    assert not root.has_path("layers/dense_200")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("grüße", "grüße"),
        (b"bytes", "bytes"),
        (np.bytes_(b"fixed"), "fixed"),
        ("x" * 300_000, "x" * 300_000),
        (np.array([b"kernel:0", b"bias"]), ["kernel:0", "bias"]),
        (np.array(["kernel", "bias"], dtype=object), ["kernel", "bias"]),
        (np.array([]), []),
        (h5py.Empty("f"), []),
        (3, None),
        (np.array([[b"a"]]), None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_attributes(value: object, expected: object) -> None:
    def fill(file: h5py.File) -> None:
        file.attrs["before"] = "x"
        file.attrs["value"] = value

    assert opened(written(fill)).attributes == {"before": "x", "value": expected}


def external_array(file: h5py.File) -> None:
    file.create_dataset("a", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def virtual_array(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "a", (4,))
    file.create_virtual_dataset("a", layout)


def empty_shape_bomb(file: h5py.File) -> None:
    file.create_dataset("a", (1 << 19, 1 << 19), "f4")  # never written: takes no place


def compressed_bomb(file: h5py.File) -> None:
    file.create_dataset("a", (1 << 15, 1 << 15), "f4", chunks=(1 << 10, 1 << 10), compression="gzip", fillvalue=1)


HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "soft link": (lambda file: file.update({"a": h5py.SoftLink("/b")}), "a soft link 'a' at '/'"),
    "external link": (lambda file: file.update({"a": h5py.ExternalLink("/etc/hostname", "/b")}), "an external link"),
    "external array": (external_array, "an array whose numbers lie in other files at '/a'"),
    "virtual array": (virtual_array, "a virtual array"),
    "shape bomb": (empty_shape_bomb, "an array without its numbers at '/a'"),
    "compressed": (compressed_bomb, "a compressed or otherwise filtered array at '/a'"),
    "chunks": (lambda file: file.create_dataset("a", (4,), "f4", chunks=(2,)), "an array in chunks at '/a'"),
    "text": (lambda file: file.create_dataset("a", data="text"), "an array of other things than numbers at '/a'"),
    "records": (lambda file: file.create_dataset("a", data=np.zeros(2, [("x", "f4")])), "other things than numbers"),
    "null": (lambda file: file.create_dataset("a", data=h5py.Empty("f4")), "an array without numbers"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_everything_else_is_refused(case: str) -> None:
    fill, sentence = HOSTILE[case]
    data = written(fill)
    tracemalloc.start()
    with pytest.raises(ValueError, match="load_model: filepath: expected an HDF5 file as Keras writes it") as caught:
        walk(opened(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sentence in str(caught.value)
    assert peak < 1_000_000


def test_newer_kinds_of_files_are_refused_by_name() -> None:
    data = written(many_groups, libver="latest")
    with pytest.raises(ValueError, match="an HDF5 file with superblock"):
        opened(data)
    with pytest.raises(ValueError, match="user block|no HDF5 file"):
        opened(written(many_groups, userblock_size=512))
    with pytest.raises(ValueError, match="no HDF5 file"):
        opened(b"PK\3\4" + bytes(200))


@pytest.mark.parametrize("path", ["/a", "../a", "a/..", "nothing", "a/x", ".", ""])
def test_paths_are_names_of_members_and_nothing_else(path: str) -> None:
    root = opened(written(lambda file: file.create_group("a")))
    with pytest.raises(ValueError, match="nothing at"):
        root.group(path)


def test_arrays_that_share_their_bytes_are_no_way_to_much_memory() -> None:
    def fill(file: h5py.File) -> None:
        array = file.create_dataset("a0", data=np.ones(10_000, np.float32))
        for index in range(1, 50):
            file[f"a{index}"] = array  # another name of the same

    root = opened(written(fill))
    with pytest.raises(ValueError, match="share bytes of the file"):
        walk(root)


def test_a_group_in_itself_is_no_endless_way() -> None:
    def fill(file: h5py.File) -> None:
        file["a/b"] = np.zeros(2, np.float32)
        file["a/a"] = file["a"]

    group = opened(written(fill))
    for _ in range(20):
        group = group.group("a")
    assert "b" in group


def test_indexes_that_go_round_in_circles_or_grow_without_end_are_refused() -> None:
    data = written(many_groups)
    start = data.index(b"TREE")
    circle = bytearray(data)
    while start >= 0:
        circle[start + 32 : start + 40] = start.to_bytes(8, "little")  # the first child: the node itself
        start = data.find(b"TREE", start + 4)
    with pytest.raises(ValueError, match="goes round in circles"):
        walk(opened(bytes(circle)))
    # Nodes that overlap, each with as many children as fit, which lead to further ones.
    nodes = bytearray(data)
    root = data.index(b"TREE")
    wide = len(nodes)
    nodes += (b"TREE\0\1\xff\xff" + bytes(16)) + b"".join(
        bytes(8) + struct.pack("<Q", wide + 16 * (index % 3000)) for index in range(66_000)
    )
    nodes[root + 32 : root + 40] = wide.to_bytes(8, "little")
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected an HDF5 file"):
        walk(opened(bytes(nodes)))
    assert tracemalloc.get_traced_memory()[1] < 20 * len(nodes)
    tracemalloc.stop()


def test_truncation_at_every_byte_is_a_clear_error() -> None:
    def fill(file: h5py.File) -> None:
        file.create_group("layers/dense/vars").attrs["name"] = "dense"
        file["layers/dense/vars/0"] = np.ones((2, 3), np.float32)

    data = written(fill)
    walk(opened(data))
    for length in range(len(data)):
        with pytest.raises(ValueError, match="load_model: filepath: expected an HDF5 file as Keras writes it"):
            walk(opened(data[:length]))


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_harmless(seed: int) -> None:
    """Whatever the bytes say: an array of the file's size at most, or a ValueError."""
    random = np.random.default_rng(seed)

    def fill(file: h5py.File) -> None:
        file.attrs["model_config"] = "{}" * 50
        for index in range(10):
            file.create_group(f"layers/dense_{index}/vars").attrs["name"] = "dense"
            file[f"layers/dense_{index}/vars/0"] = np.ones((2, 3), np.float32)

    data = written(fill)
    words = (0, 1, 2**16 - 1, 2**32, 2**63, 2**64 - 1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(data) - 8))
            if random.random() < 0.5:
                damaged[at] = int(random.integers(256))
            else:
                word = words[random.integers(len(words))] if random.random() < 0.5 else int(random.integers(len(data)))
                damaged[at : at + 8] = word.to_bytes(8, "little")
        try:
            walk(opened(bytes(damaged)))
        except ValueError:
            refused += 1
    assert 20 < refused < 300
