//! Builds the CUDA kernel sources into the library, so that the program is one file: writes a table
//! `name → text` of everything in `kernels/`, which `src/runtime/cuda/sources.rs` includes. Nothing of
//! CUDA is needed to build.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the package's folder"));
    let kernels = root.join("kernels");
    // Cargo looks at a folder's whole tree: a file that is new counts too.
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=build.rs");
    let mut table = String::from("const BUILT_IN: &[(&str, &str)] = &[\n");
    for (folder, prefix, extension) in
        [(kernels.clone(), "", "cu"), (kernels.join("common"), "common/", "cuh")]
    {
        for path in files(&folder, extension) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // {:?} escapes what a path may hold. Writing to a string does not fail.
            let _ = writeln!(table, "    (\"{prefix}{name}\", include_str!({:?})),", path.to_string_lossy());
        }
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the output folder"));
    fs::write(out.join("kernels.rs"), table).expect("the output folder is writable");
}

/// The files in `folder` with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    paths.sort();
    paths
}
