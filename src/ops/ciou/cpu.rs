//! Rows in parallel. The arithmetic of a row is the reference's, in f64: there are few rows, and near
//! a perfect box 1 − IoU and the edges' differences would lose their digits in f32.

use super::reference;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::{Limits, Matches};
use crate::runtime::Cpu;

fn widen(b: &[f32]) -> [f64; 4] {
    std::array::from_fn(|i| f64::from(b[i]))
}

pub(super) fn forward(io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let boxes = io.input(0);
    let matches = Matches::new("CIoU", io.input(1), &Limits::NONE)?;
    matches.fill_rows_parallel(cpu, io.outputs[0].reborrow(), |row, m, y| {
        y[0] = reference::ciou(widen(boxes.pixel(row)), m.target) as f32;
    });
    Ok(())
}

pub(super) fn backward(detach_alpha: bool, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
    let (boxes, dy) = (io.input(0), io.input(2));
    let matches = Matches::new("CIoU gradient", io.input(1), &Limits::NONE)?;
    matches.fill_rows_parallel(cpu, io.outputs[0].reborrow(), |row, m, dx| {
        let gradient = reference::gradient(widen(boxes.pixel(row)), m.target, detach_alpha);
        for (dx, g) in dx.iter_mut().zip(gradient) {
            *dx = (g * f64::from(dy.pixel(row)[0])) as f32;
        }
    });
    Ok(())
}
