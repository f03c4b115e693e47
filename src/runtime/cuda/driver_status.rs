//! What the driver says of itself and its devices, without ever failing: for the choice of a device and
//! for `gradpath doctor`.
//!
//! cudarc panics where the library or a symbol of it is missing, even as it formats an error, so the
//! library is looked for first, and errors are told in words of our own.

use std::ffi::{CStr, c_char, c_int};
use std::path::PathBuf;

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};

use super::libraries::{self, Outcome, Search};
use super::problem::Problem;
use crate::Result;

/// The oldest CUDA version that a driver must support: timing events of cudarc's `cuda-13000` need it.
const OLDEST: (u32, u32) = (12, 8);
/// The oldest driver that does.
const OLDEST_DRIVER: &str = "570";
/// The oldest architecture that kernels are written for.
pub const OLDEST_ARCH: u32 = 75;
/// What to do about a driver that is missing.
const INSTALL: &str = "where there is an NVIDIA GPU, install its driver; --device cpu runs without";

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeviceInfo {
    /// Its number, from 0.
    pub ordinal: usize,
    /// Its name, as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// The architecture, as in `sm_89`: 89.
    pub arch: u32,
    /// Bytes of memory.
    pub total_bytes: u64,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of shared memory that one block can have.
    pub shared_bytes: u32,
}

/// What the driver says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverStatus {
    /// The library, as it was opened.
    pub library: Option<PathBuf>,
    /// The newest CUDA version that the driver supports.
    pub version: Option<(u32, u32)>,
    /// Its devices in order.
    pub devices: Vec<DeviceInfo>,
    /// Why no device can be used; `None` where one can.
    pub problem: Option<Problem>,
}

impl DriverStatus {
    /// The devices, where they can be used.
    ///
    /// # Errors
    /// Why they cannot, and what to do.
    pub fn usable(&self) -> Result<&[DeviceInfo]> {
        match &self.problem {
            Some(problem) => Err(problem.error()),
            None => Ok(&self.devices),
        }
    }

    /// Why this driver does not load what an NVRTC of this version compiles; `None` where it does. Machine
    /// code runs on every driver of the same major version and of later ones.
    pub fn refuses_nvrtc(&self, (major, minor): (u32, u32)) -> Option<Problem> {
        let (driver_major, driver_minor) = self.version?;
        (driver_major < major).then(|| {
            let message = format!(
                "the driver supports CUDA {driver_major}.{driver_minor}, and does not load what NVRTC \
                 {major}.{minor} compiles"
            );
            let fix = format!(
                "update the driver, or pip install nvidia-cuda-nvrtc-cu{driver_major} and name its file \
                 libnvrtc.so.{driver_major} in GRADPATH_NVRTC"
            );
            Problem::missing(message, fix)
        })
    }
}

/// Asks the driver; looks for its library at the first call.
pub fn driver_status() -> DriverStatus {
    let mut status = DriverStatus::default();
    status.problem = ask(&mut status).err();
    status
}

fn ask(status: &mut DriverStatus) -> Result<(), Problem> {
    let search = libraries::driver();
    let Some(place) = search.place() else { return Err(no_library(search)) };
    status.library = Some(place.path.clone());
    // cudarc opens the library itself, by a plain name: one whose SONAME is another is of no use to it.
    // SAFETY: it opens libraries of CUDA's names, and the driver's is open already.
    if !unsafe { sys::is_culib_present() } {
        let path = place.path.display();
        return Err(Problem::broken(
            format!("the driver's library at {path} is not found by its name libcuda.so.1"),
            "add its folder to LD_LIBRARY_PATH, under the name libcuda.so.1",
        ));
    }
    let missing = |name: &str| {
        // SAFETY: the library is there, so `culib` does not panic; the symbol is only looked up.
        unsafe { sys::culib().get::<unsafe extern "C" fn()>(name).is_err() }
    };
    for name in NEEDED {
        if missing(name) {
            return Err(Problem::broken(format!("the driver's library has no {name}"), UPDATE));
        }
    }
    let mut version = 0;
    // SAFETY: the symbol is there; the pointer is to a number that is written to.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut version) })?;
    let version = u32::try_from(version).unwrap_or(0);
    let version = (version / 1000, version % 1000 / 10);
    status.version = Some(version);
    if version < OLDEST {
        return Err(Problem::missing(
            format!(
                "the driver supports CUDA {}.{}, and CUDA {}.{} or newer is needed",
                version.0, version.1, OLDEST.0, OLDEST.1
            ),
            format!("update NVIDIA's driver to {OLDEST_DRIVER} or newer, or run with --device cpu"),
        ));
    }
    // SAFETY: the symbol is there; 0 is the only flag there is.
    match unsafe { sys::cuInit(0) } {
        CUresult::CUDA_ERROR_NO_DEVICE => return Err(no_device()),
        code => check("cuInit", code)?,
    }
    let mut count = 0;
    // SAFETY: the symbol is there; the pointer is to a number that is written to.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) })?;
    for ordinal in 0..count {
        status.devices.push(device(ordinal)?);
    }
    let Some(best) = status.devices.iter().max_by_key(|device| device.arch) else { return Err(no_device()) };
    if best.arch < OLDEST_ARCH {
        return Err(Problem::missing(
            format!("{} is sm_{}, and kernels need sm_{OLDEST_ARCH} (Turing) or newer", best.name, best.arch),
            "run with --device cpu",
        ));
    }
    Ok(())
}

/// What `ask` calls.
const NEEDED: [&str; 8] = [
    "cuDriverGetVersion",
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuGetErrorString",
];
const UPDATE: &str = "reinstall NVIDIA's driver, or run with --device cpu";

fn no_library(search: &Search) -> Problem {
    match search.failure() {
        Some(place) => {
            let reason = match &place.outcome {
                Outcome::Failed(reason) => reason,
                _ => "unknown",
            };
            let path = place.path.display();
            Problem::broken(format!("the driver's library at {path} cannot be opened: {reason}"), UPDATE)
        }
        None => Problem::missing("NVIDIA's driver (libcuda) was not found", INSTALL),
    }
}

fn no_device() -> Problem {
    let fix = "see whether nvidia-smi lists one and CUDA_VISIBLE_DEVICES hides it, or run with --device cpu";
    Problem::missing("the driver sees no CUDA device", fix)
}

/// One device by its number.
fn device(ordinal: c_int) -> Result<DeviceInfo, Problem> {
    let mut device = 0;
    // SAFETY: the symbol is there; the pointer is to a handle that is written to.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&raw mut device, ordinal) })?;
    let mut name = [0u8; 256];
    // SAFETY: the symbol is there; `name` is as long as is said, and its last byte stays zero.
    let code =
        unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast::<c_char>(), name.len() as c_int - 1, device) };
    check("cuDeviceGetName", code)?;
    let name = CStr::from_bytes_until_nul(&name).map_or_else(|_| "unknown".into(), CStr::to_string_lossy);
    let mut total = 0;
    // SAFETY: the symbol is there; the pointer is to a number that is written to.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&raw mut total, device) })?;
    let attribute = |which: CUdevice_attribute| {
        let mut value = 0;
        // SAFETY: the symbol is there; the pointer is to a number that is written to.
        let code = unsafe { sys::cuDeviceGetAttribute(&raw mut value, which, device) };
        check("cuDeviceGetAttribute", code).map(|()| u32::try_from(value).unwrap_or(0))
    };
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(DeviceInfo {
        ordinal: usize::try_from(ordinal).unwrap_or(0),
        name: name.trim().to_owned(),
        arch: major.saturating_mul(10).saturating_add(minor),
        total_bytes: total as u64,
        multiprocessors: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
    })
}

impl DeviceInfo {
    /// Bytes of memory that are free now; `None` where the driver does not say. Makes the device's
    /// context where there is none, which takes a while.
    pub fn free_bytes(&self) -> Option<u64> {
        let ok = |code: CUresult| (code == CUresult::CUDA_SUCCESS).then_some(());
        const NEEDED: [&str; 5] = [
            "cuDevicePrimaryCtxRetain",
            "cuDevicePrimaryCtxRelease_v2",
            "cuCtxPushCurrent_v2",
            "cuCtxPopCurrent_v2",
            "cuMemGetInfo_v2",
        ];
        // SAFETY: a device of this number was found, so the library is there; symbols are looked up.
        let has_all =
            NEEDED.iter().all(|name| unsafe { sys::culib().get::<unsafe extern "C" fn()>(*name).is_ok() });
        if !has_all {
            return None;
        }
        let (mut device, mut context) = (0, std::ptr::null_mut());
        let (mut free, mut total) = (0, 0);
        // SAFETY: all symbols are there; the context is pushed and popped by this thread, and released
        // as often as it was retained; pointers are to what is written to.
        unsafe {
            ok(sys::cuDeviceGet(&raw mut device, c_int::try_from(self.ordinal).ok()?))?;
            ok(sys::cuDevicePrimaryCtxRetain(&raw mut context, device))?;
            let pushed = sys::cuCtxPushCurrent_v2(context);
            let asked = match pushed {
                CUresult::CUDA_SUCCESS => {
                    let asked = sys::cuMemGetInfo_v2(&raw mut free, &raw mut total);
                    sys::cuCtxPopCurrent_v2(&raw mut context);
                    asked
                }
                code => code,
            };
            sys::cuDevicePrimaryCtxRelease_v2(device);
            ok(asked)?;
        }
        Some(free as u64)
    }
}

/// A driver's result as a problem.
fn check(function: &str, code: CUresult) -> Result<(), Problem> {
    if code == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    Err(Problem::broken(
        format!("the driver does not start: {function}: {}", describe(code)),
        "see whether nvidia-smi works; if not, reinstall NVIDIA's driver or restart",
    ))
}

/// What the driver calls the result `code`. Only where its library is there.
pub(super) fn describe(code: CUresult) -> String {
    let number = code as u32;
    let mut text = std::ptr::null();
    // SAFETY: `ask` saw the symbol; the pointer is to one that is written to.
    let known = unsafe { sys::cuGetErrorString(code, &raw mut text) } == CUresult::CUDA_SUCCESS;
    if !known || text.is_null() {
        return format!("error {number}");
    }
    // SAFETY: a constant string of the library's, which stays open.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    format!("{text} ({number})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_fails_and_says_why() {
        let status = driver_status();
        match &status.problem {
            Some(problem) => {
                assert!(!problem.message.is_empty() && !problem.fix.is_empty());
                let error = status.usable().unwrap_err().to_string();
                assert!(error.contains(&problem.fix), "{error}");
            }
            None => assert!(!status.usable().unwrap().is_empty()),
        }
        assert!(!(status.version.is_some() && status.library.is_none()));
    }

    #[test]
    fn machine_code_of_a_newer_major_version_is_refused() {
        let driver = |version| DriverStatus { version, ..DriverStatus::default() };
        let problem = driver(Some((12, 9))).refuses_nvrtc((13, 0)).unwrap();
        assert!(problem.fix.contains("nvidia-cuda-nvrtc-cu12"), "{}", problem.fix);
        assert_eq!(driver(Some((12, 8))).refuses_nvrtc((12, 9)), None);
        assert_eq!(driver(Some((13, 0))).refuses_nvrtc((12, 9)), None);
        assert_eq!(driver(Some((13, 0))).refuses_nvrtc((13, 5)), None);
        assert_eq!(driver(None).refuses_nvrtc((13, 5)), None);
    }
}
