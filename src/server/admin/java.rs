//! Java's ways of writing numbers, dates and addresses, which are part of the admin words' formats.

use core::net::{IpAddr, SocketAddr};

/// An average as ZooKeeper writes one: up to four decimals, half rounded up, at least one (`0.0`, `0.393`, `179.0971`).
pub(super) fn average(value: f64) -> String {
    double((value * 10_000.0).round() / 10_000.0)
}

/// A double as `Double.toString` writes it: plain from 0.001 up to ten million, else as `1.0E7`.
pub(super) fn double(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => format!("{mantissa}E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}.0E{exponent}"),
        None => text,
    }
}

/// A socket address as `InetSocketAddress` shows one without a name, less its leading slash: IPv6 in brackets and in full.
pub(super) fn address(peer: SocketAddr) -> String {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => format!("{ip}:{}", peer.port()),
        IpAddr::V6(ip) => {
            let groups: Vec<String> = ip.segments().iter().map(|group| format!("{group:x}")).collect();
            format!("[{}]:{}", groups.join(":"), peer.port())
        }
    }
}

/// Year, month (1-12), day, hour, minute, second and weekday (0 is Sunday) of a moment in ms since 1970, in UTC.
struct Calendar {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: usize,
}

impl Calendar {
    fn of(wall_ms: i64) -> Self {
        let seconds = wall_ms.div_euclid(1000);
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years are counted from March, so that the leap day is the last of its year; 719468 days lie between
        // 0000-03-01 and 1970-01-01, and 400 years have 146097.
        let since_march = days + 719_468;
        let (era, of_era) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            // 1970-01-01 was a Thursday.
            weekday: usize::try_from((days + 4).rem_euclid(7)).expect("a remainder of 7"),
        }
    }
}

/// A moment (ms since 1970) as loggers of Java write it by `%d{ISO8601}`: `2026-11-22 02:42:42,123`. Always in UTC.
pub(in crate::server) fn log_date(wall_ms: i64) -> String {
    let at = Calendar::of(wall_ms);
    let (day, time) = ((at.year, at.month, at.day), (at.hour, at.minute, at.second));
    let ms = wall_ms.rem_euclid(1000);
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02},{ms:03}", day.0, day.1, day.2, time.0, time.1, time.2)
}

/// A moment (ms since 1970) as `java.util.Date` shows it: `Sun Nov 22 02:42:42 UTC 2026`. Always in UTC.
pub(super) fn date(wall_ms: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = Calendar::of(wall_ms);
    let month = MONTHS[usize::try_from(at.month - 1).expect("a month from 1 to 12")];
    let weekday = WEEKDAYS[at.weekday];
    format!("{weekday} {month} {:02} {:02}:{:02}:{:02} UTC {}", at.day, at.hour, at.minute, at.second, at.year)
}

/// A moment (ms since 1970) as ZooKeeper's version line names its build: `2025-08-19 19:53 UTC`.
pub(super) fn build_date(wall_ms: i64) -> String {
    let at = Calendar::of(wall_ms);
    format!("{:04}-{:02}-{:02} {:02}:{:02} UTC", at.year, at.month, at.day, at.hour, at.minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (434.0 / 453.6, "0.9568"),
            (0.393, "0.393"),
            (0.03125, "0.0313"),
            (0.00012, "1.0E-4"),
            (36_894.0 / 206.0, "179.0971"),
            (12_345_678.5, "1.23456785E7"),
            (1e7, "1.0E7"),
        ];
        for (value, text) in cases {
            assert_eq!(average(value), text);
        }
    }

    #[test]
    fn addresses() {
        let cases = [
            ("127.0.0.1:59112", "127.0.0.1:59112"),
            ("[::1]:52962", "[0:0:0:0:0:0:0:1]:52962"),
            ("[2001:db8::a:0]:1", "[2001:db8:0:0:0:0:a:0]:1"),
            ("[::ffff:10.1.2.3]:7", "10.1.2.3:7"),
        ];
        for (ours, java) in cases {
            assert_eq!(address(ours.parse().expect("an address")), java);
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(1_795_315_362_999), "Sun Nov 22 02:42:42 UTC 2026");
        assert_eq!(date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(-1), "Wed Dec 31 23:59:59 UTC 1969");
        assert_eq!(date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(4_107_542_400_000), "Mon Mar 01 00:00:00 UTC 2100");
        assert_eq!(build_date(1_755_633_180_000), "2025-08-19 19:53 UTC");
        // No moment of the clock may panic, whatever it was set to.
        for extreme in [i64::MIN, i64::MAX] {
            assert!(date(extreme).contains(" UTC "));
        }
    }
}
