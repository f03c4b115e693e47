//! The cache: damage, races, and what an entry depends on.

use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::format::tests::survives_damage;

fn source() -> Source {
    Source {
        name: "t.cu".to_owned(),
        text: "text".into(),
        headers: vec![("common/a.cuh".to_owned(), "a".into()), ("common/b.cuh".to_owned(), "b".into())],
    }
}

fn identity() -> Identity {
    Identity("13.0".to_owned())
}

fn key(number: usize) -> Key {
    Key::new(&source(), &[number.to_string()], &identity())
}

fn entry(number: usize) -> Cubin {
    Cubin { image: vec![number as u8; 1000 + number], log: format!("log {number}") }
}

fn cache(folder: &TempDir) -> Cache {
    Cache::new(Some(folder.path().join("gradpath/kernels")))
}

fn path(cache: &Cache, number: usize) -> PathBuf {
    cache.folder().unwrap().join(key(number).file_name())
}

#[test]
fn what_was_put_is_got() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(&folder);
    assert_eq!(cache.get(key(1)), None);
    assert_eq!(cache.size(), CacheSize::default());
    cache.put(key(1), &entry(1));
    cache.put(key(2), &entry(2));
    assert_eq!(cache.get(key(1)), Some(entry(1)));
    assert_eq!(cache.get(key(2)), Some(entry(2)));
    assert_eq!(cache.get(key(3)), None);
    let size = cache.size();
    assert_eq!(size.entries, 2);
    assert!(size.bytes > 2003);
    let empty = Cubin { image: Vec::new(), log: String::new() };
    cache.put(key(3), &empty);
    assert_eq!(cache.get(key(3)), Some(empty));
    assert!(cache.take_warnings().is_empty());
}

#[test]
fn no_folder_is_no_cache() {
    let cache = Cache::new(None);
    cache.put(key(1), &entry(1));
    assert_eq!(cache.get(key(1)), None);
    cache.prune();
    assert!(cache.take_warnings().is_empty());
}

/// Each of the things that a compiled kernel depends on gives another key, and nothing runs together with
/// its neighbour.
#[test]
fn a_key_depends_on_everything() {
    let options = ["-DA=1".to_owned(), "-DB=2".to_owned()];
    let mut keys = vec![Key::new(&source(), &options, &identity())];
    let mut add = |source: Source, options: &[&str], identity: Identity| {
        let options: Vec<String> = options.iter().map(|&o| o.to_owned()).collect();
        keys.push(Key::new(&source, &options, &identity));
    };
    let plain = ["-DA=1", "-DB=2"];
    add(Source { name: "u.cu".to_owned(), ..source() }, &plain, identity());
    add(Source { text: "texta".into(), ..source() }, &plain, identity());
    let with = |headers: &[(&str, &'static str)]| Source {
        headers: headers.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect(),
        ..source()
    };
    add(with(&[("common/a.cuh", "a"), ("common/b.cuh", "c")]), &plain, identity());
    add(with(&[("common/a.cuh", "a"), ("common/c.cuh", "b")]), &plain, identity());
    add(with(&[("common/a.cuh", "a")]), &plain, identity());
    add(with(&[]), &plain, identity());
    add(source(), &["-DA=1", "-DB=3"], identity());
    add(source(), &["-DA=1-DB=2"], identity());
    add(source(), &["-DA=1"], identity());
    add(source(), &["-DA=1", "-DB=2", ""], identity());
    add(source(), &["-DA=1", "-DB=2", "13.0"], Identity(String::new()));
    add(source(), &plain, Identity("13.1".to_owned()));
    let names: std::collections::BTreeSet<String> = keys.iter().map(|key| key.file_name()).collect();
    assert_eq!(names.len(), keys.len());
    assert_eq!(keys[0], Key::new(&source(), &options, &identity()), "the same is the same");
}

#[test]
fn a_compiler_is_its_version_and_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.so"), folder.path().join("b.so"));
    fs::write(&a, "one").unwrap();
    fs::copy(&a, &b).unwrap();
    let first = Identity::new((13, 0), &a);
    assert_eq!(first, Identity::new((13, 0), &a));
    assert_ne!(first, Identity::new((13, 1), &a));
    assert_ne!(first, Identity::new((13, 0), &b));
    let changed = File::options().append(true).open(&a).unwrap();
    changed.set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let second = Identity::new((13, 0), &a);
    assert_ne!(first, second);
    fs::write(&a, "longer").unwrap();
    changed.set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    assert_ne!(second, Identity::new((13, 0), &a));
    // A file that is gone has an identity too.
    assert_ne!(first, Identity::new((13, 0), &folder.path().join("none.so")));
}

#[test]
fn a_damaged_entry_is_none_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(&folder);
    cache.put(key(1), &entry(1));
    let path = path(&cache, 1);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[500] ^= 1;
    let damages =
        [Vec::new(), b"x".to_vec(), whole[..whole.len() - 1].to_vec(), whole[..60].to_vec(), changed];
    for damaged in damages {
        fs::write(&path, &damaged).unwrap();
        assert_eq!(cache.get(key(1)), None);
        let warnings = cache.take_warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("is damaged"), "{warnings:?}");
        cache.put(key(1), &entry(1));
        assert_eq!(cache.get(key(1)), Some(entry(1)));
        assert!(cache.take_warnings().is_empty());
    }
    // An entry under another's name is none either.
    cache.put(key(2), &entry(2));
    fs::copy(cache.folder().unwrap().join(key(2).file_name()), &path).unwrap();
    assert_eq!(cache.get(key(1)), None);
}

#[test]
fn no_damage_gets_through() {
    let bytes = encode(key(1), &entry(1));
    survives_damage(&bytes, 2000, 11, |damaged| {
        let decoded = decode(key(1), damaged);
        assert!(decoded.is_none() || damaged == bytes);
    });
    // A length beyond the end, with a checksum that fits.
    let mut damaged = bytes.clone();
    damaged[80..88].copy_from_slice(&u64::MAX.to_le_bytes());
    let hash = Sha256::digest(&damaged[48..]);
    damaged[16..48].copy_from_slice(&hash);
    assert_eq!(decode(key(1), &damaged), None);
}

#[test]
fn an_unwritable_folder_is_one_warning() {
    let folder = tempfile::tempdir().unwrap();
    // A file where a folder is wanted: also root cannot write there.
    fs::write(folder.path().join("file"), "").unwrap();
    let cache = Cache::new(Some(folder.path().join("file/kernels")));
    for number in 0..3 {
        cache.put(key(number), &entry(number));
        assert_eq!(cache.get(key(number)), None);
    }
    let warnings = cache.take_warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("are not kept") && warnings[0].contains(CACHE_VARIABLE), "{warnings:?}");
    assert!(cache.take_warnings().is_empty());
    cache.prune();
}

/// How many entries writers fill at once.
const SHARED: usize = 24;

/// Puts and gets all shared entries.
fn fill(cache: &Cache) {
    for number in 0..SHARED {
        cache.put(key(number), &entry(number));
        assert_eq!(cache.get(key(number)), Some(entry(number)));
    }
}

fn assert_filled(cache: &Cache) {
    assert_eq!(cache.size().entries, SHARED);
    for number in 0..SHARED {
        assert_eq!(cache.get(key(number)), Some(entry(number)));
    }
    assert!(cache.take_warnings().is_empty());
    let files = fs::read_dir(cache.folder().unwrap()).unwrap().count();
    assert_eq!(files, SHARED, "temporary files are left");
}

#[test]
fn threads_that_write_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shared = cache(&folder);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fill(&shared));
        }
    });
    assert_filled(&shared);
}

#[test]
fn processes_that_write_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let helper = "runtime::cuda::cache::tests::fills_the_folder_it_is_given";
    let processes: Vec<_> = (0..2)
        .map(|_| {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", "--ignored", helper]).env(CACHE_VARIABLE, folder.path());
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    assert_filled(&Cache::new(Some(folder.path().to_owned())));
}

#[test]
#[ignore = "the other process of the test above"]
fn fills_the_folder_it_is_given() {
    let cache = Cache::of_user();
    for _ in 0..3 {
        fill(&cache);
    }
    assert!(cache.take_warnings().is_empty());
}

/// Sets when the entry was last used: `seconds` after the epoch.
fn used(path: &Path, seconds: u64) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[test]
fn the_least_recently_used_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut cache = cache(&folder);
    for number in 0..4 {
        cache.put(key(number), &entry(number));
        used(&path(&cache, number), 100 + number as u64);
    }
    // 0 is the oldest, but it is used again now.
    cache.get(key(0)).unwrap();
    let other = cache.folder().unwrap().join("notes.txt");
    fs::write(&other, [0; 5000]).unwrap();
    used(&other, 1);
    cache.prune();
    assert_eq!(cache.size().entries, 4, "within the limit nothing goes");
    cache.limit = cache.size().bytes - 1;
    cache.prune();
    assert_eq!([0, 1, 2, 3].map(|number| path(&cache, number).exists()), [true, false, true, true]);
    cache.limit = 1500;
    cache.prune();
    assert_eq!([0, 2, 3].map(|number| path(&cache, number).exists()), [true, false, false]);
    assert!(other.exists(), "what is no entry is not ours to remove");
}

#[test]
fn what_a_crash_left_goes_after_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(&folder);
    cache.put(key(1), &entry(1));
    let left = |name: &str| cache.folder().unwrap().join(name);
    let (old, new) = (left(".ab.cubin.12-0.tmp"), left(".ab.cubin.12-1.tmp"));
    fs::write(&old, "").unwrap();
    fs::write(&new, "").unwrap();
    let tunings = left(".gpu-sm_86-84.tunings.json.12-0.tmp");
    fs::write(&tunings, "").unwrap();
    used(&old, 1);
    used(&tunings, 1);
    cache.prune();
    assert_eq!((old.exists(), new.exists(), path(&cache, 1).exists()), (false, true, true));
    assert!(!tunings.exists());
}

#[test]
fn the_folder_by_variables() {
    let of = |variables: &[(&str, &str)]| {
        folder(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
    };
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[(CACHE_VARIABLE, "here"), ("HOME", "/home/a")]), path("here"));
    if cfg!(target_os = "linux") {
        assert_eq!(of(&[("HOME", "/home/a")]), path("/home/a/.cache/gradpath/kernels"));
        assert_eq!(of(&[("HOME", "/a"), ("XDG_CACHE_HOME", "/b")]), path("/b/gradpath/kernels"));
        assert_eq!(of(&[("HOME", "/a"), ("XDG_CACHE_HOME", "b")]), path("/a/.cache/gradpath/kernels"));
    }
}
