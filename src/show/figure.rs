//! Figure: how a number is written, in tables and on axes.

/// The longest time that is told apart, us; latencies are counted up to it.
pub const LONGEST_US: u64 = 60_000_000;

/// From here on a latency in microseconds is also told in a larger unit.
const TOLD_TWICE_US: u64 = 100_000;

/// A whole number with commas: `1,234,567`.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate a second, in as many digits as say something: `1,234,567`, `12.3`, `0.25`; `-` for what is no number.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second < 0.0 {
        "-".to_owned()
    } else if per_second >= 99.95 || per_second == 0.0 {
        thousands(per_second.round() as u64)
    } else if per_second >= 9.995 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.2}")
    }
}

/// A latency of `us` microseconds, exact, and in a larger unit beside it where it is long: `312,831 (313 ms)`. What lies at the
/// end of the range may have been longer: `>=60,000,000 (60 s)`.
#[must_use]
pub fn latency(us: u64) -> String {
    if us >= LONGEST_US {
        format!(">={} ({})", thousands(LONGEST_US), short(LONGEST_US as f64))
    } else if us >= TOLD_TWICE_US {
        format!("{} ({})", thousands(us), short(us as f64))
    } else {
        thousands(us)
    }
}

/// A time of `us` microseconds in three digits and its own unit: `250 us`, `1.5 ms`, `20 s`.
#[must_use]
pub fn short(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 999.5 => (us, "us"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// A part of a whole: `12.3 %`; `-` for what is no number.
#[must_use]
pub fn share(part: f64) -> String {
    if part.is_finite() { format!("{:.1} %", part * 100.0) } else { "-".to_owned() }
}

/// Seconds, without digits that say nothing: `10 s`, `4.25 s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    let text = format!("{seconds:.2}");
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A rate for the tick of an axis: `500`, `20k`, `1.5M`.
#[must_use]
pub fn tick(per_second: f64) -> String {
    let (value, unit) = match per_second {
        n if n < 1e3 => (n, ""),
        n if n < 1e6 => (n / 1e3, "k"),
        n => (n / 1e6, "M"),
    };
    let text = format!("{value:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_before_every_third_digit() {
        let all = [0, 7, 999, 1000, 123_456, 1_234_567, u64::MAX].map(thousands);
        assert_eq!(all, ["0", "7", "999", "1,000", "123,456", "1,234,567", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn rates_keep_the_digits_that_say_something() {
        let all = [0.0, 0.25, 9.999, 99.96, 12_345.6, f64::NAN, f64::INFINITY].map(rate);
        assert_eq!(all, ["0", "0.25", "10.0", "100", "12,346", "-", "-"]);
    }

    #[test]
    fn latencies_are_exact_and_long_ones_are_told_twice() {
        let all = [1, 99_999, 312_831, 1_234_567, 60_000_000, 60_030_975].map(latency);
        assert_eq!(all, ["1", "99,999", "312,831 (313 ms)", "1,234,567 (1.23 s)", ">=60,000,000 (60 s)", ">=60,000,000 (60 s)"]);
    }

    #[test]
    fn ticks_have_their_unit() {
        let all = [1.0, 999.0, 1000.0, 1500.0, 20_000.0, 999_600.0, 60e6].map(short);
        assert_eq!(all, ["1 us", "999 us", "1 ms", "1.5 ms", "20 ms", "1 s", "60 s"]);
        assert_eq!([0.0, 500.0, 20_000.0, 1.5e6].map(tick), ["0", "500", "20k", "1.5M"]);
        assert_eq!([10.0, 4.25, 0.5].map(seconds), ["10 s", "4.25 s", "0.5 s"]);
        assert_eq!([0.123, f64::NAN].map(share), ["12.3 %", "-"]);
    }
}
