"""What a head may cost before anybody knows who sends it."""

import time

import h11
import pytest

import clickhouse.front.connections  # noqa: F401 - mends h11
from clickhouse.front.limits import MAX_HEAD_BYTES, MAX_HEADERS

BEGIN = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n"


def read(head: bytes) -> object:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    connection.receive_data(BEGIN + head + b"\r\n")
    return connection.next_event()


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t"])
@pytest.mark.parametrize("end", [b"\x00\r\n", b"\x0b\r\n"])
def test_a_header_of_blanks_is_refused_in_linear_time(blank: bytes, end: bytes) -> None:
    begin = time.process_time()
    with pytest.raises(h11.RemoteProtocolError):
        read(b"a:" + blank * (20_000 // len(blank)) + end)
    assert time.process_time() - begin < 0.5


def test_headers_are_counted() -> None:
    assert isinstance(read(b"a:\r\n" * (MAX_HEADERS - 1)), h11.Request)
    with pytest.raises(h11.RemoteProtocolError, match="headers"):
        read(b"a:\r\n" * MAX_HEADERS)
    begin = time.process_time()
    with pytest.raises(h11.RemoteProtocolError):
        read(b"a:\r\n" * 250_000)
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("value", [b"", b"x", b"x y", b"x  \t y", b"\xe9", b"x" * 1000])
@pytest.mark.parametrize("before", [b"", b" ", b" \t "])
@pytest.mark.parametrize("after", [b"", b" ", b"\t "])
def test_headers_are_read_as_before(before: bytes, value: bytes, after: bytes) -> None:
    request = read(b"a:" + before + value + after + b"\r\n")
    assert isinstance(request, h11.Request)
    assert (b"a", value) in request.headers
