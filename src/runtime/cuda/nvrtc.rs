//! NVRTC, the run-time compiler: CUDA C++ to a CUBIN for one architecture.
//!
//! Always a CUBIN, never PTX: a driver refuses the PTX of a newer NVRTC, and `compute_XX` does not look at
//! inline assembly at all. Symbols are taken from the very library that the search found, not through
//! cudarc, which opens one by a name of its own (so another than `GRADPATH_NVRTC` says), panics where a
//! symbol is missing, and reads result codes into an `enum` that a newer version may add to.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

use super::launch::Kernel;
use super::libraries::{self, CudaLibrary, NVRTC_VARIABLE, Outcome, Search, Surroundings};
use super::problem::Problem;
use super::sources::Source;
use crate::{Error, ErrorKind, Result};

/// The oldest version that is used: C++17, and CUBINs for sm_90.
const OLDEST: (u32, u32) = (12, 0);
/// How to get NVRTC.
pub const INSTALL: &str = "pip install nvidia-cuda-nvrtc";
/// How to get a newer one.
const UPGRADE: &str = "pip install -U nvidia-cuda-nvrtc";
/// As many lines of the compiler's errors as an error shows.
const ERROR_LINES: usize = 3;

type Program = *mut c_void;
/// `nvrtcResult`; 0 is success.
type Code = c_int;

/// What is called of NVRTC, and what it says of itself.
#[derive(Debug)]
pub struct Nvrtc {
    functions: Functions,
    version: (u32, u32),
    architectures: Vec<u32>,
    path: PathBuf,
    /// The functions are of this library, which must stay open.
    _library: Library,
}

#[derive(Clone, Copy, Debug)]
struct Functions {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Code,
    destroy: unsafe extern "C" fn(*mut Program) -> Code,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Code,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Code,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    error_string: unsafe extern "C" fn(Code) -> *const c_char,
}

/// A kernel as machine code of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    /// The image that the driver loads.
    pub image: Vec<u8>,
    /// What the compiler said: warnings, registers and spills.
    pub log: String,
}

/// The search for NVRTC: made at the first call.
pub fn search() -> &'static Search<Nvrtc> {
    static SEARCH: OnceLock<Search<Nvrtc>> = OnceLock::new();
    SEARCH.get_or_init(|| {
        let open_already = |name: &str| Nvrtc::of(libraries::already_open(name)?, Path::new(name)).ok();
        libraries::search(CudaLibrary::Nvrtc, &Surroundings::of_process(), &open_already, &Nvrtc::open)
    })
}

impl Nvrtc {
    /// The NVRTC of this machine.
    ///
    /// # Errors
    /// Where none was found, or what was found cannot be used.
    pub fn get() -> Result<&'static Nvrtc> {
        Self::find().map_err(|problem| problem.error())
    }

    /// As [`Nvrtc::get`], with the problem as data.
    pub(super) fn find() -> Result<&'static Nvrtc, Problem> {
        let search = search();
        search.found().ok_or_else(|| missing(search))
    }

    /// Opens the file at `path`, or says why it does not serve.
    fn open(path: &Path) -> Result<Nvrtc, String> {
        // SAFETY: what opening runs is NVRTC's own initialisation; the path is one of an NVRTC.
        let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
        Nvrtc::of(library, path)
    }

    /// Takes the functions from `library`.
    fn of(library: Library, path: &Path) -> Result<Nvrtc, String> {
        /// The function of this name.
        ///
        /// # Safety
        /// `T` must be the type of that function.
        unsafe fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T, String> {
            // SAFETY: the caller's.
            match unsafe { library.get::<T>(name) } {
                Ok(symbol) => Ok(*symbol),
                Err(_) => Err(format!("has no {name}: it is no NVRTC, or one too old")),
            }
        }
        type TwoInts = unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code;
        type OneInt = unsafe extern "C" fn(*mut c_int) -> Code;
        // SAFETY: the types are those of nvrtc.h, the same in versions 11.2 to 13.
        let (functions, version, count, architectures) = unsafe {
            let functions = Functions {
                create: symbol(&library, "nvrtcCreateProgram")?,
                destroy: symbol(&library, "nvrtcDestroyProgram")?,
                compile: symbol(&library, "nvrtcCompileProgram")?,
                log_size: symbol(&library, "nvrtcGetProgramLogSize")?,
                log: symbol(&library, "nvrtcGetProgramLog")?,
                cubin_size: symbol(&library, "nvrtcGetCUBINSize")?,
                cubin: symbol(&library, "nvrtcGetCUBIN")?,
                error_string: symbol(&library, "nvrtcGetErrorString")?,
            };
            let version: TwoInts = symbol(&library, "nvrtcVersion")?;
            let count: OneInt = symbol(&library, "nvrtcGetNumSupportedArchs")?;
            let architectures: OneInt = symbol(&library, "nvrtcGetSupportedArchs")?;
            (functions, version, count, architectures)
        };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to integers that are written to.
        functions.check("nvrtcVersion", unsafe { version(&raw mut major, &raw mut minor) })?;
        let version = (u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0));
        if version < OLDEST {
            let (major, minor) = version;
            return Err(format!(
                "is NVRTC {major}.{minor}, and {}.{} or newer is needed",
                OLDEST.0, OLDEST.1
            ));
        }
        let mut length = 0;
        // SAFETY: the pointer is to an integer that is written to.
        functions.check("nvrtcGetNumSupportedArchs", unsafe { count(&raw mut length) })?;
        let mut list = vec![0; usize::try_from(length).unwrap_or(0)];
        // SAFETY: `list` has room for as many as the library said it writes.
        functions.check("nvrtcGetSupportedArchs", unsafe { architectures(list.as_mut_ptr()) })?;
        let architectures = list.into_iter().filter_map(|arch| u32::try_from(arch).ok()).collect();
        let path = file_of(functions.create as usize).unwrap_or_else(|| path.to_owned());
        Ok(Nvrtc { functions, version, architectures, path, _library: library })
    }

    /// Major and minor version.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The architectures that it compiles for, as in `sm_86`: 86; in ascending order.
    pub fn architectures(&self) -> &[u32] {
        &self.architectures
    }

    /// The library's file; its plain name where the system does not tell.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses an architecture that this version does not know.
    ///
    /// # Errors
    /// Which version this is, what it knows, and how to get a newer one.
    pub fn check_architecture(&self, arch: u32) -> Result<()> {
        self.knows(arch).map_err(|problem| problem.error())
    }

    /// As [`Nvrtc::check_architecture`], with the problem as data.
    pub(super) fn knows(&self, arch: u32) -> Result<(), Problem> {
        if self.architectures.contains(&arch) {
            return Ok(());
        }
        let known: Vec<String> = self.architectures.iter().map(|arch| format!("sm_{arch}")).collect();
        let (major, minor) = self.version;
        let message = format!("NVRTC {major}.{minor} does not know sm_{arch}, only {}", known.join(", "));
        let oldest = self.architectures.iter().min().copied().unwrap_or(0);
        Err(Problem::missing(
            message,
            match arch < oldest {
                true => "run on a newer GPU, or with --device cpu".to_owned(),
                false => format!("install a newer NVRTC: {UPGRADE}"),
            },
        ))
    }

    /// Compiles `kernel` for `sm_{arch}`.
    ///
    /// # Errors
    /// As [`Nvrtc::check_architecture`], [`Source::load`] and [`Nvrtc::compile`].
    pub fn compile_kernel(&self, kernel: &Kernel, arch: u32) -> Result<Cubin> {
        self.check_architecture(arch)?;
        self.compile(&Source::load(kernel.file)?, &options(kernel, arch), &kernel.to_string())
    }

    /// Compiles `source` with `options`; `name` is what an error calls the kernel. May be called from
    /// several threads at once; wants a stack of some megabytes for large kernels.
    ///
    /// # Errors
    /// The first errors of the compiler.
    pub fn compile(&self, source: &Source, options: &[String], name: &str) -> Result<Cubin> {
        let refused = |text: &str| {
            Error::internal(format!("kernel {name}: {text} holds a zero byte, which no compiler takes"))
        };
        let c_string = |text: &str, what: &str| CString::new(text).map_err(|_| refused(what));
        let text = c_string(&source.text, &source.name)?;
        let file = c_string(&source.name, "its file's name")?;
        let mut headers = (Vec::new(), Vec::new());
        for (name, text) in &source.headers {
            headers.0.push(c_string(text, name)?);
            headers.1.push(c_string(name, "a header's name")?);
        }
        let options: Vec<CString> =
            options.iter().map(|option| c_string(option, "an option")).collect::<Result<_>>()?;
        let pointers = |strings: &[CString]| -> Vec<*const c_char> {
            strings.iter().map(|string| string.as_ptr()).collect()
        };
        let (texts, names, arguments) = (pointers(&headers.0), pointers(&headers.1), pointers(&options));
        let length = |list: &[*const c_char]| c_int::try_from(list.len()).unwrap_or(c_int::MAX);
        let failed = |message: String| Error::new(ErrorKind::Device, format!("kernel {name}: {message}"));

        let mut program = OpenProgram { functions: self.functions, program: ptr::null_mut() };
        let functions = self.functions;
        // SAFETY: strings end in zero and outlive `program`; the lists are as long as is said.
        let code = unsafe {
            (functions.create)(
                &raw mut program.program,
                text.as_ptr(),
                file.as_ptr(),
                length(&texts),
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        functions.check("nvrtcCreateProgram", code).map_err(failed)?;
        // SAFETY: the program was created above; options as the strings of the source.
        let code = unsafe { (functions.compile)(program.program, length(&arguments), arguments.as_ptr()) };
        // SAFETY: the functions are the size and the bytes of the same thing, of a compiled program.
        let log = unsafe { program.bytes("nvrtcGetProgramLog", functions.log_size, functions.log) };
        let log = log.map(|log| String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned());
        if code != 0 {
            let said = functions.describe(code);
            let error = failed(match first_errors(log.as_deref().unwrap_or_default()) {
                Some(lines) => format!("NVRTC does not compile it: {lines}"),
                None => format!("NVRTC does not compile it: {said}"),
            });
            return Err(match std::env::var_os("GRADPATH_KERNELS").is_some() {
                true => error.fix("correct the kernel in the folder that GRADPATH_KERNELS names"),
                false => error
                    .fix("run with --device cpu, and please report it with what `gradpath doctor` prints"),
            });
        }
        // SAFETY: as for the log.
        let image = unsafe { program.bytes("nvrtcGetCUBIN", functions.cubin_size, functions.cubin) };
        let image = image.map_err(failed)?;
        if image.is_empty() {
            return Err(failed("NVRTC gave no machine code for it".to_owned())
                .fix(format!("install another NVRTC: {UPGRADE}")));
        }
        Ok(Cubin { image, log: log.map_err(failed)? })
    }
}

impl Functions {
    /// What NVRTC calls the result `code`.
    fn describe(&self, code: Code) -> String {
        // SAFETY: any code may be asked for.
        let text = unsafe { (self.error_string)(code) };
        if text.is_null() {
            return format!("NVRTC result {code}");
        }
        // SAFETY: a string of the library's, which stays open as long as the functions are.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    fn check(&self, function: &str, code: Code) -> Result<(), String> {
        match code {
            0 => Ok(()),
            _ => Err(format!("{function} failed: {}", self.describe(code))),
        }
    }
}

/// A program that is destroyed when it is dropped.
struct OpenProgram {
    functions: Functions,
    program: Program,
}

impl OpenProgram {
    /// What `read` writes: as many bytes as `size` says.
    ///
    /// # Safety
    /// `size` and `read` must be a pair of functions that say how many bytes the other writes.
    unsafe fn bytes(
        &self,
        function: &str,
        size: unsafe extern "C" fn(Program, *mut usize) -> Code,
        read: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    ) -> Result<Vec<u8>, String> {
        let mut length = 0;
        // SAFETY: the program is there; the pointer is to a number that is written to.
        self.functions.check(function, unsafe { size(self.program, &raw mut length) })?;
        let mut bytes = vec![0u8; length];
        if length > 0 {
            // SAFETY: `bytes` has the room that `size` asked for.
            self.functions.check(function, unsafe { read(self.program, bytes.as_mut_ptr().cast()) })?;
        }
        Ok(bytes)
    }
}

impl Drop for OpenProgram {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: it was created, and nothing uses it after this.
            unsafe { (self.functions.destroy)(&raw mut self.program) };
        }
    }
}

/// The options that `kernel` is compiled with for `sm_{arch}`.
///
/// Multiply-adds are contracted, as the cpu's are; `--use_fast_math` is not set: it would make every
/// division and root approximate and flush denormal numbers, unasked. A kernel that wants a fast function
/// names it.
pub fn options(kernel: &Kernel, arch: u32) -> Vec<String> {
    let features = if kernel.is_specific { "a" } else { "" };
    let mut options = vec![
        format!("--gpu-architecture=sm_{arch}{features}"),
        "--std=c++17".to_owned(),
        // Functions without a word before them are the device's: kernels need no other.
        "-default-device".to_owned(),
        "--ptxas-options=-v".to_owned(),
    ];
    options.extend(kernel.defines.iter().map(|(name, value)| format!("-D{name}={value}")));
    options
}

/// The first lines of a log that say what is wrong.
fn first_errors(log: &str) -> Option<String> {
    let is_error = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.contains("error") && !line.contains("detected in the compilation")
    };
    let mut lines: Vec<&str> = log.lines().filter(is_error).take(ERROR_LINES).map(str::trim).collect();
    if lines.is_empty() {
        lines = log.lines().map(str::trim).filter(|line| !line.is_empty()).take(ERROR_LINES).collect();
    }
    if lines.is_empty() { None } else { Some(lines.join(" | ")) }
}

/// That there is no NVRTC, or none that serves.
fn missing(search: &Search<Nvrtc>) -> Problem {
    if let Some(place) = search.failure()
        && let Outcome::Failed(reason) = &place.outcome
    {
        let message = format!("the NVRTC at {} cannot be used: {reason}", place.path.display());
        return Problem::broken(message, format!("install another: {UPGRADE}"));
    }
    if let [place] = search.places.as_slice()
        && place.because == NVRTC_VARIABLE
    {
        let message = format!("{NVRTC_VARIABLE} names {}, where no NVRTC is", place.path.display());
        let fix = format!("unset it, or name the file libnvrtc.so of an NVRTC ({INSTALL})");
        return Problem::broken(message, fix);
    }
    Problem::missing("NVRTC, which compiles CUDA kernels, was not found", INSTALL)
}

/// The file that the code at `address` was loaded from.
#[cfg(target_os = "linux")]
fn file_of(address: usize) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (begin, end) = line.split_once(' ')?.0.split_once('-')?;
        let range = usize::from_str_radix(begin, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        // Five columns before it: addresses, rights, offset, device, inode.
        let path = line.find('/').map(|at| PathBuf::from(&line[at..]));
        path.filter(|_| range.contains(&address))
    })
}

/// Elsewhere the name that it was opened by has to do.
#[cfg(not(target_os = "linux"))]
fn file_of(_: usize) -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_errors_of_a_log() {
        let log = "t.cu(3): warning #177-D: unused\nt.cu(5): error: identifier \"x\" is undefined\n  y = x;\n\
                   1 error detected in the compilation of \"t.cu\".\n";
        assert_eq!(first_errors(log).unwrap(), "t.cu(5): error: identifier \"x\" is undefined");
        assert_eq!(first_errors("\n  something else\n").unwrap(), "something else");
        assert_eq!(first_errors("\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_file_of_a_function() {
        let program = std::fs::canonicalize(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(file_of(the_file_of_a_function as fn() as usize), Some(program));
        assert_eq!(file_of(1), None);
    }

    #[test]
    fn what_is_no_nvrtc_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnvrtc.so.13");
        std::fs::write(&path, "not a library").unwrap();
        assert!(Nvrtc::open(&path).is_err());
        assert!(Nvrtc::open(&folder.path().join("none")).is_err());
    }
}
