//! The program as it is called: arguments in; files, standard output, one sentence and a status out.

mod bench;
mod claims;
mod doctor;
mod run;
mod summary;
mod sweep;
mod train;

use std::ffi::OsStr;
use std::process::{Command, Output};

/// Runs the program with `args`.
fn gradpath<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gradpath")).args(args).output().unwrap()
}

/// Standard output of a run that must succeed.
fn succeeds<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = gradpath(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).unwrap()
}

/// The sentence of a run that must fail with status 1: one line, nothing on standard output.
fn fails<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = gradpath(args);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty());
    let sentence = errors.strip_prefix("error: ").unwrap_or_else(|| panic!("{errors}"));
    assert_eq!(sentence.lines().count(), 1, "{errors}");
    sentence.trim_end().to_owned()
}

/// The words of a command line without quotes.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
