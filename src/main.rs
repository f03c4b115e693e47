//! The `gradpath` program.
fn main() {}
