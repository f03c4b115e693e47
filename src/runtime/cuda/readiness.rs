//! Whether CUDA can be used here: driver, device and compiler together.

use super::driver_status::{DeviceInfo, DriverStatus, OLDEST_ARCH, driver_status};
use super::nvrtc::Nvrtc;
use super::problem::Problem;

/// What CUDA needs, as far as it is here.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// What the driver says.
    pub driver: DriverStatus,
    /// The device that was asked for, if kernels can be compiled for it. `None`: it cannot be used, for the
    /// problems.
    pub device: Option<DeviceInfo>,
    /// What stands in the way, the gravest first; empty where a device can be used.
    pub problems: Vec<Problem>,
}

/// Looks at driver, NVRTC and the device that is used where none is named, the first. Never fails; the first call
/// opens the libraries.
pub fn readiness() -> Readiness {
    readiness_of(0)
}

/// As [`readiness`], of device `ordinal`.
pub(super) fn readiness_of(ordinal: usize) -> Readiness {
    let driver = driver_status();
    let mut problems: Vec<Problem> = driver.problem.iter().cloned().collect();
    if problems.is_empty() && ordinal >= driver.devices.len() {
        problems.push(no_such_device(ordinal, driver.devices.len()));
    }
    let mut device = None;
    match Nvrtc::find() {
        Err(problem) => problems.push(problem),
        Ok(nvrtc) => {
            problems.extend(driver.refuses_nvrtc(nvrtc.version()));
            if problems.is_empty()
                && let Some(asked) = driver.devices.get(ordinal)
            {
                match usable(asked, nvrtc) {
                    Ok(()) => device = Some(asked.clone()),
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }
    Readiness { driver, device, problems }
}

fn no_such_device(ordinal: usize, devices: usize) -> Problem {
    let fix = match devices {
        0 | 1 => "use --gpu 0".to_owned(),
        _ => format!("use --gpu 0 to {}", devices - 1),
    };
    Problem::missing(format!("there is no GPU {ordinal}: the driver sees {devices}, counted from 0"), fix)
}

/// Whether kernels can be compiled for `device`.
fn usable(device: &DeviceInfo, nvrtc: &Nvrtc) -> Result<(), Problem> {
    if device.arch < OLDEST_ARCH {
        let DeviceInfo { ordinal, name, arch, .. } = device;
        let message =
            format!("GPU {ordinal} ({name}) is sm_{arch}, and kernels need sm_{OLDEST_ARCH} or newer");
        return Err(Problem::missing(message, "use --device cpu, or another one: --device cuda --gpu N"));
    }
    nvrtc.knows(device.arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_a_device_or_a_reason() {
        let readiness = readiness();
        assert_eq!(readiness.device.is_some(), readiness.problems.is_empty(), "{readiness:?}");
        let none = readiness_of(usize::MAX);
        assert!(none.device.is_none() && !none.problems.is_empty(), "{none:?}");
    }

    #[test]
    fn a_device_that_there_is_not_says_which_there_are() {
        let said = |ordinal, devices| no_such_device(ordinal, devices).error().to_string();
        assert_eq!(said(3, 1), "there is no GPU 3: the driver sees 1, counted from 0; use --gpu 0");
        assert_eq!(said(3, 3), "there is no GPU 3: the driver sees 3, counted from 0; use --gpu 0 to 2");
    }
}
