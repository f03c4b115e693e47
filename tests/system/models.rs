//! Graphs of whole networks with a loss, gradients and updates.

use gradpath::Result;
use gradpath::autograd::backward;
use gradpath::graph::{Graph, Init, Mode, Pass};
use gradpath::nn::{
    Block, Csp, Dense, DetectionHead, Mask, MaxPooling, Sequence, Split, Spp, Style, Truncation,
};
use gradpath::nn::{bottleneck, res_x};
use gradpath::ops::sgd::{self, Sgd};
use gradpath::ops::{Value, add, mean_square};
use gradpath::tensor::{Random, Shape};
use gradpath::zoo;

use crate::machine::Data;

/// Traces a network on images and returns its heads.
pub type Trace<'a> = &'a dyn Fn(&mut Graph, Value) -> Result<Vec<Value>>;

/// A network of the zoo, traced for `classes` classes.
pub fn network(name: &'static str, classes: usize) -> impl Fn(&mut Graph, Value) -> Result<Vec<Value>> {
    move |graph, images| Ok(zoo::find(name)?.trace(graph, images, classes)?.maps)
}

/// Every block that no network of the zoo has: grouped and depth-wise convolutions, masked residuals,
/// CSP by slices, a dense block, a pooling pyramid.
pub fn menagerie(graph: &mut Graph, images: Value) -> Result<Vec<Value>> {
    let style = Style::default();
    let csp = Csp {
        split: Split::Slice(0.5),
        block: Sequence::repeat(2, || bottleneck(style, 4, 8, Mask::Whole)),
        truncation: Truncation::Csp,
        inner: None,
        filters: 16,
        style,
    };
    let partial = Csp {
        split: Split::Slice(0.25),
        block: style.unit(6, 3),
        truncation: Truncation::Partial,
        inner: None,
        filters: 0,
        style,
    };
    let x = Sequence::new()
        .then(style.down(16))
        .then(style.unit(16, 3).groups(4))
        .then(style.unit(16, 3).groups(16))
        .then(bottleneck(style, 8, 16, Mask::Share(0.5)))
        .then(res_x(style, 8, 12, 2, Mask::Common))
        .then(style.transition(16))
        .then(csp)
        .then(MaxPooling::half())
        .named(graph, "trunk", images)?;
    let fine = Dense { growth: 6, layers: 3, style }.named(graph, "dense", x)?;
    let x = Sequence::new()
        .then(style.down(16))
        .then(Spp { windows: vec![3, 5] })
        .then(style.transition(16))
        .then(partial)
        .named(graph, "pyramid", fine)?;
    let head = DetectionHead { anchors: 2, classes: 3 };
    let fine = graph.scope("fine", |g| head.trace(g, fine))?;
    let coarse = graph.scope("coarse", |g| head.trace(g, x))?;
    Ok(vec![fine, coarse])
}

/// The network as it infers: outputs `head0`, ….
pub fn inference(images: Shape, trace: Trace<'_>) -> Graph {
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.input("images", images).unwrap();
    name_heads(&mut graph, &trace, x);
    graph
}

fn name_heads(graph: &mut Graph, trace: &Trace<'_>, images: Value) -> Vec<Value> {
    let heads = trace(graph, images).unwrap();
    for (index, head) in heads.iter().enumerate() {
        graph.output(&format!("head{index}"), *head).unwrap();
    }
    heads
}

/// What a training graph has beside its loss.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    /// The heads as outputs, and the gradient of every parameter as the output `d PARAMETER`.
    pub gradients: bool,
    /// A step of SGD with Nesterov momentum: inputs `rate`, `momentum`.
    pub update: Option<f64>,
}

impl Wanted {
    /// Gradients only.
    pub const GRADIENTS: Wanted = Wanted { gradients: true, update: None };
    /// A step only, without weight decay: what a training runs.
    pub const STEP: Wanted = Wanted { gradients: false, update: Some(0.0) };
    /// Both.
    pub const ALL: Wanted = Wanted { gradients: true, update: Some(5e-4) };
}

/// The network as it trains on `loss = Σ mean(head²)`, the output `loss`.
pub fn training(images: Shape, trace: Trace<'_>, wanted: Wanted) -> Graph {
    let mut graph = Graph::new(Mode::Training);
    let x = graph.input("images", images).unwrap();
    let heads = match wanted.gradients {
        true => name_heads(&mut graph, &trace, x),
        false => trace(&mut graph, x).unwrap(),
    };
    learn(&mut graph, &heads, wanted).unwrap();
    graph
}

/// Adds loss, backward and update to a graph with `heads`.
pub fn learn(graph: &mut Graph, heads: &[Value], wanted: Wanted) -> Result<()> {
    let mut losses = heads.iter().map(|&head| mean_square::trace(graph, head)).collect::<Result<Vec<_>>>()?;
    let mut loss = losses.remove(0);
    for part in losses {
        loss = add::trace(graph, loss, part)?;
    }
    graph.output("loss", loss)?;
    let parameters: Vec<(Value, String)> = graph.parameters().map(|(v, i)| (v, i.name.clone())).collect();
    let values: Vec<Value> = parameters.iter().map(|p| p.0).collect();
    let gradients = backward(graph, loss, &values)?;
    if wanted.gradients {
        for ((_, name), &gradient) in parameters.iter().zip(&gradients) {
            graph.output(&format!("d {name}"), gradient)?;
        }
    }
    let Some(weight_decay) = wanted.update else { return Ok(()) };
    let rate = graph.input("rate", Shape::scalar())?;
    let momentum = graph.input("momentum", Shape::scalar())?;
    graph.in_pass(Pass::Update, |graph| {
        for ((parameter, name), gradient) in parameters.into_iter().zip(gradients) {
            let shape = graph.info(parameter).shape;
            let velocity = graph.state(&format!("{name}.velocity"), shape, Init::Constant(0.0))?;
            let op = Sgd { weight_decay, nesterov: true };
            let operands = sgd::Inputs { parameter, gradient, velocity, rate, momentum };
            let (next, moved) = sgd::trace(graph, op, operands)?;
            graph.assign(parameter, next)?;
            graph.assign(velocity, moved)?;
        }
        Ok(())
    })
}

/// Images, learning rate and momentum for a step, all exact in f32.
pub fn inputs(images: Shape, seed: u64) -> Data {
    let mut random = Random::new(seed);
    let pixels = (0..images.elements()).map(|_| f64::from(random.uniform(0.0, 1.0))).collect();
    Data::from([
        ("images".into(), pixels),
        ("rate".into(), vec![0.0078125]),
        ("momentum".into(), vec![0.9375]),
    ])
}
