use crate::{Ending, Entry, Format, Limits, ReadError, Recorded, RecordedBody, Unread, read};
use std::io::{BufReader, Write as _};
use std::ops::ControlFlow;

fn all(format: Format, bytes: &[u8]) -> (Vec<Recorded>, Vec<(u64, Unread)>, Ending) {
    let (mut recorded, mut skipped) = (Vec::new(), Vec::new());
    // A small buffer: borders of reads must not matter.
    let mut input = BufReader::with_capacity(7, bytes);
    let ending = read(format, &mut input, &Limits::default(), &mut |entry| {
        match entry {
            Entry::Exchange(one) => recorded.push(*one),
            Entry::Skipped { place, why } => skipped.push((place, why)),
        }
        ControlFlow::Continue(())
    });
    (recorded, skipped, ending.unwrap())
}

fn header<'r>(recorded: &'r Recorded, name: &str) -> &'r str {
    std::str::from_utf8(recorded.header(name).unwrap_or(b"-")).unwrap()
}

fn legacy_body(recorded: &Recorded) -> &[u8] {
    match &recorded.legacy.as_ref().unwrap().body {
        RecordedBody::Whole(body) => body,
        RecordedBody::Missing | RecordedBody::Token(_) => panic!("no body: {recorded:?}"),
    }
}

const NGINX: &str = include_str!("samples/access.log");
const HAR: &str = include_str!("samples/browser.har");
const CASSETTE: &str = include_str!("samples/cassette.yml");

#[test]
fn an_access_log_gives_its_reads_and_counts_the_rest() {
    let (recorded, skipped, _) = all(Format::Nginx, NGINX.as_bytes());
    let targets: Vec<_> = recorded.iter().map(|r| (r.method.as_str(), r.target.as_str())).collect();
    let expected = [
        ("GET", "/users/3/messages?page=2"),
        ("HEAD", "/messages/91"),
        ("GET", "/search?q=\"caf\u{e9}\"\\"),
        ("GET", "/v6"),
    ];
    assert_eq!(targets, expected);
    assert_eq!(recorded[0].at_ms, Some(971_211_336_000));
    assert_eq!(recorded[0].session.as_deref(), Some("203.0.113.7"));
    assert_eq!(recorded[1].session.as_deref(), Some("203.0.113.8 ada"));
    assert_eq!(header(&recorded[0], "user-agent"), "Mozilla/5.0 (X11; \"quoted\") Firefox/130");
    assert_eq!(header(&recorded[0], "referer"), "https://app.example/inbox");
    assert_eq!(recorded[1].header("referer"), None);
    let answer = recorded[0].legacy.as_ref().unwrap();
    assert_eq!((answer.status, &answer.body), (200, &RecordedBody::Missing));
    let bad = [
        (3, Unread::UnsafeMethod),
        (5, Unread::Malformed),
        (6, Unread::Malformed),
        (7, Unread::Malformed),
        (8, Unread::UnsafeMethod),
    ];
    assert_eq!(skipped, bad);
}

#[test]
fn an_archive_gives_decoded_bodies_and_skips_sockets_and_writes() {
    let (recorded, skipped, ending) = all(Format::Har, HAR.as_bytes());
    let ids: Vec<_> = recorded.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "6"]);
    assert_eq!(skipped, [(3, Unread::UnsafeMethod), (4, Unread::Upgraded), (5, Unread::Malformed)]);
    assert_eq!(recorded[0].target, "/users/3/messages?page=2");
    assert_eq!(header(&recorded[0], "host"), "api.example");
    assert!(recorded[0].headers.iter().all(|(name, _)| !name.starts_with(':')));
    assert_eq!(recorded[0].at_ms, Some(1_700_000_000_145));
    assert_eq!(legacy_body(&recorded[0]), br#"{"messages":[]}"#);
    let answer = recorded[0].legacy.as_ref().unwrap();
    assert!(answer.headers.iter().all(|(name, _)| name != "content-encoding"));
    assert_eq!(legacy_body(&recorded[1]), b"\x89PNG\x00");
    assert_eq!(recorded[2].legacy, None, "a request that got no answer");
    assert_eq!(ending.warning, None);
}

#[test]
fn an_archive_that_is_cut_off_gives_what_came_before() {
    let cut = HAR.find("\"_resourceType\"").unwrap();
    let (recorded, _, ending) = all(Format::Har, &HAR.as_bytes()[..cut]);
    assert_eq!(recorded.len(), 2);
    assert!(ending.warning.unwrap().contains("behind entry 3"));
    let error = read(Format::Har, &mut &b"{\"log\": 3}"[..], &Limits::default(), &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(matches!(error, Err(ReadError::NotThat { format: "HAR", .. })));
}

#[test]
fn a_huge_entry_of_an_archive_is_not_kept() {
    let har = format!(
        r#"{{"log":{{"entries":[{{"request":{{"url":"http://a/"}}}},"{}"]}}}}"#,
        "x".repeat(100_000)
    );
    let limits = Limits { entry_bytes: 50_000, ..Limits::default() };
    let mut count = 0;
    let ending = read(Format::Har, &mut har.as_bytes(), &limits, &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(count, 1);
    assert!(ending.unwrap().warning.unwrap().contains("larger than is kept"));
}

fn gor(messages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for (head, message) in messages {
        file.extend_from_slice(head.as_bytes());
        file.push(b'\n');
        file.extend_from_slice(message);
        file.extend_from_slice("\n🐵🙈🙉\n".as_bytes());
    }
    file
}

fn goreplay() -> Vec<u8> {
    gor(&[
        (
            "1 aaaaaaaa00000001 1700000000000000000 0",
            b"GET /a?x=1 HTTP/1.1\r\nHost: api.example\r\nCookie: s=1\r\n\r\n",
        ),
        (
            "1 aaaaaaaa00000002 1700000000100000000 0",
            b"GET /b HTTP/1.1\r\nHost: api.example\r\n\r\n",
        ),
        (
            "2 aaaaaaaa00000002 1700000000150000000 50000000",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab\nc\r\n0\r\n\r\n",
        ),
        (
            "2 aaaaaaaa00000001 1700000000200000000 200000000",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":1}",
        ),
        ("3 aaaaaaaa00000001 1700000000300000000 70000000", b"HTTP/1.1 500 Oops\r\n\r\n"),
        (
            "1 aaaaaaaa00000003 1700000000400000000",
            b"POST /c HTTP/1.1\r\nContent-Length: 3\r\n\r\na=1",
        ),
        ("2 aaaaaaaa00000003 1700000000450000000 1", b"HTTP/1.1 201 Created\r\n\r\n"),
        ("2 ffffffff00000009 1700000000450000000 1", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("broken head", b"GET / HTTP/1.1\r\n\r\n"),
        ("1 aaaaaaaa00000004 1700000000500000000", b"not http"),
        ("1 aaaaaaaa00000005 1700000000600000000", b"GET http://api.example/d#f HTTP/1.1\r\n\r\n"),
    ])
}

#[test]
fn goreplay_answers_find_their_requests_in_the_order_of_requests() {
    let (recorded, skipped, _) = all(Format::Gor, &goreplay());
    let targets: Vec<_> = recorded.iter().map(|r| r.target.as_str()).collect();
    assert_eq!(targets, ["/a?x=1", "/b", "/d"]);
    assert_eq!(legacy_body(&recorded[0]), b"{\"a\":1}");
    assert_eq!(recorded[0].new.as_ref().unwrap().status, 500);
    assert_eq!(recorded[0].at_ms, Some(1_700_000_000_000));
    assert_eq!(header(&recorded[0], "cookie"), "s=1");
    assert_eq!(legacy_body(&recorded[1]), b"ab\nc");
    assert_eq!(recorded[1].legacy.as_ref().unwrap().elapsed_ms, Some(50));
    assert_eq!(recorded[2].legacy, None);
    let reasons: Vec<_> = skipped.iter().map(|(_, why)| *why).collect();
    assert_eq!(
        reasons,
        [Unread::NoRequest, Unread::UnsafeMethod, Unread::Malformed, Unread::Malformed]
    );
}

#[test]
fn waiting_requests_are_bounded() {
    let heads: Vec<String> = (0..50).map(|at| format!("1 {at:016x} {at}000000")).collect();
    let messages: Vec<(&str, &[u8])> =
        heads.iter().map(|head| (head.as_str(), &b"GET /a HTTP/1.1\r\n\r\n"[..])).collect();
    let file = gor(&messages);
    let limits = Limits { open_requests: 5, ..Limits::default() };
    let mut seen = 0;
    let ending = read(Format::Gor, &mut file.as_slice(), &limits, &mut |_| {
        seen += 1;
        // Stopped long before the end: earlier entries were given on although no answer came.
        if seen == 40 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, ending.unwrap()), (40, Ending::default()));
}

#[test]
fn a_cassette_gives_its_reads_in_yaml_and_in_json() {
    let (recorded, skipped, ending) = all(Format::Vcr, CASSETTE.as_bytes());
    assert_eq!(ending.warning, None);
    let targets: Vec<_> = recorded.iter().map(|r| r.target.as_str()).collect();
    assert_eq!(targets, ["/users/3", "/avatars/3.png", "/users/4"]);
    assert_eq!(skipped, [(3, Unread::UnsafeMethod), (4, Unread::Malformed)]);
    assert_eq!(header(&recorded[0], "accept"), "application/json");
    assert_eq!(legacy_body(&recorded[0]), br#"{"id":3,"name":"Ada"}"#);
    assert_eq!(recorded[0].at_ms, Some(1_320_123_524_000));
    assert_eq!(legacy_body(&recorded[1]), b"\x89PNG\x00");
    assert_eq!(
        header(&recorded[2], "accept"),
        "application/json",
        "an alias of the first one's headers"
    );
    assert_eq!(legacy_body(&recorded[2]), b"\xff\xfe");

    let json = r#"{"http_interactions":[{"request":{"method":"get","uri":"http://a.example/x?y","headers":{"Accept":["*/*"]}},
        "response":{"status":{"code":404,"message":"Not Found"},"headers":{},"body":{"encoding":"UTF-8","base64_string":"aGk="}},
        "recorded_at":"Tue, 01 Nov 2011 04:58:44 GMT"}],"recorded_with":"VCR 6"}"#;
    let (recorded, skipped, _) = all(Format::Vcr, json.as_bytes());
    assert_eq!((recorded.len(), skipped.len()), (1, 0));
    assert_eq!(recorded[0].target, "/x?y");
    assert_eq!(legacy_body(&recorded[0]), b"hi");
}

#[test]
fn a_cassette_of_aliases_does_not_blow_up_and_a_broken_one_gives_what_came_before() {
    let mut bomb = String::from("a0: &a0 [x, x]\n");
    for level in 1..60 {
        let below = format!("*a{}", level - 1);
        bomb.extend([&format!("a{level}: &a{level} "), "[", &[&*below; 4].join(", "), "]\n"]);
    }
    bomb += "http_interactions:\n- request: {method: get, uri: 'http://a/b', headers: *a59}\n";
    let (recorded, ..) = all(Format::Vcr, bomb.as_bytes());
    assert_eq!(recorded.len(), 1);
    let deep = format!("http_interactions: {}", "[".repeat(100_000));
    let (recorded, _, ending) = all(Format::Vcr, deep.as_bytes());
    assert_eq!(recorded.len(), 0);
    assert!(ending.warning.is_some());
    let cut = CASSETTE.find("avatars").unwrap();
    let (recorded, _, ending) = all(Format::Vcr, &CASSETTE.as_bytes()[..cut]);
    assert!(!recorded.is_empty());
    drop(ending);
}

#[test]
fn the_format_is_told_by_content_also_inside_gzip_and_zstd() {
    let folder = tempfile::tempdir().unwrap();
    let recording = b"{\"banyan\":\"recording\",\"version\":1}\n".to_vec();
    let cases = [
        (Format::Nginx, NGINX.as_bytes().to_vec()),
        (Format::Har, HAR.as_bytes().to_vec()),
        (Format::Gor, goreplay()),
        (Format::Vcr, CASSETTE.as_bytes().to_vec()),
        (Format::Recording, recording),
    ];
    for (format, bytes) in cases {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        let zstd = zstd::bulk::compress(&bytes, 1).unwrap();
        for (name, packed) in
            [("plain", bytes.clone()), ("gz", gzip.finish().unwrap()), ("zst", zstd)]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, packed).unwrap();
            let opened = crate::open(&path, None).unwrap();
            assert_eq!(opened.format, format, "{name}");
        }
    }
    let path = folder.path().join("other");
    std::fs::write(&path, "hello\n").unwrap();
    assert!(matches!(crate::open(&path, None), Err(ReadError::Unknown)));
}

#[test]
fn no_bytes_make_a_reader_panic() {
    use proptest::prelude::*;
    let formats = [Format::Recording, Format::Har, Format::Gor, Format::Nginx, Format::Vcr];
    let pieces = [
        HAR.as_bytes().to_vec(),
        goreplay(),
        NGINX.as_bytes().to_vec(),
        CASSETTE.as_bytes().to_vec(),
        b"{\"banyan\":\"recording\",\"version\":1}\n{\"method\":\"GET\",\"target\":\"/a\"}\n"
            .to_vec(),
    ];
    proptest!(ProptestConfig::with_cases(200), |(
        which in 0..5_usize,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
    )| {
        let mut bytes = pieces[which].clone();
        for (at, byte) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.index(bytes.len()) + 1);
        for format in formats {
            // Whether it can be read does not matter here.
            drop(read(format, &mut bytes.as_slice(), &Limits::default(), &mut |_| ControlFlow::Continue(())));
        }
        let _told = Format::detect(&bytes).is_some();
    });
}
