//! The sources of the kernels: built into the library, so that the program is one file.
//!
//! `GRADPATH_KERNELS` names a folder to read them from instead, for whoever edits kernels: no rebuild is
//! needed, and the cache of compiled kernels goes by what the sources say.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The variable that names a folder to read kernels from.
const FOLDER: &str = "GRADPATH_KERNELS";

/// A kernel file with all that it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file's name, as `add.cu`.
    pub name: String,
    /// Its text.
    pub text: Cow<'static, str>,
    /// What it includes, directly or not: name as in the `#include` (`common/types.cuh`) and text,
    /// sorted by name.
    pub headers: Vec<(String, Cow<'static, str>)>,
}

impl Source {
    /// The kernel file `name` of `kernels/`: from the folder that `GRADPATH_KERNELS` names where it is
    /// set, else as it was built in.
    ///
    /// # Errors
    /// Where there is no such file, or a header of it is missing.
    pub fn load(name: &str) -> Result<Source> {
        match env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
            Some(folder) => Self::from_folder(name, &PathBuf::from(folder)),
            None => Self::with(name, |name| {
                let (_, text) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
                Some(Ok(Cow::Borrowed(*text)))
            }),
        }
    }

    /// The kernel file `name` of `folder`, whose headers lie in `folder/common`.
    ///
    /// # Errors
    /// Where there is no such file, or a header of it is missing.
    pub fn from_folder(name: &str, folder: &Path) -> Result<Source> {
        Self::with(name, |name| match fs::read_to_string(folder.join(name)) {
            Ok(text) => Some(Ok(Cow::Owned(text))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => Some(Err(Error::file(folder.join(name), "cannot be read").caused_by(e))),
        })
        .map_err(|e| match e.kind() {
            crate::ErrorKind::Internal => e.in_file(folder),
            _ => e,
        })
    }

    /// A source of text that is not one of the files, with the built-in headers that it includes.
    ///
    /// # Errors
    /// Where a header is missing.
    pub fn of_text(name: &str, text: impl Into<Cow<'static, str>>) -> Result<Source> {
        let mut text = Some(text.into());
        Self::with(name, |file| match text.take() {
            Some(text) => Some(Ok(text)),
            None => BUILT_IN.iter().find(|(name, _)| *name == file).map(|(_, text)| Ok(Cow::Borrowed(*text))),
        })
    }

    /// The file `name` by `read`, which is `None` for what does not exist; `name` is read first.
    fn with(name: &str, mut read: impl FnMut(&str) -> Option<Result<Cow<'static, str>>>) -> Result<Source> {
        let text = read(name).ok_or_else(|| Error::internal(format!("there is no kernel file {name}")))??;
        let mut headers: Vec<(String, Cow<'static, str>)> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<String> = includes(&text);
        while let Some(include) = open.pop() {
            if !seen.insert(include.clone()) {
                continue;
            }
            let text = read(&include)
                .ok_or_else(|| Error::internal(format!("there is no {include}, which {name} includes")))??;
            open.extend(includes(&text));
            headers.push((include, text));
        }
        headers.sort();
        Ok(Source { name: name.to_owned(), text, headers })
    }
}

/// The kernel files that are built in, by name and without their headers.
pub fn kernel_files() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).filter(|name| !name.contains('/'))
}

/// The names in `#include "…"` lines, whatever conditions they stand under.
fn includes(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?.trim_start();
        Some(rest.strip_prefix('"')?.split_once('"')?.0.to_owned())
    };
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_with_their_own() {
        let source = Source::of_text("t.cu", "  #  include \"common/types.cuh\"\nint x;\n").unwrap();
        let names: Vec<&str> = source.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["common/intrinsics.cuh", "common/types.cuh"]);
        assert!(source.headers[0].1.contains("#define DEVICE"));
        assert!(Source::of_text("t.cu", "int x;").unwrap().headers.is_empty());
    }

    #[test]
    fn a_folder_is_read_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("common")).unwrap();
        fs::write(folder.path().join("a.cu"), "#include \"common/b.cuh\"\n").unwrap();
        let error = Source::from_folder("a.cu", folder.path()).unwrap_err().to_string();
        assert!(error.contains("there is no common/b.cuh, which a.cu includes"), "{error}");
        // A header that includes itself ends too.
        fs::write(folder.path().join("common/b.cuh"), "#include \"common/b.cuh\"\nint b;\n").unwrap();
        let source = Source::from_folder("a.cu", folder.path()).unwrap();
        assert_eq!(source.headers.len(), 1);
        fs::write(folder.path().join("common/b.cuh"), "int c;").unwrap();
        assert_ne!(Source::from_folder("a.cu", folder.path()).unwrap(), source);
        let error = Source::from_folder("none.cu", folder.path()).unwrap_err().to_string();
        assert!(error.contains("there is no kernel file none.cu"), "{error}");
    }

    /// A header that is built in stands alone; a kernel file that does not have its headers is found
    /// here, not at run time.
    #[test]
    fn every_built_in_file_has_its_headers() {
        for file in kernel_files() {
            Source::load(file).unwrap();
        }
        assert!(BUILT_IN.iter().any(|(name, _)| *name == "common/intrinsics.cuh"));
        for (name, text) in BUILT_IN {
            Source::of_text(name, *text).unwrap();
        }
    }
}
