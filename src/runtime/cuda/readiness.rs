//! Whether CUDA can be used here: driver, device and compiler together.

use super::driver_status::{DeviceInfo, DriverStatus, OLDEST_ARCH, driver_status};
use super::nvrtc::Nvrtc;
use super::problem::Problem;

/// What CUDA needs, as far as it is here.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// What the driver says.
    pub driver: DriverStatus,
    /// The device that is used where none is named: the first that kernels can be compiled for. `None`:
    /// CUDA cannot be used, for the problems.
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
            if problems.is_empty() {
                let recent = driver.devices.iter().filter(|device| device.arch >= OLDEST_ARCH);
                let (known, unknown): (Vec<_>, Vec<_>) = recent
                    .map(|device| (device, nvrtc.knows(device.arch)))
                    .partition(|(_, problem)| problem.is_ok());
                device = known.first().map(|(device, _)| (*device).clone());
                if device.is_none() {
                    problems.extend(unknown.into_iter().filter_map(|(_, problem)| problem.err()));
                }
            }
        }
    }
    Readiness { driver, device, problems }
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
