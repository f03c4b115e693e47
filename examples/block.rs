//! A CSP block defined, differentiated and trained: `cargo run --release --example block`.
//!
//! The task is a toy: which way do the stripes of a noisy picture run?

use gradpath::graph::{Graph, Mode};
use gradpath::nn::{Block, Csp, Mask, Sequence, Split, Style, bottleneck};
use gradpath::ops::{average_pool, softmax_cross_entropy};
use gradpath::tensor::{Random, Shape, Tensor};
use gradpath::train::{MOMENTUM, Optimizer, RATE, trace_minimize};
use gradpath::{Result, device::Device};

const PICTURES: Shape = Shape::new(16, 16, 16, 1);
const LABELS: Shape = Shape::new(16, 1, 1, 1);

/// Pictures of 16×16 pixels and the way that each one's stripes run: 0 across, 1 down.
fn batch(random: &mut Random) -> Result<[Tensor; 2]> {
    let down: Vec<bool> = (0..PICTURES.n).map(|_| random.chance(0.5)).collect();
    let place = |i: usize| if down[i / 256] { i % 16 } else { i / 16 % 16 };
    let pixels = (0..PICTURES.elements()).map(|i| (place(i) / 2 % 2) as f32 + random.normal()).collect();
    let labels = down.iter().map(|&down| f32::from(down)).collect();
    Ok([Tensor::new(PICTURES, pixels)?, Tensor::new(LABELS, labels)?])
}

/// Trains, and fails where the loss does not fall to half of what it was.
pub fn main() -> Result<()> {
    let style = Style::default();
    let csp = Csp::new(style, Split::Slice(0.5), bottleneck(style, 8, 16, Mask::Whole), 32);
    let model = Sequence::new().then(style.down(32)).then(csp).then(style.transition(2));

    let mut graph = Graph::new(Mode::Training);
    let (images, labels) = (graph.input("images", PICTURES)?, graph.input("labels", LABELS)?);
    let map = model.trace(&mut graph, images)?;
    let logits = average_pool::trace(&mut graph, map)?;
    let loss = softmax_cross_entropy::trace(&mut graph, logits, labels)?;
    graph.output("loss", loss)?;
    trace_minimize(&mut graph, loss, Optimizer::sgd(1e-4))?;

    // Forward, backward and update are one program, and its memory is known before it runs.
    let mut session = Device::cpu(0)?.begin(&graph, 0)?;
    println!("a step holds {} bytes", session.program().report.total_bytes());
    let (rate, momentum) = (Tensor::scalar(0.05), Tensor::scalar(0.9));
    let (mut random, mut losses) = (Random::new(0), Vec::new());
    for _ in 0..100 {
        let [images, labels] = &batch(&mut random)?;
        session.step(&[("images", images), ("labels", labels), (RATE, &rate), (MOMENTUM, &momentum)])?;
        losses.push(session.output("loss")?.data()[0]);
    }
    println!("after 100 steps the loss fell from {} to {}", losses[0], losses[99]);
    assert!(losses[99] < 0.5 * losses[0], "the loss went from {} to {}", losses[0], losses[99]);
    Ok(())
}
