//! What the kernels of losses, tables and optimisers say of impossible data, and the bytes that they move.

use gradpath::graph::{Graph, Mode};
use gradpath::ops::matches::column;
use gradpath::ops::matches::testing::{UNUSED, row};
use gradpath::ops::{Tape, adamw, binary_cross_entropy, gather, softmax_cross_entropy};
use gradpath::tensor::{DType, Shape, Tensor};

use crate::device::{device, open};
use crate::emulator::{Options, Order};

/// Runs `graph` on `feeds` on the emulated device, in each order of threads, and returns what it says.
fn errors(graph: &Graph, feeds: &[(&str, Tensor)]) -> Option<Vec<String>> {
    let (session, cuda) = open(80, DType::F32)?;
    let device = device(&cuda, DType::F32);
    let name = graph.outputs()[0].0.clone();
    let mut said = Vec::new();
    for order in Order::ALL {
        session.set_options(Options { order, trace: true, ..Default::default() });
        let mut run = device.session(device.compile(graph).unwrap()).unwrap();
        for (name, tensor) in feeds {
            run.feed(name, tensor).unwrap();
        }
        let outcome = run.run().and_then(|()| run.output(&name));
        said.push(outcome.err().map(|e| e.to_string()).unwrap_or_default());
        assert_eq!(session.last_error(), "");
    }
    Some(said)
}

#[test]
fn the_first_bad_row_of_a_table_is_named() {
    let (map, rows) = (Shape::new(1, 2, 2, 6), 300);
    let table = Shape::new(1, 1, rows, column::COUNT);
    let mut graph = Graph::new(Mode::Training);
    let x = graph.input("x", map).unwrap();
    let matches = graph.input("matches", table).unwrap();
    let y = gather::trace(&mut graph, x, matches, 2).unwrap();
    graph.output("y", y).unwrap();
    // Image, y, x and anchor each one too high, in rows of different blocks.
    let mut data = vec![UNUSED; rows];
    for (index, bad) in
        [(40, [1, 0, 0, 0, 0]), (299, [0, 2, 0, 0, 0]), (41, [0, 0, 2, 0, 0]), (170, [0, 0, 0, 2, 0])]
    {
        data[index] = row(bad, [1.0; 4]);
    }
    let feeds = |data: &[[f32; column::COUNT]]| {
        [("x", Tensor::full(map, 1.0)), ("matches", Tensor::new(table, data.concat()).unwrap())]
    };
    let Some(said) = errors(&graph, &feeds(&data)) else { return };
    for message in said {
        assert!(
            message.contains("row 40 of the match table has image 1, which the batch lacks"),
            "{message}"
        );
        assert!(message.contains("gather") && message.contains("assign the objects"), "{message}");
    }
    data[40] = row([0; 5], [1.0; 4]);
    for message in errors(&graph, &feeds(&data)).unwrap() {
        assert!(message.contains("row 41 of the match table has x 2, which the map lacks"), "{message}");
    }
    for index in [41, 170, 299] {
        data[index] = UNUSED;
    }
    assert_eq!(errors(&graph, &feeds(&data)).unwrap(), [""; 4]);
}

#[test]
fn a_label_that_is_no_class_and_a_step_before_the_first_are_refused() {
    let logits = Shape::new(20, 1, 1, 3);
    let mut graph = Graph::new(Mode::Training);
    let x = graph.input("x", logits).unwrap();
    let labels = graph.input("labels", logits.with_c(1)).unwrap();
    let loss = softmax_cross_entropy::trace(&mut graph, x, labels).unwrap();
    graph.output("loss", loss).unwrap();
    for bad in [3.0, -1.0, 0.5, f32::NAN] {
        let mut data = vec![2.0; 20];
        (data[9], data[17]) = (bad, bad);
        let labels = Tensor::new(logits.with_c(1), data).unwrap();
        let Some(said) = errors(&graph, &[("x", Tensor::full(logits, 0.5)), ("labels", labels)]) else {
            return;
        };
        for message in said {
            assert!(message.contains(&format!("row 9 has the label {bad}, which is no class")), "{message}");
        }
    }

    let shape = Shape::vector(5);
    let mut graph = Graph::new(Mode::Training);
    let mut input = |name: &str| graph.input(name, shape).unwrap();
    let (parameter, gradient) = (input("p"), input("g"));
    let (first_moment, second_moment) = (input("m"), input("v"));
    let rate_and_step = graph.input("rate and step", Shape::vector(2)).unwrap();
    let inputs = adamw::Inputs { parameter, gradient, first_moment, second_moment, rate_and_step };
    let (y, ..) = adamw::trace(&mut graph, adamw::AdamW::default(), inputs).unwrap();
    graph.output("y", y).unwrap();
    let array = || Tensor::full(shape, 0.5);
    let rate = Tensor::new(Shape::vector(2), vec![0.1, 0.0]).unwrap();
    let feeds = [("p", array()), ("g", array()), ("m", array()), ("v", array()), ("rate and step", rate)];
    for message in errors(&graph, &feeds).unwrap() {
        assert!(message.contains("the step count is 0"), "{message}");
    }
}

#[test]
fn gradients_of_a_head_write_its_map_once() {
    // A head as large as its matches are few: 2 images, 12 × 12 cells, 3 anchors of 85 channels.
    let (map, rows) = (Shape::new(2, 12, 12, 3 * 85), 96);
    let table = Shape::new(1, 1, rows, column::COUNT);
    let Some((session, cuda)) = open(80, DType::F32) else { return };
    let device = device(&cuda, DType::F32);
    session.set_options(Options { trace: true, ..Default::default() });
    let mut graph = Graph::new(Mode::Training);
    let gradient = graph.input("gradient", table.with_c(85)).unwrap();
    let matches = graph.input("matches", table).unwrap();
    let scattered = graph.apply(Box::new(gather::Scatter { map }), &[gradient, matches]).unwrap();
    graph.output("scattered", scattered).unwrap();
    let x = graph.input("x", map).unwrap();
    let target = graph.input("target", map.with_c(3)).unwrap();
    let dy = graph.input("dy", Shape::scalar()).unwrap();
    let channels = binary_cross_entropy::Channels { first: 4, step: 85 };
    let op = binary_cross_entropy::BinaryCrossEntropyGradient { channels };
    let dx = graph.apply(Box::new(op), &[x, target, dy]).unwrap();
    graph.output("dx", dx).unwrap();

    // 24 matches, two of them of one cell.
    let mut data = vec![UNUSED; rows];
    for (index, row_of) in data.iter_mut().take(24).enumerate() {
        *row_of = row([index % 2, index.max(1) / 2, 5, index % 3, 0], [1.0; 4]);
    }
    data[2] = data[3];
    let mut run = device.session(device.compile(&graph).unwrap()).unwrap();
    let inputs =
        [("gradient", table.with_c(85)), ("x", map), ("target", map.with_c(3)), ("dy", Shape::scalar())];
    for (name, shape) in inputs {
        run.feed(name, &Tensor::full(shape, 0.5)).unwrap();
    }
    run.feed("matches", &Tensor::new(table, data.concat()).unwrap()).unwrap();
    run.run().unwrap();
    run.output("dx").unwrap();
    assert_eq!(session.last_error(), "");

    let launches = session.launches();
    let counts = |kernel: &str| launches.iter().find(|l| l.kernel == kernel).unwrap().counts;
    let bytes = (map.elements() * 4) as u64;
    let words = (map.elements() as u64 / 85).div_ceil(32) * 2 + 1;
    assert_eq!((counts("clear").write_bytes, counts("clear").read_bytes), (bytes + words * 4, 0));
    let bce = counts("binary_cross_entropy_gradient");
    assert_eq!((bce.write_bytes, bce.unique_write_bytes), (bytes, bytes));
    // A logit and a target for each anchor of each cell, and dy.
    let logits = map.elements() as u64 / 85;
    assert_eq!(bce.unique_read_bytes, logits * 8 + 4);
    // Packs of 16 bytes, side by side: no sector is written in parts.
    assert_eq!(counts("clear").sectors - counts("clear").ideal_sectors, 0);
    // The destinations: 24 matches, one pair of which shares its own.
    assert_eq!(counts("scatter").write_bytes, 23 * 85 * 4);
}
