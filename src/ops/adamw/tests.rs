//! A hand-worked step, PyTorch's steps, the cpu against the reference.

use proptest::prelude::*;

use super::{AdamW, Inputs, trace};
use crate::graph::{Feeds, Graph, Init, Mode, interpret};
use crate::ops::testing::{check_cpu, reference};
use crate::ops::{Io, Op};
use crate::runtime::Cpu;
use crate::tensor::{Random, Shape, View, ViewMut};

const SCALAR: Shape = Shape::scalar();
const HYPER: Shape = Shape::vector(2);

#[test]
fn the_first_step_by_hand() {
    // At t = 1 the corrections cancel: m̂ = g, v̂ = g², so the step is rate · g / (|g| + ε).
    let adamw = AdamW { epsilon: 1.0, weight_decay: 0.5, ..AdamW::default() };
    let inputs = [vec![2.0], vec![-3.0], vec![0.0], vec![0.0], vec![0.25, 1.0]];
    let outputs = reference(&adamw, &[SCALAR, SCALAR, SCALAR, SCALAR, HYPER], &inputs);
    approx::assert_relative_eq!(outputs[0][0], 2.0 * 0.875 + 0.25 * 0.75, epsilon = 1e-12);
    approx::assert_relative_eq!(outputs[1][0], -0.3, epsilon = 1e-12);
    approx::assert_relative_eq!(outputs[2][0], 0.009, epsilon = 1e-12);
}

/// Four steps of `torch.optim.AdamW(betas=(0.8, 0.95), eps=1e-3, weight_decay=0.05)` in float64
/// (PyTorch 2.15), the learning rate changed before each.
#[test]
fn steps_as_pytorch_does() {
    let gradients = [[0.1, -0.2, 0.3], [1.0, 0.5, -0.25], [-0.4, 0.0, 2.0], [0.05, -0.7, 0.0]];
    let rates = [0.1, 0.05, 0.2, 0.1];
    let expected = [
        [0.398490099009901, -1.1442475124378109, 1.8903322259136213],
        [0.3558566064280794, -1.1658983364651596, 1.8866110351636158],
        [0.29167213387331575, -1.225996277901102, 1.7323350384615048],
        [0.26364017910601395, -1.183600415286091, 1.671297932912432],
    ];
    let adamw = AdamW { beta1: 0.8, beta2: 0.95, epsilon: 1e-3, weight_decay: 0.05 };
    let mut graph = Graph::new(Mode::Training);
    let shape = Shape::vector(3);
    let parameter = graph.parameter("parameter", shape, Init::Constant(0.0)).unwrap();
    let gradient = graph.input("gradient", shape).unwrap();
    let first_moment = graph.state("first", shape, Init::Constant(0.0)).unwrap();
    let second_moment = graph.state("second", shape, Init::Constant(0.0)).unwrap();
    let rate_and_step = graph.input("rate and step", HYPER).unwrap();
    let inputs = Inputs { parameter, gradient, first_moment, second_moment, rate_and_step };
    let (new_parameter, new_first, new_second) = trace(&mut graph, adamw, inputs).unwrap();
    let (mut p, mut m, mut v) = (vec![0.5, -1.25, 2.0], vec![0.0; 3], vec![0.0; 3]);
    for step in 0..4 {
        let feeds = Feeds::from([
            (parameter, p),
            (gradient, gradients[step].to_vec()),
            (first_moment, m),
            (second_moment, v),
            (rate_and_step, vec![rates[step], (step + 1) as f64]),
        ]);
        let mut data = interpret(&graph, &feeds).unwrap();
        let mut take = |value| data.remove(&value).unwrap();
        (p, m, v) = (take(new_parameter), take(new_first), take(new_second));
        approx::assert_relative_eq!(p[..], expected[step][..], epsilon = 1e-12);
    }
    approx::assert_relative_eq!(m[..], [0.08424, -0.09648, 0.31872][..], epsilon = 1e-12);
    approx::assert_relative_eq!(v[..], [0.0532786875, 0.037496, 0.1966785][..], epsilon = 1e-12);
}

#[test]
fn a_step_count_below_one_is_refused() {
    for step in [0.0, -1.0, f32::NAN] {
        let (zero, hyper, mut outputs) = ([0.0], [0.1, step], [[0.0]; 3]);
        let mut io = Io {
            inputs: [(&zero[..], SCALAR); 4]
                .into_iter()
                .chain([(&hyper[..], HYPER)])
                .map(|(data, shape)| Some(View::dense(data, shape)))
                .collect(),
            outputs: outputs.iter_mut().map(|data| ViewMut::dense(data, SCALAR)).collect(),
            workspace: &mut [],
        };
        let error = AdamW::default().cpu(&mut io, &Cpu::new(1).unwrap()).unwrap_err().to_string();
        assert!(error.contains("count the first step as 1"), "{error}");
    }
}

#[test]
fn other_shapes_are_refused() {
    let (adamw, a) = (AdamW::default(), Shape::vector(2));
    assert!(adamw.output_shapes(&[a, a, a, Shape::vector(3), HYPER]).is_err());
    assert!(adamw.output_shapes(&[a, a, a, a, SCALAR]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn cpu_is_the_reference(n in 1..40usize, k in 1..4usize, c in 1..80usize, step in 1..100_000usize,
                            seed: u64) {
        let weight = Shape::new(n, k, k, c);
        let mut random = Random::new(seed);
        let mut draw = |low| -> Vec<f32> { (0..weight.elements()).map(|_| random.uniform(low, 1.0)).collect() };
        // Second moments are not negative, and small ones divide by little.
        let inputs = [draw(-1.0), draw(-1.0), draw(-1.0), draw(0.01), vec![0.01, step as f32]];
        check_cpu(&AdamW::default(), &[weight, weight, weight, weight, HYPER], &inputs, 2e-6);
    }
}
