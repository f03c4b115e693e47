//! `gradpath sweep`.

use serde_json::Value;

use super::{fails, gradpath, succeeds, words};

fn sweep(what: &str, options: &str) -> Vec<Value> {
    let tiny = "--channels 16 --size 6 --seconds 0 --threads 1 --json";
    let text = succeeds(words(&format!("sweep {what} {tiny} {options}")));
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(json["ceilings"]["memory"]["per_second"].as_f64().unwrap() > 0.0, "{text}");
    json["points"].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn csp_goes_over_its_share_and_costs_what_it_costs_by_hand() {
    let points = sweep("csp", "--layers 3");
    let shares: Vec<f64> = points.iter().map(|p| number(&p["split"])).collect();
    assert_eq!(shares, [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]);
    let (c, pixels) = (16.0, 36.0);
    for point in &points {
        let g = number(&point["split"]) * c;
        // A pixel: blocks g → g → g (10 g² multiply-adds, two norms, an add), a transition g → g and one c → c.
        let by_hand = 3.0 * (20.0 * g * g + 4.0 * g + g) + 2.0 * (g * g + g) + 2.0 * (c * c + c);
        assert_eq!(number(&point["with"]["flops"]), pixels * by_hand, "{point}");
        let residual = 3.0 * (10.0 * c * c + 3.0 * c + c);
        assert_eq!(number(&point["without"]["flops"]), pixels * residual, "{point}");
        for one in ["with", "without"] {
            assert_eq!(point[one]["planned_bytes"], point[one]["held_bytes"]);
        }
    }
    let planned = |p: &Value| number(&p["with"]["planned_bytes"]);
    assert!(points.windows(2).all(|pair| planned(&pair[0]) < planned(&pair[1])));
}

#[test]
fn truncations_differ_by_their_transitions() {
    let points = sweep("truncation", "");
    let names: Vec<&str> = points.iter().map(|p| p["what"].as_str().unwrap()).collect();
    assert_eq!(names, ["csp", "csp-fusion-first", "csp-fusion-last", "csp-partial"]);
    let flops: Vec<f64> = points.iter().map(|p| number(&p["with"]["flops"])).collect();
    // A pixel: 2 c² and c for the norm of a transition over all channels, (c/2) of each for the inner one.
    let (c, pixels) = (16.0, 36.0);
    let transition = |c: f64| pixels * (2.0 * c * c + 2.0 * c);
    assert_eq!(flops[0] - flops[2], transition(c));
    assert_eq!(flops[1] - flops[3], transition(c));
    assert_eq!(flops[0] - flops[1], transition(c / 2.0));
}

#[test]
fn prn_moves_what_its_mask_lets_through() {
    let points = sweep("prn", "");
    assert_eq!(points.len(), 9);
    let moved = |p: &Value| number(&p["with"]["bytes"]);
    // Two blocks; each eighth of the mask is two channels of 36 pixels, read once.
    for pair in points.windows(2) {
        assert_eq!(moved(&pair[1]) - moved(&pair[0]), 2.0 * 2.0 * 36.0 * 4.0);
    }
    // All of it is the residual stage.
    let last = &points[8];
    assert_eq!(
        (&last["with"]["bytes"], &last["with"]["flops"]),
        (&last["without"]["bytes"], &last["without"]["flops"])
    );
}

#[test]
fn elan_goes_over_groups_and_depth_and_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, png) = (folder.path().join("elan.csv"), folder.path().join("elan.png"));
    let mut arguments = words("sweep elan --channels 16 --size 6 --seconds 0 --threads 1 --training");
    arguments.extend(["--csv", csv.to_str().unwrap(), "--png", png.to_str().unwrap()].map(str::to_owned));
    let text = succeeds(arguments);
    for point in ["1 × 1 ", "4 × 1 ", "1 × 2 ", "4 × 2 "] {
        assert_eq!(text.lines().filter(|line| line.starts_with(point)).count(), 1, "{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    // Each point with its plain stack, below a header.
    assert_eq!(std::fs::read_to_string(csv).unwrap().lines().count(), 1 + 8 * 2);
    assert_eq!(image::open(png).unwrap().width(), 1800);
    // Of the others, curves.
    for what in ["csp", "prn"] {
        let png = folder.path().join(format!("{what}.svg"));
        let mut arguments = words(&format!("sweep {what} --channels 16 --size 6 --seconds 0 --threads 1"));
        arguments.extend(["--png".to_owned(), png.to_str().unwrap().to_owned()]);
        succeeds(arguments);
        let svg = std::fs::read_to_string(png).unwrap();
        assert!(svg.contains("as a multiple of the residual stage"), "{what}");
    }
}

#[test]
fn what_cannot_be_swept_is_refused() {
    assert!(fails(words("sweep csp --channels 2 --size 6")).contains("does not split 2 channels in two"));
    assert_eq!(gradpath(words("sweep dense")).status.code(), Some(2));
}
