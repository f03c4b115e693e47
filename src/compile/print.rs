//! A program as text, one kernel a line.

use std::fmt;

use super::program::{Memory, Program, Slot};

impl fmt::Display for Program {
    /// Parameters and states by name; what lies in the arena by its first element, where it is a window
    /// of a wider buffer with the channels that it takes: `@2048 16/32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = |slot: &Option<Slot>| slot.as_ref().map_or("in place".into(), |slot| self.place(slot));
        for step in &self.steps {
            let outputs: Vec<String> =
                step.outputs.iter().map(|slot| format!("{} {}", self.place(slot), slot.shape)).collect();
            let inputs: Vec<String> = step.inputs.iter().map(input).collect();
            let (outputs, inputs, op) = (outputs.join(", "), inputs.join(", "), step.op.name());
            let line = format!("{outputs} = {op}({inputs})  # {:?} {}", step.pass, step.scope);
            writeln!(f, "{}", line.trim_end())?;
        }
        for (from, to) in &self.stores {
            writeln!(f, "{} := {}", self.place(to), self.place(from))?;
        }
        for (name, slot) in &self.outputs {
            writeln!(f, "return {name} = {}", self.place(slot))?;
        }
        Ok(())
    }
}

impl Program {
    fn place(&self, slot: &Slot) -> String {
        let (offset, c, stride) = (slot.offset, slot.shape.c, slot.pixel_stride);
        match slot.memory {
            Memory::Persistent(index) => {
                self.persistent.get(index).map(|p| p.name.clone()).unwrap_or_default()
            }
            Memory::Arena if c == stride => format!("@{offset}"),
            Memory::Arena => format!("@{offset} {c}/{stride}"),
        }
    }
}
