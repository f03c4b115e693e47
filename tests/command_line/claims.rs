//! `gradpath claims`.

use serde_json::Value;

use super::{fails, gradpath, succeeds, words};

/// The claims, as `--json` prints them.
fn claims(options: &str) -> Vec<Value> {
    let text = succeeds(words(&format!("claims --seconds 0 --json {options}")));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn exact_claims_are_exact_and_say_what_was_measured_on_what() {
    let rows = claims("c1 C2 c8 --device reference");
    // C1 begins the names of C10 to C13 too.
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["C1", "C2", "C8", "C10", "C11", "C12", "C13"]);
    for row in &rows[..3] {
        for field in ["id", "claim", "source", "told", "quantity", "device", "verdict", "why"] {
            assert!(!row[field].as_str().unwrap().is_empty(), "{field}: {row}");
        }
        assert_eq!(row["verdict"], "holds");
        assert_eq!(row["device"], "reference (f64)");
        for number in ["expected", "predicted", "measured"] {
            assert_eq!(row[number], 0.5, "{number}: {row}");
        }
    }
    for row in &rows[3..6] {
        assert_eq!(row["verdict"], "network not in the zoo yet");
        assert!(row["measured"].is_null() && row["predicted"].is_null() && row["expected"].is_null());
    }
}

#[test]
fn memory_is_held_as_planned_and_a_claim_that_is_not_true_as_told_says_so() {
    let rows = claims("C3a C3b C3c --device cpu --size 512");
    let verdicts: Vec<&str> = rows.iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["holds", "holds", "does not hold as told"]);
    for run in rows.iter().flat_map(|row| row["runs"].as_array().unwrap()) {
        assert_eq!(run["planned_bytes"], run["held_bytes"]);
        // The program counts what it allocates: all that the session holds, and more.
        assert!(run["allocated_peak"].as_u64().unwrap() >= run["held_bytes"].as_u64().unwrap(), "{run}");
    }
    // What nobody counts to the byte is not claimed to be measured.
    let rows = claims("C4 C5 --device cpu");
    for row in &rows {
        assert!(row["verdict"] == "predicted only" && row["measured"].is_null(), "{row}");
    }
}

#[test]
fn a_page_and_a_picture_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let (html, svg) = (folder.path().join("claims.html"), folder.path().join("claims.svg"));
    let mut arguments = words("claims C2 C13 --device cpu --threads 1 --seconds 0.01 --markdown --html");
    arguments.extend([html.display().to_string(), "--png".to_owned(), svg.display().to_string()]);
    let text = succeeds(arguments);
    assert!(text.contains("| C2 | CSP halves the parameters"), "{text}");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("Roofline") && page.contains("C13: time"), "{page}");
    assert!(std::fs::read_to_string(svg).unwrap().contains("Roofline"));
}

#[test]
fn wrong_input_is_one_sentence() {
    let error = fails(words("claims C99"));
    assert!(error.starts_with("there is no claim \"C99\"; use some of C1, C2, C3a"), "{error}");
    let error = fails(words("claims --device cpu --size 20"));
    assert!(error.contains("too small") && error.ends_with("use a size from 512 on"), "{error}");
    let error = fails(words("claims C1 --png claims.gif"));
    assert!(error.contains("neither a .png nor an .svg"), "{error}");
    assert_eq!(gradpath(words("claims --json --markdown")).status.code(), Some(2));
}
