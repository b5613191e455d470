"""What journald makes of a datagram."""

import struct


def read(data):
    """The fields of a datagram, as journald reads them."""
    fields = {}
    while data:
        end = data.index(b"\n")
        name, equals, value = data[:end].partition(b"=")
        if equals:
            data = data[end + 1 :]
        else:
            (length,) = struct.unpack("<Q", data[end + 1 : end + 9])
            value, data = data[end + 9 : end + 9 + length], data[end + 9 + length + 1 :]
        fields[name.decode()] = value.decode()
    return fields
