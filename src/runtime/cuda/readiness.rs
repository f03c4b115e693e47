//! Whether CUDA can be used here: driver, device and compiler together.

use super::driver_status::{DeviceInfo, DriverStatus, OLDEST_ARCH, driver_status};
use super::nvrtc::Nvrtc;
use super::problem::Problem;

/// What CUDA needs, as far as it is here.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// What the driver says.
    pub driver: DriverStatus,
    /// The device that is used where none is named: the first, if kernels can be compiled for it. `None`: it
    /// cannot be used, for the problems.
    pub device: Option<DeviceInfo>,
    /// What stands in the way, the gravest first; empty where a device can be used.
    pub problems: Vec<Problem>,
}

/// Looks at driver, devices and NVRTC. Never fails; the first call opens the libraries.
pub fn readiness() -> Readiness {
    let driver = driver_status();
    let mut problems: Vec<Problem> = driver.problem.iter().cloned().collect();
    let mut device = None;
    match Nvrtc::find() {
        Err(problem) => problems.push(problem),
        Ok(nvrtc) => {
            problems.extend(driver.refuses_nvrtc(nvrtc.version()));
            if problems.is_empty()
                && let Some(first) = driver.devices.first()
            {
                match usable(first, nvrtc) {
                    Ok(()) => device = Some(first.clone()),
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }
    Readiness { driver, device, problems }
}

/// Whether kernels can be compiled for `device`.
fn usable(device: &DeviceInfo, nvrtc: &Nvrtc) -> Result<(), Problem> {
    if device.arch < OLDEST_ARCH {
        let DeviceInfo { ordinal, name, arch, .. } = device;
        let message =
            format!("GPU {ordinal} ({name}) is sm_{arch}, and kernels need sm_{OLDEST_ARCH} or newer");
        return Err(Problem::missing(message, "name another one: --device cuda --gpu N"));
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
    }
}
