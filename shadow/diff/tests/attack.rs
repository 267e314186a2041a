//! Crafted bodies: each ends with a verdict that is no match, within 50 ms of one core (a page: 100 ms) and 6 x input memory.
//!
//! Run `cargo test --release -p banyan-diff --test attack -- --nocapture` to see the numbers. The time is what the
//! thread spent on a core; without optimisation it may be [`SLOWER`] times as much. Memory is what the process
//! allocated on its heap, beyond the two bodies: [`MEMORY_FREE`] plus six times their size. One test holds them all,
//! because the allocator counts the whole process.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::io::Write;

use banyan_diff::{Budget, Obs, Rule, RuleSet, Verdict, compare};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bound on the time of one comparison in a release build.
const TIME_MS: u128 = 50;

/// The same for pages, whose parser follows many rules that the steps of the budget only estimate.
const PAGE_TIME_MS: u128 = 100;

/// How much slower the dev profile may be, on a machine that does other things too.
const SLOWER: u128 = if cfg!(debug_assertions) { 8 } else { 1 };

/// What a comparison may allocate whatever the size of the bodies.
const MEMORY_FREE: usize = 64 << 20;

const MIB: usize = 1 << 20;

struct Attack {
    name: &'static str,
    media: &'static str,
    coding: &'static str,
    legacy: Vec<u8>,
    new: Vec<u8>,
}

fn attack(
    name: &'static str,
    media: &'static str,
    legacy: impl Into<Vec<u8>>,
    new: impl Into<Vec<u8>>,
) -> Attack {
    Attack { name, media, coding: "identity", legacy: legacy.into(), new: new.into() }
}

fn many(text: &str, bytes: usize) -> String {
    text.repeat(bytes / text.len())
}

fn numbered(bytes: usize, item: impl Fn(usize) -> String) -> String {
    let mut out = String::new();
    let mut at = 0;
    while out.len() < bytes {
        out.push_str(&item(at));
        at += 1;
    }
    out
}

/// SplitMix64, for orders without a pattern.
fn scattered(n: usize) -> usize {
    let mut z = (n as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    usize::try_from((z ^ (z >> 31)) >> 16).unwrap()
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn json() -> Vec<Attack> {
    let media = "application/json";
    let list = |text: String| format!("[{text}0]");
    let other = |text: String| format!("[{text}1]");
    let shuffled = |by: usize| {
        let items: Vec<String> =
            (0..60_000).map(|n| format!("{}", scattered(n / 2 + by * 1_000_000) % 500)).collect();
        format!("[{}]", items.join(","))
    };
    let objects = |edit: &str| {
        numbered(2 * MIB, |n| format!("{{\"a\":{},\"b\":\"{edit}\"}},", scattered(n) % 977))
    };
    vec![
        attack("10 MB of [", media, many("[", 10 * MIB), many("[", 10 * MIB - 1)),
        attack("10 MB of {\"a\":", media, many("{\"a\":", 10 * MIB), many("{\"a\":", 9 * MIB)),
        attack(
            "512 levels, often",
            media,
            list(many(&format!("{}{},", "[".repeat(500), "]".repeat(500)), 4 * MIB)),
            other(many(&format!("{}{},", "[".repeat(500), "]".repeat(500)), 4 * MIB)),
        ),
        attack("10 MB of zeros", media, list(many("0,", 10 * MIB)), other(many("0,", 10 * MIB))),
        attack(
            "1 MB of zeros, another end",
            media,
            list(many("0,", MIB)),
            format!("[1{}]", many(",0", MIB)),
        ),
        attack("4 MB of {},", media, list(many("{},", 4 * MIB)), other(many("{},", 4 * MIB))),
        attack("4 MB of digits", media, many("9", 4 * MIB), many("8", 4 * MIB)),
        attack(
            "4 MB of exponent",
            media,
            format!("1e{}", many("9", 4 * MIB)),
            format!("1e{}", many("8", 4 * MIB)),
        ),
        attack(
            "4 MB of fraction zeros",
            media,
            format!("1.{}1", many("0", 4 * MIB)),
            format!("1.{}2", many("0", 4 * MIB)),
        ),
        attack(
            "4 MB of escapes",
            media,
            format!("\"{}a\"", many("\\u00e9", 4 * MIB)),
            format!("\"{}b\"", many("\\u00e9", 4 * MIB)),
        ),
        attack("4 MB of one line", "text/plain", many("a", 4 * MIB), many("b", 4 * MIB)),
        attack("10 MB of digits", media, many("9", 10 * MIB), many("8", 10 * MIB)),
        attack(
            "10 MB of exponent",
            media,
            format!("1e{}", many("9", 10 * MIB)),
            format!("1e{}", many("8", 10 * MIB)),
        ),
        attack(
            "10 MB of fraction zeros",
            media,
            format!("1.{}1", many("0", 10 * MIB)),
            format!("1.{}2", many("0", 10 * MIB)),
        ),
        attack(
            "numbers of 1 kB",
            media,
            list(numbered(4 * MIB, |n| format!("{n}{},", "7".repeat(1000)))),
            list(numbered(4 * MIB, |n| format!("{n}.{},", "7".repeat(1000)))),
        ),
        attack(
            "one name, 1 MB of times",
            media,
            format!("{{{}\"b\":1}}", many("\"a\":1,", MIB)),
            format!("{{{}\"b\":2}}", many("\"a\":1,", MIB)),
        ),
        attack(
            "10 MB of names",
            media,
            format!("{{{}\"b\":1}}", numbered(10 * MIB, |n| format!("\"{n}\":1,"))),
            format!("{{{}\"b\":2}}", numbered(10 * MIB, |n| format!("\"{n}\":1,"))),
        ),
        attack(
            "names in another order",
            media,
            format!("{{{}\"b\":1}}", numbered(2 * MIB, |n| format!("\"{}\":1,", scattered(n)))),
            format!(
                "{{{}\"b\":1}}",
                numbered(2 * MIB, |n| format!("\"{}\":1,", scattered(80_000 - n.min(80_000))))
            ),
        ),
        attack(
            "10 MB of escapes",
            media,
            format!("\"{}\"", many("\\u0041", 10 * MIB)),
            format!("\"{}\"", many("\\u0042", 10 * MIB)),
        ),
        attack(
            "10 MB of quotes",
            media,
            format!("[{}0]", many("\"\",", 10 * MIB)),
            format!("[{}1]", many("\"\",", 10 * MIB)),
        ),
        attack(
            "10 MB of blanks",
            media,
            format!("{}0", many(" ", 10 * MIB)),
            format!("{}1", many("\n", 10 * MIB)),
        ),
        attack("lists without order", media, shuffled(0), shuffled(1)),
        attack("objects that are alike", media, list(objects("x")), list(objects("y"))),
        attack(
            "ndjson of 10 MB",
            "application/x-ndjson",
            many("{\"a\":1}\n", 10 * MIB),
            many("{\"a\":2}\n", 10 * MIB),
        ),
        attack(
            "events of 10 MB",
            "text/event-stream",
            many("data: 1\n\n", 10 * MIB),
            many("data: 2\n\n", 10 * MIB),
        ),
        attack(
            "form of 10 MB",
            "application/x-www-form-urlencoded",
            numbered(10 * MIB, |n| format!("{n}=1&")),
            numbered(10 * MIB, |n| format!("{n}=2&")),
        ),
    ]
}

fn html() -> Vec<Attack> {
    let media = "text/html; charset=utf-8";
    let two = |text: String| (format!("<p>1</p>{text}"), format!("<p>2</p>{text}"));
    let pages = [
        ("10 MB of <div>", many("<div>", 10 * MIB)),
        ("10 MB of <b>", many("<b>", 10 * MIB)),
        ("10 MB of <a><p>", many("<a><p>", 10 * MIB)),
        (
            "formatting to be reopened",
            format!("{}{}", numbered(3_000, |n| format!("<font a={n}>")), many("<p>", MIB)),
        ),
        ("end tags that match nothing", format!("{}{}", many("<b>", 1_400), many("</x>", 4 * MIB))),
        ("misnested links", format!("{}{}", many("<a><b><i>", 1_800), many("</a></b>", 2 * MIB))),
        ("tables in tables", many("<table><tr><td>", 4 * MIB)),
        ("texts in tables", format!("<table>{}", many("a<b>", 4 * MIB))),
        ("attributes of one tag", format!("<p {}>", numbered(4 * MIB, |n| format!("a{n} ")))),
        ("one attribute of one tag", format!("<p {}>", many("a ", 10 * MIB))),
        ("attributes of html", numbered(4 * MIB, |n| format!("<html a{n}=1>"))),
        ("tag of 10 MB", format!("<{}>", many("a", 10 * MIB))),
        ("names of tags", numbered(4 * MIB, |n| format!("<a{n}>x</a{n}>"))),
        ("comment of 10 MB", format!("<!-- {} -->", many("a b ", 10 * MIB))),
        ("entities", many("&notin;&not", 10 * MIB)),
        ("open comments", many("<!--", 10 * MIB)),
        ("siblings", many("<i>a</i>", 2 * MIB)),
        (
            "siblings that are alike",
            numbered(2 * MIB, |n| format!("<p class=a{}>x</p>", scattered(n) % 977)),
        ),
        ("templates", many("<template>", 4 * MIB)),
        ("selects", format!("<select>{}", many("<option>", 4 * MIB))),
        ("svg in html", many("<svg><desc>", 4 * MIB)),
        ("script of 10 MB", format!("<script>{}</script>", many("<!--<script>", 10 * MIB))),
        ("bytes below", many("<", 10 * MIB)),
    ];
    let mut attacks: Vec<Attack> = pages
        .into_iter()
        .map(|(name, text)| {
            let (legacy, new) = two(text);
            attack(name, media, legacy, new)
        })
        .collect();
    let items = |from: usize| {
        numbered(MIB, |n| format!("<li><b>{}</b> {}</li>", scattered(n + from) % 991, n % 7))
    };
    attacks.push(attack("items without order", media, items(0), items(500_000)));
    attacks.push(attack(
        "page with wrong bytes",
        "text/html",
        [&b"<p>1"[..], &vec![0xE9; 4 * MIB]].concat(),
        [&b"<p>2"[..], &vec![0xE8; 4 * MIB]].concat(),
    ));
    attacks.push(attack(
        "latin1 of 10 MB",
        "text/plain; charset=iso-8859-1",
        vec![0xE9; 10 * MIB],
        "é".repeat(5 * MIB),
    ));
    attacks
}

fn other() -> Vec<Attack> {
    let lines = |by: usize| numbered(4 * MIB, |n| format!("{}\n", scattered(n / 3 + by) % 991));
    vec![
        attack("lines without order", "text/plain", lines(0), lines(1)),
        attack(
            "10 MB of line breaks",
            "text/plain",
            many("\n", 10 * MIB),
            format!("a{}", many("\n", 10 * MIB)),
        ),
        attack("one line of 10 MB", "text/plain", many("a", 10 * MIB), many("b", 10 * MIB)),
        attack("binary of 10 MB", "image/png", vec![1; 10 * MIB], vec![2; 10 * MIB]),
        attack(
            "two lines, swapped",
            "text/plain",
            many("a\nb\n", 2 * MIB),
            many("b\na\n", 2 * MIB),
        ),
    ]
}

fn bombs() -> Vec<Attack> {
    let zeros = vec![b' '; 64 * MIB];
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let small = |coding: &str| {
        let zstd = || zstd::stream::encode_all(&b"1"[..], 1).unwrap();
        if coding == "zstd" { zstd() } else { gzip(b"1") }
    };
    let bomb = |name, coding: &'static str, legacy: Vec<u8>| Attack {
        name,
        media: "application/json",
        coding,
        new: small(coding),
        legacy,
    };
    vec![
        bomb("gzip bomb", "gzip", gzip(&zeros)),
        bomb("gzip in gzip", "gzip, gzip", gzip(&gzip(&zeros))),
        bomb("zstd bomb", "zstd", zstd::stream::encode_all(&zeros[..], 19).unwrap()),
    ]
}

/// Nanoseconds that this thread was on a core.
fn cpu_ns() -> u128 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn run(attack: &Attack, rules: &RuleSet) -> (Verdict, u128, usize) {
    let headers = [
        ("content-type".to_owned(), attack.media.as_bytes().to_vec()),
        ("content-encoding".to_owned(), attack.coding.as_bytes().to_vec()),
    ];
    let answer = |body| Obs { status: 200, headers: &headers, body };
    let (legacy, new) = (answer(&attack.legacy), answer(&attack.new));
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let started = cpu_ns();
    let verdict = compare(&legacy, &new, rules, &Budget::default()).verdict;
    let took = cpu_ns() - started;
    (verdict, took / 1_000, HEAP.peak_usage().saturating_sub(before))
}

#[test]
fn attacks_end_quickly_in_little_memory_and_never_match() {
    let rules = RuleSet::builtin().with([
        Rule::ignore("$..zzz", "test").unwrap(),
        Rule::ignore("html:div > p ~ span.zzz", "test").unwrap(),
    ]);
    let mut failures = Vec::new();
    for attack in json().into_iter().chain(html()).chain(other()).chain(bombs()) {
        let page = attack.media.starts_with("text/html");
        let most_ms = SLOWER * if page { PAGE_TIME_MS } else { TIME_MS };
        let mut best = run(&attack, &rules);
        // A busy machine disturbs caches; what counts is what the work needs.
        for _ in 0..2 {
            if best.1 / 1_000 > most_ms {
                best.1 = best.1.min(run(&attack, &rules).1);
            }
        }
        let (verdict, micros, memory) = best;
        let input = attack.legacy.len() + attack.new.len();
        let verdict_text = format!("{verdict:?}");
        println!(
            "{:<30} {:>6} kB  {:>5}.{} ms  {:>7} kB {:>3}.{} x  {verdict_text}",
            attack.name,
            input >> 10,
            micros / 1_000,
            micros / 100 % 10,
            memory >> 10,
            memory / input,
            memory * 10 / input % 10
        );
        if verdict.is_match() {
            failures.push(format!("{}: {verdict_text}", attack.name));
        }
        if micros / 1_000 > most_ms {
            failures.push(format!("{}: {} ms", attack.name, micros / 1_000));
        }
        if memory > MEMORY_FREE + 6 * input {
            failures.push(format!("{}: {} kB for {} kB", attack.name, memory >> 10, input >> 10));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
