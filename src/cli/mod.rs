//! The program `gradpath`: one file per command.

mod bench;
mod claims;
mod detect;
mod doctor;
mod eval;
mod measure;
mod options;
mod output;
mod run;
mod selftest;
mod summary;
mod sweep;
mod train;
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
    Train(train::Args),
    Eval(eval::Args),
    Detect(detect::Args),
    Summary(summary::Args),
    Run(run::Args),
    Bench(bench::Args),
    Sweep(sweep::Args),
    Claims(claims::Args),
    Selftest(selftest::Args),
    Doctor(doctor::Args),
}

/// Runs the program with the arguments of the process.
///
/// # Errors
/// What the command says; the caller prints it.
pub fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Train(args) => train::run(&args)?,
        Command::Eval(args) => eval::run(&args)?,
        Command::Detect(args) => detect::run(&args)?,
        Command::Summary(args) => summary::run(&args)?,
        Command::Run(args) => run::run(&args)?,
        Command::Bench(args) => bench::run(&args)?,
        Command::Sweep(args) => sweep::run(&args)?,
        Command::Claims(args) => claims::run(&args)?,
        Command::Selftest(args) => selftest::run(&args)?,
        Command::Doctor(args) => doctor::run(&args)?,
    }
    Ok(())
}
