//! The step on the cpu: one pass that reads four arrays and writes three.

use super::{AdamW, Factors, Io, Op};
use crate::Result;
use crate::runtime::Cpu;

pub(super) fn run(adamw: &AdamW, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let hyper = io.dense(4);
    let Factors { keep, rate, root } = adamw.factors(f64::from(hyper[0]), f64::from(hyper[1]))?;
    // Rounded to f32 only now: 1 − β₂ᵗ and 1 − rate·decay lose most of their digits otherwise.
    let (keep, rate, root) = (keep as f32, rate as f32, root as f32);
    let (beta1, rest1) = (adamw.beta1 as f32, (1.0 - adamw.beta1) as f32);
    let (beta2, rest2) = (adamw.beta2 as f32, (1.0 - adamw.beta2) as f32);
    let epsilon = adamw.epsilon as f32;
    io.elementwise_in_place(cpu, adamw.in_place(), [1], |[gradient], [parameter, first, second]| {
        for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * g * g;
            *p = *p * keep - rate * *m / (v.sqrt() * root + epsilon);
        }
    });
    Ok(())
}
