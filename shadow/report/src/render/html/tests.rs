//! The pages keep what CI servers demand of them, whatever stands in the report.

use super::*;
use crate::{Gate, sample};

fn all_pages(report: &Report) -> Vec<HtmlFile> {
    let mut files = render_html(report);
    files.push(HtmlFile { name: "inline.html".to_owned(), text: render_html_inline(report) });
    files
}

/// `BANYAN_HTML=DIR` keeps the pages of this test, to be looked at in a browser.
fn keep(folder: &str, report: &Report) {
    let Ok(root) = std::env::var("BANYAN_HTML") else { return };
    let folder = std::path::Path::new(&root).join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    for file in all_pages(report) {
        std::fs::write(folder.join(file.name), file.text).unwrap();
    }
}

#[test]
fn index_is_as_it_was_looked_at() {
    keep("full", &sample::full());
    keep("hostile", &sample::hostile());
    keep("huge", &sample::huge(50_000));
    insta::assert_snapshot!(render_html(&sample::full())[0].text.replace('>', ">\n"));
}

#[test]
fn pages_have_no_script_no_inline_style_and_fetch_nothing() {
    for report in [sample::full(), sample::hostile(), sample::huge(500)] {
        for file in
            all_pages(&report).iter().filter(|file| file.name.strip_suffix(".html").is_some())
        {
            // What remains of the markup when values cannot open a tag or leave an attribute.
            let tags: Vec<&str> =
                file.text.split('<').skip(1).map(|tag| tag.split('>').next().unwrap()).collect();
            for tag in tags {
                let name = tag.split([' ', '/']).next().unwrap_or_default();
                let quiet = tag.split('"').step_by(2).collect::<String>();
                assert!(!["script", "img", "iframe", "object", "form"].contains(&name), "{tag}");
                assert!(!quiet.contains("style=") && !quiet.contains("onload="), "{tag}");
                assert!(name == "link" || !tag.contains("stylesheet"), "{tag}");
                assert!(!quiet.contains("src="), "{tag}");
            }
            let links = file.text.matches("href=\"").count();
            let ours = file.text.matches("href=\"#endpoint-").count()
                + file.text.matches("href=\"index.html\"").count()
                + file.text.matches("href=\"report.css\"").count()
                + file.text.matches("-messages.kind-").count();
            assert!(links <= ours, "{}: {links} links, {ours} of them ours", file.name);
            let steers = ['\u{1b}', '\u{0}', '\u{202E}'];
            assert!(!file.text.contains(steers), "{}", file.name);
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains("</"));
}

#[test]
fn a_small_report_is_one_page_and_a_large_one_a_page_per_endpoint() {
    let names = |report: &Report| -> Vec<String> {
        render_html(report).into_iter().map(|file| file.name).collect()
    };
    assert_eq!(names(&sample::full()), ["index.html", "report.css"]);
    let large = names(&sample::huge(500));
    assert_eq!(large.len(), 7);
    assert_eq!(large[2], "001-messages.kind-0.html");
    for name in names(&sample::hostile()) {
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)), "{name}");
    }
}

#[test]
fn fifty_thousand_mismatches_render_quickly_in_bounded_pages() {
    let report = sample::huge(50_000);
    let started = std::time::Instant::now();
    let files = all_pages(&report);
    assert!(started.elapsed().as_secs_f64() < 1.0, "{:?}", started.elapsed());
    for file in &files {
        assert!(file.text.len() < 1_500_000, "{}: {}", file.name, file.text.len());
    }
    assert!(files[2].text.contains("cut after 500 of 10,000 groups"));
}

#[test]
fn a_report_of_nothing_says_so() {
    let report = Report::new(1, None, Gate::default(), Vec::new());
    let index = &render_html(&report)[0].text;
    assert!(index.contains("INCONCLUSIVE</span> nothing was compared"), "{index}");
}
