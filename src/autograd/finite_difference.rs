//! The check that every gradient of the project has to pass: central differences in f64.

use crate::autograd::backward_from;
use crate::graph::{Feeds, Graph, Mode, Source, interpret};
use crate::ops::Value;
use crate::tensor::Random;
use crate::{Error, Result};

/// Traces a graph with `build`, which returns some of its values, and compares the gradient of
/// `Σ r ⊙ values` (`r` random) with respect to every parameter with central differences on the
/// reference device in f64. Inputs and parameters are drawn from `seed`: inputs uniformly in ±1,
/// parameters as their `Init` says.
///
/// # Errors
/// Names the parameter, the element and both numbers where they differ by more than `1e-6 · (1 + |g|)`.
pub fn check(seed: u64, build: impl Fn(&mut Graph) -> Result<Vec<Value>>) -> Result<()> {
    let mut graph = Graph::new(Mode::Training);
    let results = build(&mut graph)?;
    let forward = graph.clone();
    let mut random = Random::new(seed);
    let mut feeds = Feeds::new();
    for (value, info) in forward.values() {
        match &info.source {
            Source::Input => {
                let data = (0..info.shape.elements()).map(|_| f64::from(random.uniform(-1.0, 1.0))).collect();
                feeds.insert(value, data);
            }
            Source::Parameter(init) | Source::State(init) => {
                let tensor = init.tensor(info.shape, seed, &info.name);
                feeds.insert(value, tensor.data().iter().map(|&v| f64::from(v)).collect());
            }
            Source::Node { .. } => {}
        }
    }
    let mut seeds = Vec::new();
    let mut weights = Vec::new();
    for (i, &result) in results.iter().enumerate() {
        let shape = forward.info(result).shape;
        let weight: Vec<f64> = (0..shape.elements()).map(|_| f64::from(random.uniform(-1.0, 1.0))).collect();
        let input = graph.input(&format!("finite difference seed {i}"), shape)?;
        feeds.insert(input, weight.clone());
        seeds.push((result, input));
        weights.push(weight);
    }
    let parameters: Vec<Value> = forward.parameters().map(|(v, _)| v).collect();
    let gradients = backward_from(&mut graph, &seeds, &parameters)?;
    let data = interpret(&graph, &feeds)?;

    let loss = |feeds: &Feeds| -> Result<f64> {
        let data = interpret(&forward, feeds)?;
        let dot = |result: &Value, weight: &Vec<f64>| -> f64 {
            data[result].iter().zip(weight).map(|(a, b)| a * b).sum()
        };
        Ok(results.iter().zip(&weights).map(|(r, w)| dot(r, w)).sum())
    };
    let step = 1e-5;
    for (&parameter, gradient) in parameters.iter().zip(&gradients) {
        for element in 0..forward.info(parameter).shape.elements() {
            let mut at = |delta: f64| -> Result<f64> {
                let before = feeds[&parameter][element];
                feeds.entry(parameter).and_modify(|d| d[element] = before + delta);
                let result = loss(&feeds);
                feeds.entry(parameter).and_modify(|d| d[element] = before);
                result
            };
            let numeric = (at(step)? - at(-step)?) / (2.0 * step);
            let analytic = data[gradient][element];
            let off = (numeric - analytic).abs() / (1.0 + numeric.abs());
            if off > 1e-6 || off.is_nan() {
                let name = &forward.info(parameter).name;
                return Err(Error::internal(format!(
                    "the gradient of {name:?}[{element}] is {analytic:e}, by finite differences {numeric:e} (seed {seed})"
                )));
            }
        }
    }
    Ok(())
}
