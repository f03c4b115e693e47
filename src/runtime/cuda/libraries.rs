//! Where the driver and NVRTC are.
//!
//! Nothing of CUDA is linked: both are opened at run time, where there are any. The driver comes with
//! NVIDIA's kernel module, NVRTC with a CUDA toolkit or alone, as a Python wheel that no variable points
//! at. So more is searched than a system's loader would, in this order:
//!
//! 1. what the process has open already: a program around the library, or a test's stand-in;
//! 2. NVRTC only: the file (or folder) that `GRADPATH_NVRTC` names; then nothing else is tried;
//! 3. the names that the system's loader knows;
//! 4. the folders of `LD_LIBRARY_PATH`, of toolkits (`CUDA_HOME`, `CUDA_PATH`, `/usr/local/cuda*`), and for
//!    the driver WSL's;
//! 5. NVRTC only: Python's folders of packages, `target/nvrtc` of the working folder, and the folder of the
//!    program itself.
//!
//! The first that opens is kept open as long as the process runs. cudarc opens the driver by a plain
//! name of its own, which then finds the one that is open, by its SONAME.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fmt, fs};

use libloading::Library;

/// The variable that names an NVRTC to use.
pub const NVRTC_VARIABLE: &str = "GRADPATH_NVRTC";

/// A library of CUDA's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CudaLibrary {
    /// `libcuda`, which comes with the driver.
    Driver,
    /// `libnvrtc`, the compiler.
    Nvrtc,
}

impl CudaLibrary {
    /// The stems of the file's name, as cudarc has them.
    fn stems(self) -> &'static [&'static str] {
        match self {
            CudaLibrary::Driver => &["cuda", "nvcuda"],
            CudaLibrary::Nvrtc => &["nvrtc"],
        }
    }

    /// The names that the system's loader is asked for, as cudarc asks.
    fn plain_names(self) -> Vec<String> {
        self.stems().iter().flat_map(|stem| cudarc::get_lib_name_candidates(stem)).collect()
    }

    /// Whether a file of this name is the library: `libnvrtc.so.13`, `nvrtc64_130_0.dll`, but not
    /// `libnvrtc-builtins.so.13` or `libnvrtc.alt.so.13`.
    fn is_named(self, name: &str) -> bool {
        let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        self.stems().iter().any(|stem| {
            let Some(rest) = name.strip_prefix(prefix).and_then(|name| name.strip_prefix(stem)) else {
                return false;
            };
            let is_version = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '_');
            match rest.split_once(suffix) {
                Some((before, after)) => is_version(before) && is_version(after),
                None => false,
            }
        })
    }
}

impl fmt::Display for CudaLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CudaLibrary::Driver => "the driver (libcuda)",
            CudaLibrary::Nvrtc => "NVRTC (libnvrtc)",
        })
    }
}

/// What became of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is the library in use.
    Loaded,
    /// No such file there.
    Absent,
    /// A file is there and cannot be used, for this reason.
    Failed(String),
}

/// One place that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Why it was: `the system's loader`, `LD_LIBRARY_PATH`.
    pub because: &'static str,
    /// The file, the folder, or the folders as a pattern.
    pub path: PathBuf,
    /// What was found.
    pub outcome: Outcome,
}

/// All places that were looked at, up to the one that served.
#[derive(Debug)]
pub struct Search<T = Library> {
    /// Which library.
    pub library: CudaLibrary,
    /// The places in order.
    pub places: Vec<Place>,
    found: Option<T>,
}

impl<T> Search<T> {
    /// The library, where one was found.
    pub fn found(&self) -> Option<&T> {
        self.found.as_ref()
    }

    /// The first file that is there and could not be used.
    pub fn failure(&self) -> Option<&Place> {
        self.places.iter().find(|place| matches!(place.outcome, Outcome::Failed(_)))
    }

    /// The place that served.
    pub fn place(&self) -> Option<&Place> {
        self.places.iter().find(|place| place.outcome == Outcome::Loaded)
    }
}

/// The driver: searched at the first call.
pub fn driver() -> &'static Search {
    static SEARCH: OnceLock<Search> = OnceLock::new();
    SEARCH.get_or_init(|| {
        search(CudaLibrary::Driver, &Surroundings::of_process(), &already_open, &|path| {
            // SAFETY: what opening runs is the driver's own initialisation, as every CUDA program does;
            // the path is one of a driver.
            unsafe { Library::new(path) }.map_err(|e| e.to_string())
        })
    })
}

/// How an environment variable is read.
type Variable = dyn Fn(&str) -> Option<OsString>;

/// What a search goes by; a value of its own so that tests have theirs.
pub(super) struct Surroundings {
    variable: Box<Variable>,
    /// What stands for `/`.
    root: PathBuf,
    /// The working folder.
    working: PathBuf,
    /// The folder of the program.
    program: Option<PathBuf>,
}

impl Surroundings {
    /// The process's own.
    pub(super) fn of_process() -> Self {
        Surroundings {
            variable: Box::new(|name| env::var_os(name).filter(|value| !value.is_empty())),
            root: PathBuf::from("/"),
            working: env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            program: env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned())),
        }
    }

    fn variable(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).map(PathBuf::from)
    }

    fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").or_else(|| self.variable("USERPROFILE"))
    }
}

/// The library of plain name `name` that the process has open already.
#[cfg(target_os = "linux")]
pub(super) fn already_open(name: &str) -> Option<Library> {
    use libloading::os::unix;
    /// Only what is open: the same number in glibc and musl.
    const RTLD_NOLOAD: std::ffi::c_int = 4;
    // SAFETY: nothing is loaded by this, so nothing runs; the handle counts as one more user of it.
    let library = unsafe { unix::Library::open(Some(name), unix::RTLD_LAZY | RTLD_NOLOAD) };
    library.ok().map(Library::from)
}

/// Elsewhere the loader cannot be asked without loading: the plain names find what is open too.
#[cfg(not(target_os = "linux"))]
pub(super) fn already_open(_: &str) -> Option<Library> {
    None
}

/// Looks for `library` until `open` accepts what is there. `open` says why it does not.
pub(super) fn search<T>(
    library: CudaLibrary,
    surroundings: &Surroundings,
    already_open: &dyn Fn(&str) -> Option<T>,
    open: &dyn Fn(&Path) -> Result<T, String>,
) -> Search<T> {
    let mut search = Search { library, places: Vec::new(), found: None };
    let names = library.plain_names();
    for name in &names {
        if let Some(found) = already_open(name) {
            search.note("open in this process already", name.into(), Outcome::Loaded);
            search.found = Some(found);
            return search;
        }
    }
    if library == CudaLibrary::Nvrtc
        && let Some(path) = surroundings.variable(NVRTC_VARIABLE)
    {
        // Whoever names one wants that one, not the next best.
        match path.is_dir() {
            true => search.look_in(NVRTC_VARIABLE, &path, open),
            false => search.look_at(NVRTC_VARIABLE, &path, open),
        };
        return search;
    }
    for name in &names {
        // A name that the loader does not know is no place: its error says nothing more.
        if let Ok(found) = open(Path::new(name)) {
            search.note("the system's loader", name.into(), Outcome::Loaded);
            search.found = Some(found);
            return search;
        }
    }
    let pattern = match names.first() {
        Some(name) => format!("{name}*"),
        None => String::new(),
    };
    search.note("the system's loader", pattern.into(), Outcome::Absent);
    for (because, folder) in folders(library, surroundings) {
        if search.look_in(because, &folder, open) {
            break;
        }
    }
    search
}

impl<T> Search<T> {
    fn note(&mut self, because: &'static str, path: PathBuf, outcome: Outcome) {
        self.places.push(Place { because, path, outcome });
    }

    /// Tries one file; true where it serves.
    fn look_at(
        &mut self,
        because: &'static str,
        path: &Path,
        open: &dyn Fn(&Path) -> Result<T, String>,
    ) -> bool {
        let outcome = match path.exists() {
            false => Outcome::Absent,
            true => match open(path) {
                Ok(found) => {
                    self.found = Some(found);
                    Outcome::Loaded
                }
                Err(reason) => Outcome::Failed(reason),
            },
        };
        self.note(because, path.to_owned(), outcome);
        self.found.is_some()
    }

    /// Tries the library's files in `folder`, the newest version first; true where one serves.
    fn look_in(
        &mut self,
        because: &'static str,
        folder: &Path,
        open: &dyn Fn(&Path) -> Result<T, String>,
    ) -> bool {
        let mut files: Vec<PathBuf> = entries(folder)
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|n| self.library.is_named(&n.to_string_lossy())))
            .collect();
        files.sort_by_key(|path| std::cmp::Reverse(numbers(path)));
        if files.is_empty() {
            self.note(because, folder.to_owned(), Outcome::Absent);
        }
        // Links of one file: once is enough.
        let mut seen = BTreeSet::new();
        files.retain(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
        files.iter().any(|path| self.look_at(because, path, open))
    }
}

/// The folders that may hold `library`, in order, each once, with the reason.
fn folders(library: CudaLibrary, surroundings: &Surroundings) -> Vec<(&'static str, PathBuf)> {
    let mut list: Vec<(&'static str, PathBuf)> = Vec::new();
    for variable in ["LD_LIBRARY_PATH", "PATH"] {
        // Windows's loader goes by PATH; elsewhere it holds programs.
        if (variable == "PATH") == cfg!(windows)
            && let Some(paths) = (surroundings.variable)(variable)
        {
            let folders = env::split_paths(&paths).filter(|folder| !folder.as_os_str().is_empty());
            list.extend(folders.map(|folder| (variable, folder)));
        }
    }
    if library == CudaLibrary::Driver {
        list.push(("WSL", surroundings.root.join("usr/lib/wsl/lib")));
    }
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(folder) = surroundings.variable(variable) {
            list.extend(toolkit(library, &folder).into_iter().map(|folder| (variable, folder)));
        }
    }
    let local = surroundings.root.join("usr/local");
    let toolkits = matching(&local, "cuda");
    if toolkits.is_empty() {
        list.push(("a CUDA toolkit", local.join("cuda*")));
    }
    for folder in toolkits {
        list.extend(toolkit(library, &folder).into_iter().map(|folder| ("a CUDA toolkit", folder)));
    }
    if library == CudaLibrary::Nvrtc {
        if let Some(folder) = surroundings.variable("CONDA_PREFIX") {
            list.push(("CONDA_PREFIX", folder.join("lib")));
        }
        for (because, packages) in python_packages(surroundings) {
            list.extend(wheels(&packages).into_iter().map(|folder| (because, folder)));
        }
        let own = surroundings.working.join("target/nvrtc");
        list.extend(wheels(&own).into_iter().map(|folder| ("the working folder", folder)));
        list.extend(surroundings.program.iter().map(|folder| ("beside the program", folder.clone())));
    }
    let mut seen = BTreeSet::new();
    list.retain(|(_, folder)| seen.insert(folder.clone()));
    list
}

/// The folders of libraries in a CUDA toolkit; the driver's stubs are none, they only link.
fn toolkit(library: CudaLibrary, folder: &Path) -> Vec<PathBuf> {
    let machine = match cfg!(target_arch = "aarch64") {
        true => "targets/sbsa-linux/lib",
        false => "targets/x86_64-linux/lib",
    };
    let names: &[&str] = match (cfg!(windows), library) {
        (true, CudaLibrary::Nvrtc) => &["bin/x64", "bin"],
        (true, CudaLibrary::Driver) => &[],
        // `compat`: a newer driver's library for data centres, which they choose by LD_LIBRARY_PATH.
        (false, CudaLibrary::Driver) => &[],
        (false, CudaLibrary::Nvrtc) => &["lib64", machine],
    };
    names.iter().map(|name| folder.join(name)).collect()
}

/// Python's folders of packages: of the environment that is active, the user's, the system's.
fn python_packages(surroundings: &Surroundings) -> Vec<(&'static str, PathBuf)> {
    let mut list = Vec::new();
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(folder) = surroundings.variable(variable) {
            list.extend(site_packages(&folder).into_iter().map(|folder| (variable, folder)));
        }
    }
    let user = surroundings.home().map(|home| ("the user's Python packages", home.join(".local")));
    let system = ["usr/local", "usr"].map(|folder| ("Python packages", surroundings.root.join(folder)));
    for (because, folder) in user.into_iter().chain(system) {
        list.extend(site_packages(&folder).into_iter().map(|folder| (because, folder)));
    }
    list
}

/// `lib/python3*/…-packages` below `prefix`; the pattern itself where there are none.
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pythons = matching(&prefix.join("lib"), "python3");
    if cfg!(windows) {
        pythons.push(prefix.join("Lib"));
    }
    for python in pythons {
        for name in ["site-packages", "dist-packages"] {
            let folder = python.join(name);
            if folder.is_dir() {
                found.push(folder);
            }
        }
    }
    if found.is_empty() {
        found.push(prefix.join("lib/python3*/site-packages"));
    }
    found
}

/// The folders in which NVIDIA's wheels put libraries, below a folder of packages: `nvidia/cu13/lib` since
/// CUDA 13, `nvidia/cuda_nvrtc/lib` before; the first of them where there are none.
fn wheels(packages: &Path) -> Vec<PathBuf> {
    let nvidia = packages.join("nvidia");
    let library = if cfg!(windows) { "bin" } else { "lib" };
    let mut found = matching(&nvidia, "cu");
    found.retain(|wheel| {
        let name = wheel.file_name().unwrap_or_default().to_string_lossy();
        let version = name.strip_prefix("cu").unwrap_or_default();
        version == "da_nvrtc" || version.parse::<u32>().is_ok()
    });
    let mut found: Vec<PathBuf> = found.iter().map(|wheel| wheel.join(library)).collect();
    if found.is_empty() {
        found.push(nvidia.join("cu13").join(library));
    }
    found
}

/// The folders in `parent` whose names begin with `prefix`, the newest version first.
fn matching(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found = entries(parent);
    found.retain(|path| {
        path.is_dir() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    // A name without a number (`cuda`) is a link to the one in use: first.
    found.sort_by_key(|path| {
        let numbers = numbers(path);
        (prefix == "cuda" && !numbers.is_empty(), std::cmp::Reverse(numbers), path.clone())
    });
    found
}

/// What lies in `folder`; nothing where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// The numbers in a file's name: versions in order.
fn numbers(path: &Path) -> Vec<u64> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}
#[cfg(test)]
#[path = "libraries_tests.rs"]
mod tests;
