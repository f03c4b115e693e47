//! What `bench` and `sweep` share: options, candidates, and how their numbers are written.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::options::{Size, count};
use crate::Result;
use crate::analysis::bench::Measurement;
use crate::analysis::roofline::Ceilings;
use crate::analysis::workload::{BlockName, BlockSpec, Subject, Workload};
use crate::device::Device;
use crate::graph::Mode;
use crate::report::{Color, Plot, Series, number};
use crate::tensor::Shape;
use crate::{Error, format::csv};

/// The colors of what was fused, of what was not, of the stage without the block, and of what was fused
/// layer by layer.
pub const COLORS: [Color; 4] = [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167]];

/// Seconds that the measurement of the ceilings may take, each.
const CEILING_SECONDS: f64 = 0.5;

/// How a block is made.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct BlockOptions {
    /// Residual blocks, units or layers of a block; groups of ELAN
    #[arg(long, value_name = "N", default_value = "2", value_parser = count)]
    pub layers: usize,
    /// Units in each of ELAN's groups
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub depth: usize,
    /// The share of the channels that runs through a CSP block, or that PRN's identity is added to
    #[arg(long, value_name = "SHARE", default_value = "0.5", value_parser = share)]
    pub split: f64,
}

impl BlockOptions {
    /// The block `name` so made, for `channels` that enter.
    pub fn spec(&self, name: BlockName, channels: usize) -> BlockSpec {
        BlockSpec { name, channels, layers: self.layers, depth: self.depth, share: self.split }
    }
}

/// Channels that enter a block where nothing else is said.
pub const BLOCK_CHANNELS: usize = 64;
/// Height and width of what enters a block where nothing else is said.
pub const BLOCK_SIZE: Size = Size { width: 80, height: 80 };

/// Parses seconds of measurement: 0 to an hour.
pub fn seconds(text: &str) -> Result<f64> {
    let number = text.parse().ok().filter(|number| (0.0..=3600.0).contains(number));
    number.ok_or_else(|| Error::invalid("it must be a number of seconds from 0 to 3600"))
}

/// Parses a share of channels: 0 to 1.
pub fn share(text: &str) -> Result<f64> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| Error::invalid("it must be a share of the channels from 0 to 1"))
}

/// The mode that `--training` picks, and its name.
pub fn mode(training: bool) -> (Mode, &'static str) {
    if training { (Mode::Training, "training") } else { (Mode::Inference, "inference") }
}

/// The device's ceilings, within the time that a whole measurement has.
///
/// # Errors
/// Where the device fails.
pub fn ceilings(device: &Device, seconds: f64) -> Result<Ceilings> {
    Ceilings::measure(device, Duration::from_secs_f64(seconds.min(CEILING_SECONDS)))
}

/// The ceilings as lines of text.
pub fn ceiling_lines(ceilings: &Ceilings) -> String {
    let (memory, compute) = (&ceilings.memory, &ceilings.compute);
    format!(
        "memory   {}: {}\ncompute  {}: {}\n",
        per_second(memory.per_second, "B"),
        memory.how,
        per_second(compute.per_second, "FLOP"),
        compute.how
    )
}

/// `12.3 GB/s`, with a decimal prefix.
pub fn per_second(value: f64, unit: &str) -> String {
    let (scaled, prefix) = match value {
        v if v >= 999.5e9 => (v / 1e12, "T"),
        v if v >= 999.5e6 => (v / 1e9, "G"),
        v => (v / 1e6, "M"),
    };
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$} {prefix}{unit}/s")
}

/// The bars that stand for measurements of one kind: their name, the name in the legend, the color.
pub type BarsOf = (&'static str, &'static str, Color);

/// Which of `series` a measurement of that name is; one of another name is of the stage without the block: the last.
pub fn series_of(series: &[BarsOf], name: &str) -> usize {
    series.iter().position(|one| one.0 == name).unwrap_or(series.len().saturating_sub(1))
}

/// A program below the roof.
pub struct Dot {
    /// Its name.
    pub name: String,
    /// Operations for each byte moved.
    pub flops_per_byte: f64,
    /// Operations a second.
    pub flops_per_second: f64,
    /// Its color.
    pub color: Color,
}

/// Operations a second over operations a byte, below the two ceilings.
pub fn roofline(ceilings: &Ceilings, dots: Vec<Dot>) -> Plot {
    let (memory, compute) = (ceilings.memory.per_second, ceilings.compute.per_second);
    let ridge = compute / memory;
    let range = |values: &mut dyn Iterator<Item = f64>, start: f64| {
        values.filter(|v| *v > 0.0).fold((start, start), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (left, right) = range(&mut dots.iter().map(|dot| dot.flops_per_byte), ridge);
    let (left, right) = (left / 1.5, right * 1.5);
    let (bottom, top) = range(&mut dots.iter().map(|dot| dot.flops_per_second / 1e9), compute / 1e9);
    let roof = Series {
        name: "roof".to_owned(),
        points: [left, ridge, right].map(|x| (x, compute.min(x * memory) / 1e9)).to_vec(),
        color: [95, 99, 104],
    };
    let lines = dots.len() + 1;
    let dots = dots.into_iter().map(|dot| Series {
        points: vec![(dot.flops_per_byte, dot.flops_per_second / 1e9)],
        name: dot.name,
        color: dot.color,
    });
    Plot {
        title: format!(
            "Roofline: {} by multiply-adds alone, {} by copying",
            per_second(compute, "FLOP"),
            per_second(memory, "B")
        ),
        x_label: "operations for each byte moved (FLOP/B)".to_owned(),
        y_label: "GFLOP/s".to_owned(),
        series: std::iter::once(roof).chain(dots).collect(),
        x_range: Some((left, right)),
        y_range: Some((bottom / 1.5, top * 1.3)),
        log_x: true,
        log_y: true,
        dot: 4.0,
        // Room for a label each.
        size: (900, (420 + 15 * lines.saturating_sub(18)).min(8000) as u32),
        ..Plot::default()
    }
}

/// A workload in the words and numbers of the files.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    /// The name of the block or network.
    pub what: String,
    /// `inference` or `training`.
    pub mode: &'static str,
    /// What enters, `[n, h, w, c]`.
    pub input: Shape,
    /// Of a block: residual blocks, units or layers in a row; of ELAN the groups.
    pub layers: Option<usize>,
    /// Of ELAN: units in a group.
    pub depth: Option<usize>,
    /// Of CSP and PRN: the share of the channels in the block, under the mask.
    pub split: Option<f64>,
}

impl Described {
    /// Describes `workload`.
    pub fn new(workload: &Workload, mode: &'static str) -> Self {
        let input = workload.input;
        match &workload.subject {
            Subject::Network { network, .. } => Described {
                what: network.name.to_owned(),
                mode,
                input,
                layers: None,
                depth: None,
                split: None,
            },
            Subject::Block(spec) => Described {
                what: spec.name.to_string(),
                mode,
                input,
                layers: Some(spec.layers),
                depth: (spec.name == BlockName::Elan).then_some(spec.depth),
                split: spec.name.has_share().then_some(spec.share),
            },
        }
    }

    /// As a heading: `csp, γ 0.5, layers 2, input [1, 80, 80, 64], inference`.
    pub fn heading(&self) -> String {
        let mut text = self.what.clone();
        if let Some(split) = self.split {
            text += &format!(", γ {split}");
        }
        match (self.layers, self.depth) {
            (Some(groups), Some(depth)) => text += &format!(", {groups} groups of {depth}"),
            (Some(1), None) => text += ", 1 layer",
            (Some(layers), None) => text += &format!(", {layers} layers"),
            _ => {}
        }
        text + &format!(", input {}, {}", self.input, self.mode)
    }
}

/// The columns of `--csv`.
pub const COLUMNS: [&str; 37] = [
    "device",
    "what",
    "variant",
    "mode",
    "n",
    "h",
    "w",
    "c",
    "layers",
    "depth",
    "split",
    "runs",
    "seconds",
    "least_seconds",
    "lower_quartile_seconds",
    "upper_quartile_seconds",
    "time_ratio",
    "parameters",
    "flops",
    "bytes",
    "intensity",
    "cio",
    "planned_bytes",
    "held_bytes",
    "allocated_peak_bytes",
    "resident_peak_bytes",
    "counted_read_bytes",
    "counted_written_bytes",
    "kernels",
    "flops_per_second",
    "bytes_per_second",
    "share_of_compute",
    "share_of_memory",
    "roofline_seconds",
    "bound",
    "compute_ceiling",
    "memory_ceiling",
];

/// One row a measurement, in the order of [`COLUMNS`].
///
/// # Errors
/// Where the file cannot be written.
pub fn save_csv<'a>(
    path: &Path,
    device: &str,
    ceilings: &Ceilings,
    measured: impl Iterator<Item = (&'a Described, &'a Measurement)>,
) -> Result<()> {
    let optional = |value: Option<String>| value.unwrap_or_default();
    let rows: Vec<Vec<String>> = measured
        .map(|(described, m)| {
            let Shape { n, h, w, c } = described.input;
            vec![
                device.to_owned(),
                described.what.clone(),
                m.name.clone(),
                described.mode.to_owned(),
                n.to_string(),
                h.to_string(),
                w.to_string(),
                c.to_string(),
                optional(described.layers.map(|v| v.to_string())),
                optional(described.depth.map(|v| v.to_string())),
                optional(described.split.map(|v| v.to_string())),
                m.time.runs.to_string(),
                m.time.median.to_string(),
                m.time.least.to_string(),
                m.time.lower_quartile.to_string(),
                m.time.upper_quartile.to_string(),
                m.time_ratio.to_string(),
                m.predicted.parameters.to_string(),
                m.predicted.flops.to_string(),
                m.predicted.bytes.to_string(),
                m.predicted.intensity.to_string(),
                m.predicted.cio.to_string(),
                m.predicted.planned_bytes.to_string(),
                m.held_bytes.to_string(),
                optional(m.allocated_peak_bytes.map(|v| v.to_string())),
                optional(m.resident_peak_bytes.map(|v| v.to_string())),
                optional(m.counted_bytes.map(|v| v.0.to_string())),
                optional(m.counted_bytes.map(|v| v.1.to_string())),
                m.kernels.to_string(),
                m.flops_per_second.to_string(),
                m.bytes_per_second.to_string(),
                m.share_of_compute.to_string(),
                m.share_of_memory.to_string(),
                m.roofline_seconds.to_string(),
                m.bound.name().to_owned(),
                ceilings.compute.per_second.to_string(),
                ceilings.memory.per_second.to_string(),
            ]
        })
        .collect();
    csv::save(path, &COLUMNS, &rows)
}

/// `12.3 ms ±4%`: the median, and half of what the middle half of the runs spreads.
pub fn time(m: &Measurement) -> String {
    let time = Duration::try_from_secs_f64(m.time.median).unwrap_or_default();
    format!("{} ±{:.0}%", number::duration(time), 50.0 * m.time.spread())
}

/// Bytes, in words.
pub fn bytes(value: usize) -> String {
    number::bytes(value as u64)
}

/// Billions, to three digits or so.
pub fn billions(value: f64) -> String {
    let scaled = value / 1e9;
    let decimals = match scaled {
        v if v < 0.0995 => 4,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_billions() {
        assert_eq!(per_second(14.23e9, "B"), "14.2 GB/s");
        assert_eq!(per_second(3.35e12, "B"), "3.35 TB/s");
        assert_eq!(per_second(5e5, "FLOP"), "0.50 MFLOP/s");
        assert_eq!([0.0123e9, 1.234e9, 12.34e9, 1234.0e9].map(billions), ["0.0123", "1.23", "12.3", "1234"]);
    }

    #[test]
    fn shares_and_seconds() {
        assert_eq!(share("0.25").unwrap(), 0.25);
        assert_eq!(seconds("0").unwrap(), 0.0);
        for bad in ["-0.1", "1.1", "nan", "half", ""] {
            assert!(share(bad).is_err(), "{bad}");
        }
        for bad in ["-1", "3601", "inf", "nan", "x"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
