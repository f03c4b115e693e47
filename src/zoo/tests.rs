//! The networks' published numbers, and that each trains on the reference device's terms.

use super::*;
use crate::graph::Mode;

fn traced(name: &str, size: usize, classes: usize) -> (Graph, Heads) {
    let mut graph = Graph::new(Mode::Inference);
    let network = find(name).unwrap();
    let images = graph.input("images", Shape::new(1, size, size, 3)).unwrap();
    let heads = network.trace(&mut graph, images, classes).unwrap();
    (graph, heads)
}

fn count(graph: &Graph) -> (usize, usize) {
    let learnable: usize = graph.parameters().map(|(_, info)| info.shape.elements()).sum();
    let stored: usize = graph.persistent().map(|(_, info)| info.shape.elements()).sum();
    (stored, learnable)
}

#[test]
fn yolov7_tiny_has_its_published_size() {
    let (graph, heads) = traced("yolov7-tiny", 416, 80);
    assert_eq!(count(&graph), (6_241_885, 6_227_101));
    let shapes: Vec<Shape> = heads.maps.iter().map(|&m| graph.shape(m)).collect();
    let map = |side| Shape::new(1, side, side, 255);
    assert_eq!(shapes, [map(52), map(26), map(13)]);
    let flops: f64 = graph
        .nodes()
        .iter()
        .map(|n| {
            let shapes =
                |values: &[Value]| -> Vec<Shape> { values.iter().map(|&v| graph.shape(v)).collect() };
            n.op.cost(&shapes(&n.inputs), &shapes(&n.outputs)).darknet_flops
        })
        .sum();
    assert_eq!((flops / 1e6).round() / 1e3, 5.802);
}

#[test]
fn the_nano_networks_cost_about_the_same() {
    let sizes: Vec<usize> =
        ["elan-nano", "csp-nano", "prn-nano"].iter().map(|n| count(&traced(n, 160, 6).0).1).collect();
    println!("{sizes:?}");
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(*least >= 300_000 && *most <= 1_000_000 && *most < *least * 5 / 4, "{sizes:?}");
}

#[test]
fn an_odd_size_is_refused_with_the_nearest_that_fits() {
    let mut graph = Graph::new(Mode::Inference);
    let images = graph.input("images", Shape::new(1, 200, 160, 3)).unwrap();
    let error = find("elan-nano").unwrap().trace(&mut graph, images, 6).unwrap_err().to_string();
    assert_eq!(error, "an input of 160×200 is not divisible by elan-nano's stride 32; use 160×192");
    assert!(find("resnet").unwrap_err().to_string().contains("elan-nano, csp-nano, prn-nano"));
}
