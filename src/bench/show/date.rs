//! Date: the day and the time in UTC that a moment falls on.

const DAY_SECONDS: u64 = 86_400;

/// `YYYY-MM-DD` in UTC, `unix_seconds` after 1970 began.
#[must_use]
pub fn day(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds / DAY_SECONDS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `YYYY-MM-DD HH:MM:SS UTC`.
#[must_use]
pub fn moment(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let of_day = seconds % DAY_SECONDS;
    format!("{} {:02}:{:02}:{:02} UTC", day(seconds), of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day, `days` after 1970-01-01, in the Gregorian calendar. Years are counted from March, so that the day that
/// comes and goes is the last of its year, and in eras of 400 years, after which the calendar repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    const FROM_YEAR_0_MARCH: u64 = 719_468;
    let days = days + FROM_YEAR_0_MARCH;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March, and again from August, have 153 days.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (1_795_305_599, "2026-11-21"),
            (1_795_305_600, "2026-11-22"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(seconds), expected, "{seconds}");
        }
        assert_eq!(moment(951_868_799_999), "2000-02-29 23:59:59 UTC");
    }

    #[test]
    fn every_day_of_five_hundred_years_follows_the_one_before() {
        let (mut year, mut month, mut today) = (1970, 1, 1);
        for days in 0..500 * 366 {
            assert_eq!(civil(days), (year, month, today));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            today += 1;
            if today > length {
                (today, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
