//! No value of an answer or a request reaches a file, a table, a report or the log.
//!
//! Secrets of many forms are planted wherever an answer or a request has a place for them; both sides differ in all of
//! them; the real process mirrors, rechecks, confirms, saves and reports. Then every byte it left behind is searched for
//! every secret, as it is and escaped. `BANYAN_SEEDS=20` tries more of them; a failure prints its seed.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use support::{Folder, free_port};

/// Kinds of answers; each has its own secrets on each side.
const KINDS: [&str; 9] =
    ["json", "html", "text", "form", "ndjson", "binary", "error", "redirect", "broken"];
/// Secrets per kind and side.
const EACH: usize = 12;

/// Secrets by a small generator: the same for the same seed.
struct Secrets {
    state: u64,
    list: Vec<String>,
}

impl Secrets {
    fn new(seed: u64) -> Self {
        let mut secrets =
            Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, list: vec![] };
        for nth in 0..KINDS.len() * 2 * EACH + 12 {
            let secret = secrets.next(nth);
            secrets.list.push(secret);
        }
        secrets
    }

    fn dice(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % below
    }

    fn text(&mut self, from: &str, count: usize) -> String {
        let from: Vec<char> = from.chars().collect();
        let len = from.len() as u64;
        (0..count).map(|_| from[usize::try_from(self.dice(len)).unwrap()]).collect()
    }

    /// One secret of each form in turn.
    fn next(&mut self, nth: usize) -> String {
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
        const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        match nth % 9 {
            0 => format!(
                "{}.{}@{}.example",
                self.text(LOWER, 6),
                self.text(LOWER, 7),
                self.text(LOWER, 8)
            ),
            1 => format!("+49151{}", self.text("0123456789", 9)),
            2 => self.card(),
            3 => format!(
                "10.{}.{}.{}",
                100 + self.dice(99),
                100 + self.dice(99),
                100 + self.dice(99)
            ),
            4 => format!(
                "eyJ{}9.{}.{}",
                self.text(BASE64, 17),
                self.text(BASE64, 24),
                self.text(BASE64, 20)
            ),
            5 => {
                format!("{} {} {}!", self.text(LOWER, 9), self.text(LOWER, 8), self.text(LOWER, 7))
            }
            6 => format!("7{}a{}", self.text("0123456789abcdef", 30), self.text("0123456789", 6)),
            7 => format!("Zoë-{}-Müller-{}", self.text(LOWER, 8), self.text(LOWER, 6)),
            _ => format!(
                "\"{}\\{}<{}>",
                self.text(LOWER, 8),
                self.text(LOWER, 8),
                self.text(LOWER, 8)
            ),
        }
    }

    fn card(&mut self) -> String {
        let mut digits: Vec<u64> = vec![4];
        digits.extend((0..14).map(|_| self.dice(10)));
        let sum: u64 = digits
            .iter()
            .rev()
            .enumerate()
            .map(|(at, digit)| if at % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
            .sum();
        digits.push((10 - sum % 10) % 10);
        digits.iter().map(ToString::to_string).collect()
    }

    /// The secrets of a kind on a side.
    fn of(&self, kind: usize, side: usize) -> &[String] {
        let from = (kind * 2 + side) * EACH;
        &self.list[from..from + EACH]
    }

    /// Those of the requests.
    fn of_requests(&self) -> &[String] {
        &self.list[KINDS.len() * 2 * EACH..]
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(*chunk.get(at).unwrap_or(&0)));
        let word = a << 16 | b << 8 | c;
        // The last, partial group depends on what follows; leave it out.
        let whole = if chunk.len() == 3 { 4 } else { 0 };
        for at in 0..whole {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}

/// How a secret could look in a file, in lower case.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap();
    let json = json.trim_matches('"').to_owned();
    let ascii: String = secret
        .chars()
        .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) })
        .collect();
    let html = secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let mut forms =
        vec![secret.to_owned(), json, ascii, html, percent(secret), base64(secret.as_bytes())];
    forms.push(forms[5].replace('+', "-").replace('/', "_"));
    // Nor a large part of it.
    forms.push(secret.chars().take(14).collect());
    for form in &mut forms {
        *form = form.to_lowercase();
    }
    forms.sort();
    forms.dedup();
    forms.retain(|form| form.len() >= 8);
    forms
}

struct Side {
    secrets: Arc<Secrets>,
    side: usize,
}

async fn answer(State(side): State<Arc<Side>>, request: Request) -> Response {
    let kind = request.uri().path().split('/').nth(1).unwrap_or_default();
    let kind = KINDS.iter().position(|known| *known == kind).unwrap();
    let s = side.secrets.of(kind, side.side);
    let status = if side.side == 0 { "active" } else { "suspended" };
    let (code, media, body) = match KINDS[kind] {
        "json" => {
            let mut map = serde_json::Map::new();
            map.insert(s[0].clone(), json!(s[1]));
            // `$.contact` is on the list of places that are shown: only what looks like a secret is kept from there.
            let contact = s.iter().find(|secret| secret.contains('@')).unwrap();
            let body = json!({ "status": status, "contact": contact, "text": s[3], "list": [s[4], s[5]],
                "map": map, "deep": { "a": [{ "id": 1, "v": s[6] }, { "id": s[7], "v": 1 }] } });
            (200, "application/json", body.to_string())
        }
        "html" => {
            let html =
                |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            let s: Vec<String> = s.iter().map(|text| html(text)).collect();
            let body = format!(
                "<!doctype html><html><head><title>{}</title><meta name=\"csrf-token\" content=\"{}\"></head>\
                <body class=\"{}\" data-x=\"{}\"><p id=\"{}\">{}</p><!-- {} --><script>var t='{}'</script>\
                <a href=\"/u/{}\">{}</a></body></html>",
                s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[0]
            );
            (200, "text/html; charset=utf-8", body)
        }
        "text" => (200, "text/plain", format!("hello\n{}\n{}\nbye {}\n", s[0], s[1], s[2])),
        "form" => {
            let body = format!("name={}&{}={}&c=1", percent(&s[0]), percent(&s[1]), percent(&s[2]));
            (200, "application/x-www-form-urlencoded", body)
        }
        "ndjson" => {
            let body = format!("{}\n{}\n", json!({ "a": s[0] }), json!({ "a": s[1], "b": [s[2]] }));
            (200, "application/x-ndjson", body)
        }
        "binary" => (200, "application/octet-stream", format!("\u{0}\u{1}{}\u{2}{}", s[0], s[1])),
        "error" if side.side == 1 => {
            (500, "text/plain", format!("exception: {} at {}", s[0], s[1]))
        }
        "error" => (200, "application/json", json!({ "a": s[0] }).to_string()),
        "redirect" => (302, "text/plain", String::new()),
        _ => (200, "application/json", format!("{{\"a\": \"{}\", \"b\": ", percent(&s[0]))),
    };
    let mut response = (StatusCode::from_u16(code).unwrap(), body).into_response();
    let headers = response.headers_mut();
    let mut add = |name: &'static str, value: String| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    };
    headers_of(&mut add, s);
    response.headers_mut().insert("content-type", HeaderValue::from_static(media));
    response
}

fn headers_of(add: &mut impl FnMut(&'static str, String), s: &[String]) {
    add("set-cookie", format!("session={}; path=/; domain={}", percent(&s[8]), percent(&s[9])));
    add("set-cookie", format!("{}=1", percent(&s[10])));
    // This place is on the list of those that are shown: only what looks like a secret is kept from there.
    add("x-note", s.iter().find(|secret| secret.contains('@')).unwrap().clone());
    add("location", format!("/u/{}?t={}", percent(&s[10]), percent(&s[11])));
    add("etag", format!("\"{}\"", percent(&s[11])));
    add("link", format!("</a/{}>; rel=\"next\"", percent(&s[8])));
}

async fn serve(secrets: &Arc<Secrets>, side: usize) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let state = Arc::new(Side { secrets: secrets.clone(), side });
    let app = Router::new().fallback(answer).with_state(state);
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

fn config(legacy: u16, new: u16, proxy: u16) -> String {
    let admin = free_port();
    let text = format!(
        "[proxy]\nlisten = \"127.0.0.1:{proxy}\"\nlegacy = \"http://127.0.0.1:{legacy}\"\n\
        [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
        [shadow]\nrecheck = [\"50ms\", \"100ms\", \"200ms\"]\nrecheck-quiet = \"300ms\"\n\
        show = [\"$.status\", \"$.contact\", \"header:set-cookie\", \"header:x-note\"]\n\
        [[context]]\nname = \"docs\"\nnew = \"http://127.0.0.1:{new}\"\n"
    );
    let endpoint = |kind| {
        format!(
            "[[context.endpoint]]\nname = \"docs.{kind}\"\nrequest = \"GET /{kind}/{{id}}\"\nphase = \"shadow\"\n"
        )
    };
    text + &KINDS.map(endpoint).concat()
}

async fn traffic(proxy: u16, secrets: &Secrets) -> u64 {
    let policy = reqwest::redirect::Policy::none();
    let client = reqwest::Client::builder().redirect(policy).build().unwrap();
    let s = secrets.of_requests();
    let mut reads = 0;
    for kind in KINDS {
        for turn in 0..2 {
            let url = format!(
                "http://127.0.0.1:{proxy}/{kind}/{}?q={}&{}=1&page=2",
                percent(&s[turn]),
                percent(&s[2 + turn]),
                percent(&s[4 + turn])
            );
            let ascii = |text: &str| text.replace(|c: char| !c.is_ascii(), "");
            let request = client
                .get(url)
                .header("authorization", format!("Bearer {}", ascii(&s[6])))
                .header("cookie", format!("session={}; {}=1", percent(&s[7]), percent(&s[8])))
                .header("x-user", ascii(&s[9]))
                .header("referer", format!("http://a/{}", percent(&s[10])))
                .header("user-agent", ascii(&s[11]));
            drop(request.send().await);
            reads += 1;
        }
    }
    reads
}

/// Reports of every form; those that this version does not have are refused with exit 2.
fn reports(folder: &Folder) -> String {
    let forms: [&[&str]; 10] = [
        &["shadow", "report"],
        &["shadow", "report", "--json"],
        &["shadow", "report", "--markdown"],
        &["shadow", "report", "--junit"],
        &["shadow", "report", "--html", "html"],
        &["shadow", "gate", "--json"],
        &["shadow", "noise", "list"],
        &["shadow", "rules", "suggest"],
        &["status", "--json"],
        &["audit"],
    ];
    forms.map(|arguments| folder.run(arguments)).concat()
}

/// Every file of a folder, by name.
fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn look(folder: &Folder, reads: u64, secrets: &Secrets, seed: u64) {
    support::wait_until(&format!("{reads} outcomes (log: {})", folder.log()), || {
        let report = folder.json(&["shadow", "report"]);
        let of = |endpoint: &serde_json::Value| {
            let skipped = endpoint["skipped"].as_object().unwrap().values();
            let skipped: u64 = skipped.filter_map(serde_json::Value::as_u64).sum();
            endpoint["compared"].as_u64().unwrap() + skipped
        };
        report["endpoints"].as_array().unwrap().iter().map(of).sum::<u64>() >= reads
    });
    let reports = reports(folder);
    assert!(reports.contains("suspended"), "a place that is shown is shown: {reports}");
    assert!(reports.contains("$.contact") && reports.contains("tok:"), "{reports}");
    let mut found = files(folder.path());
    let databases = found.iter().filter(|(name, _)| name.contains("banyan-control.db")).count();
    assert!(
        databases > 0 && found.iter().any(|(name, text)| name.ends_with("log") && !text.is_empty())
    );
    found.push(("the reports".to_owned(), reports.into_bytes()));
    for (name, bytes) in found {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        for secret in &secrets.list {
            for form in forms(secret) {
                if let Some(at) = text.find(&form) {
                    let near = text.get(at..).unwrap_or_default();
                    let near: String = near.chars().take(120).collect();
                    assert!(
                        text.is_empty(),
                        "seed {seed}: `{form}` of `{secret}` is in {name}: {near}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_is_in_any_file_table_report_or_log() {
    let wanted = std::env::var("BANYAN_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 1..=wanted.unwrap_or(2) {
        let secrets = Arc::new(Secrets::new(seed));
        let (legacy, new) = (serve(&secrets, 0).await, serve(&secrets, 1).await);
        let proxy = free_port();
        let folder = Folder::with_config(&config(legacy, new, proxy));
        let log = ["serve", "-vv", "--only", "proxy,shadow", "--ready-file", "ready"];
        let serving = folder.start(&log);
        folder.wait_for_file("ready");
        let reads = traffic(proxy, &secrets).await;
        tokio::task::spawn_blocking(move || {
            look(&folder, reads, &secrets, seed);
            drop(serving);
        })
        .await
        .unwrap();
    }
}
