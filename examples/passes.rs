//! What the compiler makes of one CSP block, as ARCHITECTURE.md shows it: `cargo run --example passes`.

use gradpath::device::Device;
use gradpath::graph::{Graph, Mode};
use gradpath::nn::{Block, Csp, Mask, Split, Style, Truncation, bottleneck};
use gradpath::ops::mean_square;
use gradpath::tensor::Shape;
use gradpath::train::{Optimizer, trace_minimize};

/// The block's graph and program, at inference and in training.
pub fn listing() -> gradpath::Result<String> {
    let style = Style::default();
    let block = Csp {
        split: Split::Slice(0.5),
        block: bottleneck(style, 8, 16, Mask::Whole),
        truncation: Truncation::FusionFirst,
        inner: None,
        filters: 32,
        style,
    };
    let mut text = String::new();
    for mode in [Mode::Inference, Mode::Training] {
        let mut graph = Graph::new(mode);
        let x = graph.input("x", Shape::new(1, 8, 8, 32))?;
        let y = block.trace(&mut graph, x)?;
        match mode {
            Mode::Inference => graph.output("y", y)?,
            Mode::Training => {
                let loss = mean_square::trace(&mut graph, y)?;
                graph.output("loss", loss)?;
                trace_minimize(&mut graph, loss, Optimizer::sgd(0.0))?;
            }
        }
        let program = Device::Reference.compile(&graph)?;
        text += &format!("{mode:?}, as it was traced:\n\n{graph}\nas it runs:\n\n{program}\n");
    }
    Ok(text)
}

/// Prints the listing.
pub fn main() -> gradpath::Result<()> {
    print!("{}", listing()?);
    Ok(())
}
