//! Comparison with PyTorch and torchvision: `tests/fixtures/detect`, made by `make.py` there.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::tensor::{Shape, Tensor};

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/detect").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bounds([x0, y0, x1, y1]: [f32; 4]) -> Bounds {
    Bounds::new(x0, y0, x1, y1)
}

#[test]
fn overlaps_are_torchvisions() {
    #[derive(Deserialize)]
    struct Overlaps {
        a: Vec<[f32; 4]>,
        b: Vec<[f32; 4]>,
        iou: Vec<f64>,
        diou: Vec<f64>,
        ciou: Vec<f64>,
    }
    let golden: Overlaps = fixture("overlaps.json");
    for (i, (&a, &b)) in golden.a.iter().zip(&golden.b).enumerate() {
        let (a, b) = (bounds(a), bounds(b));
        let pairs = [(a.iou(&b), golden.iou[i]), (a.diou(&b), golden.diou[i]), (a.ciou(&b), golden.ciou[i])];
        for (got, wanted) in pairs {
            // torchvision adds 1e-7 to its denominators.
            assert!((got - wanted).abs() < 1e-6, "{got} for {wanted}: {a:?} and {b:?}");
        }
    }
}

#[test]
fn suppression_is_torchvisions() {
    #[derive(Deserialize)]
    struct Suppression {
        boxes: Vec<[f32; 4]>,
        scores: Vec<f32>,
        classes: Vec<usize>,
        kept: HashMap<String, Vec<usize>>,
    }
    let golden: Suppression = fixture("nms.json");
    let detections: Vec<Detection> = (0..golden.boxes.len())
        .map(|i| Detection {
            bounds: bounds(golden.boxes[i]),
            score: golden.scores[i],
            class: golden.classes[i],
        })
        .collect();
    assert_eq!(golden.kept.len(), 3);
    for (iou, kept) in golden.kept {
        let wanted: Vec<Detection> = kept.iter().map(|&i| detections[i]).collect();
        assert!(wanted.len() < detections.len());
        assert_eq!(
            nms(&detections, &Nms { iou: iou.parse().unwrap(), ..Nms::default() }),
            wanted,
            "at {iou}"
        );
    }
}

#[test]
fn assignment_is_the_rule_on_tensors() {
    #[derive(Deserialize)]
    struct Golden {
        input: [usize; 3],
        strides: Vec<usize>,
        anchors: Vec<[f32; 2]>,
        targets: Vec<[f32; 6]>,
        matches: Vec<Vec<[f32; 9]>>,
    }
    let golden: Golden = fixture("assign.json");
    let head = Head::new(5, &golden.strides, &golden.anchors).unwrap();
    let target = |&[image, class, cx, cy, w, h]: &[f32; 6]| Target {
        image: image as usize,
        class: class as usize,
        bounds: Bounds::from_center(cx, cy, w, h),
    };
    let targets: Vec<Target> = golden.targets.iter().map(target).collect();
    let [n, h, w] = golden.input;
    let found =
        assign(&head, Shape::new(n, h, w, 3), &targets, head.capacity(1, golden.targets.len())).unwrap();
    for (level, wanted) in found.levels.iter().zip(&golden.matches) {
        let rows = level.table.data().chunks(column::COUNT).take(level.count);
        let mut rows: Vec<[f32; 9]> =
            rows.map(|row| row[column::IMAGE..column::COUNT].try_into().unwrap()).collect();
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert!(wanted.len() > 50);
        assert_eq!(&rows, wanted);
    }
}

#[test]
fn decoding_is_the_formula_on_tensors() {
    #[derive(Deserialize)]
    struct Decoded {
        shape: [usize; 4],
        map: Vec<f32>,
        boxes: Vec<[f32; 4]>,
        scores: Vec<[f32; 3]>,
    }
    let golden: Decoded = fixture("decode.json");
    let level = HeadLevel { stride: 8, anchors: vec![[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]] };
    let map = Tensor::new(golden.shape.into(), golden.map).unwrap();
    let options = Decode { threshold: 0.0, labels: Labels::Every };
    let found: Vec<Detection> =
        decode(map.view(), &level, 3, &options).unwrap().into_iter().flatten().collect();
    // Everything is above a threshold of 0: three classes a box, in the order of the map.
    assert_eq!(found.len(), 3 * golden.boxes.len());
    for (i, detection) in found.iter().enumerate() {
        assert_eq!(detection.class, i % 3);
        assert!((detection.score - golden.scores[i / 3][i % 3]).abs() < 1e-6);
        let (got, wanted) = (detection.bounds, bounds(golden.boxes[i / 3]));
        for (a, b) in [(got.x0, wanted.x0), (got.y0, wanted.y0), (got.x1, wanted.x1), (got.y1, wanted.y1)] {
            assert!((a - b).abs() < 1e-4, "{got:?} for {wanted:?}");
        }
    }
}
