//! Options that several commands share.

use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::device::Device;
use crate::{Error, Result};

/// A size in pixels: `160`, or width and height as `320x192`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |part: &str| match part.trim().parse::<usize>() {
            Ok(side) if (1..=16384).contains(&side) => Ok(side),
            _ => Err(format!("{part:?} is no number of pixels from 1 to 16384; give 160 or 320x192")),
        };
        match text.split_once(['x', 'X', '×']) {
            Some((width, height)) => Ok(Size { width: side(width)?, height: side(height)? }),
            None => side(text).map(|side| Size { width: side, height: side }),
        }
    }
}

/// A kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// The best there is.
    #[default]
    Auto,
    /// The host's processor, in f32.
    Cpu,
    /// Naive kernels in f64: slow, and obviously right.
    Reference,
}

/// Where a command runs.
#[derive(Clone, Copy, Debug, Args)]
pub struct DeviceOptions {
    /// The device.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceKind,
    /// Threads of the cpu device; 0: as many as the machine has.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

impl DeviceOptions {
    /// The device.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub fn open(&self) -> Result<Device> {
        if self.threads > 1024 {
            return Err(Error::invalid("more than 1024 threads were asked for"));
        }
        match self.device {
            DeviceKind::Auto | DeviceKind::Cpu => Device::cpu(self.threads),
            DeviceKind::Reference => Ok(Device::Reference),
        }
    }
}
