//! Random small networks of every block, op and fusion pattern, compiled with everything on, against
//! their graphs as traced.

use gradpath::Result;
use gradpath::device::Device;
use gradpath::graph::{Graph, Init, Mode};
use gradpath::nn::{
    Block, Csp, Dense, Elan, ExtendedElan, Mask, MaxPooling, OneShot, Residual, Sequence, Sparse, Split, Spp,
    SppCsp, Style, Truncation, bottleneck, res_x,
};
use gradpath::ops::conv::{self, Geometry};
use gradpath::ops::{Tape, Value, activation, add, concat, slice, stop_gradient, upsample};
use gradpath::runtime::Activation;
use gradpath::tensor::{Random, Shape};

use crate::fused_blocks::TARGET;
use crate::machine::{Data, Machine, initial};
use crate::models::{Wanted, inference, inputs, training};

fn pick<T: Copy>(random: &mut Random, items: &[T]) -> T {
    items[random.below(items.len())]
}

/// A block that takes a map of `c` channels.
fn block(random: &mut Random, c: usize, deep: bool) -> Box<dyn Block> {
    let smooth = [Activation::Silu, Activation::Mish, Activation::Linear, Activation::Sigmoid];
    let style = Style::new(pick(random, &smooth));
    let filters = 2 + random.below(5);
    let mask = pick(random, &[Mask::Whole, Mask::Share(0.5), Mask::Share(0.0), Mask::Common]);
    let outer = if mask == Mask::Whole { c } else { filters };
    match random.below(if deep { 14 } else { 5 }) {
        0 => Box::new(style.unit(filters, pick(random, &[1, 3]))),
        1 if c.is_multiple_of(2) => Box::new(style.unit(4, 3).groups(2)),
        1 => Box::new(style.unit(c, 3).groups(c)),
        2 => Box::new(bottleneck(style, filters, outer, mask)),
        3 => {
            let inner = Sequence::new().then(style.unit(3, 3)).then(style.unit(outer, 1));
            let (stop_identity, stop_block) = (random.chance(0.3), random.chance(0.2));
            Box::new(Residual { block: inner, mask, stop_identity, stop_block })
        }
        4 => Box::new(res_x(style, 4, outer, 2, mask)),
        5 => Box::new(Dense { growth: filters, layers: 1 + random.below(3), style }),
        6 => Box::new(Sparse { growth: filters, layers: 1 + random.below(4), style }),
        7 => {
            let transition = random.chance(0.5).then_some(filters);
            Box::new(OneShot { inner: filters, layers: 2, transition, style })
        }
        8 => Box::new(MaxPooling::half()),
        9 => Box::new(Spp { windows: vec![3, 5] }),
        10 => Box::new(SppCsp { windows: vec![3], filters, style }),
        11 | 12 => {
            let split = match random.chance(0.6) && c > 1 {
                true => Split::Slice(pick(random, &[0.5, 0.5, 0.3])),
                false => Split::Transitions(1 + random.below(3), 1 + random.below(3)),
            };
            let inside = match split {
                Split::Slice(share) => ((share * c as f64).round() as usize).max(1),
                Split::Transitions(inside, _) => inside,
            };
            let all = [Truncation::Csp, Truncation::FusionFirst, Truncation::FusionLast, Truncation::Partial];
            let truncation = pick(random, &all);
            let split = if matches!(split, Split::Slice(share) if share * (c as f64) < 0.6) {
                Split::Transitions(inside, 1)
            } else {
                split
            };
            let block = Boxed(block(random, inside, false));
            Box::new(Csp { split, block, truncation, inner: random.chance(0.5).then_some(3), filters, style })
        }
        _ => {
            let elan = Elan {
                branch: 1 + random.below(3),
                inner: 1 + random.below(3),
                groups: 1 + random.below(2),
                depth: 1 + random.below(2),
                filters,
                style,
            };
            match random.chance(0.4) {
                true => Box::new(ExtendedElan { elan, cardinality: 2 }),
                false => Box::new(elan),
            }
        }
    }
}

#[derive(Debug)]
struct Boxed(Box<dyn Block>);

impl Block for Boxed {
    fn trace(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        self.0.trace(graph, x)
    }
}

/// What blocks do not do: biased convolutions and bare activations, sums and concats of whatever is there,
/// slices, upsampling.
fn glue(random: &mut Random, graph: &mut Graph, pool: &[Value], x: Value) -> Result<Value> {
    let shape = graph.shape(x);
    let partners: Vec<Value> =
        pool.iter().copied().filter(|&v| graph.shape(v).with_c(0) == shape.with_c(0)).collect();
    let other = pick(random, &partners);
    let function = pick(random, &[Activation::Silu, Activation::Mish, Activation::Sigmoid]);
    match random.below(8) {
        0 => {
            let geometry = Geometry::same(pick(random, &[1, 3]), pick(random, &[1, 1, 2]));
            let weight = geometry.weight(shape.c, 4);
            let weight = graph.parameter("weight", weight, Init::he(weight))?;
            let bias = graph.parameter("bias", Shape::vector(4), Init::Uniform { bound: 1.0 })?;
            let z = conv::trace(graph, x, weight, random.chance(0.5).then_some(bias), geometry)?;
            activation::trace(graph, z, function)
        }
        1 => activation::trace(graph, x, function),
        2 => add::masked_residual(graph, x, other, 1 + random.below(shape.c)),
        3 => concat::trace(graph, &[x, other]),
        4 => concat::trace(graph, &[other, x, other]),
        5 => {
            let start = random.below(shape.c);
            slice::trace(graph, x, start..shape.c)
        }
        6 if shape.h <= 4 => upsample::trace(graph, x, 2),
        6 => stop_gradient::trace(graph, other),
        _ => {
            let weight = Geometry::same(1, 1).weight(shape.c, graph.shape(other).c);
            let weight = graph.parameter("weight", weight, Init::he(weight))?;
            let z = conv::trace(graph, x, weight, None, Geometry::same(1, 1))?;
            add::trace(graph, z, other)
        }
    }
}

/// A random network: some blocks and glue, two or three heads, of which some are read further on.
fn random_network(seed: u64) -> impl Fn(&mut Graph, Value) -> Result<Vec<Value>> {
    move |graph, images| {
        let mut random = Random::new(seed);
        let mut x = images;
        let mut pool = vec![images];
        let mut heads = Vec::new();
        for index in 0..3 + random.below(5) {
            if random.chance(0.25) {
                x = pick(&mut random, &pool);
            }
            let shape = graph.shape(x);
            let small = shape.h < 4;
            x = graph.scope(&format!("part{index}"), |graph| {
                if random.chance(0.4) || small || shape.c > 20 {
                    return match shape.c > 20 {
                        true => Style::default().unit(5, 3).named(graph, "narrow", x),
                        false => glue(&mut random, graph, &pool, x),
                    };
                }
                block(&mut random, shape.c, true).named(graph, "block", x)
            })?;
            pool.push(x);
            if random.chance(0.2) && !heads.contains(&x) {
                heads.push(x);
            }
        }
        if !heads.contains(&x) {
            heads.push(x);
        }
        // The mean square of a normalised map hardly depends on anything; that of its sum with noise does.
        heads
            .into_iter()
            .enumerate()
            .map(|(index, head)| {
                let noise = graph.parameter(
                    &format!("noise{index}"),
                    graph.shape(head),
                    Init::Uniform { bound: 1.0 },
                )?;
                add::trace(graph, head, noise)
            })
            .collect()
    }
}

fn norm(data: &[f64]) -> f64 {
    data.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// The largest error, and where: relative to the norm of what it is an error in, or to `floor` times the
/// norm of the largest gradient, where that is more. A gradient that only cancels (of a bias before a
/// norm, say) is rounding, beside the others.
fn worst(graph: &Graph, interpreter: &Machine, machine: &Machine, floor: f64) -> (f64, String) {
    let gradients = graph.outputs().iter().filter(|(name, _)| name.starts_with("d "));
    let largest = gradients.map(|(name, _)| norm(&interpreter.output(name))).fold(0.0, f64::max);
    let mut worst = (0.0, String::new());
    let mut hold = |name: &str, got: &[f64], want: &[f64]| {
        assert_eq!(got.len(), want.len(), "{name}");
        let error: Vec<f64> = got.iter().zip(want).map(|(g, w)| g - w).collect();
        let off = norm(&error) / norm(want).max(floor * largest).max(f64::MIN_POSITIVE);
        if off > worst.0 || off.is_nan() {
            worst = (off, name.to_owned());
        }
    };
    for (name, _) in graph.outputs() {
        hold(name, &machine.output(name), &interpreter.output(name));
    }
    let (after, want): (Data, Data) = (machine.state(), interpreter.state());
    for name in want.keys().filter(|name| after.contains_key(*name) && graph.mode() == Mode::Training) {
        hold(&format!("{name} after the step"), &after[name], &want[name]);
    }
    worst
}

/// Compiles `graph` in every way and compares a step on each with the interpreter's, on the reference device
/// a second one too. Returns what differs.
fn differences(graph: &Graph, images: Shape, seed: u64) -> Vec<String> {
    let state = initial(graph, seed);
    let mut machines = Vec::new();
    for (fuse, recompute) in [(true, true), (true, false), (false, true)] {
        let devices = [(Device::Reference, 1e-7, 1e-6), (Device::cpu(2).unwrap(), 1e-3, 1e-3)];
        for (device, tolerance, floor) in devices {
            let machine = Machine::with_options(&device, graph, &state, |options| {
                (options.fuse, options.recompute) = (fuse, recompute);
            });
            let name = format!("{:?} on {device}, fuse {fuse}, recompute {recompute}", graph.mode());
            machines.push((name, tolerance, floor, machine));
        }
    }
    for (device, tolerance, floor) in [(Device::Reference, 1e-7, 1e-6), (Device::cpu(2).unwrap(), 1e-3, 1e-3)]
    {
        let machine = Machine::with_options(&device, graph, &state, |options| {
            options.fuse_blocks = Some(TARGET);
        });
        machines.push((format!("{:?} on {device}, blocks merged", graph.mode()), tolerance, floor, machine));
    }
    let mut interpreter = Machine::interpreter(graph, &state);
    let mut found = Vec::new();
    for step in 0..2 {
        let inputs = inputs(images, seed + step);
        interpreter.step(&inputs);
        for (name, tolerance, floor, machine) in &mut machines {
            machine.step(&inputs);
            let (off, what) = worst(graph, &interpreter, machine, *floor);
            if off > *tolerance || off.is_nan() {
                found.push(format!("seed {seed}, {name}, step {step}: {what} is off by {off:.1e}"));
            }
        }
        // In f32 a second step's error is what the first one's grew to.
        machines.retain(|(_, tolerance, ..)| *tolerance <= 1e-6);
    }
    found
}

/// `GRADPATH_SEED` and `GRADPATH_CASES` choose other networks than the first sixty.
#[test]
fn compiled_is_interpreted() {
    let images = Shape::new(2, 8, 8, 4);
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let first = number("GRADPATH_SEED").unwrap_or(0);
    let mut found = Vec::new();
    for seed in first..first + number("GRADPATH_CASES").unwrap_or(60) {
        let trace = random_network(seed);
        found.extend(differences(&inference(images, &trace), images, seed));
        found.extend(differences(&training(images, &trace, Wanted::ALL), images, seed));
    }
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}
