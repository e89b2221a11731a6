"""Dates of HTTP fields, to and from Unix seconds (RFC 9110 section 5.6.7).

    HTTP-date    = IMF-fixdate / obs-date
    IMF-fixdate  = day-name "," SP day SP month SP year SP time-of-day SP GMT     Sun, 06 Nov 1994 08:49:37 GMT
    rfc850-date  = day-name-l "," SP 2DIGIT "-" month "-" 2DIGIT SP time SP GMT   Sunday, 06-Nov-94 08:49:37 GMT
    asctime-date = day-name SP month SP (2DIGIT / SP DIGIT) SP time SP 4DIGIT     Sun Nov  6 08:49:37 1994

Rules:

1. All three forms are read, in any case, because old servers mix it. Nothing else is: another time zone, a missing
   comma or a second space make a date that is none, and what expires then has expired (RFC 9111 section 5.3).
2. A year of two digits that would be more than 50 years ahead is one of the century before.
3. Names of days are not compared with the date: nobody agrees what a contradiction would mean.
4. What was read and written last is remembered: dates repeat within a second, and Last-Modified for months.

Must not know: what the time is. A caller passes `now` where it matters.
"""

from __future__ import annotations

import re

KEPT_MAX = 256

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NUMBER = {month.lower(): number for number, month in enumerate(MONTHS, 1)}
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
_DAY_L = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH = "(" + "|".join(_NUMBER) + ")"
_TIME = "([0-9]{2}):([0-9]{2}):([0-9]{2})"

# Compiled when a date is read for the first time: a server that only writes them starts sooner.
_IMF = f"{_DAY}, ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_TIME} gmt"
_RFC850 = f"{_DAY_L}, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_TIME} gmt"
_ASCTIME = f"{_DAY} {_MONTH} ([0-9]{{2}}| [0-9]) {_TIME} ([0-9]{{4}})"

_read: dict[str, int | None] = {}
_written: dict[int, str] = {}


def read_date(text: str, now: float = 0.0) -> int | None:
    """Unix seconds of an HTTP date, None if it is none.

    `now` places a year of two digits; without it, 69 to 99 are of the last century, as POSIX has it (strptime).
    """
    try:
        return _read[text]
    except KeyError:
        pass
    low = text.lower()
    if match := re.fullmatch(_IMF, low):
        day, month, year, hour, minute, second = match.groups()
    elif match := re.fullmatch(_ASCTIME, low):
        month, day, hour, minute, second, year = match.groups()
    elif match := re.fullmatch(_RFC850, low):
        day, month, year, hour, minute, second = match.groups()
        century = 2000 if int(year) < 69 else 1900
        if now:
            this_year = _civil(int(now) // 86400)[0]
            century = this_year - this_year % 100
            if century + int(year) > this_year + 50:
                century -= 100
        return _seconds(century + int(year), month, day, hour, minute, second)
    else:
        return None
    found = _seconds(int(year), month, day, hour, minute, second)
    if len(_read) >= KEPT_MAX:
        _read.clear()
    _read[text] = found
    return found


def write_date(unix_s: int) -> str:
    """An IMF-fixdate. Seconds before 1970 and after 9999 become the nearest of what it can say."""
    found = _written.get(unix_s)
    if found is None:
        days, second = divmod(min(max(unix_s, 0), 253402300799), 86400)
        year, month, day = _civil(days)
        hour, minute = second // 3600, second // 60 % 60
        name = _DAYS[(days + 3) % 7]
        found = f"{name}, {day:02} {MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second % 60:02} GMT"
        if len(_written) >= KEPT_MAX:
            _written.clear()
        _written[unix_s] = found
    return found


def _seconds(year: int, month: str, day: str, hour: str, minute: str, second: str) -> int | None:
    number, of_month = _NUMBER[month], int(day)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= of_month <= _MONTH_DAYS[number - 1] or (number == 2 and of_month == 29 and not leap):
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:  # 60 is a leap second
        return None
    return _days(year, number, of_month) * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second)


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar. Years begin in March, so that a leap day ends one."""
    year -= month <= 2
    in_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + in_year - 719468


def _civil(days: int) -> tuple[int, int, int]:
    """(year, month, day) of days from 1970-01-01: the other way round."""
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1
