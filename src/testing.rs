//! What unit tests share.

use std::path::{Path, PathBuf};

/// A file or folder of the data that lies beside the checkout (`shared/`), for tests against real
/// photos. It is looked for in the folder `GRADPATH_SHARED` names, then in `shared/` next to the
/// crate, then one folder further up.
///
/// Where it is absent the test should return, having checked nothing: this prints so. On a build
/// server (`CI=true`) its absence fails the test instead, so that nothing is skipped unnoticed.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("GRADPATH_SHARED").map(PathBuf::from);
    let found = named
        .into_iter()
        .chain([root.join("../shared"), root.join("../../shared")])
        .map(|folder| folder.join(path))
        .find(|path| path.exists());
    if found.is_none() {
        let message = format!("shared/{path} is absent; set GRADPATH_SHARED to the folder that holds it");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
        println!("skipped: {message}");
    }
    found
}
