//! Element types: how numbers are stored, and what kernels compute with.

use std::borrow::Cow;
use std::fmt;

/// How a tensor's elements are stored. Accumulation is always in f32 or better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// bfloat16: f32's exponent, 8 bits of significand.
    Bf16,
    /// IEEE 754 half precision.
    F16,
}

impl DType {
    /// Bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
        })
    }
}

/// A number that host kernels compute with: f32 on the cpu device, f64 on the reference device.
pub trait Element: bytemuck::Zeroable + Copy + Default + Send + Sync + fmt::Debug + 'static {
    /// Widens to f64.
    fn to_f64(self) -> f64;
    /// Rounds to nearest.
    fn from_f64(value: f64) -> Self;
    /// All of `values`, without a copy where the type is the same.
    fn from_f32s(values: &[f32]) -> Cow<'_, [Self]>;
    /// All of `values` rounded to nearest, without a copy where the type is the same.
    fn into_f32s(values: Vec<Self>) -> Vec<f32>;
}

impl Element for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn from_f32s(values: &[f32]) -> Cow<'_, [f32]> {
        Cow::Borrowed(values)
    }
    fn into_f32s(values: Vec<f32>) -> Vec<f32> {
        values
    }
}

impl Element for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    fn from_f64(value: f64) -> Self {
        value
    }
    fn from_f32s(values: &[f32]) -> Cow<'_, [f64]> {
        values.iter().map(|&v| f64::from(v)).collect()
    }
    fn into_f32s(values: Vec<f64>) -> Vec<f32> {
        values.into_iter().map(|v| v as f32).collect()
    }
}
