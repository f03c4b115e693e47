//! The compiler against the interpreter, on random graphs, in f64 on both sides.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::autograd::backward_from;
use crate::device::Device;
use crate::graph::{Feeds, Init, Mode, interpret};
use crate::nn::{Block, Csp, Mask, Sequence, Split, Style, bottleneck};
use crate::ops::{Tape, add, concat, slice, stop_gradient};
use crate::tensor::{Random, Shape, Tensor};

/// A random graph of what the placer has to deal with: sums over channel ranges, slices of slices,
/// concats that share parts and repeat them, inputs and parameters inside concats; with backward and
/// updates where `training`.
fn random_graph(seed: u64, training: bool) -> Result<Graph> {
    let mut random = Random::new(seed);
    let mode = if training { Mode::Training } else { Mode::Inference };
    let mut graph = Graph::new(mode);
    let map = Shape::new(1, 2, 2, 4);
    let mut pool = vec![graph.input("x", map)?];
    let mut parameters = Vec::new();
    for i in 0..2 {
        let parameter = graph.parameter(&format!("p{i}"), map, Init::Uniform { bound: 1.0 })?;
        parameters.push(parameter);
        pool.push(parameter);
    }
    for _ in 0..3 + random.below(14) {
        let pick = |random: &mut Random| pool[random.below(pool.len())];
        let (a, b) = (pick(&mut random), pick(&mut random));
        let channels = graph.shape(a).c;
        let next = match random.below(6) {
            0 | 1 => {
                let kept = graph.shape(b).c.min(channels);
                let part = slice::trace(&mut graph, b, 0..kept)?;
                let offset = random.below(channels - kept + 1);
                add::trace_at(&mut graph, a, part, offset)?
            }
            2 | 3 => {
                let start = random.below(channels);
                let end = start + 1 + random.below(channels - start);
                slice::trace(&mut graph, a, start..end)?
            }
            4 if channels < 40 => {
                let parts: Vec<Value> = (0..2 + random.below(3)).map(|_| pick(&mut random)).collect();
                concat::trace(&mut graph, &parts)?
            }
            _ => stop_gradient::trace(&mut graph, a)?,
        };
        pool.push(next);
    }
    let last = pool.len() - 1;
    graph.output("last", pool[last])?;
    graph.output("other", pool[random.below(pool.len())])?;
    if training {
        let seed = graph.input("seed", graph.shape(pool[last]))?;
        let gradients = backward_from(&mut graph, &[(pool[last], seed)], &parameters)?;
        for (parameter, gradient) in parameters.into_iter().zip(gradients) {
            let updated =
                graph.in_pass(crate::graph::Pass::Update, |g| add::trace(g, parameter, gradient))?;
            graph.assign(parameter, updated)?;
        }
    }
    Ok(graph)
}

fn compare(graph: &Graph, options: Options, seed: u64) {
    let program = Arc::new(compile(graph, options).unwrap());
    let mut session = Device::Reference.session(program.clone()).unwrap();
    let mut random = Random::new(seed);
    let state = graph.initial_state(seed);
    session.load(&state).unwrap();
    let mut feeds = Feeds::new();
    for (value, info) in graph.values() {
        let tensor = match info.source {
            Source::Input => Tensor::uniform(info.shape, -1.0, 1.0, &mut random),
            Source::Node { .. } => continue,
            _ => state[&info.name].clone(),
        };
        if info.source == Source::Input {
            session.feed(&info.name, &tensor).unwrap();
        }
        feeds.insert(value, tensor.data().iter().map(|&v| f64::from(v)).collect());
    }
    session.run().unwrap();
    let expected = interpret(graph, &feeds).unwrap();
    let rounded = |v: Value| -> Vec<f32> { expected[&v].iter().map(|&x| x as f32).collect() };
    for (name, value) in graph.outputs() {
        assert_eq!(
            session.output(name).unwrap().data(),
            rounded(*value),
            "output {name}, seed {seed}\n{graph}"
        );
    }
    let after = session.state().unwrap();
    for (target, value) in graph.assignments() {
        let name = &graph.info(*target).name;
        assert_eq!(after[name].data(), rounded(*value), "{name} after the step, seed {seed}\n{graph}");
    }
    assert_eq!(session.held_bytes(), 2 * program.report.total_bytes(), "f64 is twice the planned f32");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn compiled_is_interpreted(seed: u64, training: bool, recompute: bool) {
        let graph = random_graph(seed, training).unwrap();
        compare(&graph, Options { recompute, ..Options::plain(Processor::Reference) }, seed);
    }
}

/// `count` fresh maps of `c` channels: sums, so that they have bytes of their own.
fn producers(graph: &mut Graph, count: usize, c: usize) -> Vec<Value> {
    let x = graph.input("x", Shape::new(1, 4, 4, c)).unwrap();
    (0..count).map(|_| add::trace(graph, x, x).unwrap()).collect()
}

fn copies(program: &Program) -> usize {
    program.steps.iter().filter(|s| ["copy", "concat", "slice"].contains(&s.op.name())).count()
}

#[test]
fn a_concat_of_producers_copies_nothing() {
    let mut graph = Graph::new(Mode::Inference);
    let parts = producers(&mut graph, 4, 8);
    let inner = concat::trace(&mut graph, &parts[..2]).unwrap();
    let outer = concat::trace(&mut graph, &[parts[3], inner, parts[2]]).unwrap();
    graph.output("y", outer).unwrap();
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    assert_eq!(copies(&program), 0);
    assert_eq!(program.steps.len(), 4);
    // x and the wide map, and nothing else.
    assert_eq!(program.report.arena_bytes, (1 + 4) * 16 * 8 * 4);
}

#[test]
fn a_split_whose_half_crosses_the_stage_copies_nothing() {
    // CSP by slices: [crossing | block's input] → concat [block's output | crossing].
    let mut graph = Graph::new(Mode::Inference);
    let x = producers(&mut graph, 1, 8)[0];
    let crossing = slice::trace(&mut graph, x, 0..4).unwrap();
    let inside = slice::trace(&mut graph, x, 4..8).unwrap();
    let block = add::trace(&mut graph, inside, inside).unwrap();
    let joined = concat::trace(&mut graph, &[block, crossing]).unwrap();
    graph.output("y", joined).unwrap();
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    assert_eq!(copies(&program), 0);
    assert!(program.report.copies.is_empty());
}

#[test]
fn a_half_that_ran_through_sums_is_written_beside_the_half_that_crosses() {
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.input("whole", Shape::new(1, 4, 4, 8)).unwrap();
    let (mut inside, crossing) =
        (slice::trace(&mut graph, x, 0..4).unwrap(), slice::trace(&mut graph, x, 4..8).unwrap());
    let terms = producers(&mut graph, 3, 4);
    for term in terms {
        inside = add::trace(&mut graph, inside, term).unwrap();
    }
    let joined = concat::trace(&mut graph, &[inside, crossing]).unwrap();
    graph.output("y", joined).unwrap();
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    assert_eq!(copies(&program), 0);
    // The input's buffer is the output's, and one term is alive beside it.
    let (input, output) = (program.inputs.iter().find(|i| i.0 == "whole").unwrap().1, program.outputs[0].1);
    assert_eq!((input.memory, input.offset), (output.memory, output.offset));
    compare(&graph, Options::new(Processor::Reference), 1);
}

#[test]
fn a_concat_beside_a_window_of_what_is_kept_is_kept() {
    // The half that crosses is a window of the input, which stays: a second concat would have to copy it.
    let mut graph = Graph::new(Mode::Training);
    let x = graph.input("x", Shape::new(1, 4, 4, 8)).unwrap();
    let style = Style::default();
    let stage = Csp::new(style, Split::Slice(0.5), bottleneck(style, 4, 4, Mask::Whole), 8);
    let y = stage.trace(&mut graph, x).unwrap();
    graph.output("y", y).unwrap();
    let seed = graph.input("seed", graph.shape(y)).unwrap();
    let parameters: Vec<Value> = graph.parameters().map(|(value, _)| value).collect();
    for (index, gradient) in
        backward_from(&mut graph, &[(y, seed)], &parameters).unwrap().into_iter().enumerate()
    {
        graph.output(&format!("gradient {index}"), gradient).unwrap();
    }
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    assert_eq!((copies(&program), program.report.copies.len()), (0, 0));
}

#[test]
fn a_masked_residual_is_written_over_all_of_its_input() {
    let arena = |mask: Mask, processor: Processor| {
        let mut graph = Graph::new(Mode::Inference);
        let x = graph.input("x", Shape::new(1, 4, 4, 8)).unwrap();
        let block = Sequence::repeat(2, || bottleneck(Style::default(), 4, 8, mask));
        let y = block.trace(&mut graph, x).unwrap();
        graph.output("y", y).unwrap();
        let program = compile(&graph, Options::new(processor)).unwrap();
        assert_eq!(copies(&program), 0);
        let in_place = program.steps.iter().filter(|step| step.inputs.contains(&None)).count();
        (program.report.arena_bytes, in_place, program)
    };
    let (whole, _, _) = arena(Mask::Whole, Processor::Reference);
    // The block's map and the middle one.
    assert_eq!(whole, (8 + 4) * 16 * 4);
    for share in [0.5, 0.25] {
        let (masked, in_place, program) = arena(Mask::Share(share), Processor::Reference);
        assert_eq!((masked, in_place), (whole, 2));
        for step in program.steps.iter().filter(|step| step.inputs.contains(&None)) {
            let kept = (8.0 * share) as usize;
            assert_eq!(step.shapes().0.last(), Some(&Shape::new(1, 4, 4, kept)));
        }
    }
}

#[test]
fn a_value_that_two_concats_want_is_copied_once_and_reported() {
    let mut graph = Graph::new(Mode::Inference);
    let p = producers(&mut graph, 3, 8);
    let first = concat::trace(&mut graph, &[p[0], p[1]]).unwrap();
    let second = concat::trace(&mut graph, &[p[0], p[2]]).unwrap();
    graph.output("first", first).unwrap();
    graph.output("second", second).unwrap();
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    assert_eq!(copies(&program), 1);
    assert_eq!(program.report.copies[0].elements, 16 * 8);
}

#[test]
fn two_concats_that_agree_share_one_buffer() {
    let mut graph = Graph::new(Mode::Inference);
    let p = producers(&mut graph, 3, 8);
    let first = concat::trace(&mut graph, &[p[0], p[1]]).unwrap();
    let second = concat::trace(&mut graph, &[p[2], p[0]]).unwrap();
    graph.output("first", first).unwrap();
    graph.output("second", second).unwrap();
    // One buffer [p2 | p0 | p1], two overlapping windows.
    assert_eq!(copies(&compile(&graph, Options::new(Processor::Reference)).unwrap()), 0);
}

#[test]
fn a_residual_chain_runs_in_one_buffer() {
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.input("x", Shape::new(1, 4, 4, 8)).unwrap();
    let half = graph.input("half", Shape::new(1, 4, 4, 4)).unwrap();
    let mut y = x;
    for _ in 0..5 {
        y = add::trace_at(&mut graph, y, half, 2).unwrap();
    }
    graph.output("y", y).unwrap();
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    assert_eq!(program.report.arena_bytes, (8 + 4) * 16 * 4);
    let report: HashMap<_, _> = program.report.alive.iter().map(|r| (r.scope.clone(), r.bytes)).collect();
    assert_eq!(report["half"], 4 * 16 * 4);
}

#[test]
fn an_update_is_written_in_place() {
    let mut graph = Graph::new(Mode::Training);
    let p = graph.parameter("p", Shape::vector(16), Init::Constant(1.0)).unwrap();
    let x = graph.input("x", Shape::vector(16)).unwrap();
    let updated = add::trace(&mut graph, p, x).unwrap();
    graph.assign(p, updated).unwrap();
    let program = compile(&graph, Options::new(Processor::Reference)).unwrap();
    assert!(program.stores.is_empty());
    assert!(program.steps[0].inputs[0].is_none());
}
