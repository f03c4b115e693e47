//! What stands in the way of CUDA.

use crate::{Error, ErrorKind};

/// Something that is missing or does not work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// A sentence without the full stop.
    pub message: String,
    /// An imperative sentence without the full stop.
    pub fix: String,
    /// Whether it is something that is there and does not work, rather than something that is missing or
    /// too old.
    pub is_broken: bool,
}

impl Problem {
    /// Something that is missing, or too old.
    pub(super) fn missing(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Problem { message: message.into(), fix: fix.into(), is_broken: false }
    }

    /// Something that is there and does not work.
    pub(super) fn broken(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Problem { is_broken: true, ..Problem::missing(message, fix) }
    }

    /// As an error of the device.
    pub fn error(&self) -> Error {
        Error::new(ErrorKind::Device, self.message.clone()).fix(self.fix.clone())
    }
}
