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
#![allow(dead_code)] // Each test binary that includes this module uses a part of it.

use libloading::Library;
use libloading::os::unix::{Library as UnixLibrary, RTLD_GLOBAL, RTLD_NOW};
use std::collections::hash_map::DefaultHasher;
use std::ffi::{CStr, CString, c_char};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

const DRIVER: [&str; 11] = [
    "fiber", "block", "warp", "memory", "trace", "requests", "hooks", "driver", "stream", "module", "control",
];
const NVRTC: [&str; 1] = ["nvrtc"];
/// Each library's own name is the first that cudarc tries, so that opening that name finds the one already open.
/// The others are for `LD_LIBRARY_PATH`.
const NAMES: [(&str, &[&str]); 2] =
    [("libcuda.so", &["libcuda.so.1"]), ("libnvrtc.so", &["libnvrtc.so.13", "libnvrtc.so.12"])];

/// In which order threads and blocks run; see control.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    Ascending = 0,
    Descending = 1,
    WarpPriority = 2,
    Shuffled = 3,
}

impl Order {
    pub const ALL: [Order; 4] = [Order::Ascending, Order::Descending, Order::WarpPriority, Order::Shuffled];
}

/// How kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub order: Order,
    pub seed: u64,
    /// Check and count every access: bounds, races, uninitialised reads, alignment. About four times slower.
    pub trace: bool,
    /// Do not print errors; [`Session::last_error`] has them all the same.
    pub quiet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { order: Order::Ascending, seed: 1, trace: false, quiet: false }
    }
}

#[repr(C)]
struct RawOptions {
    order: u32,
    trace: u32,
    seed: u64,
    quiet: u64,
}

/// The device that the program sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    /// 10 · major + minor of the compute capability.
    pub sm: u32,
    pub multiprocessors: u32,
    /// Allocations beyond this fail.
    pub memory_bytes: u64,
    /// 1000 · major + 10 · minor.
    pub driver_version: u32,
    pub count: u32,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            name: "Emulator".into(),
            sm: 80,
            multiprocessors: 4,
            memory_bytes: 4 << 30,
            driver_version: 13000,
            count: 1,
        }
    }
}

#[repr(C)]
struct RawDevice {
    name: [c_char; 64],
    sm: u32,
    multiprocessors: u32,
    memory_bytes: u64,
    driver_version: u32,
    count: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawLaunch {
    kernel: [c_char; 128],
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    static_shared: u32,
    traced: u32,
    failed: u32,
    counts: Counts,
}

/// What a traced launch did; zeros if it was not traced (but `atomics`, `float_atomics` and `barriers`). Bytes are
/// of global memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes read at least once.
    pub unique_read_bytes: u64,
    /// Bytes written at least once.
    pub unique_write_bytes: u64,
    /// The sum over all reads.
    pub read_bytes: u64,
    /// The sum over all writes.
    pub write_bytes: u64,
    /// 32 for each aligned 32-byte sector read at least once: what memory must deliver.
    pub sector_read_bytes: u64,
    /// 32 for each aligned 32-byte sector written at least once.
    pub sector_write_bytes: u64,
    /// Warp instructions on global memory.
    pub requests: u64,
    /// Sectors that these touched.
    pub sectors: u64,
    /// The fewest sectors that their bytes fill.
    pub ideal_sectors: u64,
    /// Warp instructions on shared memory: per half warp for 8 bytes a lane, per quarter for 16.
    pub shared_requests: u64,
    /// Passes over the 32 banks that these need; more than requests means bank conflicts.
    pub shared_wavefronts: u64,
    /// Atomic operations of single lanes.
    pub atomics: u64,
    /// Those on floating-point numbers: their sum depends on the order.
    pub float_atomics: u64,
    /// Barriers passed, over all blocks.
    pub barriers: u64,
}

/// One kernel launch that has run.
#[derive(Clone, Debug)]
pub struct Launch {
    pub kernel: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub static_shared: u32,
    pub traced: bool,
    pub failed: bool,
    pub counts: Counts,
    /// By allocation, of those that the launch touched; by address.
    pub traffic: Vec<Traffic>,
}

/// What a traced launch did to one allocation, in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub address: u64,
    pub bytes: u64,
    pub unique_read_bytes: u64,
    pub unique_write_bytes: u64,
    pub sector_read_bytes: u64,
    pub sector_write_bytes: u64,
}

/// What one instruction of a traced launch asked of memory, over all blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `types.cuh:48 in conv.cu:120`: the source line, and the calls that are inlined around it.
    pub line: String,
    pub shared: bool,
    pub written: bool,
    pub requests: u64,
    /// Sectors of global or wavefronts of shared memory.
    pub passes: u64,
    /// The fewest possible.
    pub ideal_passes: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawSite {
    line: [c_char; 128],
    shared: u32,
    written: u32,
    requests: u64,
    passes: u64,
    ideal_passes: u64,
}

/// What the program holds of the device's memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub live_allocations: u64,
    pub live_bytes: u64,
    /// The most since the session began.
    pub peak_bytes: u64,
    /// Calls of the allocation functions since the session began.
    pub allocation_calls: u64,
    /// Pinned host memory.
    pub pinned_bytes: u64,
}

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
            .get_or_init(|| match build() {
                Ok(folder) => Some(open(folder)),
                Err(reason) if std::env::var("CI").as_deref() == Ok("true") => panic!("the CUDA emulator: {reason}"),
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
        let length = control!(self, "emulator_last_error", fn(text.as_mut_ptr().cast() => *mut c_char, text.len() => usize) -> usize);
        text.truncate(length.min(text.len() - 1));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The `nth` call from now of a function of the driver (1: the next) does nothing and returns `code`.
    pub fn fail(&self, function: &str, nth: u32, code: u32) {
        let function = CString::new(function).expect("a function's name");
        control!(self, "emulator_fail", fn(function.as_ptr() => *const c_char, nth => u32, code => u32));
    }

    /// How much work has been given to streams and has not run.
    pub fn pending(&self) -> usize {
        control!(self, "emulator_pending", fn() -> usize)
    }
}

fn open(folder: PathBuf) -> Emulator {
    let [driver, nvrtc] = NAMES.map(|(name, _)| {
        let path = folder.join(name);
        // SAFETY: our own library, whose initialisers do nothing.
        let library = unsafe { UnixLibrary::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
        library.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
    });
    Emulator { folder, driver, nvrtc }
}

// ---- building ------------------------------------------------------------------------------------------------

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator")
}

fn compiler() -> String {
    std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "g++".into())
}

/// Builds the libraries if their sources have changed since. Two processes do not build at once, and files appear
/// whole.
fn build() -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let folder = target.join("emulator");
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    let version = Command::new(compiler()).arg("--version").output().map_err(|error| {
        format!("no C++ compiler to build the CUDA emulator with ({}: {error})", compiler())
    })?;
    fs::create_dir_all(&folder).map_err(io)?;
    let lock = File::create(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    let hash = hash_sources(&version.stdout).map_err(io)?;
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == format!("{hash:016x}")) {
        return Ok(folder);
    }
    let objects = folder.join("objects");
    fs::create_dir_all(&objects).map_err(io)?;
    for pair in [&DRIVER[..], &NVRTC[..]].concat().chunks(2) {
        let started: Vec<_> =
            pair.iter().map(|name| compile(name, &objects, hash).spawn().map_err(io)).collect();
        for child in started {
            check(child?.wait_with_output().map_err(io)?)?;
        }
    }
    link("libcuda.so", &DRIVER, &objects, &folder)?;
    link("libnvrtc.so", &NVRTC, &objects, &folder)?;
    fs::write(&stamp, format!("{hash:016x}")).map_err(io)?;
    Ok(folder)
}

/// Of everything that a library or a compiled kernel depends on.
fn hash_sources(compiler_version: &[u8]) -> std::io::Result<u64> {
    let mut files: Vec<_> =
        fs::read_dir(sources())?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    compiler_version.hash(&mut hasher);
    sources().hash(&mut hasher);
    let is_source = |file: &&PathBuf| file.extension().is_some_and(|e| e == "cpp" || e == "h" || e == "cuh");
    for file in files.iter().filter(is_source) {
        file.hash(&mut hasher);
        fs::read(file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn compile(name: &str, objects: &Path, hash: u64) -> Command {
    let mut command = Command::new(compiler());
    command
        .args([
            "-std=c++17",
            "-O2",
            "-g1",
            "-fPIC",
            "-march=native",
            "-fvisibility=hidden",
            "-Wall",
            "-Wextra",
        ])
        .args(["-Wno-unused-parameter", "-Werror"])
        .arg(format!("-DEMULATOR_INTERFACE={hash}ull"))
        .arg(format!("-DEMULATOR_SOURCES=\"{}\"", sources().display()))
        .arg("-c")
        .arg(sources().join(format!("{name}.cpp")))
        .arg("-o")
        .arg(objects.join(format!("{name}.o")))
        .stderr(std::process::Stdio::piped());
    command
}

fn link(library: &str, parts: &[&str], objects: &Path, folder: &Path) -> Result<(), String> {
    let unfinished = objects.join(library);
    let mut command = Command::new(compiler());
    command.args(["-shared", "-Wl,-z,defs", &format!("-Wl,-soname,{library}"), "-o"]).arg(&unfinished);
    command.args(parts.iter().map(|name| objects.join(format!("{name}.o")))).args(["-ldl", "-lpthread"]);
    check(command.output().map_err(|error| error.to_string())?)?;
    let (_, others) = NAMES.iter().find(|(name, _)| *name == library).expect("a library's name");
    for other in *others {
        let copy = objects.join(other);
        let copied = fs::copy(&unfinished, &copy).and_then(|_| fs::rename(&copy, folder.join(other)));
        copied.map_err(|error| format!("{other}: {error}"))?;
    }
    fs::rename(&unfinished, folder.join(library)).map_err(|error| format!("{library}: {error}"))
}

/// The emulator's own sources do not compile: never a reason to skip.
fn check(output: std::process::Output) -> Result<(), String> {
    assert!(
        output.status.success(),
        "the CUDA emulator does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
