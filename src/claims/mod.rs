//! The papers' cost claims, each checked on a device: what the paper says, what the cost model and the memory
//! plan predict, and what was measured.
//!
//! | rows | file | what is measured |
//! | --- | --- | --- |
//! | C1, C2, C8 | `operations` | operations of the kernels that run, parameters that the device holds |
//! | C3 | `peak` | bytes that a session holds, in four readings of the claim |
//! | C4, C5 | `traffic` | bytes between kernels and memory, where a meter can count them |
//! | C13 | `speed` | time beside operations |
//! | F1 to F3 | `better` | what fusing and writing in place save beyond the papers' own bounds |
//! | C6, C7, C9 to C12 | `absent` | nothing: they are about networks that the zoo does not have yet |
//!
//! A number that the model predicts is never reported as measured. A row fails where prediction or measurement
//! leave its tolerance around what is expected; a claim that is not true as told has what is true as its
//! expectation, and says so in its verdict.

mod absent;
mod better;
mod observe;
mod operations;
mod peak;
mod row;
mod speed;
mod traffic;

use std::time::Duration;

pub use observe::Run;
pub use row::{Point, Row, Verdict};
pub use speed::{AS_WRITTEN, FUSED, Speed};

use crate::analysis::meter::Meter;
use crate::device::Device;
use crate::{Error, Result};

/// What is run, and how large.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Height and width, in pixels, of the maps whose memory is compared. Large enough, and the weights and
    /// scratch memory beside them do not blur the ratio: see [`Settings::new`].
    pub size: usize,
    /// Seconds for each pair of blocks whose time is measured; none where the device's clock means nothing.
    pub time: Option<Duration>,
    /// Rows to check, by the beginning of their names (`C3` is `C3a` to `C3d`); empty for all.
    pub only: Vec<String>,
}

impl Settings {
    /// What `device` can tell reliably within seconds: its scratch memory decides how large the maps must be.
    pub fn new(device: &Device) -> Self {
        let size = match device {
            Device::Cpu(_) => 768,
            Device::Cuda(_) => 512,
            Device::Reference => LEAST_SIZE,
        };
        Settings { size, time: Some(Duration::from_secs(1)), only: Vec::new() }
    }

    /// The least size at which weights and scratch memory do not blur the ratios.
    pub fn least_size(device: &Device) -> usize {
        match device {
            // Winograd's tiles of one thread take 1 % of a map of 32 channels at 512².
            Device::Cpu(_) => 512,
            Device::Cuda(_) | Device::Reference => LEAST_SIZE,
        }
    }
}

/// The least size where there is no scratch memory: weights of 40 KiB are 1.7 % of a map of 32 channels.
const LEAST_SIZE: usize = 96;

/// What came of the checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// What they ran on.
    pub device: String,
    /// The claims, in order.
    pub rows: Vec<Row>,
    /// The blocks whose time was measured for C13, and the ceilings they are put below.
    pub speed: Option<Speed>,
}

impl Report {
    /// The rows where something is wrong.
    pub fn failed(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::Fails)
    }
}

/// What the checks share.
struct Context<'a> {
    /// Where time is measured.
    device: &'a Device,
    /// Where memory and operations are: the same, but of the cpu one thread, since each thread has scratch memory.
    counted: Device,
    settings: &'a Settings,
    meter: &'a mut dyn Meter,
    speed: Option<Speed>,
}

/// A check, and the rows it makes.
type Check = (&'static [&'static str], fn(&mut Context<'_>) -> Result<Vec<Row>>);

/// In the order of the claims' numbers; the rows of our own last.
const CHECKS: [Check; 14] = [
    (&["C1"], operations::half_the_computation),
    (&["C2"], operations::half_the_parameters),
    (&["C3a"], peak::largest_conv),
    (&["C3b"], peak::computational_block),
    (&["C3c"], peak::stage_inference),
    (&["C3d"], peak::stage_training),
    (&["C4"], traffic::equal_channels),
    (&["C5"], traffic::partial_dense),
    (&["C6", "C7"], absent::cspnet),
    (&["C8"], operations::masked_residual),
    (&["C9", "C10", "C11", "C12"], absent::networks),
    (&["C13"], speed::flops_and_time),
    (&["F1"], better::in_place),
    (&["F2", "F3"], better::maps_never_stored),
];

/// Checks the claims on `device`, with `meter` watching. `done` is called after each check with their number and
/// how many are done.
///
/// # Errors
/// Where a name in [`Settings::only`] is of no row, the size is below [`Settings::least_size`], memory cannot be had, or the device fails. A claim that does
/// not hold is no error: its row says so.
pub fn check(
    device: &Device,
    settings: &Settings,
    meter: &mut dyn Meter,
    done: &mut dyn FnMut(usize, usize),
) -> Result<Report> {
    let wanted =
        |id: &str| settings.only.is_empty() || settings.only.iter().any(|name| id.starts_with(name.as_str()));
    let ids = || CHECKS.iter().flat_map(|check| check.0);
    if let Some(unknown) = settings.only.iter().find(|name| !ids().any(|id| id.starts_with(name.as_str()))) {
        let all: Vec<&str> = ids().copied().collect();
        return Err(Error::invalid(format!("there is no claim {unknown:?}"))
            .fix(format!("use some of {}", all.join(", "))));
    }
    let least = Settings::least_size(device);
    if settings.size < least {
        let message = format!(
            "maps of {0}×{0} are too small: weights and scratch memory blur what is compared",
            settings.size
        );
        return Err(Error::invalid(message).fix(format!("use a size from {least} on")));
    }
    let checks: Vec<&Check> = CHECKS.iter().filter(|check| check.0.iter().any(|id| wanted(id))).collect();
    let counted = match device {
        Device::Cpu(_) => Device::cpu(1)?,
        other => other.clone(),
    };
    let mut context = Context { device, counted, settings, meter, speed: None };
    let mut rows = Vec::new();
    for (index, (_, check)) in checks.iter().enumerate() {
        let made = check(&mut context)?;
        rows.extend(made.into_iter().filter(|row| wanted(row.id)));
        done(index + 1, checks.len());
    }
    Ok(Report { device: device.to_string(), rows, speed: context.speed })
}

#[cfg(test)]
mod tests;
