//! What the documents say, held against the tree: commands parse, examples run, paths exist, floors hold.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use gradpath::cli::Cli;

#[path = "../examples/block.rs"]
mod block;
#[expect(dead_code, reason = "its main prints what the test reads")]
#[path = "../examples/passes.rs"]
mod passes;

const DOCUMENTS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/measuring.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The lines of all fenced blocks of `language`, block by block.
fn fenced(document: &str, language: &str) -> Vec<Vec<String>> {
    let (mut blocks, mut open) = (Vec::new(), None::<String>);
    for line in document.lines() {
        match (line.strip_prefix("```"), &open) {
            (Some(name), None) => {
                open = Some(name.to_owned());
                if name == language {
                    blocks.push(Vec::new());
                }
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(name)) if name == language => blocks.last_mut().unwrap().push(line.to_owned()),
            _ => {}
        }
    }
    blocks
}

#[test]
fn the_block_of_the_examples_learns() {
    block::main().unwrap();
}

#[test]
fn the_readme_shows_the_example_that_is_tested() {
    let example = read("examples/block.rs");
    let body: String =
        example.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect();
    let shown = fenced(&read("README.md"), "rust");
    assert_eq!(shown.len(), 1);
    let shown = shown[0].join("\n");
    assert!(body.contains(&shown), "README.md shows what is not in examples/block.rs:\n{shown}");
}

#[test]
fn the_architecture_shows_what_the_compiler_does() {
    let listing = passes::listing().unwrap();
    let shown = fenced(&read("ARCHITECTURE.md"), "text");
    assert!(shown.len() >= 4);
    for block in shown {
        let block = block.join("\n");
        assert!(listing.contains(&block), "ARCHITECTURE.md shows\n{block}\nand `passes` prints\n{listing}");
    }
}

#[test]
fn every_command_of_the_documents_parses() {
    let mut count = 0;
    for document in DOCUMENTS {
        let text = read(document);
        // Inline code of one line, as in the table of commands.
        let inline = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned));
        let inline = inline.filter(|code| code.starts_with("gradpath ") && code.contains(" --"));
        for line in fenced(&text, "sh").concat().into_iter().chain(inline) {
            let line = line.trim();
            let command = line.strip_prefix("cargo run --release -- ").or(line.strip_prefix("gradpath "));
            let Some(command) = command.map(|c| c.split(" #").next().unwrap_or(c)) else { continue };
            let words = std::iter::once("gradpath").chain(command.split_whitespace());
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{document}: {line}: {}", parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} commands were found");
}

#[test]
fn what_the_documents_link_to_exists() {
    for document in DOCUMENTS {
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if link.contains("://") || path.is_empty() {
                continue;
            }
            assert!(root().join(path).exists(), "{document} links to {path}, which is absent");
        }
    }
}

/// All Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let nested = entries.map(|path| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    });
    nested.flatten().filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}

#[test]
fn a_floor_uses_only_those_below_it() {
    let map = read("src/lib.rs");
    let floors: Vec<&str> =
        map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let level = |name: &str| floors.iter().position(|floor| *floor == name);
    assert!(level("tensor") < level("cli") && floors.len() > 10);
    let mut uses = 0;
    for (own, floor) in floors.iter().enumerate() {
        let files = match root().join(format!("src/{floor}.rs")) {
            file if file.is_file() => vec![file],
            _ => sources(&root().join("src").join(floor)),
        };
        for file in files {
            let name = file.to_string_lossy();
            // Tests may look up: an op's gradient is held against the interpreter of the graph.
            if name.contains("test") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            for used in code.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                // An error says which shapes it is about: the two lowest floors are one.
                if let Some(other) = level(used).filter(|_| *floor != "error") {
                    assert!(other <= own, "{name}: {floor} uses {used}, which is above it");
                    uses += 1;
                }
            }
        }
    }
    assert!(uses > 100, "only {uses} uses were found");
}
