//! From a graph to a program: fuse, recompute, schedule, place, plan.

mod fuse;
mod lowered;
mod place;
mod plan;
mod prepare;
mod print;
mod processor;
mod program;
mod recompute;
mod report;
mod schedule;
mod stored;

use std::sync::Arc;

use lowered::Lowered;
pub use place::UnavoidableCopy;
use place::{Placed, Window};
pub use plan::{Plan, Request, plan};
pub use processor::{Processor, ProcessorKind};
pub use program::{Memory, Persistent, Program, Slot, Step, WORD};
pub use report::{MemoryItems, MemoryReport, Resident};

use crate::graph::{Graph, Mode, Node, Source};
use crate::ops::Value;
use crate::runtime::cuda::Target;
use crate::tensor::DType;
use crate::{Error, Result};

/// What the compiler may do, and for what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Merge neighbouring ops into one pass over memory.
    pub fuse: bool,
    /// Compute cheap values again in backward instead of keeping them.
    pub recompute: bool,
    /// Merge whole convolutions into kernels made for CSP and ELAN, where such a device would run them faster:
    /// [`crate::ops::split_conv`], [`crate::ops::conv_chain`]. Only CUDA devices have the kernels; the others run
    /// the convolutions one after the other, which is how the rules are tested without one.
    pub fuse_blocks: Option<Target>,
    /// What the program is for.
    pub processor: Processor,
}

impl Options {
    /// Everything on.
    pub fn new(processor: Processor) -> Self {
        let fuse_blocks = match &processor {
            Processor::Cuda(target) => Some(*target),
            Processor::Reference | Processor::Cpu(_) => None,
        };
        Options { fuse: true, recompute: true, fuse_blocks, processor }
    }

    /// Every node as it was traced: what the optimised program is compared with.
    pub fn plain(processor: Processor) -> Self {
        Options { fuse: false, recompute: false, fuse_blocks: None, processor }
    }
}

/// Compiles `graph`.
///
/// # Errors
/// Where the graph contradicts itself, which tracing and autograd do not produce.
pub fn compile(graph: &Graph, options: Options) -> Result<Program> {
    let mut lowered = Lowered::new(graph);
    lowered.prune();
    if options.recompute {
        recompute::recompute(&mut lowered)?;
    }
    let mut prepared = Vec::new();
    if options.fuse {
        fuse::fuse(&mut lowered, graph.mode())?;
        if let Processor::Cuda(target) = &options.processor {
            fuse::cast_weights(&mut lowered, target)?;
        }
        if graph.mode() == Mode::Inference {
            if let Processor::Cpu(cpu) = &options.processor {
                fuse::pack_weights(&mut lowered, cpu)?;
            }
            prepared = prepare::split(&mut lowered, options.processor.map());
        }
        if let Some(target) = &options.fuse_blocks {
            fuse::blocks(&mut lowered, graph.mode(), target);
        }
    }
    let mut program = finish(lowered, graph.mode(), &options)?;
    let finished = prepared.into_iter().map(|one| Ok(Arc::new(finish(one, graph.mode(), &options)?)));
    program.prepare = finished.collect::<Result<_>>()?;
    Ok(program)
}

/// Schedule, place, plan.
fn finish(mut lowered: Lowered, mode: Mode, options: &Options) -> Result<Program> {
    schedule::schedule(&mut lowered)?;
    let map = options.processor.map();
    let placed = place::place(&mut lowered, map)?;
    assemble(mode, &lowered, placed, options)
}

/// The element type of everything in `buffer`.
fn buffer_type(buffer: &place::Buffer, types: &[DType]) -> DType {
    buffer.owners.first().map_or(DType::F32, |v| types[v.index()])
}

/// Lays the buffers out in one arena and writes the program down.
fn assemble(mode: Mode, lowered: &Lowered, placed: Placed, options: &Options) -> Result<Program> {
    let types = &placed.types;
    let mut persistent = Vec::new();
    let mut memory = Vec::with_capacity(placed.buffers.len());
    let mut requests = Vec::new();
    for buffer in &placed.buffers {
        if let Some(value) = buffer.persistent {
            let info = &lowered.values[value.index()];
            memory.push(Memory::Persistent(persistent.len()));
            let learned = matches!(info.source, Source::Parameter(_));
            let dtype = types[value.index()];
            persistent.push(Persistent { name: info.name.clone(), shape: info.shape, learned, dtype });
        } else {
            memory.push(Memory::Arena);
            let (first, last) = buffer.life;
            let bytes = buffer.shape.elements() * buffer_type(buffer, types).size();
            requests.push(Request { size: bytes.div_ceil(WORD), first, last });
        }
    }
    let buffers = requests.len();
    let mut workspaces = vec![None; lowered.nodes.len()];
    for (index, node) in lowered.nodes.iter().enumerate() {
        let (inputs, outputs) = (lowered.shapes(&node.inputs), lowered.shapes(&node.outputs));
        let size = match &options.processor {
            Processor::Reference => 0,
            Processor::Cpu(cpu) => node.op.cpu_workspace(&inputs, &outputs, cpu),
            Processor::Cuda(target) => node.op.cuda_workspace(&inputs, &outputs, target).div_ceil(WORD),
        };
        if size > 0 {
            workspaces[index] = Some((requests.len(), size));
            requests.push(Request { size, first: index, last: index });
        }
    }
    let plan = plan(&requests, options.processor.alignment());
    // Offsets of the buffers in the arena; requests were pushed in the buffers' order.
    let mut offsets = plan.offsets[..buffers].iter().copied();
    let base: Vec<usize> =
        memory.iter().map(|m| if *m == Memory::Arena { offsets.next().unwrap_or(0) } else { 0 }).collect();
    let slot = |value: Value| -> Result<Slot> {
        let Some(Window { buffer, offset }) = placed.windows[value.index()] else {
            return Err(Error::internal("a value was not placed"));
        };
        let dtype = types[value.index()];
        Ok(Slot {
            memory: memory[buffer],
            offset: base[buffer] * WORD / dtype.size() + offset,
            shape: lowered.shape(value),
            pixel_stride: placed.buffers[buffer].shape.c,
            dtype,
        })
    };
    let step = |(index, node): (usize, &Node)| -> Result<Step> {
        let outputs = node.outputs.iter().map(|&v| slot(v)).collect::<Result<Vec<_>>>()?;
        let mut inputs = node.inputs.iter().map(|&v| slot(v).map(Some)).collect::<Result<Vec<_>>>()?;
        let mut op = node.op.clone();
        for &(input, output) in node.op.in_place() {
            let (Some(i), Some(o)) = (inputs.get_mut(input), outputs.get(output)) else { continue };
            let Some(slot) = *i else { continue };
            if (Slot { shape: o.shape, ..slot }) == *o {
                if slot.shape != o.shape {
                    let message = "was placed over a narrower input, which it cannot be";
                    op = op
                        .over_narrower(input, slot.shape.c)
                        .ok_or_else(|| Error::internal(message).in_op(node.op.name()))?;
                }
                *i = None;
            }
        }
        let workspace = workspaces[index].map(|(request, size)| (plan.offsets[request], size));
        let (scope, pass) = (node.scope.clone(), node.pass);
        Ok(Step { op, inputs, outputs, workspace, scope, pass })
    };
    let steps = lowered.nodes.iter().enumerate().map(step).collect::<Result<Vec<_>>>()?;
    let mut stores = Vec::new();
    for &(target, value) in &lowered.assignments {
        let (from, to) = (slot(value)?, slot(target)?);
        if from != to {
            stores.push((from, to));
        }
    }
    let inputs = lowered
        .values
        .iter()
        .enumerate()
        .filter(|(_, info)| info.source == Source::Input)
        .map(|(index, info)| Ok((info.name.clone(), slot(Value(index as u32))?)))
        .collect::<Result<_>>()?;
    let outputs =
        lowered.outputs.iter().map(|(name, v)| Ok((name.clone(), slot(*v)?))).collect::<Result<_>>()?;
    let report = report::report(lowered, &placed, &requests, &plan, &persistent);
    Ok(Program {
        mode,
        prepare: Vec::new(),
        steps,
        stores,
        persistent,
        inputs,
        outputs,
        arena: plan.length,
        processor: options.processor.kind(),
        report: Arc::new(report),
    })
}

#[cfg(test)]
mod tests;
