//! `gradpath summary`.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{fails, gradpath, succeeds, without_device, words};

fn json(arguments: &str) -> Value {
    serde_json::from_str(&succeeds(words(arguments))).unwrap()
}

#[test]
fn json_has_the_published_numbers_of_yolov7_tiny() {
    let summary = json("summary yolov7-tiny --size 416 --classes 80 --json");
    assert_eq!(summary["params"]["stored"], 6_241_885);
    assert_eq!(summary["params"]["learnable"], 6_227_101);
    let gflops = |key: &str| summary["flops"][key].as_f64().unwrap() / 1e9;
    assert_eq!((gflops("darknet") * 1e3).round(), 5802.0);
    assert!(gflops("mac2") > gflops("darknet"));
    let memory = &summary["memory"];
    assert_eq!(memory["batch"], 1);
    let bytes = |key: &str| memory[key].as_u64().unwrap();
    // The weights alone are 24.9 MB.
    assert!(bytes("inference_peak_bytes") > 4 * 6_227_101);
    assert!(bytes("training_peak_bytes") > bytes("inference_peak_bytes"));
    let layers = summary["layers"].as_array().unwrap();
    let learnable: u64 = layers.iter().map(|l| l["params"]["learnable"].as_u64().unwrap()).sum();
    assert_eq!(learnable, 6_227_101);
    assert_eq!(layers[0]["name"], "backbone.stem0");
    assert_eq!(layers[0]["output"], serde_json::json!([1, 208, 208, 32]));
}

#[test]
fn the_size_is_width_by_height_and_costs_are_the_batchs() {
    let one = json("summary elan-nano --size 96x64 --classes 3 --json");
    assert_eq!(one["input"], serde_json::json!([1, 64, 96, 3]));
    let four = json("summary elan-nano --size 96x64 --classes 3 --batch 4 --training-batch 2 --json");
    let flops = |summary: &Value| summary["flops"]["mac2"].as_f64().unwrap();
    assert_eq!(flops(&four), 4.0 * flops(&one));
    assert_eq!(one["params"], four["params"]);
    assert_eq!(four["memory"]["batch"], 4);
    assert_eq!(four["memory"]["training_batch"], 2);
}

#[test]
fn the_table_names_layers_totals_and_peaks() {
    let text = succeeds(words("summary elan-nano --classes 3 --device reference"));
    let line = |start: &str| text.lines().find(|l| l.trim_start().starts_with(start)).unwrap_or_default();
    assert!(line("0 ").contains("backbone.stem0"), "{text}");
    assert!(line("total").contains("learnable"), "{text}");
    assert!(text.contains("memory in inference, batch 1: "), "{text}");
    assert!(text.contains("memory in training, batch 1: "), "{text}");
    assert_eq!(text.matches("the most is alive at ").count(), 2, "{text}");
}

#[test]
fn kernels_are_rows_that_add_up() {
    for (arguments, mode) in [("--kernels", "inference"), ("--kernels --training", "training")] {
        let summary =
            json(&format!("summary csp --channels 32 --size 17x19 --device cpu {arguments} --json"));
        assert_eq!((&summary["block"], &summary["network"]), (&"csp".into(), &Value::Null));
        assert_eq!(summary["input"], serde_json::json!([1, 19, 17, 32]));
        let kernels = &summary["kernels"];
        assert_eq!(kernels["mode"], mode);
        let rows = kernels["rows"].as_array().unwrap();
        assert!(rows.len() > 5);
        for key in ["read_bytes", "written_bytes", "cio"] {
            let sum: f64 = rows.iter().map(|row| row[key].as_f64().unwrap()).sum();
            assert_eq!(kernels["total"][key].as_f64().unwrap(), sum, "{key}");
        }
        let number = |key: &str| rows[0][key].as_f64().unwrap();
        let intensity =
            rows[0]["flops"]["mac2"].as_f64().unwrap() / (number("read_bytes") + number("written_bytes"));
        assert_eq!(number("intensity"), intensity);
        assert_eq!((&rows[0]["pass"], &rows[0]["bound"]), (&"forward".into(), &Value::Null));
        let items = summary["memory"][mode]["items"].as_object().unwrap();
        let sum: u64 = items.values().map(|bytes| bytes.as_u64().unwrap()).sum();
        assert_eq!(summary["memory"][format!("{mode}_peak_bytes")], sum);
    }
}

#[test]
fn the_table_of_kernels_has_a_roofline_where_it_is_wanted() {
    let text = succeeds(words("summary elan-nano --size 64 --classes 3 --device cpu --kernels --roofline"));
    assert!(
        text.contains("conv 3×3/2") && text.contains("roofline") && text.contains("a copy of "),
        "{text}"
    );
    let total = text.lines().find(|line| line.contains(" total ")).unwrap();
    assert!(total.contains("inference") && total.contains("FLOP"), "{total}");
    assert!(text.contains("\nof it at the peak:\n"), "{text}");
    // Without kernels neither means anything.
    for option in ["--training", "--roofline"] {
        assert_eq!(gradpath(words(&format!("summary elan-nano {option}"))).status.code(), Some(2));
    }
    assert_eq!(
        fails(words("summary elan-nano --channels 3")),
        "--channels is for blocks, and elan-nano is a network; leave it out, or name a block"
    );
}

#[test]
fn unknown_networks_and_sizes() {
    assert_eq!(
        fails(words("summary resnet")),
        "there is no block and no network \"resnet\"; use some of conv1, conv3, bottleneck, resx, csp, \
         csp-fusion-first, csp-fusion-last, csp-partial, prn, elan, dense, sparse, osa, elan-nano, csp-nano, prn-nano, \
         yolov7-tiny"
    );
    assert_eq!(
        fails(words("summary elan-nano --size 100")),
        "an input of 100×100 is not divisible by elan-nano's stride 32; use 96×96"
    );
    // What is no size at all is an error of usage.
    let output = gradpath(words("summary elan-nano --size large"));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("width and height as in 416x320"));
    for option in ["--batch 0", "--classes 0", "--threads 2000", "--device gpu"] {
        let output = gradpath(words(&format!("summary elan-nano {option}")));
        assert_eq!(output.status.code(), Some(2), "{option}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gradpath"))
        .args(["summary", "elan-nano"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && without_device(&output.stderr).is_empty());
}
