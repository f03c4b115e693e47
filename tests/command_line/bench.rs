//! `gradpath bench`.

use serde_json::Value;

use super::{fails, gradpath, succeeds, words};

const TINY: &str = "--channels 8 --size 8 --seconds 0 --threads 1";

#[test]
fn the_table_has_a_row_for_each_way_to_run_a_block() {
    let text = succeeds(words(&format!("bench csp conv3 {TINY} --layers 1")));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("cpu (1 threads"), "{text}");
    assert!(lines[1].starts_with("memory   ") && lines[1].contains("B/s: a copy of "), "{text}");
    assert!(lines[2].starts_with("compute  ") && lines[2].contains("FLOP/s: fused multiply-adds"), "{text}");
    assert!(text.contains("\ncsp, γ 0.5, 1 layer, input [1, 8, 8, 8], inference\n"), "{text}");
    assert!(text.contains("\nconv3, 1 layer, input [1, 8, 8, 8], inference\n"), "{text}");
    let rows = |name: &str| lines.iter().filter(|l| l.split_whitespace().next() == Some(name)).count();
    assert_eq!((rows("fused"), rows("unfused"), rows("residual")), (2, 2, 1), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn json_has_what_was_measured_beside_what_was_predicted() {
    let text = succeeds(words(&format!("bench prn {TINY} --batch 2 --training --split 0.25 --json")));
    let json: Value = serde_json::from_str(&text).unwrap();
    for ceiling in ["memory", "compute"] {
        assert!(json["ceilings"][ceiling]["per_second"].as_f64().unwrap() > 0.0, "{text}");
        assert!(json["ceilings"][ceiling]["how"].is_string(), "{text}");
    }
    let workload = &json["workloads"][0];
    assert_eq!((&workload["what"], &workload["mode"]), (&"prn".into(), &"training".into()));
    assert_eq!(workload["input"], serde_json::json!([2, 8, 8, 8]));
    assert_eq!((&workload["split"], &workload["layers"]), (&0.25.into(), &2.into()));
    let measurements = workload["measurements"].as_array().unwrap();
    let names: Vec<&str> = measurements.iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fused", "unfused", "residual"]);
    let number = |m: &Value, key: &str| m[key].as_f64().unwrap_or_else(|| panic!("{key} in {m}"));
    for m in measurements {
        assert_eq!(m["planned_bytes"], m["held_bytes"]);
        // The program counts what it allocates: what is held, and little beside it.
        let beside = number(m, "allocated_peak_bytes") - number(m, "held_bytes");
        assert!((0.0..256e3).contains(&beside), "{beside} in {m}");
        assert_eq!(number(m, "intensity"), number(m, "flops") / number(m, "bytes"));
        assert!(m["time"]["runs"].as_u64().unwrap() >= 3);
        let median = number(&m["time"], "median");
        assert!(number(&m["time"], "least") <= median && median > 0.0);
        assert_eq!(number(m, "flops_per_second"), number(m, "flops") / median);
        assert_eq!(number(m, "bytes_per_second"), number(m, "bytes") / median);
        let compute = number(&json["ceilings"]["compute"], "per_second");
        let memory = number(&json["ceilings"]["memory"], "per_second");
        let times = (number(m, "flops") / compute, number(m, "bytes") / memory);
        assert_eq!(number(m, "roofline_seconds"), times.0.max(times.1));
        assert_eq!(m["bound"], if times.0 >= times.1 { "compute" } else { "memory" });
    }
    assert_eq!(number(&measurements[0], "time_ratio"), 1.0);
    let [fused, unfused] = [&measurements[0], &measurements[1]];
    assert_eq!((&fused["flops"], &fused["cio"]), (&unfused["flops"], &unfused["cio"]));
    assert!(
        json["counted"]
            .as_str()
            .is_some_and(|how| how.starts_with("perf: ") || how.starts_with("not counted: "))
    );
    assert!(number(fused, "bytes") < number(unfused, "bytes"));
    assert!(number(fused, "kernels") < number(unfused, "kernels"));
}

#[test]
fn tables_and_pictures_are_written_for_every_combination() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, png) = (folder.path().join("bench.csv"), folder.path().join("bench.png"));
    let mut arguments = words("bench elan elan-nano --channels 4,8 --size 32,64x32 --seconds 0 --threads 1");
    arguments.extend(["--csv", csv.to_str().unwrap(), "--png", png.to_str().unwrap()].map(str::to_owned));
    succeeds(arguments);
    let text = std::fs::read_to_string(csv).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(header[..8], ["device", "what", "variant", "mode", "n", "h", "w", "c"]);
    assert!(header.contains(&"seconds") && header.contains(&"held_bytes") && header.contains(&"bound"));
    // The device's name has a comma, and is quoted.
    let rows: Vec<Vec<&str>> =
        lines.map(|line| line.split("\",").nth(1).unwrap().split(',').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == header.len() - 1), "{text}");
    // Two channels by two sizes, three ways; the network at two sizes, two ways.
    assert_eq!(rows.len(), 2 * 2 * 3 + 2 * 2);
    assert_eq!(rows[5][..7], ["elan", "plain", "inference", "1", "32", "64", "4"]);
    assert_eq!(rows[15][..7], ["elan-nano", "unfused", "inference", "1", "32", "64", "3"]);
    let picture = image::open(png).unwrap();
    assert!(picture.width() == 1800 && picture.height() > 1000);
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is() {
    assert_eq!(
        fails(words("bench resnet")),
        "there is no block and no network \"resnet\"; use some of conv1, conv3, bottleneck, resx, csp, \
         csp-fusion-first, csp-fusion-last, csp-partial, prn, elan, dense, sparse, osa, elan-nano, csp-nano, prn-nano, \
         yolov7-tiny"
    );
    assert_eq!(
        fails(words("bench elan-nano --channels 8")),
        "--channels is for blocks, and only networks are named; leave it out, or name a block"
    );
    assert!(fails(words("bench elan-nano --size 100")).ends_with("use 96×96"));
    assert!(fails(words("bench csp --channels 1 --size 8")).contains("does not split 1 channels in two"));
    let file = fails(words("bench conv1 --channels 8 --size 8 --seconds 0 --png here.gif"));
    assert_eq!(file, "here.gif: is neither a .png nor an .svg; end the name in .png or .svg");
    // What is no number at all is an error of usage.
    for option in ["--channels 0", "--split 2", "--seconds x", "--size 1,x", "--batch 1,", "--layers 0"] {
        let output = gradpath(words(&format!("bench csp {option}")));
        assert_eq!(output.status.code(), Some(2), "{option}");
    }
}
