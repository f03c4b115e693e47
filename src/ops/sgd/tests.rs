//! A hand-worked step, PyTorch's steps, the cpu against the reference.

use proptest::prelude::*;

use super::{Inputs, Sgd, trace};
use crate::graph::{Feeds, Graph, Init, Mode, interpret};
use crate::ops::Op;
use crate::ops::testing::{check_cpu_random, reference};
use crate::tensor::Shape;

const SCALAR: Shape = Shape::scalar();

#[test]
fn by_hand() {
    let shapes = [SCALAR; 5];
    let inputs = [2.0, 1.0, 4.0, 0.5, 0.25].map(|v| vec![v]);
    // g = 1 + 0.5·2 = 2, v = 0.25·4 + 2 = 3.
    let plain = reference(&Sgd { weight_decay: 0.5, nesterov: false }, &shapes, &inputs);
    assert_eq!(plain, [[2.0 - 0.5 * 3.0], [3.0]]);
    let ahead = reference(&Sgd { weight_decay: 0.5, nesterov: true }, &shapes, &inputs);
    assert_eq!(ahead, [[2.0 - 0.5 * (2.0 + 0.25 * 3.0)], [3.0]]);
}

/// Four steps of `torch.optim.SGD(lr=rate, momentum=0.9, weight_decay=0.05, nesterov=…)` in float64
/// (PyTorch 2.15), the learning rate changed before each.
#[test]
fn steps_as_pytorch_does() {
    let gradients = [[0.1, -0.2, 0.3], [1.0, 0.5, -0.25], [-0.4, 0.0, 2.0], [0.05, -0.7, 0.0]];
    let rates = [0.1, 0.05, 0.2, 0.1];
    let plain = [
        [0.4875, -1.22375, 1.96],
        [0.43065625, -1.233878125, 1.9496],
        [0.3017121875, -1.25800059375, 1.492664],
        [0.2371787984375, -1.19256570171875, 1.27957948],
    ];
    let ahead = [
        [0.47625, -1.200125, 1.924],
        [0.3739253125, -1.23129315625, 1.922411],
        [0.3347381065625, -1.24090507378125, 1.092480791],
        [0.27010651578453126, -1.1059826576725154, 0.8972844789354996],
    ];
    let last_velocity = [
        [0.645333890625, -0.6543489203125, 2.1308452],
        [0.643976669390625, -0.65242100822031, 2.10815453455],
    ];
    for (nesterov, expected) in [(false, plain), (true, ahead)] {
        let mut g = Graph::new(Mode::Training);
        let shape = Shape::vector(3);
        let parameter = g.parameter("parameter", shape, Init::Constant(0.0)).unwrap();
        let gradient = g.input("gradient", shape).unwrap();
        let velocity = g.state("velocity", shape, Init::Constant(0.0)).unwrap();
        let rate = g.input("rate", SCALAR).unwrap();
        let momentum = g.input("momentum", SCALAR).unwrap();
        let inputs = Inputs { parameter, gradient, velocity, rate, momentum };
        let (new_parameter, new_velocity) =
            trace(&mut g, Sgd { weight_decay: 0.05, nesterov }, inputs).unwrap();
        let (mut p, mut v) = (vec![0.5, -1.25, 2.0], vec![0.0; 3]);
        for step in 0..4 {
            let feeds = Feeds::from([
                (parameter, p),
                (gradient, gradients[step].to_vec()),
                (velocity, v),
                (rate, vec![rates[step]]),
                (momentum, vec![0.9]),
            ]);
            let data = interpret(&g, &feeds).unwrap();
            (p, v) = (data[&new_parameter].clone(), data[&new_velocity].clone());
            approx::assert_relative_eq!(p[..], expected[step][..], epsilon = 1e-12);
        }
        approx::assert_relative_eq!(v[..], last_velocity[usize::from(nesterov)][..], epsilon = 1e-12);
    }
}

#[test]
fn other_shapes_are_refused() {
    let (sgd, a, b) = (Sgd { weight_decay: 0.0, nesterov: false }, Shape::vector(2), Shape::vector(3));
    assert!(sgd.output_shapes(&[a, a, b, SCALAR, SCALAR]).is_err());
    assert!(sgd.output_shapes(&[a, a, a, SCALAR, a]).is_err());
    assert_eq!(sgd.output_shapes(&[a, a, a, SCALAR, SCALAR]).unwrap(), [a, a]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn cpu_is_the_reference(n in 1..40usize, k in 1..4usize, c in 1..80usize, nesterov: bool, seed: u64) {
        let weight = Shape::new(n, k, k, c);
        let sgd = Sgd { weight_decay: 0.01, nesterov };
        check_cpu_random(&sgd, &[weight, weight, weight, SCALAR, SCALAR], seed, 1e-6);
    }
}
