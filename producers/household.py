"""Ordinary life: what a meter would read if nothing were wrong, at any instant, without a memory of other instants.

All arguments broadcast against each other. `hour` is the number of hours since 1970 of `timestamp_ms`; it is an
argument of its own so that a grid of instants within one hour computes what holds for the whole hour once per meter.

Power follows the daily profile, the meter's own scale, the weekday, the season and absences, with noise in proportion;
appliances come on top. Voltage is that of the building's supply, which has an offset, drifts from hour to hour and sags
with the street's profile, less the drop that the meter's own load causes in its line, 0.3 to 0.7 V per kW.
"""

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64
from producers.hashing import draw, field, normal
from producers.settings import Household

HOUR_MS = 3_600_000
NOISE, SCALE, ABSENCE, APPLIANCE, VOLTAGE_NOISE, LINE, OFFSET, DRIFT = range(1, 9)
"""Channels of the random numbers; `producers.anomalies` goes on from 100."""

APPLIANCES_PER_HOUR = 2
NOMINAL_V = 230.0
OFFSET_V = 1.5
DRIFT_V = 2.5
STREET_V_PER_KW = 1.5
NOISE_V = 0.3


def load_w(home: Household, seed: int, meter_id: I64, timestamp_ms: I64, hour: I64) -> F64:
    """Active power in W of ordinary life; never negative."""
    base_kw = _scale(home, seed, meter_id, hour) * _profile_kw(home, timestamp_ms, hour)
    noise = normal(draw(seed, NOISE, meter_id, timestamp_ms))
    watts: F64 = 1000.0 * base_kw * (1.0 + home.noise_share * noise)
    at_home = ~_absent(home, seed, meter_id, hour)
    for begun in (hour - 1, hour):
        for which in range(APPLIANCES_PER_HOUR):
            watts = watts + at_home * _appliance_w(home, seed, meter_id, timestamp_ms, begun, which)
    return watts


def supply_v(home: Household, seed: int, meter_id: I64, building_id: I64, timestamp_ms: I64, hour: I64) -> F64:
    """Voltage in V that the meter would read without any load of its own."""
    offset = OFFSET_V * (2.0 * field(draw(seed, OFFSET, building_id), 0) - 1.0)
    before, after = (field(draw(seed, DRIFT, building_id, knot), 0) for knot in (hour, hour + 1))
    drift = DRIFT_V * (2.0 * (before + (after - before) * _share_of_hour(timestamp_ms, hour)) - 1.0)
    street = STREET_V_PER_KW * _profile_kw(home, timestamp_ms, hour)
    noise = NOISE_V * normal(draw(seed, VOLTAGE_NOISE, meter_id, timestamp_ms))
    supply: F64 = (NOMINAL_V + offset + drift) - street + noise
    return supply


def line_v_per_kw(seed: int, meter_id: I64) -> F64:
    """Voltage in V that each kW of the meter's own load costs it."""
    return 0.3 + 0.4 * field(draw(seed, LINE, meter_id), 0)


def _scale(home: Household, seed: int, meter_id: I64, hour: I64) -> F64:
    """The factor on the profile for this meter and hour."""
    of_meter = home.scale_min + (home.scale_max - home.scale_min) * field(draw(seed, SCALE, meter_id), 0)
    day, hour_of_day = hour // 24, hour % 24
    weekend_day = (day + 3) % 7 >= 5  # day 0, 1970-01-01, was a Thursday
    weekday = np.where(weekend_day & (hour_of_day >= 9) & (hour_of_day < 17), home.weekend_day_factor, 1.0)
    from_midsummer = 2.0 * (day % 365.25) / 365.25 - 1.0
    season = home.summer_factor + (home.winter_factor - home.summer_factor) * from_midsummer * from_midsummer
    absence = np.where(_absent(home, seed, meter_id, hour), home.absent_factor, 1.0)
    scale: F64 = of_meter * (weekday * season) * absence
    return scale


def _absent(home: Household, seed: int, meter_id: I64, hour: I64) -> NDArray[np.bool_]:
    return field(draw(seed, ABSENCE, meter_id, hour // 24), 0) < home.absent_share


def _profile_kw(home: Household, timestamp_ms: I64, hour: I64) -> F64:
    """The profile at an instant: its values hold in the middles of the hours, straight lines join them."""
    profile = np.array(home.profile_kw)
    share, hour_of_day = _share_of_hour(timestamp_ms, hour), hour % 24
    here, before, after = profile[hour_of_day], profile[hour_of_day - 1], profile[(hour_of_day + 1) % 24]
    to_neighbour = np.where(share < 0.5, before - here, after - here)
    kilowatts: F64 = here + to_neighbour * np.abs(share - 0.5)
    return kilowatts


def _share_of_hour(timestamp_ms: I64, hour: I64) -> F64:
    share: F64 = (timestamp_ms - hour * HOUR_MS) / HOUR_MS
    return share


def _appliance_w(home: Household, seed: int, meter_id: I64, timestamp_ms: I64, begun: I64, which: int) -> F64:
    """Power at `timestamp_ms` of one of the appliances that could be switched on in the hour `begun`."""
    bits = draw(seed, APPLIANCE + 1000 * which, meter_id, begun)
    on = field(bits, 0) < np.array(home.appliance_chance)[begun % 24]
    start_ms = begun * HOUR_MS + field(bits, 1) * HOUR_MS
    mostly_short = field(bits, 2) * field(bits, 2)
    end_ms = start_ms + (120_000 + 1_680_000 * mostly_short)
    watts = np.where(on, 1000.0 + 2000.0 * field(bits, 3), 0.0)
    running: F64 = watts * ((timestamp_ms >= start_ms) & (timestamp_ms < end_ms))
    return running
