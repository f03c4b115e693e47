//! The library's one error type.
//!
//! An [`Error`] is a sentence for a person, with what it is about beside it: the op and the shapes
//! it was given, or the file and line, and what to do next. The binary prints it as it stands.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::tensor::Shape;

/// The library's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong; for callers that react differently to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Shapes or attributes that an op or a model cannot take.
    Shape,
    /// A file that is missing, unreadable, or not what it should be.
    File,
    /// A value that the user chose (option, config) and that cannot be used.
    Invalid,
    /// A number that left its range while running: NaN loss, overflow.
    Numeric,
    /// A device that is missing, or cannot run what was asked.
    Device,
    /// A defect of gradpath itself.
    Internal,
}

/// An error with its context: op and shapes, or file and line, and the fix where one is known.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    op: Option<String>,
    shapes: Vec<Shape>,
    path: Option<PathBuf>,
    line: Option<usize>,
    fix: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message` (lower case, no full stop).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            op: None,
            shapes: Vec::new(),
            path: None,
            line: None,
            fix: None,
            source: None,
        }))
    }

    /// Op `op` cannot take `shapes`.
    pub fn shape(op: &str, shapes: &[Shape], message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Shape, message);
        error.0.op = Some(op.to_owned());
        error.0.shapes = shapes.to_vec();
        error
    }

    /// Something is wrong with the file (or folder) at `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::File, message);
        error.0.path = Some(path.as_ref().to_owned());
        error
    }

    /// An option or a config value cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// A defect of gradpath itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Names the op, where the place that raised the error did not know it.
    pub fn in_op(mut self, op: impl Into<String>) -> Self {
        self.0.op.get_or_insert(op.into());
        self
    }

    /// Names the file, where the place that raised the error did not know it.
    pub fn in_file(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path.get_or_insert(path.as_ref().to_owned());
        self
    }

    /// The line of the file, from 1.
    pub fn line(mut self, line: usize) -> Self {
        self.0.line = Some(line);
        self
    }

    /// What the user can do about it: an imperative sentence without the full stop.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// The error underneath.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(path) = &inner.path {
            write!(f, "{}", path.display())?;
            if let Some(line) = inner.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": ")?;
        }
        if let Some(op) = &inner.op {
            write!(f, "{op}: ")?;
        }
        write!(f, "{}", inner.message)?;
        if !inner.shapes.is_empty() {
            let shapes: Vec<String> = inner.shapes.iter().map(Shape::to_string).collect();
            write!(f, " (shapes {})", shapes.join(", "))?;
        }
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(fix) = &inner.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The source is already part of the sentence: handing it out again would print it twice.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_file_line_message_and_fix() {
        let error = Error::file("data.yaml", "names is missing").line(3).fix("add a `names:` list");
        assert_eq!(error.to_string(), "data.yaml:3: names is missing; add a `names:` list");
        assert_eq!(error.kind(), ErrorKind::File);
    }

    #[test]
    fn says_op_and_shapes() {
        let error = Error::shape("add", &[Shape::new(1, 2, 2, 8), Shape::new(1, 2, 2, 4)], "channels differ");
        assert_eq!(error.to_string(), "add: channels differ (shapes [1, 2, 2, 8], [1, 2, 2, 4])");
    }
}
