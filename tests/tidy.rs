//! The repository tests itself: import edges, README paths, help snapshots, error codes, file headers.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which of our crates each of our crates may use. Pure cores know nobody but the vocabulary; shells know cores;
/// `proxy` hands exchanges to `shadow`, `events` reads epochs from `control`; only `banyan` knows every part.
const EDGES: &[(&str, &[&str])] = &[
    ("banyan-domain", &[]),
    ("banyan-cutover", &["banyan-domain"]),
    ("banyan-diff", &[]),
    ("banyan-report", &["banyan-domain", "banyan-diff"]),
    ("banyan-template", &["banyan-domain"]),
    ("banyan-noise", &["banyan-diff", "banyan-report"]),
    ("banyan-parity", &["banyan-domain", "banyan-diff", "banyan-report"]),
    ("banyan-engine", &["banyan-domain"]),
    ("banyan-control", &["banyan-domain"]),
    ("banyan-events", &["banyan-domain", "banyan-control"]),
    // The fence row decides who emits; the relay publishes through the broker trait.
    ("banyan-outbox", &["banyan-domain", "banyan-cutover", "banyan-events"]),
    (
        "banyan-shadow",
        &["banyan-domain", "banyan-diff", "banyan-report", "banyan-template", "banyan-noise"],
    ),
    // A replay is a second front end of the shadow engine: same comparison, recheck, tally and gate.
    (
        "banyan-replay",
        &["banyan-domain", "banyan-diff", "banyan-report", "banyan-shadow", "banyan-template"],
    ),
    ("banyan-sync-jobs", &["banyan-domain", "banyan-engine"]),
    ("banyan-seams", &["banyan-domain", "banyan-events"]),
    ("banyan-proxy", &["banyan-domain", "banyan-shadow"]),
    ("banyan-admin", &["banyan-domain", "banyan-control"]),
    ("fixture-passport", &[]),
    ("fixture-mothership", &["banyan-seams", "fixture-passport"]),
    // Once it owns the context, its events are rows of its outbox.
    ("fixture-messages", &["banyan-seams", "banyan-outbox", "fixture-passport"]),
    ("fixture-traffic", &["banyan-seams", "fixture-passport"]),
    // A consumer carves nothing: of `seams` it needs the brokers, and the inbox beside them.
    ("fixture-consumers", &["banyan-seams", "banyan-outbox"]),
    ("banyan-setup", &[]),
    ("banyan-test-servers", &[]),
    ("banyan-bench", &["*"]),
    ("banyan", &["*"]),
];

/// Top-level entries besides hidden and lock files.
const TOP: &[&str] = &[
    "Cargo.toml",
    "proxy",
    "seams",
    "shadow",
    "sync-jobs",
    "legacy-fixture",
    "tests",
    "README.md",
    "cli",
    "clippy.toml",
    "rustfmt.toml",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where a workspace of its own is; its manifest follows no rule of this one.
const OTHER_WORKSPACE: &str = "tests/fuzz";

/// All files below a folder, build output left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn manifests() -> BTreeMap<String, toml::Table> {
    files(&root(), "Cargo.toml")
        .into_iter()
        .filter(|path| !path.starts_with(root().join(OTHER_WORKSPACE)))
        .map(|path| {
            let table: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
            (table["package"]["name"].as_str().unwrap().to_owned(), table)
        })
        .collect()
}

#[test]
fn crates_import_only_what_their_place_allows() {
    let ours: BTreeSet<String> = manifests().into_keys().collect();
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, manifest) in manifests() {
        let may =
            *allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no line in EDGES"));
        let uses = manifest
            .get("dependencies")
            .and_then(toml::Value::as_table)
            .cloned()
            .unwrap_or_default();
        for used in uses.keys().filter(|used| ours.contains(*used)) {
            if !may.contains(&used.as_str()) && may != ["*"] {
                wrong.push(format!("{name} -> {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden edges: {wrong:?}");
}

#[test]
fn every_version_lives_in_the_workspace_table() {
    for (name, manifest) in manifests() {
        for section in ["dependencies", "dev-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (used, value) in table {
                let workspace = value.get("workspace").and_then(toml::Value::as_bool);
                assert_eq!(workspace, Some(true), "{name}: {used} must say `workspace = true`");
            }
        }
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{name} must use the workspace lints"
        );
    }
}

#[test]
fn nothing_new_stands_at_the_top() {
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let fine = name.starts_with('.')
            || name == "Cargo.lock"
            || name == "target"
            || TOP.contains(&name.as_str());
        assert!(fine, "`{name}` has no place at the top level");
    }
}

#[test]
fn each_folder_with_a_crate_has_a_readme_and_its_paths_exist() {
    for manifest in files(&root(), "Cargo.toml") {
        let readme = manifest.with_file_name("README.md");
        assert!(readme.exists(), "{} is missing", readme.display());
    }
    let mut dead = Vec::new();
    for readme in files(&root(), "README.md") {
        let text = std::fs::read_to_string(&readme).unwrap();
        let folder = readme.parent().unwrap();
        for word in text.split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
            let places = [folder.join(word), folder.join("src").join(word), root().join(word)];
            if !places.iter().any(|place| place.exists()) {
                dead.push(format!("{}: `{word}`", readme.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(dead.is_empty(), "README paths that do not exist:\n{}", dead.join("\n"));
}

/// Whether a word in backticks names a file or folder of the repository.
fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let ending = Path::new(word).extension().is_some_and(|e| e == "rs" || e == "md" || e == "toml");
    let folder = word.ends_with('/') && word.len() > 1;
    plain && !word.starts_with(['/', '.', '-']) && (ending || folder) && word != "banyan.toml"
}

#[test]
fn every_command_has_a_help_snapshot() {
    let snapshots = root().join("tests/snapshots");
    let mut missing = Vec::new();
    let mut todo: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(words) = todo.pop() {
        let name = ["help".to_owned()].iter().chain(&words).cloned().collect::<Vec<_>>().join("_");
        let path = snapshots.join(format!("cli__{name}.snap"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            missing.push(name);
            continue;
        };
        // The commands below this one, as its own help lists them.
        let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in listed.take_while(|line| line.starts_with("  ")) {
            let indented = line.starts_with("   ");
            if let (false, Some(word)) = (indented, line.split_whitespace().next()) {
                todo.push([words.as_slice(), &[word.to_owned()]].concat());
            }
        }
    }
    assert!(missing.is_empty(), "no help snapshot of: {missing:?}");
}

#[test]
fn every_error_code_has_its_page() {
    let pages = std::fs::read_to_string(root().join("cli/command/explain.md")).unwrap();
    let mut missing = BTreeSet::new();
    for path in files(&root(), ".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in text.split('"').filter(|word| word.starts_with("banyan::") && word.len() > 8) {
            let code = word.chars().all(|c| c.is_ascii_lowercase() || "_:".contains(c));
            if code && word.matches("::").count() == 2 && !pages.contains(&format!("## {word}\n")) {
                missing.insert(word.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "no page in cli/command/explain.md: {missing:?}");
}

#[test]
fn every_source_file_says_what_it_owns_and_none_is_too_long() {
    let mut wrong = Vec::new();
    for path in files(&root(), ".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        if !text.starts_with("//!") && !shown.contains("/tests") {
            wrong.push(format!("{shown}: no //! header"));
        }
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if code > 560 {
            wrong.push(format!("{shown}: {code} lines before its tests"));
        }
        let stubs = ["todo!(", "unimplemented!("];
        if stubs.iter().any(|stub| text.contains(stub)) && !shown.ends_with("tidy.rs") {
            wrong.push(format!("{shown}: a stub"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
