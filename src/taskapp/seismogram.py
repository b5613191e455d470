"""Synthetic seismic gathers: reflections under a line of stations, and their stack. Pure computation."""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

PEAK_FREQUENCY = 25.0  # Hz, of the Ricker wavelet
VELOCITY = 2000.0  # m/s
STATION_SPACING = 50.0  # m


def ricker(time: float, frequency: float = PEAK_FREQUENCY) -> float:
    """Amplitude of a Ricker wavelet at `time` seconds from its peak, which is 1."""
    square = (math.pi * frequency * time) ** 2
    return (1.0 - 2.0 * square) * math.exp(-square)


def travel_time(zero_offset_time: float, station: int) -> float:
    """Seconds until the reflection reaches a station: hyperbolic move-out."""
    return math.hypot(zero_offset_time, station * STATION_SPACING / VELOCITY)


@dataclass(frozen=True)
class Survey:
    """What is recorded: `events` reflections at `stations` stations, `samples` samples `interval_ms` apart.

    `noise` is the standard deviation of Gaussian noise (the reflection's amplitude is 1), drawn from `seed`.
    """

    events: int
    stations: int
    samples: int
    interval_ms: float
    noise: float
    seed: int

    @property
    def interval(self) -> float:
        """Seconds between two samples."""
        return self.interval_ms / 1000

    def reflection_time(self, event: int) -> float:
        """The event's zero-offset time in seconds: within the first half of the record."""
        return self.samples * self.interval * (0.1 + 0.4 * ((event * 0.618034) % 1.0))

    def traces(self, event: int) -> "Iterator[array[float]]":
        """One trace per station of an event."""
        random = Random(f"{self.seed}/{event}")  # noqa: S311  # reproducible, not secret
        for station in range(self.stations):
            arrival = travel_time(self.reflection_time(event), station)
            yield array(
                "f",
                (
                    ricker(index * self.interval - arrival) + random.gauss(0.0, self.noise)
                    for index in range(self.samples)
                ),
            )


class Stack:
    """The mean of an event's traces after normal move-out correction: noise cancels, the reflection stays."""

    def __init__(self, survey: Survey, event: int) -> None:
        self._time = survey.reflection_time(event)
        self._interval = survey.interval
        self._sum = array("d", bytes(8 * survey.samples))
        self._count = 0

    def add(self, trace: "array[float]", station: int) -> None:
        """Add a station's trace, shifted by its extra travel time."""
        shift = round((travel_time(self._time, station) - self._time) / self._interval)
        for index in range(len(self._sum) - shift):
            self._sum[index] += trace[index + shift]
        self._count += 1

    def peak(self) -> tuple[float, float]:
        """Time in seconds and amplitude of the stack's maximum."""
        index = max(range(len(self._sum)), key=self._sum.__getitem__)
        return index * self._interval, self._sum[index] / self._count


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The head of a NumPy `.npy` file (version 1.0) of little-endian 32-bit floats."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
