from hypothesis import given
from hypothesis import strategies as st

from strictarp.lab import channel
from strictarp.lab.channel import Reply, Request


@given(st.binary())
def test_output_of_any_bytes_survives_the_channel(data: bytes) -> None:
    line = channel.encode(Reply("1", out=channel.pack(data)))
    assert line.count(b"\n") == 1
    reply = channel.decode_reply(line)
    assert reply is not None
    assert channel.unpack(reply.out) == data


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_a_request_of_any_text_is_one_line_and_reads_back(id_: str, op: str, params: dict[str, str]) -> None:
    line = channel.encode(Request(id_, op, params))
    assert line.index(b"\n") == len(line) - 1
    assert channel.decode_request(line) == Request(id_, op, params)


@given(st.binary())
def test_lines_that_are_no_messages_are_dropped(data: bytes) -> None:
    assert channel.decode_reply(data) is None or isinstance(channel.decode_reply(data), Reply)
    assert channel.decode_request(data) is None or isinstance(channel.decode_request(data), Request)
