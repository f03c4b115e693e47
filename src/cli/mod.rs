//! The program `gradpath`: one file per command.

mod options;
mod output;
mod run;
mod summary;
mod weights;

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
    Run(run::Args),
    Summary(summary::Args),
}

/// Runs the program with the arguments of the process.
///
/// # Errors
/// What the command says; the caller prints it.
pub fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args)?,
        Command::Summary(args) => summary::run(&args)?,
    }
    Ok(())
}
