"""Reads HDF5 files that may come from a stranger: groups, contiguous arrays and attributes as Keras's files have them.

Only what h5py writes for Keras is understood: superblock 0, object headers of version 1, groups as symbol tables, arrays
stored in one piece in the file itself. Everything else (links to other places, external and virtual storage, filters,
chunks) is refused by name. The whole file is in memory; no part of it is believed before it was compared with the file's
length, no structure is visited twice, and what is handed out is counted: a file yields no more bytes than it has.

Layouts follow the HDF5 File Format Specification, https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t4.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = 0xFFFFFFFFFFFFFFFF
# More structures than any chain of layers has; keeps a hostile file from costing more than some seconds.
_MOST_STRUCTURES = 1_000_000
_DEEPEST_TREE = 32  # of a group's own index, which grows with the logarithm of its members
_MOST_AXES = 32
_LONGEST_AXIS = 1 << 40

_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL_FILES, _LAYOUT, _FILTERS, _ATTRIBUTE = 1, 2, 3, 6, 7, 8, 11, 12
_CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 16, 17, 21
_REFUSED_MESSAGES = {
    _EXTERNAL_FILES: "an array whose numbers lie in other files",
    _FILTERS: "a compressed or otherwise filtered array",
}
_LINKS = {0: "a group of a newer kind", 1: "a soft link", 64: "an external link"}
_SHARED = 2  # flag of a message that lies elsewhere


class File:
    """An HDF5 file's bytes, and how much of them has been used up.

    Args:
        data: the whole file.
        operation: opens the error sentences, such as "load_model".
        source: the file's name for them.

    Raises:
        ValueError: (here and in everything below) not an HDF5 file as Keras writes it, or damaged.
    """

    def __init__(self, data: bytes, operation: str, source: str) -> None:
        self._data = memoryview(data)
        self.operation = operation
        self.source = source
        self._structures = min(1000 + len(data) // 8, _MOST_STRUCTURES)
        self._bytes = len(data)
        self._heaps: dict[int, dict[int, memoryview]] = {}
        if bytes(self._data[:8]) != SIGNATURE:
            self.refuse("no HDF5 file")
        version, _, _, _, _, offsets, lengths = struct.unpack_from("<7B", self.piece(8, 8))
        if version != 0:
            self.refuse(f"an HDF5 file with superblock {version}")
        if (offsets, lengths) != (8, 8):
            self.refuse(f"an HDF5 file with addresses of {offsets} and lengths of {lengths} bytes")
        base, _, end, _ = struct.unpack("<4Q", self.piece(24, 32))
        if base != 0:
            self.refuse("an HDF5 file with a user block")
        if end > len(data):
            self.refuse(f"a file cut short: {len(data)} of {end} bytes")
        header, kind = struct.unpack("<QI", self.piece(64, 12))
        if kind > 1:
            self.refuse("a root group that is a link")
        self.root = Group(self, header, "/")

    def refuse(self, received: str) -> NoReturn:
        """Raises the ValueError."""
        expected = "an HDF5 file as Keras writes it"
        _messages.fail(self.operation, "filepath", expected, _messages.Text(f"{self.source!r}: {received}"))

    def piece(self, start: int, size: int) -> memoryview:
        """Bytes of the file; counts as one structure."""
        self.count(1)
        if start > len(self._data) or size > len(self._data) - start:
            self.refuse(f"a structure that lies beyond the end, {size} bytes at {start}")
        return self._data[start : start + size]

    def count(self, structures: int) -> None:
        """Counts what was looked at, which bounds the time that a file can take."""
        self._structures -= structures
        if self._structures < 0:
            self.refuse("more structures than a file of its size can have")

    def spend(self, size: int) -> None:
        """Counts bytes handed out: all pieces together are no more than the file."""
        self._bytes -= size
        if self._bytes < 0:
            self.refuse("arrays and attributes that share bytes of the file")

    def heap_object(self, address: int, index: int) -> memoryview:
        """An object of a global heap, where values of variable length lie."""
        if address not in self._heaps:
            self._heaps[address] = self._read_heap(address)
        if index not in self._heaps[address]:
            self.refuse(f"an attribute whose value {index} is missing in the heap")
        return self._heaps[address][index]

    def _read_heap(self, address: int) -> dict[int, memoryview]:
        signature, version, size = struct.unpack("<4sB3xQ", self.piece(address, 16))
        if signature != b"GCOL" or version != 1 or size < 16:
            self.refuse("a damaged heap")
        heap = self.piece(address, size)
        objects: dict[int, memoryview] = {}
        at = 16
        while at + 16 <= size:
            index, length = struct.unpack_from("<H6xQ", heap, at)
            if index == 0:  # what is left is free
                break
            self.count(1)
            if length > size - at - 16:
                self.refuse("a damaged heap")
            objects[index] = heap[at + 16 : at + 16 + length]
            at += 16 + _padded(length)
        return objects


class _Object:
    """What groups and arrays have in common: an object header of version 1, read when the object is made."""

    def __init__(self, file: File, address: int, path: str) -> None:
        self.file = file
        self.path = path
        self._messages = list(self._read_header(address))
        self._attributes: dict[str, Any] | None = None
        for kind, _ in self._messages:
            if kind in _REFUSED_MESSAGES:
                self._refuse(_REFUSED_MESSAGES[kind])

    def _refuse(self, received: str) -> NoReturn:
        self.file.refuse(f"{received} at {self.path!r}")

    def _read_header(self, address: int) -> Iterator[tuple[int, memoryview]]:
        version, count, size = struct.unpack("<BxH4xI4x", self.file.piece(address, 16))
        if version != 1:
            self._refuse("an object header of another version than 1")
        blocks = [(address + 16, size)]
        seen: set[int] = set()
        for start, length in blocks:  # grows
            if start in seen:
                self._refuse("an object header that goes round in circles")
            seen.add(start)
            block = self.file.piece(start, length)
            at = 0
            while at + 8 <= length and count > 0:
                kind, length_of_message, flags = struct.unpack_from("<HHB3x", block, at)
                content = block[at + 8 : at + 8 + length_of_message]
                self.file.count(1)
                if len(content) != length_of_message:
                    self._refuse("a damaged object header")
                if flags & _SHARED:
                    self._refuse("an object header whose parts lie elsewhere")
                if kind == _CONTINUATION:
                    blocks.append(self._unpack("<QQ", content))
                else:
                    yield kind, content
                at += 8 + length_of_message
                count -= 1
        if count:
            self._refuse("a damaged object header")

    def _unpack(self, layout: str, content: memoryview, at: int = 0) -> tuple[Any, ...]:
        if struct.calcsize(layout) > len(content) - at:
            self._refuse("a damaged object header")
        return struct.unpack_from(layout, content, at)

    def _message(self, kind: int) -> memoryview | None:
        found = [content for message, content in self._messages if message == kind]
        if len(found) > 1:
            self._refuse("an object header that says a thing twice")
        return found[0] if found else None

    # --- attributes ----------------------------------------------------------------------------------------------

    @property
    def attributes(self) -> dict[str, Any]:
        """Name -> a str, a list of str, or None for a value of another type."""
        if self._attributes is None:
            self._attributes = {}
            for kind, content in self._messages:
                if kind == _ATTRIBUTE_INFO and self._is_dense(content):
                    self._refuse("attributes stored apart from their object")
                if kind == _ATTRIBUTE:
                    name, value = self._read_attribute(content)
                    if name in self._attributes:
                        self._refuse("an attribute that is there twice")
                    self._attributes[name] = value
        return self._attributes

    def _is_dense(self, content: memoryview) -> bool:
        _, flags = self._unpack("<BB", content)
        return bool(self._unpack("<Q", content, 4 if flags & 1 else 2)[0] != _UNDEFINED)

    def _read_attribute(self, content: memoryview) -> tuple[str, Any]:
        version, flags, *sizes = self._unpack("<BBHHH", content)
        if version not in (1, 2, 3) or (version > 1 and flags):
            self._refuse("an attribute of an unknown kind")
        at = 9 if version == 3 else 8
        parts = []
        for size in sizes:
            parts.append(content[at : at + size])
            if len(parts[-1]) != size:
                self._refuse("a damaged attribute")
            at += _padded(size) if version == 1 else size
        name = self._text(bytes(parts[0]).rstrip(b"\0"))
        shape = self._shape(parts[2])
        return name, self._attribute_value(parts[1], shape, content[at:])

    def _attribute_value(self, datatype: memoryview, shape: tuple[int, ...] | None, content: memoryview) -> Any:
        kind, bits, size = self._unpack("<BB2xI", datatype)
        kind &= 15
        count = _product(shape) if shape is not None else 0
        if shape is not None and len(shape) > 1:
            return None
        if kind == 9 and bits & 15 == 1 and size == 16:  # strings of variable length
            if count * 16 > len(content):
                self._refuse("an attribute that is longer than its place")
            places = struct.iter_unpack("<IQI", content[: count * 16])
            values = [self._heap_text(length, address, index) for length, address, index in places]
        elif kind == 3 and size > 0:
            if count * size > len(content):
                self._refuse("an attribute that is longer than its place")
            self.file.spend(count * size)
            pieces = (content[i * size : (i + 1) * size] for i in range(count))
            values = [self._text(bytes(piece).split(b"\0", 1)[0]) for piece in pieces]
        else:
            return [] if count == 0 else None
        return values[0] if shape == () else values

    def _heap_text(self, length: int, address: int, index: int) -> str:
        if length == 0:
            return ""
        self.file.spend(length)
        found = self.file.heap_object(address, index)
        if length > len(found):
            self._refuse("an attribute that is longer than its place")
        return self._text(bytes(found[:length]).rstrip(b"\0"))

    def _text(self, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse("text that is not UTF-8")

    def _shape(self, content: memoryview) -> tuple[int, ...] | None:
        """The shape that a dataspace says; None for one without numbers."""
        version, axes, _, kind = self._unpack("<BBBB", content)
        if version not in (1, 2) or axes > _MOST_AXES:
            self._refuse("a shape of an unknown kind")
        if version == 2 and kind == 2:
            return None
        shape = self._unpack(f"<{axes}Q", content, 8 if version == 1 else 4)
        if any(length > _LONGEST_AXIS for length in shape):
            self._refuse(f"a shape of {shape}")
        return shape


class Group(_Object):
    """A group: members by name. They are opened one by one, so what nobody asks for is never looked at."""

    def __init__(self, file: File, address: int, path: str) -> None:
        super().__init__(file, address, path)
        self._members = self._read_members()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> list[str]:
        """The members' names, in the file's order."""
        return list(self._members)

    def group(self, path: str) -> Group:
        """The group at a path of names below this one."""
        found = self
        for name in path.split("/"):
            member = found.member(name)
            if not isinstance(member, Group):
                self.file.refuse(f"an array instead of a group at {member.path!r}")
            found = member
        return found

    def dataset(self, path: str) -> Dataset:
        """The array at a path of names below this group."""
        parent, _, name = path.rpartition("/")
        member = (self.group(parent) if parent else self).member(name)
        if not isinstance(member, Dataset):
            self.file.refuse(f"a group instead of an array at {member.path!r}")
        return member

    def has_path(self, path: str) -> bool:
        """Whether there is something at a path of names."""
        group: Group | Dataset = self
        for name in path.split("/"):
            if not isinstance(group, Group) or name not in group:
                return False
            group = group.member(name)
        return True

    def member(self, name: str) -> Group | Dataset:
        """The group or array of that name."""
        path = f"{self.path.rstrip('/')}/{name}"
        if name not in self._members:
            self.file.refuse(f"nothing at {path!r}")
        address = self._members[name]
        if isinstance(address, int):
            header = _Object(self.file, address, path)
            kind = Dataset if header._message(_DATASPACE) is not None else Group
            self._members[name] = kind(self.file, address, path)
        return self._members[name]  # type: ignore[return-value]

    def _read_members(self) -> dict[str, int | Group | Dataset]:
        links = [self._link_kind(content) for kind, content in self._messages if kind == _LINK]
        if links:
            self._refuse(_LINKS.get(max(links), "a link of an unknown kind"))
        table = self._message(_SYMBOL_TABLE)
        if table is None:
            self._refuse("no group" if self._message(_LINK_INFO) is None else "a group of a newer kind")
        tree, heap = self._unpack("<QQ", table)
        names = self._names(heap)
        members: dict[str, int | Group | Dataset] = {}
        for entry in self._entries(tree):
            offset, header, kind = struct.unpack_from("<QQI", entry)
            name = self._name(names, offset)
            if kind > 1:
                self._refuse(f"a soft link {name!r}")
            if not name or name in (".", "..") or "/" in name or name in members:
                self._refuse(f"a member called {name!r}")
            members[name] = header
        return members

    def _link_kind(self, content: memoryview) -> int:
        _, flags = self._unpack("<BB", content)
        return int(self._unpack("<B", content, 2)[0]) if flags & 8 else 0

    def _names(self, address: int) -> memoryview:
        signature, _, size, _, start = struct.unpack("<4sB3x3Q", self.file.piece(address, 32))
        if signature != b"HEAP":
            self._refuse("a damaged group")
        return self.file.piece(start, size)

    def _name(self, names: memoryview, offset: int) -> str:
        if offset >= len(names):
            self._refuse("a damaged group")
        # No name is longer than this: the search may not run over a large file again and again.
        value, end, _ = bytes(names[offset : offset + 1024]).partition(b"\0")
        if not end:
            self._refuse("a member with an endless name")
        return self._text(value)

    def _entries(self, address: int) -> Iterator[memoryview]:
        """The entries of all symbol tables that the group's tree leads to."""
        level = [address]
        seen: set[int] = set()
        for _ in range(_DEEPEST_TREE):
            below: list[int] = []
            for node in level:
                if node in seen:
                    self._refuse("a group that goes round in circles")
                seen.add(node)
                if bytes(self.file.piece(node, 4)) == b"SNOD":
                    (count,) = struct.unpack("<4x2xH", self.file.piece(node, 8))
                    for index in range(count):
                        yield self.file.piece(node + 8 + 40 * index, 40)
                else:
                    below += self._children(node)
            if not below:
                return
            level = below
        self._refuse("a group whose index is too deep")

    def _children(self, node: int) -> list[int]:
        signature, kind, _, count = struct.unpack("<4sBBH", self.file.piece(node, 8))
        if signature != b"TREE" or kind != 0:
            self._refuse("a damaged group")
        self.file.count(count)
        # A key before, between and after the children.
        pairs = self.file.piece(node + 24, 8 + 16 * count)
        return [child for (child,) in struct.iter_unpack("<8xQ", pairs[: 16 * count])]


class Dataset(_Object):
    """An array of numbers, stored in one piece. `shape` and `dtype` are known before anything is read."""

    def __init__(self, file: File, address: int, path: str) -> None:
        super().__init__(file, address, path)
        space, datatype, layout = (self._message(kind) for kind in (_DATASPACE, _DATATYPE, _LAYOUT))
        if space is None or datatype is None or layout is None:
            self._refuse("a damaged array")
        shape = self._shape(space)
        if shape is None:
            self._refuse("an array without numbers")
        self.shape = shape
        self.dtype = self._dtype(datatype)
        self.nbytes = _product(shape) * self.dtype.itemsize
        self._numbers = self._place(layout)

    def _dtype(self, content: memoryview) -> np.dtype[Any]:
        kind, order, high, size = self._unpack("<BBBxI", content)
        letter = {0: "i" if order & 8 else "u", 1: "f"}.get(kind & 15)
        sizes = {"i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
        if letter is None or size not in sizes[letter]:
            self._refuse("an array of other things than numbers")
        offset, precision = self._unpack("<HH", content, 8)
        if (offset, precision) != (0, 8 * size) or (letter == "f" and not self._is_ieee(content, size, high)):
            self._refuse("an array of unusual numbers")
        return np.dtype(f"{'>' if order & 1 else '<'}{letter}{size}")

    def _is_ieee(self, content: memoryview, size: int, sign: int) -> bool:
        exponent = {2: 5, 4: 8, 8: 11}[size]
        mantissa = 8 * size - 1 - exponent
        expected = (mantissa, exponent, 0, mantissa, 2 ** (exponent - 1) - 1)
        return sign == 8 * size - 1 and self._unpack("<BBBBI", content, 12) == expected

    def _place(self, content: memoryview) -> memoryview:
        version, kind = self._unpack("<BB", content)
        if version not in (3, 4) or kind not in (0, 1):
            names = {2: "an array in chunks", 3: "a virtual array, made of other files' parts"}
            self._refuse(names.get(kind, "an array stored in an unknown way") if version in (3, 4) else "an old array")
        if kind == 0:
            (size,) = self._unpack("<H", content, 2)
            numbers = content[4 : 4 + size]
        else:
            address, size = self._unpack("<QQ", content, 2)
            if self.nbytes and address == _UNDEFINED:
                self._refuse("an array without its numbers")
            numbers = self.file.piece(address, size) if self.nbytes else content[:0]
        if len(numbers) < self.nbytes:
            self._refuse(f"an array of shape {self.shape} with {len(numbers)} bytes")
        return numbers[: self.nbytes]

    def read(self) -> NDArray[Any]:
        """The numbers: a read-only view of the file's bytes."""
        self.file.spend(self.nbytes)
        return np.frombuffer(self._numbers, self.dtype).reshape(self.shape)


def _padded(size: int) -> int:
    return (size + 7) // 8 * 8


def _product(shape: tuple[int, ...]) -> int:
    """Without overflow, in Python's integers."""
    total = 1
    for length in shape:
        total *= length
    return total
