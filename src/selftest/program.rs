//! A case as a program of one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compile::{Memory, MemoryReport, Persistent, Processor, Program, Slot, Step, WORD};
use crate::graph::{Mode, Pass};
use crate::ops::Case;
use crate::ops::case::beside_nan;
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

/// What lies beside a channel slice, and must lie there still afterwards: exact in every element type.
const CANARY: f32 = -1984.0;

/// How a case's operands lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Variant {
    /// The element type of maps.
    pub map: DType,
    /// Channels of others on both sides of every pixel of a map; 0: dense.
    pub padding: usize,
    /// Whether inputs lie in the outputs that may be written over them.
    pub in_place: bool,
}

/// A case laid out in memory: a program of one step whose operands are kept, each in memory of its own,
/// so that a kernel that reaches beyond one touches nothing that is allocated.
#[derive(Clone, Debug)]
pub struct CaseProgram {
    /// The program.
    pub program: Arc<Program>,
    /// What is loaded before each run: inputs, canaries, and NaN where outputs go.
    pub state: BTreeMap<String, Tensor>,
    outputs: Vec<Operand>,
}

#[derive(Clone, Debug)]
struct Operand {
    name: String,
    shape: Shape,
    padding: usize,
    is_map: bool,
}

impl Operand {
    fn width(&self) -> usize {
        self.shape.c + 2 * self.padding
    }

    /// `dense` in the middle of every pixel, canaries on both sides.
    fn surround(&self, dense: &[f32]) -> Result<Tensor> {
        let mut data = vec![CANARY; self.shape.pixels() * self.width()];
        let pixels = data.chunks_mut(self.width().max(1)).zip(dense.chunks(self.shape.c.max(1)));
        pixels
            .for_each(|(wide, pixel)| wide[self.padding..self.padding + pixel.len()].copy_from_slice(pixel));
        Tensor::new(self.shape.with_c(self.width()), data)
    }
}

impl CaseProgram {
    /// Lays `case` out as `variant` says, for `processor`.
    ///
    /// # Errors
    /// Where the op does not take the case's inputs.
    pub fn new(case: &Case, variant: Variant, processor: &Processor) -> Result<Self> {
        let op = case.op.clone();
        let shapes = case.output_shapes()?;
        let pad = |is_map: bool| if is_map { variant.padding } else { 0 };
        let has_map = case.maps.contains(&true);
        let inputs: Vec<Operand> = case
            .shapes
            .iter()
            .zip(&case.maps)
            .enumerate()
            .map(|(i, (&shape, &is_map))| Operand {
                name: format!("input {i}"),
                shape,
                padding: pad(is_map && !case.dense.get(i).copied().unwrap_or(false)),
                is_map,
            })
            .collect();
        let outputs: Vec<Operand> = shapes
            .iter()
            .enumerate()
            .map(|(o, &shape)| {
                let is_map = op.stores_map(o, has_map);
                Operand { name: format!("output {o}"), shape, padding: pad(is_map), is_map }
            })
            .collect();
        let mut state = BTreeMap::new();
        let mut persistent = Vec::new();
        let mut slot = |operand: &Operand, data: &[f32]| -> Result<Slot> {
            let dtype = if operand.is_map { variant.map } else { DType::F32 };
            let tensor = operand.surround(data)?;
            let (name, shape) = (operand.name.clone(), tensor.shape());
            state.insert(name.clone(), tensor);
            persistent.push(Persistent { name, shape, learned: false, dtype });
            Ok(Slot {
                memory: Memory::Persistent(persistent.len() - 1),
                offset: operand.padding,
                shape: operand.shape,
                pixel_stride: operand.width(),
                dtype,
            })
        };
        // Which inputs lie in outputs.
        let mut aliases: Vec<(usize, usize)> =
            if variant.in_place { op.in_place().to_vec() } else { Vec::new() };
        let mut op = op;
        aliases.retain(|&(input, output)| match (inputs.get(input), outputs.get(output)) {
            (Some(i), Some(o)) if i.shape == o.shape => i.is_map == o.is_map,
            // In the output's first channels, where the op takes it so.
            (Some(i), Some(o)) if i.shape == o.shape.with_c(i.shape.c.min(o.shape.c)) => {
                let narrower = op.over_narrower(input, i.shape.c).filter(|_| i.is_map == o.is_map);
                narrower.map(|narrower| op = narrower).is_some()
            }
            _ => false,
        });
        let mut input_slots = Vec::new();
        for (index, operand) in inputs.iter().enumerate() {
            let aliased = aliases.iter().any(|(input, _)| *input == index);
            input_slots.push(if aliased {
                None
            } else {
                Some(slot(operand, &rounded(case, index, variant.map))?)
            });
        }
        let mut output_slots = Vec::new();
        for (index, operand) in outputs.iter().enumerate() {
            let data = match aliases.iter().find(|(_, output)| *output == index) {
                Some(&(input, _)) => {
                    let from = inputs.get(input).map_or(operand.shape, |input| input.shape);
                    beside_nan(&rounded(case, input, variant.map), from.c, operand.shape.c)
                }
                None => vec![f32::NAN; operand.shape.elements()],
            };
            output_slots.push(slot(operand, &data)?);
        }
        let words = match processor {
            Processor::Reference => 0,
            Processor::Cpu(cpu) => op.cpu_workspace(&case.shapes, &shapes, cpu),
            Processor::Cuda(target) => op.cuda_workspace(&case.shapes, &shapes, target).div_ceil(WORD),
        };
        let step = Step {
            op,
            inputs: input_slots,
            outputs: output_slots,
            workspace: (words > 0).then_some((0, words)),
            scope: String::new(),
            pass: Pass::Forward,
        };
        let program = Program {
            mode: Mode::Inference,
            prepare: Vec::new(),
            steps: vec![step],
            stores: Vec::new(),
            persistent,
            inputs: Vec::new(),
            outputs: Vec::new(),
            arena: words,
            processor: processor.kind(),
            report: Arc::new(MemoryReport::default()),
        };
        Ok(CaseProgram { program: Arc::new(program), state, outputs })
    }

    /// The outputs after a run, dense.
    ///
    /// # Errors
    /// Where something was written beside an output's channels, or over an input.
    pub fn outputs(&self, after: &BTreeMap<String, Tensor>) -> Result<Vec<Vec<f32>>> {
        for (name, before) in &self.state {
            let kept = after.get(name).is_some_and(|tensor| {
                tensor.data().iter().zip(before.data()).all(|(a, b)| a.to_bits() == b.to_bits())
            });
            if !kept && name.starts_with("input") {
                return Err(Error::internal(format!("wrote over {name}")));
            }
        }
        let mut outputs = Vec::new();
        for operand in &self.outputs {
            let tensor = after.get(&operand.name).ok_or_else(|| Error::internal("an output is missing"))?;
            let mut dense = Vec::with_capacity(operand.shape.elements());
            for (index, pixel) in tensor.data().chunks(operand.width().max(1)).enumerate() {
                let own = operand.padding..operand.padding + operand.shape.c;
                if pixel.iter().enumerate().any(|(c, &v)| !own.contains(&c) && v != CANARY) {
                    let message = format!("wrote beside its channels at pixel {index} of {}", operand.name);
                    return Err(Error::internal(message));
                }
                dense.extend_from_slice(pixel.get(own).unwrap_or_default());
            }
            outputs.push(dense);
        }
        Ok(outputs)
    }
}

/// Input `index` of `case`, a map rounded as it will be stored.
fn rounded(case: &Case, index: usize, map: DType) -> Vec<f32> {
    let data = case.inputs.get(index).cloned().unwrap_or_default();
    if !case.maps.get(index).copied().unwrap_or(false) {
        return data;
    }
    match map {
        DType::F32 => data,
        DType::Bf16 => data.into_iter().map(|v| half::bf16::from_f32(v).to_f32()).collect(),
        DType::F16 => data.into_iter().map(|v| half::f16::from_f32(v).to_f32()).collect(),
    }
}
