//! What an op's backward hands to each of its inputs.

use super::Value;

/// The gradient of the loss with respect to one input, or to a channel range of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// Nothing flows back.
    None,
    /// The gradient of the whole input.
    Whole(Value),
    /// The gradient of the channels from the given offset; nothing flows into the others.
    Channels(usize, Value),
}

impl From<Option<Value>> for Gradient {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Gradient::None, Gradient::Whole)
    }
}
