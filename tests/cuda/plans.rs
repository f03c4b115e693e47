//! Plans for CUDA devices, without one: no step writes over what it reads, except where its op may, in every element
//! type.

use gradpath::compile::{Memory, Options, Processor, Program, Slot, Step, compile};
use gradpath::graph::{Graph, Mode};
use gradpath::runtime::cuda::Target;
use gradpath::tensor::{DType, Shape};
use gradpath::train::TrainStep;
use gradpath::zoo;

/// Whether two slots have a byte in common.
fn meet(a: &Slot, b: &Slot) -> bool {
    let bytes = |slot: &Slot| {
        let size = slot.dtype.size();
        (slot.offset * size, (slot.offset + slot.extent()) * size)
    };
    let ((a0, a1), (b0, b1)) = (bytes(a), bytes(b));
    if a.memory != b.memory || a1 <= b0 || b1 <= a0 {
        return false;
    }
    // Channel windows of one buffer lie between each other.
    let stride = a.pixel_stride;
    if stride != b.pixel_stride || a.dtype != b.dtype || a.shape.pixels() != b.shape.pixels() {
        return true;
    }
    let (low, high) = if a0 <= b0 { (a, b) } else { (b, a) };
    let apart = (high.offset - low.offset) % stride;
    apart < low.shape.c || apart + high.shape.c > stride
}

fn check_step(step: &Step, arena: usize) -> Result<(), String> {
    let scratch = step.workspace.map(|(offset, words)| Slot {
        memory: Memory::Arena,
        offset,
        shape: Shape::vector(words),
        pixel_stride: words,
        dtype: DType::F32,
    });
    let inputs: Vec<&Slot> = step.inputs.iter().flatten().collect();
    for (o, output) in step.outputs.iter().chain(&scratch).enumerate() {
        if output.memory == Memory::Arena
            && (output.offset + output.extent()) * output.dtype.size() > 4 * arena
        {
            return Err(format!("output {o} {output:?} leaves the arena"));
        }
        if let Some(input) = inputs.iter().find(|input| meet(input, output)) {
            return Err(format!("output {o} {output:?} lies over input {input:?}"));
        }
        if let Some(other) = step.outputs.iter().take(o).find(|other| meet(other, output)) {
            return Err(format!("output {o} {output:?} lies over {other:?}"));
        }
    }
    Ok(())
}

fn check(what: &str, program: &Program) {
    for (index, step) in program.steps.iter().enumerate() {
        let outcome = check_step(step, program.arena);
        assert!(
            outcome.is_ok(),
            "{what}, step {index} {} {:?}: {}",
            step.scope,
            step.op,
            outcome.unwrap_err()
        );
    }
}

#[test]
fn no_step_writes_over_what_it_reads() {
    for map in [DType::F32, DType::Bf16, DType::F16] {
        let target = Target { arch: 80, multiprocessors: 4, shared_bytes: 163 * 1024, map };
        for name in ["csp-nano", "elan-nano", "prn-nano", "yolov7-tiny"] {
            let network = zoo::find(name).unwrap();
            let input = Shape::new(2, 96, 96, 3);
            let mut inference = Graph::new(Mode::Inference);
            let images = inference.input("images", input).unwrap();
            let heads = network.trace(&mut inference, images, 3).unwrap();
            for (index, head) in heads.maps.iter().enumerate() {
                inference.output(&format!("head{index}"), *head).unwrap();
            }
            let training = TrainStep::typical_graph(&network, input, 3).unwrap();
            for (graph, mode) in [(&inference, "inference"), (&training, "training")] {
                for options in
                    [Options::new(Processor::Cuda(target)), Options::plain(Processor::Cuda(target))]
                {
                    let what = format!("{name} {mode} in {map}, fuse {}", options.fuse);
                    check(&what, &compile(graph, options).unwrap());
                }
            }
        }
    }
}
