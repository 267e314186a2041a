//! A child process of the benchmark.
//!
//! Owns its start, its CPU time and its end. What must stay true: a child ends with its handle, whatever happens.

use crate::{BenchError, failed};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

/// Clock ticks per second in `/proc`; fixed at 100 on Linux for every architecture that matters here.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running child.
pub(crate) struct Running {
    child: Child,
    /// `host:port` it listens on.
    pub(crate) address: String,
}

impl Running {
    /// Starts this program in a role and waits for its address.
    pub(crate) fn role(arguments: &[&str]) -> Result<Self, BenchError> {
        let program = std::env::current_exe().map_err(failed("find this program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("start a child"))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.as_mut() {
            // One byte at a time, so that nothing after the line is swallowed.
            BufReader::with_capacity(1, out)
                .read_line(&mut line)
                .map_err(failed("hear a child"))?;
        }
        Ok(Self { child, address: line.trim().to_owned() })
    }

    /// Takes a program that listens on a known address.
    pub(crate) fn program(command: &mut Command, address: String) -> Result<Self, BenchError> {
        let child = command.stdin(Stdio::null()).spawn().map_err(failed("start a program"))?;
        Ok(Self { child, address })
    }

    /// CPU seconds it has used so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, BenchError> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).map_err(failed("read the CPU time"))?;
        // Fields 14 and 15, counted after the name, which may hold spaces.
        let after = text.rsplit(')').next().unwrap_or_default();
        let ticks = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Ends it by closing its standard input and gives what it printed last.
    pub(crate) fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut text = String::new();
        if let Some(out) = self.child.stdout.as_mut() {
            // What cannot be read is not shown; the numbers of the run do not depend on it.
            out.read_to_string(&mut text).unwrap_or_default();
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
