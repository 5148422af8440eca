"""TensorBoard event files in RUN/tensorboard, written without its package: `tensorboard --logdir runs` shows them.

A file is a row of TFRecords (length, masked crc32c of it, data, masked crc32c of that), each an `Event` of tensorflow's event.proto. A
file of its own for every start; an event that says START has TensorBoard forget what an earlier one measured from there on.
"""

import struct
import time
from functools import cache
from pathlib import Path

from dream3d.trackers import About

PICTURE = 4 << 20  # bytes of a preview that is copied into the file


class Tensorboard:
    """Events are in the file at once: nothing is lost by a kill but the last."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*tfevents*")))  # starts within one second stay in order
        self.file = open(folder / f"events.out.tfevents.{int(time.time()):010d}.{number:04d}", "xb")  # noqa: SIM115
        self.next: float | None = None
        self._write(0, (3, b"brain.Event:2"))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if self.next is None or step < self.next:
            self._write(step, (7, fields((1, 1))))  # SessionLog START
        self.next = step + 1
        self._write(step, (5, fields(*((1, fields((1, name.encode()), (2, float(v)))) for name, v in values.items()))))

    def image(self, step: int, name: str, path: Path) -> None:
        data = path.read_bytes() if path.stat().st_size <= PICTURE else b""
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack(">II", data[16:24])
            picture = fields((1, height), (2, width), (3, 3), (4, data))
            self._write(step, (5, fields((1, fields((1, name.encode()), (4, picture))))))

    def mesh(self, path: Path) -> None:
        pass  # TensorBoard shows no files

    def close(self, status: str) -> None:
        self.file.close()

    def _write(self, step: int, what: tuple[int, bytes]) -> None:
        data = fields((1, time.time()), (2, step), what)
        length = struct.pack("<Q", len(data))
        self.file.write(length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data)))
        self.file.flush()


def begin(about: About) -> Tensorboard:
    return Tensorboard(about.path / "tensorboard")


def fields(*pairs: tuple[int, int | float | bytes]) -> bytes:
    """A protobuf message: whole numbers as varints, bytes with their length; of numbers the wall time (field 1) is a double, a value
    (field 2) a float."""
    out = bytearray()
    for number, value in pairs:
        if isinstance(value, float):
            out += bytes([number << 3 | (1 if number == 1 else 5)]) + _number(value, "<d" if number == 1 else "<f")
        elif isinstance(value, int):
            out += bytes([number << 3]) + varint(value)
        else:
            out += bytes([number << 3 | 2]) + varint(len(value)) + value
    return bytes(out)


def _number(value: float, kind: str) -> bytes:
    try:
        return struct.pack(kind, value)
    except OverflowError:
        return struct.pack(kind, float("inf") if value > 0 else float("-inf"))


def varint(value: int) -> bytes:
    out, value = bytearray(), value & 0xFFFFFFFFFFFFFFFF
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@cache
def _table() -> list[int]:
    """Of crc32c: the polynomial 0x1EDC6F41, reflected."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def crc32c(data: bytes) -> int:
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """TFRecord's checksum of its data."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
