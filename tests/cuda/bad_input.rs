//! What a user meets where something is missing, too old, too small or damaged: a sentence that says what to do, and
//! nothing lost. The program itself, as a child process, on the emulated GPU.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use gradpath::runtime::cuda::{Target, Tuning, TuningStore};
use gradpath::tensor::DType;

use crate::emulator::Emulator;

/// The program with the emulator's libraries, and home and working folder in a folder of its own.
struct Program {
    folder: tempfile::TempDir,
    libraries: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Program {
    /// `None` where the emulator cannot be built.
    fn new() -> Option<Self> {
        let libraries = Emulator::load()?.folder().to_owned();
        Some(Program { folder: tempfile::tempdir().unwrap(), libraries, variables: Vec::new() })
    }

    fn with(mut self, variable: &'static str, value: impl ToString) -> Self {
        self.variables.push((variable, value.to_string()));
        self
    }

    /// Another folder of libraries, with those of the emulator that are named.
    fn with_libraries(mut self, names: &[&str]) -> Self {
        let folder = self.path("libraries");
        fs::create_dir(&folder).unwrap();
        for name in names {
            fs::copy(self.libraries.join(name), folder.join(name)).unwrap();
        }
        self.libraries = folder;
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    fn begin(&self, arguments: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradpath"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        // Nothing points at another CUDA.
        for variable in ["GRADPATH_NVRTC", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX"] {
            command.env_remove(variable);
        }
        command.env("HOME", self.folder.path()).env("GRADPATH_CACHE", self.cache());
        command.env("LD_LIBRARY_PATH", &self.libraries).envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn run(&self, arguments: &str) -> Output {
        self.begin(arguments).wait_with_output().unwrap()
    }

    /// What it says where it must succeed: standard output and standard error.
    fn succeeds(&self, arguments: &str) -> (String, String) {
        succeeded(self.run(arguments))
    }

    /// The one sentence where it must fail.
    fn fails(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(output.stdout.is_empty());
        let sentence = errors.strip_prefix("error: ").unwrap_or_else(|| panic!("{errors}"));
        assert_eq!(sentence.lines().count(), 1, "{errors}");
        sentence.trim_end().to_owned()
    }
}

fn succeeded(output: Output) -> (String, String) {
    let (text, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{errors}");
    (text, errors)
}

/// A command that opens the device and compiles nothing.
const SUMMARY: &str = "summary prn-nano --size 32";
/// A command that compiles a few small kernels and runs them.
const SELFTEST: &str = "selftest --only exponential --maps f32";

/// `--device cuda` fails with all of `expected`; `--device auto` says the same and goes on with the cpu.
fn is_refused(program: &Program, expected: &[&str]) {
    let sentence = program.fails(&format!("{SUMMARY} --device cuda"));
    let (text, errors) = program.succeeds(&format!("{SUMMARY} --device auto"));
    for part in expected {
        assert!(sentence.contains(part), "{sentence}\nlacks {part:?}");
        assert!(errors.contains(part), "{errors}\nlacks {part:?}");
    }
    assert!(
        errors.starts_with("using cpu (") && errors.contains(", since the GPU cannot be used: "),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(text.contains("cpu ("), "{text}");
    // The doctor agrees.
    let (text, _) = succeeded_or_broken(program.run("doctor"));
    assert!(text.contains("--device auto takes cpu"), "{text}");
    assert!(text.contains(expected[0]), "{text}\nlacks {:?}", expected[0]);
}

/// The doctor's status is 1 where something is there that does not work.
fn succeeded_or_broken(output: Output) -> (String, String) {
    assert!(matches!(output.status.code(), Some(0 | 1)));
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_gpu_that_works_is_taken() {
    let Some(program) = Program::new() else { return };
    for device in ["auto", "cuda"] {
        let (text, errors) = program.succeeds(&format!("{SUMMARY} --device {device}"));
        assert_eq!(errors, "");
        assert!(text.contains("cuda:0 (Emulator, sm_80, f32 maps)"), "{text}");
    }
    let (text, _) = program.succeeds("doctor");
    assert!(text.contains("--device auto takes cuda"), "{text}");
}

#[test]
fn a_driver_that_is_too_old() {
    let Some(program) = Program::new() else { return };
    let program = program.with("EMULATOR_DRIVER_VERSION", 12040);
    let expected =
        ["the driver supports CUDA 12.4, and CUDA 12.8 or newer is needed", "570 or newer", "--device cpu"];
    is_refused(&program, &expected);
}

#[test]
fn a_driver_that_does_not_load_what_nvrtc_compiles() {
    let Some(program) = Program::new() else { return };
    let program = program.with("EMULATOR_DRIVER_VERSION", 12080);
    let expected = ["CUDA 12.8, and does not load what NVRTC 13.0 compiles", "update the driver", "cu12"];
    is_refused(&program, &expected);
}

#[test]
fn no_device() {
    let Some(program) = Program::new() else { return };
    let program = program.with("EMULATOR_DEVICES", 0);
    is_refused(&program, &["the driver sees no CUDA device", "CUDA_VISIBLE_DEVICES", "--device cpu"]);
}

#[test]
fn a_device_that_there_is_not() {
    let Some(program) = Program::new() else { return };
    let sentence = program.fails(&format!("{SUMMARY} --device cuda --gpu 3"));
    assert!(sentence.contains("there is no GPU 3"), "{sentence}");
    assert!(sentence.contains("--gpu 0"), "{sentence}");
}

#[test]
fn architectures_that_are_too_old_and_too_new() {
    let Some(program) = Program::new() else { return };
    let program = program.with("EMULATOR_SM", 70);
    is_refused(&program, &["sm_70, and kernels need sm_75", "--device cpu"]);
    let program = Program::new().unwrap().with("EMULATOR_SM", 130);
    is_refused(
        &program,
        &["NVRTC 13.0 does not know sm_130, only sm_75, ", "pip install -U nvidia-cuda-nvrtc"],
    );
}

#[test]
fn no_driver() {
    let Some(program) = Program::new() else { return };
    let program = program.with_libraries(&[]);
    let (text, _) = succeeded_or_broken(program.run("doctor"));
    if !text.contains("NVIDIA's driver (libcuda) was not found") {
        println!("skipped: this machine has a driver");
        return;
    }
    let sentence = program.fails(&format!("{SUMMARY} --device cuda"));
    for part in ["NVIDIA's driver (libcuda) was not found", "install its driver", "--device cpu"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    // On most machines: nothing is wrong with them.
    for json in ["", " --json"] {
        let (text, errors) = program.succeeds(&format!("{SUMMARY}{json}"));
        assert!(text.contains("cpu ("), "{text}");
        assert!(errors.starts_with("using cpu ("), "{errors}");
        assert!(
            errors.ends_with("), since no NVIDIA driver was found (gradpath doctor says more)\n"),
            "{errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    assert_eq!(program.succeeds(&format!("{SUMMARY} --device cpu")).1, "");
}

#[test]
fn a_driver_that_is_no_library() {
    let Some(program) = Program::new() else { return };
    let program = program.with_libraries(&[]);
    fs::write(program.libraries.join("libcuda.so.1"), "not a library").unwrap();
    let sentence = program.fails(&format!("{SUMMARY} --device cuda"));
    for part in ["the driver's library at ", "libcuda.so.1 cannot be opened: ", "reinstall NVIDIA's driver"] {
        assert!(sentence.contains(part), "{sentence}");
    }
}

#[test]
fn no_nvrtc() {
    let Some(program) = Program::new() else { return };
    let program = program.with_libraries(&["libcuda.so.1"]);
    let (text, _) = succeeded_or_broken(program.run("doctor"));
    match text.contains("NVRTC, which compiles CUDA kernels, was not found") {
        true => is_refused(
            &program,
            &["NVRTC, which compiles CUDA kernels, was not found", "pip install nvidia-cuda-nvrtc"],
        ),
        false => println!("skipped: this machine has NVRTC"),
    }
    let program = program.with("GRADPATH_NVRTC", "nowhere/libnvrtc.so");
    is_refused(&program, &["GRADPATH_NVRTC names nowhere/libnvrtc.so, where no NVRTC is", "unset it"]);
}

#[test]
fn an_nvrtc_that_is_no_library() {
    let Some(program) = Program::new() else { return };
    let program = program.with_libraries(&["libcuda.so.1"]);
    let file = program.path("libnvrtc.so.13");
    fs::write(&file, "not a library").unwrap();
    let program = program.with("GRADPATH_NVRTC", file.display());
    is_refused(&program, &["libnvrtc.so.13 cannot be used: ", "pip install -U nvidia-cuda-nvrtc"]);
}

/// The entries of a cache.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = files.collect();
    entries.sort();
    let extension = |path: &PathBuf| path.extension() == Some(OsStr::new("cubin"));
    assert!(entries.iter().all(extension), "{entries:?}");
    entries
}

/// Entries that are cut, changed, empty or another kernel's are compiled again: the kernels compute what they should,
/// and the cache is as it was.
#[test]
fn a_damaged_cache_is_made_anew() {
    let Some(program) = Program::new() else { return };
    let (text, errors) = program.succeeds(SELFTEST);
    assert_eq!(errors, "");
    let files = entries(&program.cache());
    assert!(!files.is_empty());
    let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let halve = |whole: &[u8]| whole[..whole.len() / 2].to_vec();
    let flip = |whole: &[u8]| {
        let mut flipped = whole.to_vec();
        flipped[whole.len() - 9] ^= 0x10;
        flipped
    };
    let replace = |with: &'static [u8]| move |_: &[u8]| with.to_vec();
    type Damage<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let damages: [Damage<'_>; 4] = [&halve, &flip, &replace(b""), &replace(b"something else")];
    for damage in damages {
        for (file, whole) in files.iter().zip(&whole) {
            fs::write(file, damage(whole)).unwrap();
        }
        let (again, errors) = program.succeeds(SELFTEST);
        assert_eq!(again, text);
        let is_expected = |line: &str| {
            line.starts_with("warning: ") && line.ends_with("is damaged: its kernel is compiled again")
        };
        assert!(errors.lines().all(is_expected), "{errors}");
        assert_eq!(errors.lines().count(), files.len(), "{errors}");
        assert_eq!(entries(&program.cache()), files);
        let (again, errors) = program.succeeds(SELFTEST);
        assert_eq!((again, errors), (text.clone(), String::new()));
    }
    // A cache that cannot be: the kernels are compiled at each start.
    fs::remove_dir_all(program.cache()).unwrap();
    fs::write(program.cache(), "a file in its place").unwrap();
    let (again, errors) = program.succeeds(SELFTEST);
    assert_eq!(again, text);
    assert!(errors.starts_with("warning: compiled kernels are not kept"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn processes_fill_one_cache_at_once() {
    let Some(program) = Program::new() else { return };
    let started: Vec<Child> = (0..3).map(|_| program.begin(SELFTEST)).collect();
    let mut texts: Vec<String> = Vec::new();
    for child in started {
        let (text, errors) = succeeded(child.wait_with_output().unwrap());
        assert_eq!(errors, "");
        texts.push(text);
    }
    let files = entries(&program.cache());
    assert!(!files.is_empty());
    let (text, errors) = program.succeeds(SELFTEST);
    assert_eq!(errors, "");
    texts.push(text);
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    assert_eq!(entries(&program.cache()), files);
}

#[test]
fn a_training_that_does_not_fit_says_which_batch_does() {
    let Some(program) = Program::new() else { return };
    let program = program.with("EMULATOR_MEMORY", 24 << 20);
    let output = program
        .run("train --model prn-nano --size 96 --batch 64 --epochs 1 --seed 1 --device cuda --out run");
    assert_eq!(output.status.code(), Some(1));
    // What is trained was said before.
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    for part in [
        "error: Emulator has too little memory: the step needs ",
        "24 of 24 MiB are free",
        "should fit (it was 64)",
    ] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert!(!program.path("run").exists(), "it left a folder of nothing");
}

/// What was measured is used by every later run, and said; a damaged file of it is one line.
#[test]
fn measured_tiles_are_told() {
    let Some(program) = Program::new() else { return };
    let (text, errors) = program.succeeds("doctor --json");
    let diagnosis: serde_json::Value = serde_json::from_str(&text).unwrap();
    let device = &diagnosis["driver"]["devices"][0];
    assert_eq!((&device["measured_tiles"], errors.as_str()), (&0.into(), ""));
    let number = |name: &str| u32::try_from(device[name].as_u64().unwrap()).unwrap();
    let target = Target {
        arch: number("arch"),
        multiprocessors: number("multiprocessors"),
        shared_bytes: number("shared_bytes"),
        map: DType::F32,
    };
    let store = TuningStore::open(Some(&program.cache()), device["name"].as_str().unwrap(), &target, (13, 0));
    assert_eq!(store.file().and_then(Path::to_str), device["tunings"].as_str());
    let tuning = Tuning {
        tile: "64x64".to_owned(),
        microseconds: 1.0,
        usual_microseconds: 2.0,
        kernels: "0123456789abcdef".to_owned(),
    };
    store.add(
        [("one operation", tuning.clone()), ("another", tuning)].map(|(key, t)| (key.to_owned(), t)).into(),
    );
    let (text, errors) = program.succeeds(&format!("{SUMMARY} --device cuda"));
    assert!(text.contains("cuda:0 (Emulator, sm_80, f32 maps, 2 measured tiles)"), "{text}");
    assert_eq!(errors, "");
    let (text, _) = program.succeeds("doctor --json");
    let diagnosis: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(diagnosis["driver"]["devices"][0]["measured_tiles"], 2);

    fs::write(store.file().unwrap(), "{").unwrap();
    let (text, errors) = program.succeeds(&format!("{SUMMARY} --device cuda"));
    assert!(text.contains("cuda:0 (Emulator, sm_80, f32 maps)"), "{text}");
    assert!(
        errors.starts_with("warning: ") && errors.contains("is damaged, so its tiles are not used"),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1, "{errors}");

    let sentence = program.fails(&format!("{SUMMARY} --device cpu --autotune"));
    assert_eq!(
        sentence,
        "--autotune measures a GPU's kernels, and none is used; leave it out, or use --device cuda"
    );
}
