//! A dense tensor in the host's memory.

use super::{Random, Shape, View, ViewMut};
use crate::{Error, Result};

/// A dense `[n, h, w, c]` tensor of f32 that owns its elements: what is fed to a program, read back
/// from it, and kept in files.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor over `data`, in NHWC order.
    ///
    /// # Errors
    /// Where `data` does not have `shape.elements()` elements.
    pub fn new(shape: Shape, data: Vec<f32>) -> Result<Self> {
        if data.len() != shape.checked_elements()? {
            let message = format!("{} elements were given for {}", data.len(), shape.elements());
            return Err(Error::shape("tensor", &[shape], message));
        }
        Ok(Tensor { shape, data })
    }

    /// All elements `value`.
    pub fn full(shape: Shape, value: f32) -> Self {
        Tensor { shape, data: vec![value; shape.elements()] }
    }

    /// The one number `value`, `[1, 1, 1, 1]`.
    pub fn scalar(value: f32) -> Self {
        Self::full(Shape::scalar(), value)
    }

    /// All elements zero.
    pub fn zeros(shape: Shape) -> Self {
        Self::full(shape, 0.0)
    }

    /// Elements drawn uniformly from `[low, high)`.
    pub fn uniform(shape: Shape, low: f32, high: f32, random: &mut Random) -> Self {
        let data = (0..shape.elements()).map(|_| random.uniform(low, high)).collect();
        Tensor { shape, data }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The elements in NHWC order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements in NHWC order.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The elements, without a copy.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// A view of the whole tensor.
    pub fn view(&self) -> View<'_, f32> {
        View::dense(&self.data, self.shape)
    }

    /// A view of the whole tensor.
    pub fn view_mut(&mut self) -> ViewMut<'_, f32> {
        ViewMut::dense(&mut self.data, self.shape)
    }
}
