//! What commands say on standard output.

use std::io::{self, ErrorKind, Write};

use crate::{Error, Result};

/// Writes `text` to standard output. A reader that went away (`gradpath … | head`) is no error.
///
/// # Errors
/// Where it cannot be written otherwise: a full disk behind a redirection.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::file("standard output", "cannot be written").caused_by(error))
        }
        _ => Ok(()),
    }
}

/// Writes `value` to standard output as JSON.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::internal("a result could not be put into JSON").caused_by(e))?;
    print(&(text + "\n"))
}
