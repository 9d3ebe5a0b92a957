"""A day of one household's readings in the form of UCI's "Individual Household Electric Power Consumption"."""

import gzip
import itertools
import math
from pathlib import Path

REAL_WEEK = Path(__file__).parents[3] / "shared" / "data" / "uci_household_power_2006-12-17_to_23.csv.gz"
MINUTES = 1440
HEADER = (
    "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
    "Sub_metering_1;Sub_metering_2;Sub_metering_3"
)


def write_day(path: Path) -> Path:
    """Write a day to `path`: the first of the real week where that lies beside the repository, else one like it."""
    path.write_text("".join(f"{line}\n" for line in (real_day() if REAL_WEEK.exists() else like_it())))
    return path


def real_day() -> list[str]:
    """Header and first day of the real week."""
    with gzip.open(REAL_WEEK, "rt") as week:
        return [line.rstrip("\n") for line in itertools.islice(week, 1 + MINUTES)]


def like_it() -> list[str]:
    """Header and a day: a load that follows the hour, a voltage that droops with it, two minutes missing."""
    lines = [HEADER]
    for minute in range(MINUTES):
        at = f"17/12/2006;{minute // 60:02}:{minute % 60:02}:00"
        if minute % 700 == 699:
            lines.append(f"{at};?;?;?;?;?;?;")
            continue
        power_kw = 0.3 + 1.2 * math.sin(math.pi * minute / MINUTES) ** 4 + 0.05 * (minute * 37 % 11)
        voltage_v = 242 - 1.5 * power_kw - 0.1 * (minute * 17 % 7)
        lines.append(f"{at};{power_kw:.3f};0.100;{voltage_v:.3f};{power_kw * 4.2:.3f};0.000;1.000;0.000")
    return lines
