//! A graph as text, one node a line.

use std::fmt;

use super::Graph;
use crate::ops::{Tape, Value};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: &Value| match self.producer(*value) {
            Some(_) => format!("%{}", value.index()),
            None => self.info(*value).name.clone(),
        };
        for node in self.nodes() {
            let outputs: Vec<String> =
                node.outputs.iter().map(|v| format!("%{} {}", v.index(), self.shape(*v))).collect();
            let inputs: Vec<String> = node.inputs.iter().map(name).collect();
            let (outputs, inputs, op) = (outputs.join(", "), inputs.join(", "), node.op.name());
            let line = format!("{outputs} = {op}({inputs})  # {:?} {}", node.pass, node.scope);
            writeln!(f, "{}", line.trim_end())?;
        }
        for (target, value) in self.assignments() {
            writeln!(f, "{} := {}", name(target), name(value))?;
        }
        for (output, value) in self.outputs() {
            writeln!(f, "return {output} = {}", name(value))?;
        }
        Ok(())
    }
}
