//! An axis: its range from the data, its ticks, their labels, and where a value falls.

use super::number::{Unit, scientific};

/// Values beyond this are drawn as gaps: the range between two of them must stay finite.
const LARGEST: f64 = 1e150;

/// A linear or logarithmic axis over a range of values, low < high.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// Whether `value` can be shown: finite, not absurd, and positive where `log`.
    pub(super) fn shows(value: f64, log: bool) -> bool {
        value.abs() <= LARGEST && (!log || value >= 1e-150)
    }

    /// An axis over `values` that can be shown, with room around them; `range` overrides it where it
    /// is one (finite, low below high). Zero is taken in where the data comes near it.
    pub(super) fn over(values: impl IntoIterator<Item = f64>, range: Option<(f64, f64)>, log: bool) -> Self {
        if let Some((low, high)) = range
            && Self::shows(low, log)
            && Self::shows(high, log)
            && low < high
        {
            return Axis { low, high, log };
        }
        let (low, high) = values
            .into_iter()
            .filter(|value| Self::shows(*value, log))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Axis { low: if log { 0.1 } else { 0.0 }, high: 1.0, log };
        }
        if log {
            let margin = (high / low).powf(0.05).max(1.2);
            return Axis { low: low / margin, high: high * margin, log };
        }
        let room = if high > low { (high - low) * 0.06 } else { (high.abs() * 0.1).max(1e-12) };
        let near_zero = low >= 0.0 && (low < 0.5 * high || high == 0.0);
        let bottom = if near_zero { 0.0 } else { low - room };
        // Where all is zero, one above it; a range must not be empty, however large its numbers.
        let top = if high == 0.0 && low == 0.0 { 1.0 } else { high + room };
        Axis { low: bottom, high: top, log }
    }

    /// An axis from exactly the smallest to the largest of `values` (x: no room wanted), widened
    /// where they are all one. A `range` that is one overrides it, as in [`Axis::over`].
    pub(super) fn tight(values: impl IntoIterator<Item = f64>, range: Option<(f64, f64)>) -> Self {
        if let Some((low, high)) = range
            && Self::shows(low, false)
            && Self::shows(high, false)
            && low < high
        {
            return Axis { low, high, log: false };
        }
        let (low, high) = values
            .into_iter()
            .filter(|value| Self::shows(*value, false))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Axis { low: 0.0, high: 1.0, log: false };
        }
        let room = if low == high { (low.abs() * 1e-6).max(1.0) } else { 0.0 };
        Axis { low: low - room, high: high + room, log: false }
    }

    /// Where `value` falls: 0 at the low end, 1 at the high end; outside of these beyond them.
    pub(super) fn position(&self, value: f64) -> f32 {
        let part = if self.log {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        // Far enough to be off any picture, near enough for f32 arithmetic on it.
        part.clamp(-1e4, 1e4) as f32
    }

    /// About `target` round values on the axis with their labels in `unit`; only whole ones where
    /// `whole` (epochs).
    pub(super) fn ticks(&self, target: usize, whole: bool, unit: Unit) -> Vec<(f64, String)> {
        if self.log {
            let ticks = self.log_ticks(target);
            if ticks.len() >= 2 {
                return ticks;
            }
        }
        // The prefix is chosen once for the axis, so that bytes get round numbers of MiB.
        let (base, (mut factor, prefixes)) = (unit.base(), unit.prefixes());
        let mut power = 0;
        if unit != Unit::Plain {
            while self.high.abs().max(self.low.abs()) >= factor * base && power + 1 < prefixes.len() {
                factor *= base;
                power += 1;
            }
        }
        let (low, high) = (self.low / factor, self.high / factor);
        let mut step = nice_step((high - low) / target.max(1) as f64);
        if whole && factor == 1.0 {
            step = step.max(1.0).round();
        }
        let first = (low / step - 1e-9).ceil();
        let count = ((high / step + 1e-9).floor() - first).clamp(0.0, 100.0) as usize;
        (0..=count)
            .map(|i| (first + i as f64) * step)
            .filter(|tick| *tick >= low - 1e-9 * step && *tick <= high + 1e-9 * step)
            .map(|tick| {
                let label = match unit {
                    Unit::Plain => linear_label(tick, step, low.abs().max(high.abs())),
                    _ => prefixed_label(tick, step, power, unit),
                };
                (tick * factor, label)
            })
            .collect()
    }

    fn log_ticks(&self, target: usize) -> Vec<(f64, String)> {
        let (low, high) = (self.low.log10(), self.high.log10());
        let decades = high - low;
        let factors: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = (decades / target.max(1) as f64).ceil().max(1.0) as i32;
        let mut ticks = Vec::new();
        for exponent in (low.floor() as i32)..=(high.ceil() as i32) {
            if exponent.rem_euclid(stride) != 0 {
                continue;
            }
            for factor in factors {
                let tick = factor * 10_f64.powi(exponent);
                if tick >= self.low * (1.0 - 1e-9) && tick <= self.high * (1.0 + 1e-9) {
                    let label = if (-3..4).contains(&exponent) {
                        format!("{tick:.*}", (-exponent).max(0) as usize)
                    } else {
                        scientific(tick)
                    };
                    ticks.push((tick, label));
                }
            }
        }
        ticks
    }
}

/// The round step (1, 2 or 5 times a power of ten) nearest to `rough`.
fn nice_step(rough: f64) -> f64 {
    let magnitude = 10_f64.powf(rough.log10().floor());
    // The borders are the geometric means: the number of ticks is then nearest to what was asked for.
    let step = match rough / magnitude {
        r if r <= 1.414 => magnitude,
        r if r <= 3.162 => 2.0 * magnitude,
        r if r <= 7.071 => 5.0 * magnitude,
        _ => 10.0 * magnitude,
    };
    if step.is_finite() && step > 0.0 { step } else { 1.0 }
}

fn linear_label(tick: f64, step: f64, largest: f64) -> String {
    if tick.abs() < step * 1e-6 {
        return "0".to_owned();
    }
    let text = if (1e-4..1e5).contains(&largest) && step >= 1e-5 {
        format!("{tick:.*}", decimals(step))
    } else if (1e5..1e9).contains(&largest) && step >= 500.0 {
        // Iterations: 20k, 1.5M.
        let (scale, suffix) = if largest < 1e6 { (1e3, "k") } else { (1e6, "M") };
        format!("{:.*}{suffix}", decimals(step / scale), tick / scale)
    } else {
        let exponent = |value: f64| (value.abs().log10() + 1e-9).floor();
        format!("{tick:.*e}", (exponent(tick) - exponent(step)).clamp(0.0, 6.0) as usize)
    };
    text.replacen('-', "−", usize::from(tick < 0.0))
}

fn prefixed_label(tick: f64, step: f64, power: usize, unit: Unit) -> String {
    let prefix = unit.prefixes().1.get(power).copied().unwrap_or_default();
    let suffix = match (unit, power) {
        (Unit::Bytes, 0) => "B".to_owned(),
        (Unit::Bytes, _) => format!("{}iB", prefix.to_uppercase()),
        (Unit::Flops, _) => format!("{prefix}FLOP"),
        _ => prefix.to_owned(),
    };
    if tick.abs() < step * 1e-6 {
        return "0".to_owned();
    }
    format!("{tick:.*} {suffix}", decimals(step)).trim_end().to_owned()
}

/// The decimals that tell ticks `step` apart.
fn decimals(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, target: usize) -> Vec<String> {
        axis.ticks(target, false, Unit::Plain).into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&Axis { low: 0.0, high: 1.06, log: false }, 3), ["0", "0.5", "1.0"]);
        assert_eq!(
            labels(&Axis { low: 0.0, high: 1.0, log: false }, 6),
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(labels(&Axis { low: -3.0, high: 2.5, log: false }, 6), ["−3", "−2", "−1", "0", "1", "2"]);
        assert_eq!(
            labels(&Axis { low: 0.0, high: 400_000.0, log: false }, 4),
            ["0", "100k", "200k", "300k", "400k"]
        );
        assert_eq!(
            labels(&Axis { low: 0.0, high: 4e-5, log: false }, 4),
            ["0", "1e-5", "2e-5", "3e-5", "4e-5"]
        );
    }

    #[test]
    fn log_ticks_are_decades() {
        assert_eq!(
            labels(&Axis { low: 0.008, high: 120.0, log: true }, 5),
            ["0.01", "0.1", "1", "10", "100"]
        );
        assert_eq!(labels(&Axis { low: 0.9, high: 6.0, log: true }, 5), ["1", "2", "5"]);
        assert_eq!(
            labels(&Axis { low: 1e-6, high: 1e-4, log: true }, 5),
            ["1e-6", "2e-6", "5e-6", "1e-5", "2e-5", "5e-5", "1e-4"]
        );
    }

    #[test]
    fn epochs_are_whole_and_bytes_round_in_their_prefix() {
        let few = Axis { low: 0.0, high: 2.0, log: false };
        let whole: Vec<_> = few.ticks(8, true, Unit::Plain).into_iter().map(|t| t.1).collect();
        assert_eq!(whole, ["0", "1", "2"]);
        let mib = Axis { low: 0.0, high: 4.5 * 1024.0 * 1024.0, log: false };
        let ticks = mib.ticks(5, false, Unit::Bytes);
        assert_eq!(ticks[1], (1024.0 * 1024.0, "1 MiB".to_owned()));
        assert_eq!(ticks.len(), 5);
        let times = Axis { low: 0.0, high: 0.0123, log: false }.ticks(3, false, Unit::Seconds);
        assert_eq!(times.iter().map(|t| t.1.as_str()).collect::<Vec<_>>(), ["0", "5 ms", "10 ms"]);
        assert!((times[1].0 - 0.005).abs() < 1e-12);
    }

    #[test]
    fn odd_data_still_makes_an_axis() {
        let cases: [&[f64]; 9] = [
            &[],
            &[f64::NAN, f64::INFINITY],
            &[0.0],
            &[5.0],
            &[-5.0, -5.0],
            &[1e300, 1.0],
            &[1e150, -1e150],
            &[1e-140, 2e-140],
            &[1e15, 1e15 + 0.25],
        ];
        for values in cases {
            for log in [false, true] {
                for axis in
                    [Axis::over(values.iter().copied(), None, log), Axis::tight(values.iter().copied(), None)]
                {
                    assert!(axis.low < axis.high, "{values:?}: {axis:?}");
                    assert!(axis.position((axis.low + axis.high) / 2.0).is_finite());
                    assert!(axis.ticks(6, false, Unit::Plain).len() <= 101, "{values:?}");
                }
            }
        }
    }

    #[test]
    fn a_given_range_holds_only_where_it_is_one() {
        let axis = Axis::over([5.0], Some((0.0, 1.0)), false);
        assert_eq!((axis.low, axis.high), (0.0, 1.0));
        for bad in [(1.0, 0.0), (f64::NAN, 1.0), (2.0, 2.0)] {
            let axis = Axis::over([5.0], Some(bad), false);
            assert!(axis.low <= 5.0 && axis.high >= 5.0);
        }
        assert!((axis.position(0.25) - 0.25).abs() < 1e-6);
        let log = Axis::over([5.0], Some((1.0, 100.0)), true);
        assert!((log.position(10.0) - 0.5).abs() < 1e-6);
    }
}
