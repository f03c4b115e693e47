//! Options that several commands share.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

use crate::device::Device;
use crate::runtime::cuda::{Cuda, driver_is_present};
use crate::tensor::DType;
use crate::zoo::Network;
use crate::{Error, Result};

/// The longest side of an input, as of an image.
const MAX_SIDE: usize = 16_384;

/// An input size in pixels: `416`, or width and height as `416x320`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl Size {
    /// The size `network` was designed for.
    pub fn of(network: &Network) -> Self {
        Size { width: network.size, height: network.size }
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (width, height) = text.split_once(['x', '×']).unwrap_or((text, text));
        let side = |side: &str| side.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
        match (side(width), side(height)) {
            (Some(width), Some(height)) => Ok(Size { width, height }),
            _ => Err(Error::invalid(format!(
                "a size is a number of pixels from 1 to {MAX_SIDE}, or width and height as in 416x320"
            ))),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.width, self.height)
    }
}

/// A device by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// An NVIDIA GPU where one works, else the cpu; says which and why
    Auto,
    /// The host's processor, in f32
    Cpu,
    /// An NVIDIA GPU
    Cuda,
    /// Naive kernels in f64: slow, and what the others are held against
    Reference,
}

/// Where to run.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceOptions {
    /// The device to run on
    #[arg(long, value_enum, default_value_t = DeviceName::Auto)]
    device: DeviceName,
    /// Which GPU, counted from 0
    #[arg(long, default_value_t = 0, value_name = "N")]
    gpu: u16,
    /// How a GPU stores maps: f32, bf16 or f16; weights and sums are f32 always
    #[arg(long, value_enum, default_value_t = MapType::F32)]
    dtype: MapType,
    /// Threads of the cpu device; 0: as many as the machine has
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    /// Measure on the GPU, once, how each convolution is cut into blocks best, and keep it for all later runs
    #[arg(long)]
    autotune: bool,
}

impl DeviceOptions {
    /// The device.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub fn open(&self) -> Result<Device> {
        if self.autotune && matches!(self.device, DeviceName::Cpu | DeviceName::Reference) {
            let message = "--autotune measures a GPU's kernels, and none is used";
            return Err(Error::invalid(message).fix("leave it out, or use --device cuda"));
        }
        match self.device {
            DeviceName::Auto => self.open_best(),
            DeviceName::Cpu => self.open_cpu(),
            DeviceName::Cuda => self.open_cuda(),
            DeviceName::Reference => Ok(Device::Reference),
        }
    }

    fn open_cuda(&self) -> Result<Device> {
        let cuda = Cuda::open(usize::from(self.gpu), self.dtype.into())?;
        Ok(Device::Cuda(cuda.with_autotuning(self.autotune)))
    }

    fn open_cpu(&self) -> Result<Device> {
        if self.dtype != MapType::F32 {
            let message = "the cpu device computes in f32 only";
            return Err(Error::invalid(message).fix("leave --dtype out, or use --device cuda"));
        }
        Device::cpu(usize::from(self.threads))
    }

    /// The GPU where it works; else the cpu, and a line on standard error says why.
    fn open_best(&self) -> Result<Device> {
        match self.open_cuda() {
            Ok(device) => Ok(device),
            Err(error) => {
                let device = self.open_cpu()?;
                match driver_is_present() {
                    true => eprintln!("using {device}, since the GPU cannot be used: {error}"),
                    false => eprintln!(
                        "using {device}, since no NVIDIA driver was found (gradpath doctor says more)"
                    ),
                }
                Ok(device)
            }
        }
    }
}

/// How maps are stored on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MapType {
    /// Single precision
    F32,
    /// bfloat16: half the memory, and tensor cores, from sm_80
    Bf16,
    /// Half precision: half the memory, and tensor cores; for inference
    F16,
}

impl From<MapType> for DType {
    fn from(value: MapType) -> Self {
        match value {
            MapType::F32 => DType::F32,
            MapType::Bf16 => DType::Bf16,
            MapType::F16 => DType::F16,
        }
    }
}

/// Parses a number of classes, images or the like: 1 to 65536.
pub fn count(text: &str) -> Result<usize> {
    let number = text.parse().ok().filter(|number| (1..=65_536).contains(number));
    number.ok_or_else(|| Error::invalid("it must be a whole number from 1 to 65536"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<Size>().ok().map(|s| (s.width, s.height));
        assert_eq!(size("416"), Some((416, 416)));
        assert_eq!(size("416x320"), Some((416, 320)));
        assert_eq!(size("416×320"), Some((416, 320)));
        for bad in ["", "x", "0", "-1", "416x", "416x0", "1e3", "16385", "99999999999999999999", "1x2x3"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(count("65536").unwrap(), 65_536);
        for bad in ["0", "65537", "-1", "x", ""] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
