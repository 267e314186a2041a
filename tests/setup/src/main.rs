//! `cargo demo` and `cargo verify`: installs what the machine lacks, then builds and runs.
//!
//! Owns the list of Debian packages the two commands need. It uses the standard library only, so that it builds
//! in a second on a machine with nothing but Rust, gcc and apt. What must stay true: it says what it
//! does before it does it, installs only what is missing, and neither starts nor stops a service.

mod failures;

use failures::Failures;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A program that must be there, and the Debian package that has it.
struct Need {
    /// Any of these paths will do.
    paths: &'static [&'static str],
    package: &'static str,
    why: &'static str,
}

const BUILD: &[Need] =
    &[Need { paths: &["cmake"], package: "cmake", why: "pingora builds zlib-ng with it" }];

const SERVERS: &[Need] = &[
    Need {
        paths: &["/usr/sbin/mariadbd"],
        package: "mariadb-server",
        why: "tests start a private legacy database",
    },
    Need {
        paths: &[
            "/usr/lib/postgresql/15/bin/postgres",
            "/usr/lib/postgresql/16/bin/postgres",
            "/usr/lib/postgresql/17/bin/postgres",
        ],
        package: "postgresql",
        why: "tests start a private service database",
    },
    Need {
        paths: &["/usr/lib/rabbitmq/bin/rabbitmq-server"],
        package: "rabbitmq-server",
        why: "tests start a private broker",
    },
    Need {
        paths: &["/usr/bin/memcached"],
        package: "memcached",
        why: "tests start a private cache, as in front of a legacy application",
    },
];

const POLICY: &str = "/usr/sbin/policy-rc.d";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "demo" => demo(rest),
        Some((command, rest)) if command == "verify" => verify(rest),
        Some(_) | None => Err("usage: cargo demo [-- OPTIONS] | cargo verify".to_owned()),
    };
    match result {
        Ok(code) => code,
        Err(why) => {
            say(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn demo(options: &[String]) -> Result<ExitCode, String> {
    install(BUILD)?;
    say("building (the first time takes some minutes)");
    run(cargo(&["build", "--quiet", "--package", "banyan", "--bin", "banyan"]))?;
    let options = options.iter().filter(|option| *option != "--");
    let mut banyan =
        cargo(&["run", "--quiet", "--package", "banyan", "--bin", "banyan", "--", "demo"]);
    let status = banyan.args(options).status().map_err(|error| error.to_string())?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn verify(options: &[String]) -> Result<ExitCode, String> {
    if !options.is_empty() {
        return Err(format!("`cargo verify` takes no options, found {options:?}"));
    }
    install(BUILD)?;
    install(SERVERS)?;
    step("format", cargo(&["fmt", "--all", "--check"]))?;
    step(
        "lint",
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    )?;
    let mut test = cargo(&["test", "--workspace", "--no-fail-fast"]);
    // Under verify an absent server is a failure, not a skipped test.
    test.env("BANYAN_TEST_NO_SKIP", "1").env("INSTA_UPDATE", "no");
    timed("test", || run_tests(test))?;
    say("verify: all steps passed");
    Ok(ExitCode::SUCCESS)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

fn step(name: &str, command: Command) -> Result<(), String> {
    timed(name, || run(command))
}

fn timed(name: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    say(&format!("verify: {name}"));
    let started = Instant::now();
    work().map_err(|why| format!("step `{name}`: {why}"))?;
    say(&format!("verify: {name} passed in {} s", started.elapsed().as_secs()));
    Ok(())
}

fn run(mut command: Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

/// Runs the tests; what the failed ones said is said again at the end, where it is found.
fn run_tests(mut command: Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let failures = Arc::new(Mutex::new(Failures::default()));
    let (done, is_done) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        let failures = Arc::clone(&failures);
        std::thread::spawn(move || done.send(pass_on(output, &failures)));
    }
    let status = child.wait().map_err(failed)?;
    // A process that a test left behind may still hold the other end.
    if let Ok(passed_on) = is_done.recv_timeout(Duration::from_secs(5)) {
        passed_on.map_err(failed)?;
    }
    if status.success() {
        return Ok(());
    }
    say("what failed, again:");
    failures.lock().unwrap_or_else(PoisonError::into_inner).lines().for_each(say);
    Err(format!("{shown}: {status}"))
}

/// Writes on what the tests write, line by line.
fn pass_on(output: ChildStdout, failures: &Mutex<Failures>) -> std::io::Result<()> {
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .see(&String::from_utf8_lossy(&line));
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn install(needs: &[Need]) -> Result<(), String> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        say(&format!("missing: {} ({})", need.package, need.why));
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !on_path("apt-get") {
        return Err(format!("no apt-get here; please install: {}", packages.join(" ")));
    }
    say(&format!("installing with apt-get: {}", packages.join(" ")));
    let guard = NoServices::hold()?;
    run(apt(&["update", "-qq"]))?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&packages);
    let installed = run(apt(&arguments));
    drop(guard);
    installed
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = if is_root() { Command::new("apt-get") } else { Command::new("sudo") };
    if !is_root() {
        command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    }
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// While it lives, packages do not start their services: Debian asks this file first.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn hold() -> Result<Self, String> {
        if Path::new(POLICY).exists() || !is_root() {
            return Ok(Self { ours: false });
        }
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .map_err(|error| format!("{POLICY}: {error}"))?;
        run({
            let mut chmod = Command::new("chmod");
            chmod.args(["+x", POLICY]);
            chmod
        })?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            say(&format!("please remove {POLICY}: {error}"));
        }
    }
}

impl Need {
    fn is_there(&self) -> bool {
        self.paths
            .iter()
            .any(|path| if path.contains('/') { Path::new(path).exists() } else { on_path(path) })
    }
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[expect(clippy::print_stderr, reason = "this program's only output is what it tells the person")]
fn say(text: &str) {
    eprintln!("[setup] {text}");
}
