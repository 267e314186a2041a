//! The `banyan` binary: arguments, configuration, output and exit codes; the only code that knows every part.
//!
//! Owns the way from a typed line to an exit code: parse, read the configuration, run the command, print the
//! answer on stdout and everything else on stderr. What must stay true: `main` returns an exit code with
//! one meaning, and every error has passed through [`failure::Failure`].

mod args;
mod command;
mod config;
mod demo;
mod exit;
mod failure;
mod output;
mod wiring;

use args::Arguments;
use clap::Parser;
use exit::Exit;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Both crypto providers are in the tree; without a chosen one rustls panics at first use.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Yes.into() };
        }
    };
    let global = &arguments.global;
    let output = Output::new(global.json, global.color, global.quiet, !global.no_progress);
    wiring::log::start(global.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error_line(&format!("error[banyan::runtime]: cannot start: {error}"));
            return Exit::Bug.into();
        }
    };
    let exit = runtime.block_on(command::run(&arguments, &output)).unwrap_or_else(|failure| {
        failure.print(&output);
        failure.exit
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit.into()
}
