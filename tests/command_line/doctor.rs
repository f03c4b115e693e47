//! `gradpath doctor`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs it in `folder`, which is home and working folder, with no variable that points at CUDA but
/// `variables`.
fn doctor(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gradpath"));
    command.arg("doctor").args(arguments).current_dir(folder);
    for name in [
        "GRADPATH_NVRTC",
        "GRADPATH_KERNELS",
        "GRADPATH_CACHE",
        "XDG_CACHE_HOME",
        "LD_LIBRARY_PATH",
        "CUDA_HOME",
        "CUDA_PATH",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", folder).envs(variables.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(folder: &Path, variables: &[(&str, &str)]) -> (Value, Output) {
    let output = doctor(folder, &["--json"], variables);
    (serde_json::from_slice(&output.stdout).unwrap(), output)
}

/// A machine without CUDA, as most are, is told what to do, and that is no failure. One with CUDA passes
/// too: each part is asked for only where it is absent.
#[test]
fn what_is_missing_is_told_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let (diagnosis, _) = json(folder.path(), &[]);
    let output = doctor(folder.path(), &[], &[]);
    let text = text(&output);
    let is_broken = diagnosis["problems"].as_array().unwrap().iter().any(|p| p["is_broken"] == true);
    assert_eq!(output.status.code(), Some(i32::from(is_broken)), "{text}");
    let mut expected =
        vec!["--device auto takes ", "Where the driver (libcuda) was searched", "target/nvrtc"];
    if diagnosis["driver"]["library"].is_null() {
        expected.extend(["NVIDIA's driver (libcuda) was not found", "install its driver", "auto takes cpu"]);
        assert_eq!(diagnosis["auto"]["device"], "cpu");
        assert!(diagnosis["driver"]["devices"].as_array().unwrap().is_empty());
    }
    if diagnosis["nvrtc"]["library"].is_null() {
        expected
            .extend(["NVRTC, which compiles CUDA kernels, was not found", "pip install nvidia-cuda-nvrtc"]);
        assert!(diagnosis["nvrtc"]["compiled"].is_null());
    } else {
        expected.push("compiled probe<X_TYPE=f32>");
    }
    for part in expected {
        let has = text.contains(part) || (part == "target/nvrtc" && !diagnosis["nvrtc"]["library"].is_null());
        assert!(has, "{part:?} is not in {text}");
    }
}

#[test]
fn json_has_every_part() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("kept");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("0a.cubin"), [0; 2048]).unwrap();
    let (diagnosis, _) = json(folder.path(), &[("GRADPATH_CACHE", cache.to_str().unwrap())]);
    assert_eq!(diagnosis["version"], env!("CARGO_PKG_VERSION"));
    assert!(diagnosis["cpu"]["threads"].as_u64().unwrap() >= 1);
    assert_eq!(diagnosis["cache"]["folder"], cache.to_str().unwrap());
    assert_eq!((&diagnosis["cache"]["kernels"], &diagnosis["cache"]["bytes"]), (&1.into(), &2048.into()));
    for library in ["driver", "nvrtc"] {
        let searched = diagnosis[library]["searched"].as_array().unwrap();
        assert!(!searched.is_empty(), "{library}");
        assert!(searched.iter().all(|place| place["because"].is_string() && place["outcome"].is_string()));
    }
    let is_ready = diagnosis["auto"]["device"] != "cpu";
    assert_eq!(is_ready, diagnosis["problems"].as_array().unwrap().is_empty());
}

#[test]
fn what_is_there_and_broken_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("libnvrtc.so.13"), "not a library").unwrap();
    for (name, words) in [("libnvrtc.so.13", "cannot be used"), ("none.so", "GRADPATH_NVRTC names")] {
        let path = folder.path().join(name);
        let variables = [("GRADPATH_NVRTC", path.to_str().unwrap())];
        let output = doctor(folder.path(), &[], &variables);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(errors.starts_with("error: ") && errors.lines().count() == 1, "{errors}");
        assert!(text(&output).contains("--device auto takes cpu"), "all is told before");
        let (diagnosis, output) = json(folder.path(), &variables);
        assert_eq!(output.status.code(), Some(1));
        let problems = diagnosis["problems"].as_array().unwrap();
        let found = problems.iter().any(|p| {
            let message = p["message"].as_str().unwrap();
            p["is_broken"] == true && message.contains(words) && message.contains(name)
        });
        assert!(found, "{problems:?}");
    }
}

/// With the NVRTC that `.ci/run` installs: found in the working folder, used, and named.
#[test]
fn a_compiler_in_the_working_folder_is_used() {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nvrtc");
    if !installed.is_dir() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is absent", installed.display());
        println!("skipped: {} is absent", installed.display());
        return;
    }
    let (diagnosis, _) = json(Path::new(env!("CARGO_MANIFEST_DIR")), &[]);
    let nvrtc = &diagnosis["nvrtc"];
    assert!(nvrtc["library"].as_str().unwrap().contains("libnvrtc"), "{nvrtc}");
    assert!(nvrtc["architectures"].as_array().unwrap().contains(&90.into()));
    let compiled = &nvrtc["compiled"];
    assert!(
        compiled["registers"].as_u64().unwrap() > 0 && compiled["arch"].as_u64().unwrap() >= 75,
        "{nvrtc}"
    );
    let problems = diagnosis["problems"].as_array().unwrap();
    assert!(!problems.iter().any(|p| p["message"].as_str().unwrap().contains("NVRTC")), "{problems:?}");
}
