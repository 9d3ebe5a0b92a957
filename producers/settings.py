"""Settings of the producers: frozen models, built in the entry point, with units."""

import codecs
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from infra.base.deployment import Fleet
from infra.base.kafka_connection import KafkaConnection

HOUR_S = 3600
CHUNK_MAX_S = 60.0
"""The longest chunk of event time that may be under way at once; a resumed producer looks back this far."""

PROFILE_KW = (
    *(0.3, 0.3, 0.3, 0.3, 0.4, 0.7, 0.8, 0.6, 0.5, 0.5, 0.5, 0.5),
    *(0.6, 0.6, 0.7, 0.8, 1.0, 1.2, 1.1, 0.9, 0.7, 0.5, 0.4, 0.3),
)
APPLIANCE_CHANCE = (
    *(0.02, 0.01, 0.01, 0.01, 0.01, 0.04, 0.12, 0.12, 0.07, 0.05, 0.05, 0.08),
    *(0.10, 0.06, 0.05, 0.06, 0.10, 0.18, 0.20, 0.18, 0.15, 0.12, 0.07, 0.04),
)

Share = Annotated[float, Field(ge=0, le=1)]
Hourly = Annotated[tuple[float, ...], Field(min_length=24, max_length=24)]


class Frozen(BaseModel):
    """A model that cannot change and knows no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Household(Frozen):
    """Ordinary life of a metered household. Hours are those of UTC: there are no time zones in the simulation."""

    profile_kw: Hourly = PROFILE_KW
    """Mean base load in the middle of each hour of the day; between two middles it moves in a straight line."""
    noise_share: Share = 0.10
    """Standard deviation of a reading's noise, as a share of the base load."""
    scale_min: Annotated[float, Field(gt=0)] = 0.6
    scale_max: Annotated[float, Field(gt=0)] = 1.4
    """Each meter's base load is the profile times its own factor between these."""
    weekend_day_factor: Annotated[float, Field(gt=0)] = 1.25
    """Base load on Saturday and Sunday from 9 to 17 o'clock."""
    winter_factor: Annotated[float, Field(gt=0)] = 1.25
    summer_factor: Annotated[float, Field(gt=0)] = 0.8
    """Base load at New Year and half a year later; between them it follows a parabola."""
    absent_share: Share = 0.04
    """Share of days on which nobody is at home: no appliances, and a base load of `absent_factor`."""
    absent_factor: Annotated[float, Field(ge=0)] = 0.4
    appliance_chance: Hourly = APPLIANCE_CHANCE
    """Chance, by hour, of each of two appliances to be switched on within the hour: 1 to 3 kW for 2 to 30 minutes."""


class Rate(Frozen):
    """How often one kind of anomaly begins, per meter and day, and how long it lasts (uniform between the bounds)."""

    per_day: Annotated[float, Field(ge=0)]
    shortest_s: Annotated[float, Field(gt=0, le=HOUR_S)]
    longest_s: Annotated[float, Field(gt=0, le=HOUR_S)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.shortest_s > self.longest_s:
            raise ValueError(f"shortest_s {self.shortest_s:g} is above longest_s {self.longest_s:g}")
        return self


class Anomalies(Frozen):
    """Rates of the injected anomalies. With the defaults 2 % of all windows of 5 minutes hold at least one of them.

    Expected windows per meter and day = per_day · (1 + mean duration / 300 s), of 288: spike 2.0, low consumption 1.35,
    voltage 1.2, failure 0.5, gap 0.8; the failures are 0.0005 of all readings.
    """

    spike: Rate = Rate(per_day=1.3, shortest_s=15, longest_s=300)
    low_consumption: Rate = Rate(per_day=0.3, shortest_s=300, longest_s=1800)
    voltage: Rate = Rate(per_day=0.6, shortest_s=30, longest_s=600)
    failure: Rate = Rate(per_day=0.32, shortest_s=30, longest_s=240)
    gap: Rate = Rate(per_day=0.3, shortest_s=60, longest_s=900)

    @model_validator(mode="after")
    def _at_most_one_an_hour(self) -> Self:
        total = sum(rate.per_day for rate in self.rates())
        if total > 24:
            raise ValueError(f"{total:g} anomalies per meter and day; at most 24, as one begins in an hour at most")
        return self

    def rates(self) -> tuple[Rate, ...]:
        """The rates in the order of the fields."""
        return self.spike, self.low_consumption, self.voltage, self.failure, self.gap

    def scaled(self, factor: float) -> "Anomalies":
        """The same anomalies, `factor` times as often; 0: none."""
        return Anomalies(
            **{
                name: rate.model_copy(update={"per_day": rate.per_day * factor})
                for name, rate in zip(Anomalies.model_fields, self.rates(), strict=True)
            }
        )


class Simulation(Frozen):
    """What is simulated. The readings are a function of these values and of the time, of nothing else."""

    buildings: Annotated[int, Field(ge=1, le=10_000_000)] = 10
    meters_per_building: Annotated[int, Field(ge=1, le=100_000)] = 10
    interval_ms: Annotated[int, Field(ge=1, le=900_000)] = 5000
    """Time between two readings of a meter; all meters read at the same instants, the multiples of it since 1970."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    household: Household = Household()
    anomalies: Anomalies = Anomalies()

    @model_validator(mode="after")
    def _ids_fit(self) -> Self:
        if self.meters >= 2**31:
            raise ValueError(f"{self.meters} meters do not fit the contract's 32-bit meter_id")
        return self

    @property
    def meters(self) -> int:
        """Number of meters; they are 1, 2, …, building by building."""
        return self.buildings * self.meters_per_building


class SinkSettings(Frozen):
    """Where readings go, and how."""

    kafka: KafkaConnection
    topic: str
    schema_registry_url: str
    schema_version: Annotated[int, Field(ge=1)] = 2
    fleet: Fleet = Fleet()
    queue_messages: Annotated[int, Field(ge=1000)] = 100_000
    """Messages that may wait in memory for the broker."""
    answer_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """How long broker and registry may stay silent when the producer starts; later it waits without limit."""
    stop_timeout_s: Annotated[float, Field(ge=0)] = 10.0
    """How long a producer that was told to stop still waits for acknowledgements."""


class Throttle(Frozen):
    """How fast readings are sent."""

    chunk_s: Annotated[float, Field(gt=0, le=CHUNK_MAX_S)] = 30.0
    """Event time that may be under way at once: the partitions are never further apart than this."""
    rate_limit: Annotated[float | None, Field(gt=0)] = None
    """Readings per second at most."""


class Period(Frozen):
    """The time that a simulation covers. Where the topic holds its meters' readings already, it goes on after them."""

    from_ms: int | None = None
    """None: where the topic ends; if it holds nothing, or none of these meters, now."""
    to_ms: int | None = None
    """The first instant that is not sent. None: now."""
    live: bool = False
    """Go on after that at the pace of the clock."""
    live_s: Annotated[float | None, Field(gt=0)] = None
    """How long; None: until stopped."""
    skip_missed: bool = False
    """Without `from_ms`: leave out what lies between the topic's end and now, instead of catching up."""
    resume: bool = True
    """Look where the topic ends. If not, everything is sent, also what is there already."""


ENERGY_UNITS = ("Wh", "kWh", "MWh")


class CsvOptions(Frozen):
    """Form of a CSV file; the defaults are the form of UCI's household data set.

    A column is named as the header has it, or by its number from 1 as `#3`. Lines before the header are passed over.
    """

    separator: Annotated[str, Field(min_length=1, max_length=1)] = ";"
    decimal: Literal[".", ","] = "."
    encoding: str | None = None
    """None: what the file's first bytes say (UTF-8, UTF-16), else UTF-8."""
    header: bool = True
    """Whether a line names the columns."""
    missing: tuple[str, ...] = ("?", "")
    """A reading whose power or voltage is one of these is missing: it is counted, not sent."""
    date_column: str = "Date"
    date_format: str = "%d/%m/%Y"
    """As strptime has it; or `iso` (an offset in the text counts), `unix` (seconds), `unix-ms`. 24:00 ends a day."""
    time_column: str | None = "Time"
    """None: the date column holds the time too."""
    time_format: str = "%H:%M:%S"
    timezone: str = "UTC"
    power_column: str = "Global_active_power"
    power_unit: Literal["W", "kW", "MW", "Wh", "kWh", "MWh"] = "kW"
    """Power, or energy over the interval."""
    interval_s: Annotated[int | None, Field(gt=0, le=86_400)] = None
    """How long a line stands for: its power is the mean over that. None: it is the power at that instant."""
    stamp: Literal["start", "end"] = "start"
    """Which end of the interval a line's time is."""
    voltage_column: str | None = "Voltage"
    voltage_v: float | None = None
    """The voltage of every reading, where the file has no column for it."""
    meter_id: Annotated[int, Field(ge=0, lt=2**31)] = 1_000_001
    """Meter of every reading, unless `meter_column` is given; the default keeps clear of simulated meters."""
    meter_column: str | None = None
    building_id: Annotated[int, Field(ge=0, lt=2**31)] = 1_000_001
    building_column: str | None = None
    on_error: Literal["stop", "skip"] = "stop"
    max_lost_share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """With `on_error` skip: the share of a meter's lines, and of all lines, that may be left out at most."""

    @property
    def interval_ms(self) -> int | None:
        """How long a line stands for."""
        return None if self.interval_s is None else self.interval_s * 1000

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no time zone is named {name!r}; give an IANA name such as Europe/Paris") from error
        return name

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str | None) -> str | None:
        try:
            return name and codecs.lookup(name).name
        except LookupError as error:
            raise ValueError(f"no encoding is named {name!r}; latin-1, cp1252 and utf-16 are some") from error

    @model_validator(mode="after")
    def _one_voltage(self) -> Self:
        if (self.voltage_column is None) == (self.voltage_v is None):
            raise ValueError("give either the column of the voltage or one voltage for all readings")
        return self

    @model_validator(mode="after")
    def _interval_is_said(self) -> Self:
        if self.interval_s is None and self.power_unit in ENERGY_UNITS:
            raise ValueError(f"{self.power_unit} is energy: say over which time, for example --interval 15m")
        if self.interval_s is None and self.stamp == "end":
            raise ValueError("a line that is stamped at the end of an interval needs its length, --interval")
        return self
