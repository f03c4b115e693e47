//! The search, in a tree of files that stands for a machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

/// A machine: a folder that stands for its root, and variables.
struct Machine {
    root: tempfile::TempDir,
    variables: BTreeMap<&'static str, String>,
    /// Plain names that are open in the process, and that the loader knows.
    open: Vec<&'static str>,
    known: Vec<&'static str>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Machine { root, variables: BTreeMap::new(), open: Vec::new(), known: Vec::new() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A file that says `text`.
    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A variable with the path of a file of the machine.
    fn variable(&mut self, name: &'static str, path: &str) {
        let path = self.path(path).to_string_lossy().into_owned();
        self.variables.insert(name, path);
    }

    /// Searches; what says "good" opens, what says anything else is refused for it. Also what was opened.
    fn search(&self, library: CudaLibrary) -> (Search<String>, Vec<PathBuf>) {
        let variables = self.variables.clone();
        let surroundings = Surroundings {
            variable: Box::new(move |name| variables.get(name).map(OsString::from)),
            root: self.root.path().to_owned(),
            working: self.path("work"),
            program: Some(self.path("program")),
        };
        let opened = RefCell::new(Vec::new());
        let already = |name: &str| self.open.contains(&name).then(|| format!("open {name}"));
        let open = |path: &Path| {
            if !path.has_root() {
                let name = path.to_string_lossy().into_owned();
                return match self.known.contains(&name.as_str()) {
                    true => Ok(format!("known {name}")),
                    false => Err("not known".to_owned()),
                };
            }
            opened.borrow_mut().push(path.to_owned());
            match fs::read_to_string(path).unwrap().as_str() {
                "good" => Ok(path.to_string_lossy().into_owned()),
                reason => Err(reason.to_owned()),
            }
        };
        let search = search(library, &surroundings, &already, &open);
        (search, opened.into_inner())
    }

    /// What NVRTC's search finds.
    fn nvrtc(&self) -> Option<String> {
        let (search, _) = self.search(CudaLibrary::Nvrtc);
        assert_eq!(search.found().is_some(), search.place().is_some());
        search.found().cloned()
    }

    fn text(&self, path: &str) -> Option<String> {
        Some(self.path(path).to_string_lossy().into_owned())
    }
}

#[test]
fn names() {
    let is = |name| CudaLibrary::Nvrtc.is_named(name);
    assert!(["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12.9.86"].into_iter().all(is));
    for name in [
        "libnvrtc-builtins.so.13.0",
        "libnvrtc.alt.so.13",
        "libnvrtc_static.a",
        "nvrtc.so",
        "libnvrtc.so.13.bak",
        "libcuda.so.1",
    ] {
        assert!(!is(name), "{name}");
    }
    assert!(
        CudaLibrary::Driver.is_named("libcuda.so.1") && CudaLibrary::Driver.is_named("libcuda.so.570.86.10")
    );
    assert!(!CudaLibrary::Driver.is_named("libcudart.so.12"));
    assert_eq!(CudaLibrary::Nvrtc.plain_names().first().unwrap(), "libnvrtc.so");
}

#[test]
fn nothing_is_told_place_by_place() {
    let machine = Machine::new();
    let (search, opened) = machine.search(CudaLibrary::Nvrtc);
    assert!(search.found().is_none() && search.failure().is_none() && opened.is_empty());
    let reasons: Vec<&str> = search.places.iter().map(|place| place.because).collect();
    for because in [
        "the system's loader",
        "a CUDA toolkit",
        "Python packages",
        "the working folder",
        "beside the program",
    ] {
        assert!(reasons.contains(&because), "{because} is not in {reasons:?}");
    }
    assert!(search.places.iter().all(|place| place.outcome == Outcome::Absent));
    let (search, _) = machine.search(CudaLibrary::Driver);
    assert!(search.places.iter().any(|place| place.path.ends_with("usr/lib/wsl/lib")));
    assert!(!search.places.iter().any(|place| place.because.contains("Python")), "wheels hold no driver");
}

/// Each place is found alone, and comes before those behind it.
#[test]
fn the_order() {
    let mut machine = Machine::new();
    let places = [
        "program/libnvrtc.so",
        "work/target/nvrtc/nvidia/cu13/lib/libnvrtc.so.13",
        "usr/lib/python3/dist-packages/nvidia/cu13/lib/libnvrtc.so.13",
        "usr/local/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
        "home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
        "conda/lib/python3.10/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
        "venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
        "venv/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
        "conda/lib/libnvrtc.so.13",
        "usr/local/cuda-12.4/targets/x86_64-linux/lib/libnvrtc.so.12",
        "usr/local/cuda-13.0/targets/x86_64-linux/lib/libnvrtc.so.13",
        "usr/local/cuda-13.0/lib64/libnvrtc.so.13.0.88",
        "usr/local/cuda/lib64/libnvrtc.so",
        "toolkit2/lib64/libnvrtc.so.13",
        "toolkit/lib64/libnvrtc.so.13",
        "loader/libnvrtc.so.13",
    ];
    for (name, path) in [
        ("LD_LIBRARY_PATH", "loader"),
        ("CUDA_HOME", "toolkit"),
        ("CUDA_PATH", "toolkit2"),
        ("VIRTUAL_ENV", "venv"),
        ("CONDA_PREFIX", "conda"),
        ("HOME", "home"),
    ] {
        machine.variable(name, path);
    }
    assert_eq!(machine.nvrtc(), None);
    for place in places {
        if place.contains("x86_64") && !cfg!(target_arch = "x86_64") {
            continue;
        }
        machine.file(place, "good");
        assert_eq!(machine.nvrtc(), machine.text(place));
    }
    machine.known = vec!["libnvrtc.so.12", "libnvrtc.so.13"];
    assert_eq!(machine.nvrtc().unwrap(), "known libnvrtc.so.13");
    machine.file("mine/compiler.so", "good");
    machine.variable(NVRTC_VARIABLE, "mine/compiler.so");
    assert_eq!(machine.nvrtc(), machine.text("mine/compiler.so"), "any name will do");
    machine.open = vec!["libnvrtc.so.13"];
    assert_eq!(machine.nvrtc().unwrap(), "open libnvrtc.so.13");
}

#[test]
fn whoever_names_one_gets_that_or_none() {
    let mut machine = Machine::new();
    machine.file("program/libnvrtc.so", "good");
    machine.variable(NVRTC_VARIABLE, "none.so");
    let (search, _) = machine.search(CudaLibrary::Nvrtc);
    assert!(search.found().is_none());
    assert_eq!(search.places.len(), 1);
    assert_eq!(search.places[0].outcome, Outcome::Absent);
    // A folder: the newest in it.
    machine.file("mine/libnvrtc.so.12", "good");
    machine.file("mine/libnvrtc.so.13", "good");
    machine.variable(NVRTC_VARIABLE, "mine");
    assert_eq!(machine.nvrtc(), machine.text("mine/libnvrtc.so.13"));
    // An empty folder is said to be one.
    fs::create_dir(machine.path("empty")).unwrap();
    machine.variable(NVRTC_VARIABLE, "empty");
    assert_eq!(machine.nvrtc(), None);
}

#[test]
fn what_does_not_open_is_told_and_passed() {
    let machine = Machine::new();
    machine.file("usr/local/cuda/lib64/libnvrtc.so.11.2", "is too old");
    machine.file("program/libnvrtc.so", "good");
    let (search, _) = machine.search(CudaLibrary::Nvrtc);
    assert_eq!(search.found().cloned(), machine.text("program/libnvrtc.so"));
    let failure = search.failure().unwrap();
    assert_eq!(failure.outcome, Outcome::Failed("is too old".to_owned()));
    assert!(failure.path.ends_with("libnvrtc.so.11.2"));
}

#[cfg(unix)]
#[test]
fn links_of_one_file_are_opened_once() {
    let machine = Machine::new();
    let file = machine.file("usr/local/cuda/lib64/libnvrtc.so.13.0.88", "is damaged");
    for link in ["libnvrtc.so.13", "libnvrtc.so"] {
        std::os::unix::fs::symlink(&file, file.with_file_name(link)).unwrap();
    }
    let (_, opened) = machine.search(CudaLibrary::Nvrtc);
    assert_eq!(opened, [file]);
}

#[test]
fn the_driver_of_wsl() {
    let machine = Machine::new();
    machine.file("usr/lib/wsl/lib/libcuda.so.1", "good");
    let (search, _) = machine.search(CudaLibrary::Driver);
    assert_eq!(search.found().cloned(), machine.text("usr/lib/wsl/lib/libcuda.so.1"));
    assert_eq!(search.place().unwrap().because, "WSL");
}

#[test]
fn the_search_of_the_process_is_made_once() {
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| std::ptr::from_ref(driver()) as usize)).collect();
    let addresses: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(addresses.iter().all(|address| *address == addresses[0]));
}
