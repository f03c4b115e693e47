//! Every op whose convention could be misread, against PyTorch's f64 values (`fixtures/golden`).

use gradpath::autograd::{backward, backward_from};
use gradpath::graph::{Graph, Init, Mode};
use gradpath::nn::{Block, Style};
use gradpath::ops::batch_norm::{self, BatchStatistics, NormSpec};
use gradpath::ops::conv::Geometry;
use gradpath::ops::max_pool::MaxPool;
use gradpath::ops::sgd::Sgd;
use gradpath::ops::{Tape, Value, activation, adamw, average_pool, ema, max_pool, sgd, upsample};
use gradpath::ops::{binary_cross_entropy, conv, softmax_cross_entropy};
use gradpath::runtime::Activation;
use gradpath::tensor::Shape;
use serde_json::Value as Json;

use crate::machine::{Data, Machine, assert_close, fixture, numbers, shape, shaped};

/// The fixture has ten digits.
const EXACT: f64 = 1e-9;
/// What is read from a session is f32.
const ROUNDED: f64 = 2e-7;
const SINGLE: f64 = 2e-5;

fn golden(section: &str) -> Json {
    fixture("golden/golden.json")[section].take()
}

fn cases(section: &str) -> Vec<Json> {
    let cases = golden(section)["cases"].take();
    let cases = cases.as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn float(json: &Json) -> f64 {
    json.as_f64().unwrap()
}

fn activation_named(name: &str) -> Activation {
    let functions = [
        ("linear", Activation::Linear),
        ("relu", Activation::Relu),
        ("leaky_relu_0.1", Activation::Leaky),
        ("silu", Activation::Silu),
        ("mish", Activation::Mish),
        ("sigmoid", Activation::Sigmoid),
    ];
    functions.into_iter().find(|(n, _)| *n == name).unwrap().1
}

fn data(entries: &[(&str, &[f64])]) -> Data {
    entries.iter().map(|(name, data)| ((*name).to_owned(), data.to_vec())).collect()
}

/// Runs one step on every machine; outputs, or states after the step, must be as `expected`.
fn check(what: &str, graph: &Graph, state: &Data, inputs: &Data, expected: &[(&str, Vec<f64>)]) {
    for (name, tolerance, mut machine) in Machine::all(graph, state, EXACT, ROUNDED, SINGLE) {
        machine.step(inputs);
        for (output, want) in expected {
            let got = match graph.find_output(output) {
                Some(_) => machine.output(output),
                None => machine.state()[*output].clone(),
            };
            assert_close(&format!("{what}, {name}: {output}"), &got, want, tolerance);
        }
    }
}

/// Names the gradients of `wrt`, given that of `y` as the input `dy`, and `y` itself, as outputs.
fn differentiate(graph: &mut Graph, y: Value, wrt: &[(&str, Value)]) {
    graph.output("y", y).unwrap();
    let dy = graph.input("dy", graph.shape(y)).unwrap();
    let values: Vec<Value> = wrt.iter().map(|(_, v)| *v).collect();
    let gradients = backward_from(graph, &[(y, dy)], &values).unwrap();
    for ((name, _), gradient) in wrt.iter().zip(gradients) {
        graph.output(name, gradient).unwrap();
    }
}

/// An op of one map: y and dx.
fn check_map(what: &str, case: &Json, trace: impl Fn(&mut Graph, Value) -> Value) {
    let mut graph = Graph::new(Mode::Training);
    let (x_shape, x_data) = shaped(&case["x"]);
    let x = graph.input("x", x_shape).unwrap();
    let y = trace(&mut graph, x);
    assert_eq!(graph.shape(y), shape(&case["y"]), "{what}");
    differentiate(&mut graph, y, &[("dx", x)]);
    let inputs = data(&[("x", &x_data), ("dy", &shaped(&case["dy"]).1)]);
    let expected = ["y", "dx"].map(|key| (key, shaped(&case[key]).1));
    check(what, &graph, &Data::new(), &inputs, &expected);
}

#[test]
fn batch_norms() {
    for case in cases("batch_norm") {
        let spec = NormSpec { epsilon: float(&case["eps"]), momentum: float(&case["momentum"]) };
        let (x_shape, x_data) = shaped(&case["x"]);
        let channels = x_shape.c;
        let rows = |mean: &str, var: &str| [numbers(&case[mean]), numbers(&case[var])].concat();
        let state = Data::from([
            ("gamma".into(), numbers(&case["gamma"])),
            ("beta".into(), numbers(&case["beta"])),
            ("running".into(), rows("running_mean_before", "running_var_before")),
        ]);
        for mode in [Mode::Training, Mode::Inference] {
            let mut graph = Graph::new(mode);
            let x = graph.input("x", x_shape).unwrap();
            let zero = Init::Constant(0.0);
            let gamma = graph.parameter("gamma", Shape::vector(channels), zero.clone()).unwrap();
            let beta = graph.parameter("beta", Shape::vector(channels), zero.clone()).unwrap();
            let running = graph.state("running", Shape::new(1, 1, 2, channels), zero).unwrap();
            let vectors = [gamma, beta, running];
            if mode == Mode::Inference {
                let y =
                    batch_norm::trace_inference(&mut graph, x, vectors, spec, Activation::Linear).unwrap();
                graph.output("y", y).unwrap();
                let expected = [("y", shaped(&case["y_inference"]).1)];
                check("batch norm, inference", &graph, &state, &data(&[("x", &x_data)]), &expected);
                continue;
            }
            let normalized =
                batch_norm::trace_training(&mut graph, x, vectors, spec, Activation::Linear).unwrap();
            graph.assign(running, normalized.running).unwrap();
            let statistics = graph.apply(Box::new(BatchStatistics), &[x]).unwrap();
            graph.output("statistics", statistics).unwrap();
            differentiate(&mut graph, normalized.y, &[("dx", x), ("dgamma", gamma), ("dbeta", beta)]);
            let expected = [
                ("y", shaped(&case["y"]).1),
                ("dx", shaped(&case["dx"]).1),
                ("dgamma", numbers(&case["dgamma"])),
                ("dbeta", numbers(&case["dbeta"])),
                ("statistics", rows("batch_mean", "batch_var_biased")),
                ("running", rows("running_mean_after", "running_var_after")),
            ];
            let inputs = data(&[("x", &x_data), ("dy", &shaped(&case["dy"]).1)]);
            check("batch norm, training", &graph, &state, &inputs, &expected);
        }
    }
}

#[test]
fn activations() {
    let section = golden("activations");
    let x_data = numbers(&section["x"]);
    let mut count = 0;
    for (name, function) in section.as_object().unwrap().iter().filter(|(_, v)| v.is_object()) {
        let mut graph = Graph::new(Mode::Training);
        let x = graph.input("x", Shape::vector(x_data.len())).unwrap();
        let y = activation::trace(&mut graph, x, activation_named(name)).unwrap();
        differentiate(&mut graph, y, &[("dx", x)]);
        let inputs = data(&[("x", &x_data), ("dy", &vec![1.0; x_data.len()])]);
        let expected = [("y", numbers(&function["value"])), ("dx", numbers(&function["derivative"]))];
        check(name, &graph, &Data::new(), &inputs, &expected);
        count += 1;
    }
    assert_eq!(count, Activation::ALL.len());
}

#[test]
fn binary_cross_entropies() {
    let section = golden("bce");
    let (logits, targets) = (numbers(&section["logits"]), numbers(&section["targets"]));
    let check_part = |range: std::ops::Range<usize>, mean: f64| {
        let (logits, targets) = (&logits[range.clone()], &targets[range.clone()]);
        let mut graph = Graph::new(Mode::Training);
        let map = graph.input("logits", Shape::vector(logits.len())).unwrap();
        let target = graph.input("targets", Shape::vector(logits.len())).unwrap();
        let all = binary_cross_entropy::Channels::ALL;
        let loss = binary_cross_entropy::trace(&mut graph, map, target, all).unwrap();
        let gradient = backward(&mut graph, loss, &[map]).unwrap()[0];
        graph.output("mean", loss).unwrap();
        graph.output("gradient", gradient).unwrap();
        // The fixture's gradient is of the sum.
        let slopes: Vec<f64> =
            numbers(&section["gradient"])[range].iter().map(|g| g / logits.len() as f64).collect();
        let inputs = data(&[("logits", logits), ("targets", targets)]);
        check("bce", &graph, &Data::new(), &inputs, &[("mean", vec![mean]), ("gradient", slopes)]);
    };
    check_part(0..logits.len(), float(&section["mean"]));
    for (i, &value) in numbers(&section["values"]).iter().enumerate() {
        check_part(i..i + 1, value);
    }
}

#[test]
fn cross_entropies() {
    let mut checked = 0;
    // Smoothed labels are not among the ops.
    for case in cases("cross_entropy").iter().filter(|c| float(&c["label_smoothing"]) == 0.0) {
        let classes = case["classes"].as_u64().unwrap() as usize;
        let (logits, labels) = (numbers(&case["logits"]), numbers(&case["labels"]));
        let check_rows = |rows: std::ops::Range<usize>, mean: f64, gradient: Option<Vec<f64>>| {
            let count = rows.len();
            let mut graph = Graph::new(Mode::Training);
            let map = graph.input("logits", Shape::new(count, 1, 1, classes)).unwrap();
            let label = graph.input("labels", Shape::new(count, 1, 1, 1)).unwrap();
            let loss = softmax_cross_entropy::trace(&mut graph, map, label).unwrap();
            let slope = backward(&mut graph, loss, &[map]).unwrap()[0];
            graph.output("mean", loss).unwrap();
            graph.output("gradient", slope).unwrap();
            let part = &logits[rows.start * classes..rows.end * classes];
            let inputs = data(&[("logits", part), ("labels", &labels[rows])]);
            let mut expected = vec![("mean", vec![mean])];
            expected.extend(gradient.map(|g| ("gradient", g)));
            check("cross entropy", &graph, &Data::new(), &inputs, &expected);
        };
        check_rows(0..labels.len(), float(&case["mean"]), Some(numbers(&case["gradient"])));
        for (row, &value) in numbers(&case["values"]).iter().enumerate() {
            check_rows(row..row + 1, value, None);
        }
        checked += 1;
    }
    assert_eq!(checked, 1);
}

#[test]
fn max_pools() {
    for case in cases("max_pool") {
        let side = |key: &str| case["pad"][key].as_u64().unwrap() as usize;
        let pool = MaxPool {
            kernel: [case["kernel"].as_u64().unwrap() as usize; 2],
            stride: [case["stride"].as_u64().unwrap() as usize; 2],
            padding: [side("top"), side("bottom"), side("left"), side("right")],
        };
        let name = case["name"].as_str().unwrap();
        check_map(name, &case, |graph, x| max_pool::trace(graph, x, pool.clone()).unwrap());
    }
}

#[test]
fn upsampling_and_global_average() {
    check_map("upsample", &golden("upsample"), |graph, x| upsample::trace(graph, x, 2).unwrap());
    check_map("global average", &golden("global_average"), |graph, x| average_pool::trace(graph, x).unwrap());
}

/// Runs the steps of an optimiser or an average; `expect` lists the states after each.
fn check_steps(
    what: &str,
    graph: &Graph,
    state: &Data,
    steps: &[Json],
    inputs: impl Fn(usize, &Json) -> Data,
    expect: &[(&str, &str)],
) {
    for (name, tolerance, mut machine) in Machine::all(graph, state, EXACT, 5e-7, SINGLE) {
        for (index, step) in steps.iter().enumerate() {
            machine.step(&inputs(index, step));
            let state = machine.state();
            for (kept, key) in expect.iter().filter(|(_, key)| !step[*key].is_null()) {
                let what = format!("{what}, {name}, step {index}: {key}");
                assert_close(&what, &state[*kept], &numbers(&step[*key]), tolerance);
            }
        }
    }
}

/// The parameter `p`, states of its shape by name, the input `gradient`.
fn learner<const N: usize>(
    graph: &mut Graph,
    start: &[f64],
    states: [&str; N],
) -> (Value, [Value; N], Value, Data) {
    let (shape, zero) = (Shape::vector(start.len()), Init::Constant(0.0));
    let parameter = graph.parameter("p", shape, zero.clone()).unwrap();
    let values = states.map(|name| graph.state(name, shape, zero.clone()).unwrap());
    let gradient = graph.input("gradient", shape).unwrap();
    let mut state = data(&[("p", start)]);
    state.extend(states.map(|name| (name.to_owned(), vec![0.0; start.len()])));
    (parameter, values, gradient, state)
}

#[test]
fn sgd_steps() {
    for case in cases("sgd") {
        let mut graph = Graph::new(Mode::Training);
        let (parameter, [velocity], gradient, state) = learner(&mut graph, &numbers(&case["start"]), ["v"]);
        let rate = graph.input("rate", Shape::scalar()).unwrap();
        let momentum = graph.input("momentum", Shape::scalar()).unwrap();
        let op =
            Sgd { weight_decay: float(&case["weight_decay"]), nesterov: case["nesterov"].as_bool().unwrap() };
        let operands = sgd::Inputs { parameter, gradient, velocity, rate, momentum };
        let (p, v) = sgd::trace(&mut graph, op, operands).unwrap();
        graph.assign(parameter, p).unwrap();
        graph.assign(velocity, v).unwrap();
        let inputs = |_: usize, step: &Json| {
            let gradient = numbers(&step["gradient"]);
            data(&[
                ("gradient", &gradient),
                ("rate", &[float(&step["lr"])]),
                ("momentum", &[float(&case["momentum"])]),
            ])
        };
        let steps = case["steps"].as_array().unwrap();
        check_steps("sgd", &graph, &state, steps, inputs, &[("p", "parameter"), ("v", "momentum_buffer")]);
    }
}

#[test]
fn adamw_steps() {
    for case in cases("adamw") {
        let mut graph = Graph::new(Mode::Training);
        let start = numbers(&case["start"]);
        let (parameter, [first_moment, second_moment], gradient, state) =
            learner(&mut graph, &start, ["first", "second"]);
        let rate_and_step = graph.input("rate and step", Shape::vector(2)).unwrap();
        let op = adamw::AdamW {
            beta1: float(&case["beta1"]),
            beta2: float(&case["beta2"]),
            epsilon: float(&case["eps"]),
            weight_decay: float(&case["weight_decay"]),
        };
        let operands = adamw::Inputs { parameter, gradient, first_moment, second_moment, rate_and_step };
        let (p, m, v) = adamw::trace(&mut graph, op, operands).unwrap();
        for (target, value) in [(parameter, p), (first_moment, m), (second_moment, v)] {
            graph.assign(target, value).unwrap();
        }
        let inputs = |index: usize, step: &Json| {
            let rate_and_step = [float(&step["lr"]), index as f64 + 1.0];
            data(&[("gradient", &numbers(&step["gradient"])), ("rate and step", &rate_and_step)])
        };
        let expect = [("p", "parameter"), ("first", "exp_avg"), ("second", "exp_avg_sq")];
        check_steps("adamw", &graph, &state, case["steps"].as_array().unwrap(), inputs, &expect);
    }
}

#[test]
fn moving_averages() {
    let section = golden("ema");
    let start = numbers(&section["start"]);
    let shape = Shape::vector(start.len());
    let mut graph = Graph::new(Mode::Training);
    let average = graph.state("average", shape, Init::Constant(0.0)).unwrap();
    let value = graph.input("value", shape).unwrap();
    let decay = graph.input("decay", Shape::scalar()).unwrap();
    let next = ema::trace(&mut graph, average, value, decay).unwrap();
    graph.assign(average, next).unwrap();
    let state = data(&[("average", &start)]);
    let steps = section["steps"].as_array().unwrap();
    for (key, constant) in [("average", None), ("average_constant_0.75", Some(0.75))] {
        let inputs = |_: usize, step: &Json| {
            let decay = constant.unwrap_or_else(|| float(&step["decay"]));
            data(&[("value", &numbers(&step["value"])), ("decay", &[decay])])
        };
        check_steps("ema", &graph, &state, steps, inputs, &[("average", key)]);
    }
}

#[test]
fn convolutions() {
    let cases = cases("conv");
    assert_eq!(cases.len(), 9);
    for case in cases {
        let size = |key: &str| case[key].as_u64().unwrap() as usize;
        let (x_shape, x_data) = shaped(&case["x"]);
        let (w_shape, w_data) = shaped(&case["w"]);
        let [down, right] = [0, 1].map(|i| case["padding"][i].as_u64().unwrap() as usize);
        let geometry = Geometry {
            kernel: [w_shape.h, w_shape.w],
            stride: [size("stride"); 2],
            padding: [down, down, right, right],
            dilation: [size("dilation"); 2],
            groups: size("groups"),
        };
        let mut graph = Graph::new(Mode::Training);
        let x = graph.input("x", x_shape).unwrap();
        let w = graph.parameter("w", w_shape, Init::Constant(0.0)).unwrap();
        let bias = graph.parameter("bias", Shape::vector(w_shape.n), Init::Constant(0.0)).unwrap();
        let y = conv::trace(&mut graph, x, w, Some(bias), geometry).unwrap();
        assert_eq!(graph.shape(y), shape(&case["y"]));
        differentiate(&mut graph, y, &[("dx", x), ("dw", w), ("dbias", bias)]);
        let state = data(&[("w", &w_data), ("bias", &numbers(&case["bias"]))]);
        let inputs = data(&[("x", &x_data), ("dy", &shaped(&case["dy"]).1)]);
        let mut expected = ["y", "dx", "dw"].map(|key| (key, shaped(&case[key]).1)).to_vec();
        expected.push(("dbias", numbers(&case["dbias"])));
        check(case["name"].as_str().unwrap(), &graph, &state, &inputs, &expected);
    }
}

#[test]
fn conv_units() {
    for case in cases("conv_unit") {
        let name = case["activation"].as_str().unwrap();
        let norm = NormSpec { epsilon: float(&case["eps"]), momentum: 0.0 };
        let style = Style { activation: activation_named(name), norm };
        let (x_shape, x_data) = shaped(&case["x"]);
        let (w_shape, w_data) = shaped(&case["w"]);
        let mut graph = Graph::new(Mode::Training);
        let x = graph.input("x", x_shape).unwrap();
        let y = style.unit(w_shape.n, 3).trace(&mut graph, x).unwrap();
        let learned = ["weight", "gamma", "beta"].map(|name| graph.find(name).unwrap());
        let wrt = [("dx", x), ("dw", learned[0]), ("dgamma", learned[1]), ("dbeta", learned[2])];
        differentiate(&mut graph, y, &wrt);
        let state = data(&[
            ("weight", &w_data),
            ("gamma", &numbers(&case["gamma"])),
            ("beta", &numbers(&case["beta"])),
            ("running", &vec![1.0; 2 * w_shape.n]),
        ]);
        let inputs = data(&[("x", &x_data), ("dy", &shaped(&case["dy"]).1)]);
        let mut expected = ["y", "dx", "dw"].map(|key| (key, shaped(&case[key]).1)).to_vec();
        expected.extend(["dgamma", "dbeta"].map(|key| (key, numbers(&case[key]))));
        // A momentum of 0 leaves the running statistics as they were.
        expected.push(("running", vec![1.0; 2 * w_shape.n]));
        check(name, &graph, &state, &inputs, &expected);
    }
}
