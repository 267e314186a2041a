//! The peers: diff libraries from PyPI and npm.
//!
//! Owns their installation into a temporary folder and their runs as child processes. What must stay true: nothing is
//! installed elsewhere; a peer that cannot be had is named as absent, with the reason.

use super::Shot;
use crate::{BenchError, failed};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A peer that is installed.
pub(super) struct Peer {
    pub(super) name: &'static str,
    program: &'static str,
    script: PathBuf,
    /// The folder with the peer's package, in the environment variable of its language.
    place: Option<(&'static str, PathBuf)>,
}

/// Installs what can be installed; the rest with the reason.
pub(super) fn install(folder: &Path) -> (Vec<Peer>, Vec<String>) {
    let (mut peers, mut absent) = (Vec::new(), Vec::new());
    let script = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map(|()| path).map_err(|error| error.to_string())
    };
    let python = || {
        let target = folder.join("python");
        let place = target.display().to_string();
        let install = ["-m", "pip", "install", "--quiet", "--target", &place, "deepdiff-rs"];
        done(Command::new("python3").args(install))?;
        Ok::<_, String>((script("peer.py", include_str!("peer.py"))?, target))
    };
    match python() {
        Ok((script, target)) => peers.push(Peer {
            name: "deepdiff-rs",
            program: "python3",
            script,
            place: Some(("PYTHONPATH", target)),
        }),
        Err(why) => absent.push(format!("deepdiff-rs (pip): {why}")),
    }
    let node = || {
        let options = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        let packages = ["microdiff", "fast-json-patch"];
        done(Command::new("npm").args(options).arg(folder).args(packages))?;
        done(Command::new("node").arg("--version"))?;
        script("peer.mjs", include_str!("peer.mjs"))
    };
    match node() {
        Ok(script) => peers.extend(["microdiff", "fast-json-patch"].map(|name| Peer {
            name,
            program: "node",
            script: script.clone(),
            place: None,
        })),
        Err(why) => absent.push(format!("microdiff, fast-json-patch (npm): {why}")),
    }
    (peers, absent)
}

fn done(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("failed without a word").to_owned())
}

impl Peer {
    /// Compares both files, `runs` times after a warm-up.
    pub(super) fn measure(&self, legacy: &Path, new: &Path, runs: u32) -> Result<Shot, BenchError> {
        let mut command = Command::new(self.program);
        command.arg(&self.script).arg(self.name).args([legacy, new]).arg(runs.to_string());
        if let Some((variable, place)) = &self.place {
            command.env(variable, place);
        }
        let output = command.stdin(Stdio::null()).output().map_err(failed("run a peer"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(failed("run a peer")(format!("{}: {said}", self.name)));
        }
        serde_json::from_slice(&output.stdout).map_err(failed("understand a peer"))
    }
}
