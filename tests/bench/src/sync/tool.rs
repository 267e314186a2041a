//! Runs the other tools, as a shell would.

use crate::{BenchError, failed};
use std::process::Stdio;
use tokio::process::Command;

/// Runs a line of `sh`; what it needs first, so that an absent program is named as such.
pub(super) async fn shell(needs: &[&'static str], line: &str) -> Result<String, BenchError> {
    for program in needs {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\"", program])
            .stdout(Stdio::null())
            .status()
            .await
            .map_err(failed("run a shell"))?;
        if !found.success() {
            return Err(failed("find a program")(format!("`{program}` is not installed")));
        }
    }
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", line]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(failed("run a tool"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned() + &text;
    let last: Vec<&str> = errors.lines().rev().take(3).collect();
    Err(failed("run a tool")(format!("{}: {}", output.status, last.join("; "))))
}
