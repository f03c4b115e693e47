//! Builds the two libraries with g++ when their sources have changed.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const DRIVER: [&str; 14] = [
    "fiber", "block", "warp", "tma", "wgmma", "arena", "trace", "requests", "hooks", "driver", "memory",
    "stream", "module", "control",
];
const NVRTC: [&str; 1] = ["nvrtc"];
/// Each library's own name is the first that cudarc tries, so that opening that name finds the one already open.
/// The others are for `LD_LIBRARY_PATH`.
pub(super) const NAMES: [(&str, &[&str]); 2] =
    [("libcuda.so", &["libcuda.so.1"]), ("libnvrtc.so", &["libnvrtc.so.13", "libnvrtc.so.12"])];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator")
}

fn compiler() -> String {
    std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "g++".into())
}

/// Builds the libraries if their sources have changed since. Two processes do not build at once, and files appear
/// whole.
pub(super) fn build() -> Result<PathBuf, String> {
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
    let (objects, kernels) = (folder.join("objects"), folder.join("kernels"));
    fs::create_dir_all(&objects).map_err(io)?;
    // Kernels compiled for the emulator as it was.
    if kernels.exists() {
        fs::remove_dir_all(&kernels).map_err(io)?;
    }
    fs::create_dir_all(&kernels).map_err(io)?;
    for pair in [&DRIVER[..], &NVRTC[..]].concat().chunks(2) {
        let started: Vec<_> =
            pair.iter().map(|name| compile(name, &objects, &kernels, hash).spawn().map_err(io)).collect();
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

fn compile(name: &str, objects: &Path, kernels: &Path, hash: u64) -> Command {
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
        .arg(format!("-DEMULATOR_CACHE=\"{}\"", kernels.display()))
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
