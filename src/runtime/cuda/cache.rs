//! Compiled kernels on disk: a network's kernels take seconds to compile, and are the same the next time.
//!
//! The folder is the one that `GRADPATH_CACHE` names, else `gradpath/kernels` in the user's folder of
//! caches. An entry is a file named by the SHA-256 of all that its content depends on. It is written
//! atomically, so that processes which fill the cache at once lose nothing, and carries the SHA-256 of its
//! content: one that is damaged is compiled again. The cache is a convenience: nothing that happens to it
//! is an error, only a warning.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, mem};

use sha2::{Digest, Sha256};

use super::nvrtc::{Cubin, Nvrtc};
use super::sources::Source;
use crate::format::atomic::write_atomically;

/// The variable that names the folder.
pub const CACHE_VARIABLE: &str = "GRADPATH_CACHE";
/// Bytes that the cache may take; the least recently used entries go first.
const LIMIT: u64 = 512 << 20;
/// More bytes than any entry has: the file is something else.
const LARGEST_ENTRY: u64 = 64 << 20;
/// The first bytes of an entry, with the version of its form.
const MAGIC: &[u8; 16] = b"gradpath cubin1\n";
/// The end of an entry's name.
const EXTENSION: &str = "cubin";
/// What a crashed process left half written is removed after a day.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// What an entry is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of `source`, compiled with `options` (the architecture is one) by `compiler`.
    pub fn new(source: &Source, options: &[String], compiler: &Identity) -> Key {
        let mut hash = Sha256::new();
        // Lengths in between: no two lists of texts are the same bytes.
        let mut text = |text: &[u8]| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        text(MAGIC);
        text(source.name.as_bytes());
        text(source.text.as_bytes());
        text(&source.headers.len().to_le_bytes());
        for (name, header) in &source.headers {
            text(name.as_bytes());
            text(header.as_bytes());
        }
        text(&options.len().to_le_bytes());
        for option in options {
            text(option.as_bytes());
        }
        text(compiler.0.as_bytes());
        Key(hash.finalize().into())
    }

    fn file_name(self) -> String {
        let mut name: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        name.push('.');
        name.push_str(EXTENSION);
        name
    }
}

/// Which compiler: its version and its very file, by path, size and time. Another build of the same
/// version (the tests' stand-in above all) shares no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// That of `nvrtc`.
    pub fn of(nvrtc: &Nvrtc) -> Identity {
        Self::new(nvrtc.version(), nvrtc.path())
    }

    /// That of version `(major, minor)` in the file at `path`.
    fn new((major, minor): (u32, u32), path: &Path) -> Identity {
        let metadata = fs::metadata(path).ok();
        let bytes = metadata.as_ref().map_or(0, fs::Metadata::len);
        let changed = metadata.and_then(|metadata| metadata.modified().ok());
        let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Identity(format!("{major}.{minor} {bytes} {} {}", changed.as_nanos(), path.display()))
    }
}

/// The folder, with what went wrong with it.
#[derive(Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
    limit: u64,
    cannot_write: AtomicBool,
    warnings: Mutex<Vec<String>>,
}

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSize {
    /// Entries.
    pub entries: usize,
    /// Bytes of all entries.
    pub bytes: u64,
}

impl Cache {
    /// The user's cache.
    pub fn of_user() -> Cache {
        Self::new(folder(&|name| env::var_os(name).filter(|value| !value.is_empty())))
    }

    /// A cache in `folder`, which is made when it is first needed; `None`: no cache.
    pub fn new(folder: Option<PathBuf>) -> Cache {
        Cache { folder, limit: LIMIT, cannot_write: AtomicBool::new(false), warnings: Mutex::default() }
    }

    /// The folder.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What went wrong since the last call, each once.
    pub fn take_warnings(&self) -> Vec<String> {
        mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn warn(&self, warning: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    /// The entry of `key`; `None` where there is none or it is damaged.
    pub fn get(&self, key: Key) -> Option<Cubin> {
        let path = self.folder.as_ref()?.join(key.file_name());
        let mut file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        let read = file.by_ref().take(LARGEST_ENTRY + 1).read_to_end(&mut bytes);
        let entry = read.ok().and_then(|_| decode(key, &bytes));
        match entry {
            Some(entry) => {
                // When it was last used; a file that may not be touched is only older than it is.
                let _ =
                    File::options().append(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
                Some(entry)
            }
            None => {
                self.warn(format!("{} is damaged: its kernel is compiled again", path.display()));
                None
            }
        }
    }

    /// Keeps `entry` as that of `key`.
    pub fn put(&self, key: Key, entry: &Cubin) {
        let Some(folder) = &self.folder else { return };
        if self.cannot_write.load(Ordering::Relaxed) {
            return;
        }
        let written =
            fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display())).and_then(|()| {
                let bytes = encode(key, entry);
                write_atomically(folder.join(key.file_name()), |file| file.write_all(&bytes))
                    .map_err(|e| e.to_string())
            });
        if let Err(reason) = written
            && !self.cannot_write.swap(true, Ordering::Relaxed)
        {
            self.warn(format!(
                "compiled kernels are not kept, so each start compiles them: {reason} ({CACHE_VARIABLE} \
                 names another folder)"
            ));
        }
    }

    /// What the folder holds.
    pub fn size(&self) -> CacheSize {
        let mut size = CacheSize::default();
        for (_, metadata) in self.files().filter(|(path, _)| is_entry(path)) {
            size.entries += 1;
            size.bytes += metadata.len();
        }
        size
    }

    /// Removes the least recently used entries until the rest are within the limit, and what crashed
    /// processes left.
    pub fn prune(&self) {
        let mut entries = Vec::new();
        let now = SystemTime::now();
        for (path, metadata) in self.files() {
            let used = metadata.modified().unwrap_or(UNIX_EPOCH);
            if is_entry(&path) {
                entries.push((used, metadata.len(), path));
            } else if is_abandoned(&path, now.duration_since(used).unwrap_or_default()) {
                let _ = fs::remove_file(path);
            }
        }
        entries.sort();
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in entries {
            if bytes <= self.limit {
                break;
            }
            // Another process may have removed it: it is gone either way.
            let _ = fs::remove_file(path);
            bytes -= size;
        }
    }

    fn files(&self) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
        let entries = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok());
        let entries = entries.into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).filter(|(_, m)| m.is_file())
    }
}

fn is_entry(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// Whether this is a temporary file of [`write_atomically`] that nobody writes any more.
fn is_abandoned(path: &Path, age: Duration) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_ours = name.contains(".cubin.") || name.contains(".tunings.json.");
    let is_temporary = name.starts_with('.') && is_ours && name.ends_with(".tmp");
    is_temporary && age > ABANDONED
}

/// The folder that the variables say.
fn folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(folder) = variable(CACHE_VARIABLE) {
        return Some(PathBuf::from(folder));
    }
    let path = |name| variable(name).map(PathBuf::from);
    // A relative path in it is to be ignored, says the XDG Base Directory Specification.
    let caches = path("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| {
        if cfg!(windows) {
            path("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            Some(path("HOME")?.join("Library/Caches"))
        } else {
            Some(path("HOME")?.join(".cache"))
        }
    });
    Some(caches?.join("gradpath").join("kernels"))
}

/// An entry as bytes: magic, SHA-256 of the rest, key, bytes of the log, log, image.
fn encode(key: Key, entry: &Cubin) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128 + entry.log.len() + entry.image.len());
    bytes.extend(MAGIC);
    bytes.extend([0; 32]);
    bytes.extend(key.0);
    bytes.extend((entry.log.len() as u64).to_le_bytes());
    bytes.extend(entry.log.as_bytes());
    bytes.extend(&entry.image);
    let hash = Sha256::digest(&bytes[48..]);
    bytes[16..48].copy_from_slice(&hash);
    bytes
}

/// The entry of `key` in `bytes`; `None` where they are anything else.
fn decode(key: Key, bytes: &[u8]) -> Option<Cubin> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (hash, rest) = rest.split_at_checked(32)?;
    if Sha256::digest(rest).as_slice() != hash {
        return None;
    }
    let rest = rest.strip_prefix(&key.0)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (log, image) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some(Cubin { image: image.to_vec(), log: String::from_utf8(log.to_vec()).ok()? })
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
