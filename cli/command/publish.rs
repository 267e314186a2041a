//! A report on its way to people and programs: terminal, JSON, and files.
//!
//! Owns which forms are written where. It exists so that `shadow report`, `shadow gate` and a replay take the same options. What
//! must stay true: a file is there whole or not at all; stdout holds one form; a file that cannot be written is an error, never
//! a verdict.

use crate::args::ReportFiles;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use banyan_report::{
    GateVerdict, MARKDOWN_BYTES_MAX, Report, render_html, render_html_inline, render_junit,
    render_markdown,
};
use std::io::Write as _;
use std::path::Path;

/// Whether at most one form goes to stdout. Who works for long before [`publish`] asks this first.
///
/// # Errors
/// Exit 2 when two do.
pub(crate) fn one_on_stdout(files: &ReportFiles, output: &Output) -> Result<(), Failure> {
    if on_stdout(files) + usize::from(output.is_json()) <= 1 {
        return Ok(());
    }
    let message = "only one form of the report can go to stdout";
    Err(Failure::new("banyan::usage", Exit::Usage, message)
        .hint("give all but one of --json, --inline, --markdown, --junit a file"))
}

fn on_stdout(files: &ReportFiles) -> usize {
    let files = [&files.inline, &files.markdown, &files.junit].into_iter();
    files.filter(|file| file.as_deref().is_some_and(is_stdout)).count()
}

/// Writes the files that were asked for, then `terminal` or the JSON of `json`, unless a file took stdout.
///
/// # Errors
/// Exit 2 when two forms want stdout or a file cannot be written.
pub(crate) fn publish(
    report: &Report,
    files: &ReportFiles,
    output: &Output,
    terminal: impl FnOnce() -> String,
    json: impl FnOnce(&Output),
) -> Result<(), Failure> {
    one_on_stdout(files, output)?;
    if let Some(folder) = &files.html {
        html(report, folder)?;
    }
    if let Some(file) = &files.inline {
        write(file, &render_html_inline(report), output)?;
    }
    if let Some(file) = &files.markdown {
        write(file, &render_markdown(report, MARKDOWN_BYTES_MAX), output)?;
    }
    if let Some(file) = &files.junit {
        let text = render_junit(report).map_err(|error| {
            Failure::of("banyan::shadow::output", Exit::Bug, "cannot render JUnit", &error)
        })?;
        write(file, &text, output)?;
    }
    match (output.is_json(), on_stdout(files)) {
        (true, _) => json(output),
        (false, 0) => output.line(terminal().trim_end()),
        (false, _) => {}
    }
    Ok(())
}

/// The exit code of a verdict.
pub(crate) const fn exit(verdict: GateVerdict) -> Exit {
    match verdict {
        GateVerdict::Pass => Exit::Yes,
        GateVerdict::Fail { .. } => Exit::No,
        GateVerdict::Inconclusive { .. } => Exit::Inconclusive,
    }
}

/// `index.html` comes last, so that it never names a page that is not there yet.
fn html(report: &Report, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    for file in render_html(report).iter().rev() {
        replace(&folder.join(&file.name), &file.text)?;
    }
    Ok(())
}

fn write(file: &Path, text: &str, output: &Output) -> Result<(), Failure> {
    if is_stdout(file) {
        output.line(text.trim_end());
        return Ok(());
    }
    replace(file, text)
}

/// Writes beside the file and renames, so that a reader sees the old report or the new one.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let written = tempfile::Builder::new()
        .prefix(".banyan-report-")
        // As readable as any other file of a build; the report is redacted.
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .and_then(|mut part| {
            part.write_all(text.as_bytes())?;
            part.persist(file).map_err(|error| error.error)
        });
    written.map(drop).map_err(|error| unwritable(file, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write the report to `{}`", path.display());
    // Without the name of the temporary file.
    let cause = error.to_string();
    let cause = cause.split(" at path ").next().unwrap_or_default();
    Failure::new("banyan::shadow::output", Exit::Usage, message)
        .because(cause)
        .hint("check that its folder exists and is writable")
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_report::Gate;

    fn report() -> Report {
        Report::new(1, None, Gate::default(), Vec::new())
    }

    fn quiet(json: bool) -> Output {
        Output::new(json, crate::output::Color::Never, 2, false)
    }

    fn publish_to(files: &ReportFiles, json: bool) -> Result<(), Failure> {
        publish(&report(), files, &quiet(json), String::new, |_| {})
    }

    #[test]
    fn several_forms_are_written_in_one_call_and_replace_older_ones() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(folder.path().join(name));
        std::fs::write(folder.path().join("gate.xml"), "old").unwrap();
        let files = ReportFiles {
            html: at("pages/deep"),
            inline: at("mail.html"),
            markdown: at("comment.md"),
            junit: at("gate.xml"),
        };
        publish_to(&files, false).unwrap();
        for name in ["pages/deep/index.html", "pages/deep/report.css", "mail.html", "comment.md"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
        let junit = std::fs::read_to_string(folder.path().join("gate.xml")).unwrap();
        assert!(junit.contains("<skipped"), "{junit}");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 4, "no part of a file is left behind");
    }

    #[test]
    fn an_unwritable_path_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("missing/comment.md");
        let files = ReportFiles { markdown: Some(file), ..ReportFiles::default() };
        let failure = publish_to(&files, false).unwrap_err();
        assert_eq!((failure.code, failure.exit), ("banyan::shadow::output", Exit::Usage));
        assert!(failure.message.contains("missing/comment.md"), "{}", failure.message);
        std::fs::write(folder.path().join("file"), "").unwrap();
        let files =
            ReportFiles { html: Some(folder.path().join("file")), ..ReportFiles::default() };
        assert_eq!(publish_to(&files, false).unwrap_err().code, "banyan::shadow::output");
    }

    #[test]
    fn stdout_holds_one_form() {
        let dash = || Some(std::path::PathBuf::from("-"));
        let both = ReportFiles { markdown: dash(), junit: dash(), ..ReportFiles::default() };
        assert_eq!(publish_to(&both, false).unwrap_err().exit, Exit::Usage);
        let one = ReportFiles { junit: dash(), ..ReportFiles::default() };
        assert_eq!(publish_to(&one, true).unwrap_err().exit, Exit::Usage);
        publish_to(&one, false).unwrap();
    }
}
