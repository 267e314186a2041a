//! What failed tests printed, kept while it scrolls by and shown once more at the end.
//!
//! Owns the reading of libtest's output. What must stay true: nothing of the output is held back, and what is kept is bounded.

/// Lines kept of one test, from its first, and bytes of each.
const LINES_MAX: usize = 60;
const BYTES_MAX: usize = 600;
/// Tests kept.
const TESTS_MAX: usize = 20;

/// The sections of the failed tests, without their backtraces.
#[derive(Default)]
pub(crate) struct Failures {
    kept: Vec<Vec<String>>,
    place: Place,
}

/// Where in the output a line stands.
#[derive(Default, PartialEq)]
enum Place {
    #[default]
    Outside,
    Section,
    Backtrace,
}

impl Failures {
    /// Takes the next line of the output.
    pub(crate) fn see(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.place = Place::Section;
            self.kept.push(Vec::new());
        } else if line == "failures:" || line.starts_with("test result:") {
            self.place = Place::Outside;
        } else if line == "stack backtrace:" && self.place == Place::Section {
            self.place = Place::Backtrace;
        } else if line.starts_with("note: ") && self.place == Place::Backtrace {
            self.place = Place::Section;
            return;
        }
        if self.place == Place::Section
            && self.kept.len() <= TESTS_MAX
            && let Some(section) = self.kept.last_mut()
            && section.len() < LINES_MAX
        {
            let end = line.floor_char_boundary(BYTES_MAX.min(line.len()));
            section.push(line.get(..end).unwrap_or_default().to_owned());
        }
    }

    /// The kept lines, in their order; none when nothing failed.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().flatten().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(output: &str) -> Vec<String> {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.see(line));
        failures.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_failed_is_kept_without_its_backtrace() {
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nwhy\nstack backtrace:\n  0: x\nnote: Some details\nkept: /tmp/x\n\n\
                      failures:\n    b\n\ntest result: FAILED. 1 passed\nrunning 1 test\ntest c ... ok\n";
        assert_eq!(kept(output), ["---- b stdout ----", "why", "kept: /tmp/x", ""]);
        assert!(kept("test a ... ok\ntest result: ok.\n").is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let output = format!("---- b stdout ----\n{}", "é".repeat(1_000) + "\n").repeat(30)
            + &"more\n".repeat(1_000);
        assert!(kept(&output).len() <= 20 * 60);
        assert!(kept(&output).iter().all(|line| line.len() <= 600));
    }
}
