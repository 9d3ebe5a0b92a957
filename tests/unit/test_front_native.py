"""The two blocks of Native that the front writes, read back by a decoder of their own, as clickhouse-go reads them."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from clickhouse.front.native import empty_block, handshake_block, read_varuint, varuint


class Reader:
    """Reads a block as clickhouse-go does at a revision: BlockInfo from 51903 on, a flag per column from 54454 on."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        assert len(part) == size, "the block ends too early"
        self.at += size
        return part

    def uvarint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value += (byte & 127) << shift
            if byte & 128 == 0:
                return value
        raise AssertionError("a varint of more than ten bytes")

    def string(self) -> str:
        return self.take(self.uvarint()).decode()

    def block(self, revision: int) -> tuple[int, list[tuple[str, str, list[object]]]]:
        if revision > 0:
            assert (self.uvarint(), self.take(1)) == (1, b"\0"), "is_overflows"
            assert (self.uvarint(), struct.unpack("<i", self.take(4))) == (2, (-1,)), "bucket_num"
            assert self.uvarint() == 0
        columns, rows = self.uvarint(), self.uvarint()
        table = []
        for _ in range(columns):
            name, kind = self.string(), self.string()
            if revision >= 54454 and rows:
                assert self.take(1) == b"\0", "custom serialization"
            table.append((name, kind, [self.value(kind) for _ in range(rows)]))
        assert self.at == len(self.data), "bytes left over"
        return rows, table

    def value(self, kind: str) -> object:
        return self.string() if kind == "String" else struct.unpack("<I", self.take(4))[0]


def test_handshake_as_grafanas_plugin_reads_it() -> None:
    rows, table = Reader(handshake_block(54460, "zähler", "25.8.2.1", "Etc/UTC")).block(54460)
    assert rows == 1
    assert table == [
        ("displayName()", "String", ["zähler"]),
        ("version()", "String", ["25.8.2.1"]),
        ("revision()", "UInt32", [0]),
        ("timezone()", "String", ["Etc/UTC"]),
    ]


def test_handshake_for_an_older_client_has_no_flags() -> None:
    data = handshake_block(54405, "a", "b", "c")
    assert Reader(data).block(54405)[1][1] == ("version()", "String", ["b"])
    assert len(handshake_block(54454, "a", "b", "c")) == len(data) + 4


def test_an_empty_block_names_its_columns_in_plain_native() -> None:
    columns = [("a", "Int32"), ("größe`", "Array(Nullable(String))")]
    assert Reader(empty_block(columns)).block(0) == (0, [(name, kind, []) for name, kind in columns])


@given(st.integers(0, 2**63))
def test_varuint_round_trip(value: int) -> None:
    encoded = varuint(value)
    assert Reader(encoded).uvarint() == value
    assert read_varuint(b"x" + encoded + b"\xff", 1) == (value, 1 + len(encoded))
