//! Writing a file so that it is there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Writes the file at `path` by what `write` puts out, atomically: into a temporary file in the same
/// folder, synced to disk, then renamed over `path`. A reader sees the old file or the new one; a
/// crash, a full disk or an error in `write` leaves the old one as it was and no temporary file.
///
/// A symbolic link is followed, and a file that is replaced keeps its permissions. What is not a
/// regular file (`/dev/stdout`, a pipe) is written straight, since nothing can be renamed over it.
///
/// # Errors
/// Where the folder is missing or not writable, the disk is full, or `write` fails.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    // Only an existing target can be canonicalised; a new one is what it says.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let existing = fs::metadata(&target).ok();
    match &existing {
        Some(metadata) if metadata.is_dir() => {
            return Err(
                Error::file(path, "is a folder, where a file is to be written").fix("name a file inside it")
            );
        }
        Some(metadata) if !metadata.is_file() => {
            let file = OpenOptions::new().write(true).open(&target);
            return file.and_then(|f| fill(&f, write)).map_err(|e| cannot_write(path, e));
        }
        _ => {}
    }
    if target.file_name().is_none() {
        return Err(Error::file(path, "is not the name of a file").fix("name a file to write"));
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (temporary, file) = Temporary::create(folder, &target).map_err(|e| cannot_create(path, folder, e))?;
    fill(&file, write).and_then(|()| file.sync_all()).map_err(|e| cannot_write(path, e))?;
    if let Some(metadata) = existing {
        // A file system without permissions is no reason to lose the file.
        let _ = file.set_permissions(metadata.permissions());
    }
    drop(file);
    temporary.rename_to(&target).map_err(|e| cannot_write(path, e))?;
    sync_folder(folder);
    Ok(())
}

fn fill(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    write(&mut writer)?;
    writer.flush()
}

/// Makes the rename itself durable. Not every system can open or sync a folder, and by now the file is
/// whole either way, so a failure here is not the caller's.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

fn cannot_create(path: &Path, folder: &Path, error: io::Error) -> Error {
    let folder = folder.display();
    let fix = match error.kind() {
        io::ErrorKind::NotFound => format!("create the folder {folder} first"),
        io::ErrorKind::NotADirectory => format!("{folder} is not a folder: choose another one"),
        _ => format!("make the folder {folder} writable, or choose another one"),
    };
    Error::file(path, "cannot be written").caused_by(error).fix(fix)
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    let fix = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("free some disk space"),
        io::ErrorKind::PermissionDenied => Some("make it writable, or choose another file"),
        _ => None,
    };
    let error = Error::file(path, "could not be written").caused_by(error);
    match fix {
        Some(fix) => error.fix(fix),
        None => error,
    }
}

/// A temporary file that goes when it is dropped, unless it was renamed: also when `write` panics.
struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    /// Creates `.NAME.PID-COUNT.tmp` in `folder`.
    fn create(folder: &Path, target: &Path) -> io::Result<(Temporary, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let mut name = std::ffi::OsString::from(".");
            name.push(target.file_name().unwrap_or_default());
            name.push(format!(".{}-{count}.tmp", std::process::id()));
            let path = folder.join(name);
            // create_new: never another's file, nor what a planted link points at.
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Temporary { path: Some(path) }, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn rename_to(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nothing more can be done about a file that cannot be removed.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in `folder`, sorted.
    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writes_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, |w| w.write_all(b"first, and longer")).unwrap();
        write_atomically(&path, |w| w.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, b"old").unwrap();
        let error = write_atomically(&path, |w| {
            w.write_all(&[7; 100_000])?;
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"))
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: could not be written: no space left; free some disk space", path.display())
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_panicking_writer_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let result = std::panic::catch_unwind(|| write_atomically(&path, |_| panic!("on purpose")));
        assert!(result.is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn the_old_file_is_there_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, b"old").unwrap();
        write_atomically(&path, |w| {
            w.write_all(b"new")?;
            w.flush()?;
            assert_eq!(fs::read(&path)?, b"old");
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn says_which_folder_is_missing_or_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/such/a.txt");
        let error = write_atomically(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: cannot be written", path.display())), "{error}");
        let missing = folder.path().join("no/such");
        assert!(error.ends_with(&format!("create the folder {} first", missing.display())), "{error}");

        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = write_atomically(file.join("a.txt"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains(&format!("{} is not a folder", file.display())), "{error}");

        let error = write_atomically(folder.path(), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("is a folder"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn says_that_a_folder_is_not_writable() {
        // A folder in which nobody can create a file, root included.
        let error = write_atomically("/sys/gradpath", |_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("/sys/gradpath: cannot be written"), "{error}");
        assert!(error.ends_with("make the folder /sys writable, or choose another one"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_written_straight_and_a_full_one_is_an_error() {
        write_atomically("/dev/null", |w| w.write_all(b"gone")).unwrap();
        let error = write_atomically("/dev/full", |w| w.write_all(b"x")).unwrap_err().to_string();
        assert!(error.starts_with("/dev/full: could not be written"), "{error}");
        assert!(error.ends_with("free some disk space"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_permissions_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.txt"), folder.path().join("link"));
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_atomically(&link, |w| w.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
