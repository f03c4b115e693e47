//! Numbers for people: sizes, counts, operations and times with three significant digits or so.

use std::time::Duration;

/// What a number counts; charts and tables format by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unit {
    /// A bare number: `0.412`.
    #[default]
    Plain,
    /// Bytes, with binary prefixes: `1.2 MiB`.
    Bytes,
    /// Things, with decimal prefixes: `6.24 M`.
    Count,
    /// Floating-point operations: `5.80 GFLOP`.
    Flops,
    /// Seconds, as a time: `12.3 ms`.
    Seconds,
}

impl Unit {
    /// `value` with its unit; `–` where it is not a finite number.
    pub fn format(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        match self {
            Unit::Plain => plain(value),
            Unit::Flops => flops(value),
            Unit::Bytes | Unit::Count | Unit::Seconds if value < 0.0 => format!("−{}", self.format(-value)),
            // `as` saturates, so even 1e300 is only a very large number.
            Unit::Bytes => bytes(value.round() as u64),
            Unit::Count => count(value.round() as u64),
            Unit::Seconds => duration(Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)),
        }
    }

    /// The factor between one prefix and the next.
    pub(super) fn base(self) -> f64 {
        if self == Unit::Bytes { 1024.0 } else { 1000.0 }
    }

    /// What the smallest prefix stands for, and the prefixes (with the unit, for a time), the smallest
    /// first.
    pub(super) fn prefixes(self) -> (f64, &'static [&'static str]) {
        match self {
            Unit::Seconds => (1e-9, &["ns", "µs", "ms", "s"]),
            _ => (1.0, &PREFIXES),
        }
    }
}

/// A size in bytes with a binary prefix: `512 B`, `1.2 MiB`, `391 KiB`.
pub fn bytes(value: u64) -> String {
    match prefixed(value as f64, 1024.0) {
        (_, 0) => format!("{value} B"),
        (scaled, step) => {
            format!("{scaled:.*} {}iB", decimals(scaled, 1), ["", "K", "M", "G", "T", "P", "E"][step])
        }
    }
}

/// A count with a decimal prefix: `999`, `6.24 M`, `391 k`.
pub fn count(value: u64) -> String {
    match prefixed(value as f64, 1000.0) {
        (_, 0) => format!("{value}"),
        (scaled, step) => format!("{scaled:.*} {}", decimals(scaled, 2), PREFIXES[step]),
    }
}

/// Floating-point operations with a decimal prefix: `512 FLOP`, `5.80 GFLOP`; `–` where `value` is
/// not a finite number.
pub fn flops(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let sign = if value < 0.0 { "−" } else { "" };
    match prefixed(value.abs(), 1000.0) {
        (scaled, 0) => format!("{sign}{scaled:.0} FLOP"),
        (scaled, step) => format!("{sign}{scaled:.*} {}FLOP", decimals(scaled, 2), PREFIXES[step]),
    }
}

/// A time: `850 ns`, `12.3 ms`, `1.25 s`, `2 min 05 s`, `1 h 02 min`.
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs_f64();
    if seconds < 59.995 {
        let nanoseconds = value.as_nanos() as f64;
        let (scaled, step) = if seconds >= 0.999_5 { (seconds, 3) } else { prefixed(nanoseconds, 1000.0) };
        let unit = ["ns", "µs", "ms", "s"][step.min(3)];
        let decimals = if step == 0 { 0 } else { decimals(scaled, 2) };
        return format!("{scaled:.decimals$} {unit}");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    let minutes = whole.saturating_add(30) / 60;
    match minutes / 60 {
        hours if hours < 48 => format!("{hours} h {:02} min", minutes % 60),
        hours => format!("{} d {:02} h", hours / 24, hours % 24),
    }
}

/// A bare number with up to four significant digits: `0.412`, `12.5`, `1234`, `3.1e-5`; `–` where it
/// is not finite.
pub fn plain(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let text = match size {
        0.0 => "0".to_owned(),
        s if !(0.001..1e6).contains(&s) => scientific(value),
        s if s < 0.01 => format!("{value:.4}"),
        s if s < 10.0 => format!("{value:.3}"),
        s if s < 100.0 => format!("{value:.2}"),
        s if s < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    text.replacen('-', "−", usize::from(value < 0.0))
}

/// One digit behind the point, none where it is zero: `3.1e-5`, `1e6`.
pub(super) fn scientific(value: f64) -> String {
    format!("{value:.1e}").replacen(".0e", "e", 1)
}

const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// The decimals of a number below 1024 that leave three digits in all, and at most `most`.
fn decimals(value: f64, most: usize) -> usize {
    match value {
        v if v < 9.995 => most,
        v if v < 99.95 => most.min(1),
        _ => 0,
    }
}

/// `value` divided by the largest power of `base` that leaves at least 1, and that power (at most 6).
fn prefixed(value: f64, base: f64) -> (f64, usize) {
    // What would round up to `base` belongs to the next prefix: 999 999 is 1.00 M, not 1000 k.
    let mut step = 0;
    let mut scaled = value;
    while scaled >= base - 0.5 && step < 6 {
        scaled /= base;
        step += 1;
    }
    (scaled, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_binary_prefixes() {
        let expected = [
            (0, "0 B"),
            (512, "512 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_258_291, "1.2 MiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (400_000, "391 KiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        expected.iter().for_each(|(value, text)| assert_eq!(bytes(*value), *text));
    }

    #[test]
    fn counts_have_decimal_prefixes() {
        let expected = [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 k"),
            (1500, "1.50 k"),
            (39_060, "39.1 k"),
            (390_600, "391 k"),
            (9_996, "10.0 k"),
            (999_999, "1.00 M"),
            (6_240_000, "6.24 M"),
            (u64::MAX, "18.4 E"),
        ];
        expected.iter().for_each(|(value, text)| assert_eq!(count(*value), *text));
    }

    #[test]
    fn flops_name_themselves() {
        assert_eq!(flops(5.8e9), "5.80 GFLOP");
        assert_eq!(flops(512.0), "512 FLOP");
        assert_eq!(flops(0.0), "0 FLOP");
        assert_eq!(flops(999.999e9), "1.00 TFLOP");
        assert_eq!(flops(-2e6), "−2.00 MFLOP");
        assert_eq!(flops(f64::NAN), "–");
    }

    #[test]
    fn durations_from_nanoseconds_to_days() {
        let expected = [
            (Duration::ZERO, "0 ns"),
            (Duration::from_nanos(850), "850 ns"),
            (Duration::from_nanos(1500), "1.50 µs"),
            (Duration::from_micros(12_300), "12.3 ms"),
            (Duration::from_micros(999_400), "999 ms"),
            (Duration::from_micros(999_900), "1.00 s"),
            (Duration::from_millis(1250), "1.25 s"),
            (Duration::from_millis(59_999), "1 min 00 s"),
            (Duration::from_secs(125), "2 min 05 s"),
            (Duration::from_millis(3_599_700), "1 h 00 min"),
            (Duration::from_secs(3720), "1 h 02 min"),
            (Duration::from_secs(3 * 86_400), "3 d 00 h"),
        ];
        expected.iter().for_each(|(value, text)| assert_eq!(duration(*value), *text));
        assert!(duration(Duration::MAX).ends_with(" h"));
    }

    #[test]
    fn plain_numbers_keep_their_significant_digits() {
        let expected = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.412_34, "0.412"),
            (0.001_26, "0.0013"),
            (0.000_031, "3.1e-5"),
            (12.346, "12.35"),
            (1234.4, "1234"),
            (2e6, "2e6"),
            (-1.5, "−1.500"),
            (f64::INFINITY, "–"),
        ];
        expected.iter().for_each(|(value, text)| assert_eq!(plain(*value), *text));
    }

    #[test]
    fn units_format() {
        assert_eq!(Unit::Bytes.format(1_258_291.2), "1.2 MiB");
        assert_eq!(Unit::Bytes.format(-2048.0), "−2.0 KiB");
        assert_eq!(Unit::Count.format(1e300), "18.4 E");
        assert_eq!(Unit::Flops.format(f64::INFINITY), "–");
        assert_eq!(Unit::Plain.format(0.5), "0.500");
        assert_eq!(Unit::Seconds.format(0.0123), "12.3 ms");
        assert_eq!(Unit::Seconds.format(-2.0), "−2.00 s");
        assert!(Unit::Seconds.format(1e300).ends_with(" h"));
    }
}
