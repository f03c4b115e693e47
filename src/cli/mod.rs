//! The program `gradpath`: one file per command.

mod options;
mod train;

use clap::{Parser, Subcommand};

/// Train, run and measure small detectors built from PRN, CSP and ELAN.
#[derive(Debug, Parser)]
#[command(name = "gradpath", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a detector: with no argument elan-nano on the built-in wardrobe scenes.
    Train(train::Args),
}

/// Runs the program with the arguments of the process.
///
/// # Errors
/// What the command says; the caller prints it.
pub fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Train(args) => train::run(args)?,
    }
    Ok(())
}
