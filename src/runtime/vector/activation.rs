//! The activation functions of convolution units.

use std::fmt;

use super::{Lanes, Task, dispatch, map, math};
use crate::runtime::Cpu;

/// The slope of [`Activation::Leaky`] below zero: Darknet's, and that of every YOLO. In double
/// precision it is 0.1 itself, so that the reference device agrees with others in its last digits.
pub const LEAKY_SLOPE: f32 = 0.1;

/// An elementwise activation, as data: a prologue or an epilogue carries one to any device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x.
    #[default]
    Linear,
    /// max(x, 0).
    Relu,
    /// x where positive, 0.1·x elsewhere.
    Leaky,
    /// x·sigmoid(x); "swish" in Darknet's files.
    Silu,
    /// x·tanh(ln(1 + eˣ)) (Misra 2019).
    Mish,
    /// 1 / (1 + e⁻ˣ); "logistic" in Darknet's files.
    Sigmoid,
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 6] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Leaky,
        Activation::Silu,
        Activation::Mish,
        Activation::Sigmoid,
    ];

    /// Whether it takes an exponential: more time than reading and writing a map that the cache holds.
    pub fn is_costly(self) -> bool {
        matches!(self, Activation::Silu | Activation::Mish | Activation::Sigmoid)
    }

    /// The function, in double precision.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Activation::Linear => x,
            Activation::Relu => x.max(0.0),
            Activation::Leaky => x.max(0.1 * x),
            Activation::Silu => x / (1.0 + (-x).exp()),
            // Beyond 40 the exponential only loses digits: softplus is x, tanh is 1.
            Activation::Mish => x * (if x > 40.0 { x } else { x.exp().ln_1p() }).tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    /// The derivative at the pre-activation `x`, in double precision; at a kink, the slope on the
    /// left.
    pub fn derivative(self, x: f64) -> f64 {
        let s = 1.0 / (1.0 + (-x).exp());
        match self {
            Activation::Linear => 1.0,
            Activation::Relu => f64::from(u8::from(x > 0.0)),
            Activation::Leaky => {
                if x > 0.0 {
                    1.0
                } else {
                    0.1
                }
            }
            Activation::Silu => s * (1.0 + x * (1.0 - s)),
            Activation::Mish => {
                let t = (if x > 40.0 { x } else { x.exp().ln_1p() }).tanh();
                t + x * (1.0 - t * t) * s
            }
            Activation::Sigmoid => s * (1.0 - s),
        }
    }

    /// The function, on a vector.
    #[inline(always)]
    pub fn apply_lanes<L: Lanes>(self, l: L, x: L::V) -> L::V {
        match self {
            Activation::Linear => x,
            Activation::Relu => l.max(l.splat(0.0), x),
            Activation::Leaky => l.max(l.mul(l.splat(LEAKY_SLOPE), x), x),
            Activation::Silu => math::silu(l, x),
            Activation::Mish => math::mish(l, x),
            Activation::Sigmoid => math::sigmoid(l, x),
        }
    }

    /// The derivative at the pre-activation `x`, on a vector; at a kink, the slope on the left.
    #[inline(always)]
    pub fn derivative_lanes<L: Lanes>(self, l: L, x: L::V) -> L::V {
        let one = l.splat(1.0);
        match self {
            Activation::Linear => one,
            Activation::Relu => l.select(l.less(l.splat(0.0), x), one, l.splat(0.0)),
            Activation::Leaky => l.select(l.less(l.splat(0.0), x), one, l.splat(LEAKY_SLOPE)),
            Activation::Silu => math::silu_derivative(l, x),
            Activation::Mish => math::mish_derivative(l, x),
            Activation::Sigmoid => {
                let s = math::sigmoid(l, x);
                l.mul(s, l.sub(one, s))
            }
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Linear => "linear",
            Activation::Relu => "relu",
            Activation::Leaky => "leaky",
            Activation::Silu => "silu",
            Activation::Mish => "mish",
            Activation::Sigmoid => "sigmoid",
        })
    }
}

/// Applies `activation` to every element of `data`, on the calling thread.
pub fn activate(cpu: &Cpu, activation: Activation, data: &mut [f32]) {
    struct Apply<'a>(Activation, &'a mut [f32]);
    impl Task for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<L: Lanes>(self, l: L) {
            let Apply(activation, data) = self;
            match activation {
                Activation::Linear => {}
                Activation::Relu => map(l, data, |v| Activation::Relu.apply_lanes(l, v)),
                Activation::Leaky => map(l, data, |v| Activation::Leaky.apply_lanes(l, v)),
                Activation::Silu => map(l, data, |v| math::silu(l, v)),
                Activation::Mish => map(l, data, |v| math::mish(l, v)),
                Activation::Sigmoid => map(l, data, |v| math::sigmoid(l, v)),
            }
        }
    }
    dispatch(cpu, Apply(activation, data));
}
