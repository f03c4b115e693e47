//! Tunings on disk: found again, forgotten, merged, damaged.

use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::format::tests::survives_damage;
use crate::tensor::DType;

const FILES: &[&str] = &["conv_forward.cu"];
const TARGET: Target = Target { arch: 86, multiprocessors: 84, shared_bytes: 101_376, map: DType::Bf16 };

fn open(folder: &TempDir) -> TuningStore {
    TuningStore::open(Some(&folder.path().join("kernels")), "NVIDIA RTX A6000", &TARGET, (13, 0))
}

fn tiles() -> Vec<String> {
    ["64x64", "128x64", "32x32"].map(str::to_owned).to_vec()
}

fn tuning(tile: &str) -> Tuning {
    let kernels = Fingerprints::new((13, 0)).of(FILES, &tiles()).unwrap();
    Tuning { tile: tile.to_owned(), microseconds: 1.5, usual_microseconds: 2.25, kernels }
}

fn one(key: &str, tile: &str) -> BTreeMap<String, Tuning> {
    BTreeMap::from([(key.to_owned(), tuning(tile))])
}

fn tile(store: &TuningStore, key: &str) -> Option<String> {
    store.known().get(key, FILES, &tiles()).map(|tuning| tuning.tile.clone())
}

#[test]
fn what_was_added_is_found_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    assert!(store.known().is_empty());
    store.add(one("a", "64x64"));
    store.add(one("b", "32x32"));
    store.add(one("a", "128x64"));
    let next = open(&folder);
    for store in [&store, &next] {
        assert_eq!(tile(store, "a").as_deref(), Some("128x64"));
        assert_eq!(store.known().get("b", FILES, &tiles()), Some(&tuning("32x32")));
        assert_eq!((tile(store, "c"), store.known().len()), (None, 2));
        assert!(store.take_warnings().is_empty());
    }
    // Whoever looks into the file finds device, key and tile in words.
    let text = fs::read_to_string(next.file().unwrap()).unwrap();
    for part in ["NVIDIA RTX A6000, sm_86, 84 multiprocessors", "\"a\"", "\"tile\": \"128x64\""] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn without_a_folder_they_are_known_and_not_kept() {
    let store = TuningStore::open(None, "GPU", &TARGET, (13, 0));
    store.add(one("a", "64x64"));
    assert_eq!(tile(&store, "a").as_deref(), Some("64x64"));
    assert!(store.take_warnings().is_empty());
}

#[test]
fn another_device_compiler_or_kernel_has_none() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).add(one("a", "64x64"));
    let kernels = folder.path().join("kernels");
    let open = |name, target, nvrtc| TuningStore::open(Some(&kernels), name, &target, nvrtc);
    let name = "NVIDIA RTX A6000";
    assert_eq!(tile(&open(name, TARGET, (13, 0)), "a").as_deref(), Some("64x64"));
    for other in [
        open("NVIDIA RTX A5000", TARGET, (13, 0)),
        open(name, Target { arch: 89, ..TARGET }, (13, 0)),
        open(name, Target { multiprocessors: 82, ..TARGET }, (13, 0)),
        open(name, Target { shared_bytes: 65_536, ..TARGET }, (13, 0)),
        open(name, TARGET, (13, 1)),
    ] {
        assert_eq!(tile(&other, "a"), None, "{other:?}");
    }
    // Maps of another type are another key, not another device.
    assert!(tile(&open(name, Target { map: DType::F16, ..TARGET }, (13, 0)), "a").is_some());
    let store = open(name, TARGET, (13, 0));
    assert_eq!(store.known().get("a", &["conv_depthwise.cu"], &tiles()), None);
    // Where there are other candidates, the fastest of these may not be the fastest of those.
    assert_eq!(store.known().get("a", FILES, &tiles()[..2]), None);
    let changed = Tuning { kernels: "0".repeat(16), ..tuning("64x64") };
    store.add(BTreeMap::from([("a".to_owned(), changed)]));
    assert_eq!(tile(&store, "a"), None);
}

#[test]
fn a_damaged_file_is_none_with_one_warning() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.add(one("a", "64x64"));
    let path = store.file().unwrap().to_owned();
    let whole = fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"[]", br#"{"format": 2, "device": "", "tunings": {}}"#] {
        fs::write(&path, damaged).unwrap();
        let store = open(&folder);
        assert!(store.known().is_empty());
        let warnings = store.take_warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(&path.display().to_string()), "{warnings:?}");
        // Adding replaces it.
        store.add(one("b", "32x32"));
        let next = open(&folder);
        assert_eq!((tile(&next, "a"), tile(&next, "b").as_deref()), (None, Some("32x32")));
        assert!(next.take_warnings().is_empty());
    }
}

#[test]
fn any_damage_is_survived() {
    let contents = Contents { format: FORMAT, device: "GPU".to_owned(), tunings: one("a", "64x64") };
    let text = serde_json::to_string_pretty(&contents).unwrap();
    assert!(parse(text.as_bytes()).is_some());
    survives_damage(text.as_bytes(), 2000, 11, parse);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kernels"), "a file").unwrap();
    let store = open(&folder);
    store.add(one("a", "64x64"));
    assert_eq!(tile(&store, "a").as_deref(), Some("64x64"));
    assert_eq!(store.take_warnings().len(), 1);
}

/// Two stores that were opened before either wrote: neither loses what the other adds.
#[test]
fn two_that_add_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (open(&folder), open(&folder));
    first.add(one("a", "64x64"));
    second.add(one("b", "32x32"));
    assert_eq!(tile(&second, "a").as_deref(), Some("64x64"));
    assert_eq!(open(&folder).known().len(), 2);
}

const FOLDER: &str = "GRADPATH_TEST_TUNINGS";

/// Not a test by itself: what [`processes_that_add_at_once_lose_nothing`] starts several times.
#[test]
fn a_process_that_adds() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let process = std::process::id();
    let store = TuningStore::open(Some(Path::new(&folder)), "GPU", &TARGET, (13, 0));
    for number in 0..20 {
        store.add(one(&format!("{process} {number}"), "64x64"));
    }
    assert!(store.take_warnings().is_empty());
}

#[test]
fn processes_that_add_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::cuda::tunings::tests::a_process_that_adds"])
            .env(FOLDER, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = TuningStore::open(Some(folder.path()), "GPU", &TARGET, (13, 0));
    assert_eq!(store.known().len(), 80);
    assert!(store.take_warnings().is_empty());
    // The file and its lock, and nothing half written.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
