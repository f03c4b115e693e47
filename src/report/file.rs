//! Writing a report's file whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Writes `bytes` beside `path` and renames: a reader never sees half a picture, and a failed write
/// leaves the old one. Names the file and the fix where the folder is missing or not writable.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path)?;
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The write's error is the one to report; the temporary file may not even exist.
        let _ = fs::remove_file(&temporary);
        Error::file(path, "cannot be written")
            .caused_by(source)
            .fix("check that its folder exists, is writable and has space")
    })
}

/// A name in the same folder (a rename cannot cross file systems) that no other writer uses.
fn temporary_beside(path: &Path) -> Result<PathBuf> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| Error::file(path, "is not the name of a file").fix("name a file to write"))?;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{serial}.tmp", std::process::id()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), b"").unwrap();
        let error = write_atomically(&path, b"one").unwrap_err().to_string();
        assert!(error.contains("taken: cannot be written"), "{error}");
        assert!(error.contains("check that its folder exists"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let missing = folder.path().join("no/such/folder.png");
        assert!(write_atomically(&missing, b"one").unwrap_err().to_string().contains("folder.png"));
    }
}
