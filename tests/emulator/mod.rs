//! The CUDA emulator for tests: builds stand-ins for `libcuda` and `libnvrtc` with g++ and opens them, so that
//! the unmodified CUDA backend runs its kernels on the CPU, checked and counted. See README.md in this folder.
//!
//! ```no_run
//! let Some(emulator) = Emulator::load() else { return };
//! let session = emulator.session();
//! session.set_options(Options { order: Order::WarpPriority, seed: 7, trace: true, ..Options::default() });
//! // … the backend, or cudarc, as on a GPU …
//! assert_eq!(session.last_error(), "");
//! ```
#![allow(dead_code, unused_imports)] // Each test binary that includes this module uses a part of it.

mod build;
mod records;

pub use records::{Counts, Device, Launch, Memory, Options, Order, Site, Traffic};

use libloading::Library;
use libloading::os::unix::{Library as UnixLibrary, RTLD_GLOBAL, RTLD_NOW};
use records::{RawDevice, RawLaunch, RawOptions, RawSite};
use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The stand-ins, built and opened. They stay open until the process ends.
pub struct Emulator {
    folder: PathBuf,
    driver: Library,
    nvrtc: Library,
}

impl Emulator {
    /// Builds what is not up to date and opens it, once in a process; to be called before anything looks for CUDA.
    /// `None` without a C++ compiler, which is said on standard error; with `CI=true` that panics instead.
    pub fn load() -> Option<&'static Emulator> {
        static LOADED: OnceLock<Option<Emulator>> = OnceLock::new();
        LOADED
            .get_or_init(|| match build::build() {
                Ok(folder) => Some(open(folder)),
                Err(reason) if std::env::var("CI").as_deref() == Ok("true") => {
                    panic!("the CUDA emulator: {reason}")
                }
                Err(reason) => {
                    eprintln!("skipped: {reason}");
                    None
                }
            })
            .as_ref()
    }

    /// The stand-ins as a program finds them that knows nothing of them: by name, in `LD_LIBRARY_PATH`.
    pub fn by_name() -> Emulator {
        let [driver, nvrtc] = ["libcuda.so.1", "libnvrtc.so.13"].map(|name| {
            // SAFETY: our own library, or the real one; neither does harm when it is opened.
            unsafe { Library::new(name) }.unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        Emulator { folder: PathBuf::new(), driver, nvrtc }
    }

    /// The folder of the two libraries, for the `LD_LIBRARY_PATH` of a child process. The device is then set with
    /// `EMULATOR_SM`, `EMULATOR_MEMORY`, `EMULATOR_DRIVER_VERSION`, `EMULATOR_DEVICES`, `EMULATOR_ORDER`,
    /// `EMULATOR_SEED` and `EMULATOR_TRACE`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The stand-in for the driver, for raw calls.
    pub fn driver(&self) -> &Library {
        &self.driver
    }

    /// The stand-in for NVRTC, for raw calls.
    pub fn nvrtc(&self) -> &Library {
        &self.nvrtc
    }

    /// The emulator to oneself: there is one device in a process, and tests run in parallel. Starts with the default
    /// device and options, no launches and no error; waits for the session before it.
    pub fn session(&self) -> Session<'_> {
        let session = self.unset_session();
        session.clear();
        session.set_device(&Device::default());
        session.set_options(Options::default());
        session
    }

    /// The same with the device, the options and whatever else as they are.
    pub fn unset_session(&self) -> Session<'_> {
        static BUSY: Mutex<()> = Mutex::new(());
        Session { emulator: self, _alone: BUSY.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    fn call<R>(&self, name: &str, with: impl FnOnce(*mut ()) -> R) -> R {
        // SAFETY: a pointer to the function, which `with` casts to its type in control.h.
        let function = unsafe { self.driver.get::<*mut ()>(name.as_bytes()) };
        with(*function.unwrap_or_else(|error| panic!("the emulator lacks {name}: {error}")))
    }
}

/// Sole use of the emulator; see [`Emulator::session`].
pub struct Session<'a> {
    emulator: &'a Emulator,
    _alone: MutexGuard<'static, ()>,
}

/// Calls a function of control.h. The casts say its type.
macro_rules! control {
    ($session:expr, $name:literal, fn($($argument:expr => $type:ty),*) $(-> $result:ty)?) => {
        $session.emulator.call($name, |function| {
            // SAFETY: control.h declares the function with this type; pointers are to live memory of the type that
            // it declares.
            unsafe {
                let function: unsafe extern "C" fn($($type),*) $(-> $result)? = std::mem::transmute(function);
                function($($argument),*)
            }
        })
    };
}

impl Session<'_> {
    pub fn set_options(&self, options: Options) {
        let raw = RawOptions {
            order: options.order as u32,
            trace: options.trace.into(),
            seed: options.seed,
            quiet: options.quiet.into(),
        };
        control!(self, "emulator_set_options", fn(&raw => *const RawOptions));
    }

    pub fn set_device(&self, device: &Device) {
        let mut name = [0; 64];
        for (to, from) in name.iter_mut().zip(device.name.bytes().take(63)) {
            *to = from as c_char;
        }
        let raw = RawDevice {
            name,
            sm: device.sm,
            multiprocessors: device.multiprocessors,
            memory_bytes: device.memory_bytes,
            driver_version: device.driver_version,
            count: device.count,
        };
        control!(self, "emulator_set_device", fn(&raw => *const RawDevice));
    }

    /// Forgets launches, the last error, planned failures and waiting work; a broken context works again.
    pub fn clear(&self) {
        control!(self, "emulator_clear", fn());
    }

    /// The launches that have run since the last clear.
    pub fn launches(&self) -> Vec<Launch> {
        let count = control!(self, "emulator_launch_count", fn() -> usize);
        (0..count).map(|index| self.launch(index)).collect()
    }

    fn launch(&self, index: usize) -> Launch {
        // SAFETY: plain numbers, of which all zeros is a value.
        let mut raw: RawLaunch = unsafe { std::mem::zeroed() };
        control!(self, "emulator_launch", fn(index => usize, &mut raw => *mut RawLaunch) -> i32);
        let mut traffic = vec![Traffic::default(); 64];
        let count = loop {
            let count = control!(self, "emulator_launch_traffic",
                fn(index => usize, traffic.as_mut_ptr() => *mut Traffic, traffic.len() => usize) -> usize);
            if count <= traffic.len() {
                break count;
            }
            traffic.resize(count, Traffic::default());
        };
        traffic.truncate(count);
        Launch {
            // SAFETY: the emulator ends the name with a zero.
            kernel: unsafe { CStr::from_ptr(raw.kernel.as_ptr()) }.to_string_lossy().into_owned(),
            grid: raw.grid,
            block: raw.block,
            dynamic_shared: raw.dynamic_shared,
            static_shared: raw.static_shared,
            traced: raw.traced != 0,
            failed: raw.failed != 0,
            counts: raw.counts,
            traffic,
        }
    }

    /// What each instruction of launch `index` asked of memory. The lines are known while its module is loaded.
    pub fn sites(&self, index: usize) -> Vec<Site> {
        let mut raw: Vec<RawSite> = Vec::new();
        loop {
            let count = control!(self, "emulator_launch_sites",
                fn(index => usize, raw.as_mut_ptr() => *mut RawSite, raw.len() => usize) -> usize);
            if count == raw.len() {
                break;
            }
            // SAFETY: plain numbers, of which all zeros is a value.
            raw.resize(count, unsafe { std::mem::zeroed() });
        }
        raw.iter()
            .map(|site| Site {
                // SAFETY: the emulator ends the line with a zero.
                line: unsafe { CStr::from_ptr(site.line.as_ptr()) }.to_string_lossy().into_owned(),
                shared: site.shared != 0,
                written: site.written != 0,
                requests: site.requests,
                passes: site.passes,
                ideal_passes: site.ideal_passes,
            })
            .collect()
    }

    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        control!(self, "emulator_memory", fn(&mut memory => *mut Memory));
        memory
    }

    /// What went wrong last, in a sentence; empty if nothing did.
    pub fn last_error(&self) -> String {
        let mut text = vec![0u8; 1024];
        let length = control!(self, "emulator_last_error",
            fn(text.as_mut_ptr().cast() => *mut c_char, text.len() => usize) -> usize);
        text.truncate(length.min(text.len() - 1));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The `nth` call from now of a function of the driver (1: the next) does nothing and returns `code`.
    pub fn fail(&self, function: &str, nth: u32, code: u32) {
        let function = CString::new(function).expect("a function's name");
        control!(self, "emulator_fail", fn(function.as_ptr() => *const c_char, nth => u32, code => u32));
    }

    /// Device memory in one allocation as if nobody had written it: NaN, and an error to read where that is traced. For
    /// an arena whose parts are used again.
    pub fn poison(&self, address: u64, bytes: usize) {
        let done = control!(self, "emulator_poison", fn(address => u64, bytes => usize) -> i32);
        assert!(done != 0, "{bytes} bytes at {address:#x} are not within one allocation");
    }

    /// How much work has been given to streams and has not run.
    pub fn pending(&self) -> usize {
        control!(self, "emulator_pending", fn() -> usize)
    }
}

fn open(folder: PathBuf) -> Emulator {
    let [driver, nvrtc] = build::NAMES.map(|(name, _)| {
        let path = folder.join(name);
        // SAFETY: our own library, whose initialisers do nothing.
        let library = unsafe { UnixLibrary::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
        library.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
    });
    Emulator { folder, driver, nvrtc }
}
