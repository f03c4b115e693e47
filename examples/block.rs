//! A CSP block defined, differentiated and trained: `cargo run --release --example block`.
//!
//! The task is a toy: which way do the stripes of a noisy picture run?

use gradpath::device::Device;
use gradpath::graph::{Graph, Mode};
use gradpath::nn::{Block, Csp, Mask, Sequence, Split, Style, Truncation, bottleneck};
use gradpath::ops::{average_pool, softmax_cross_entropy};
use gradpath::tensor::{Random, Shape, Tensor};
use gradpath::train::{MOMENTUM, Optimizer, RATE, trace_minimize};

/// Pictures of 16×16 pixels and the way that each one's stripes run: 0 across, 1 down.
fn batch(random: &mut Random, images: Shape, labels: Shape) -> gradpath::Result<(Tensor, Tensor)> {
    let down: Vec<bool> = (0..images.n).map(|_| random.chance(0.5)).collect();
    let place = |i: usize| if down[i / 256] { i % 16 } else { i / 16 % 16 };
    let pixels = (0..images.elements()).map(|i| (place(i) / 2 % 2) as f32 + random.normal()).collect();
    let truth = down.iter().map(|&down| f32::from(down)).collect();
    Ok((Tensor::new(images, pixels)?, Tensor::new(labels, truth)?))
}

/// Trains, and fails where the loss does not fall to half of what it was.
pub fn main() -> gradpath::Result<()> {
    let style = Style::default();
    let csp = Csp {
        split: Split::Slice(0.5),
        block: bottleneck(style, 8, 16, Mask::Whole),
        truncation: Truncation::Csp,
        inner: None,
        filters: 32,
        style,
    };
    let model = Sequence::new().then(style.down(32)).then(csp).then(style.transition(2));

    let (picture, label) = (Shape::new(16, 16, 16, 1), Shape::new(16, 1, 1, 1));
    let mut graph = Graph::new(Mode::Training);
    let (images, labels) = (graph.input("images", picture)?, graph.input("labels", label)?);
    let map = model.trace(&mut graph, images)?;
    let logits = average_pool::trace(&mut graph, map)?;
    let loss = softmax_cross_entropy::trace(&mut graph, logits, labels)?;
    graph.output("loss", loss)?;
    trace_minimize(&mut graph, loss, Optimizer::sgd(1e-4))?;

    // Forward, backward and update are one program, and its memory is known before it runs.
    let device = Device::cpu(0)?;
    let program = device.compile(&graph)?;
    println!("{} kernels, {} bytes", program.steps.len(), program.report.total_bytes());
    let mut session = device.session(program)?;
    session.load(&graph.initial_state(0))?;
    let (mut random, mut losses) = (Random::new(0), Vec::new());
    for step in 0..100 {
        let (images, labels) = batch(&mut random, picture, label)?;
        session.feed("images", &images)?;
        session.feed("labels", &labels)?;
        session.feed(RATE, &Tensor::scalar(0.05))?;
        session.feed(MOMENTUM, &Tensor::scalar(0.9))?;
        session.run()?;
        losses.push(session.output("loss")?.data()[0]);
        if step % 10 == 9 {
            println!("step {:>3}  loss {:.3}", step + 1, losses[step]);
        }
    }
    assert!(losses[99] < 0.5 * losses[0], "the loss went from {} to {}", losses[0], losses[99]);
    Ok(())
}
