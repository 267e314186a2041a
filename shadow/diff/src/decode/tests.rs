//! Each encoding, chains of them, broken ones and bombs.

use std::io::Write;

use super::*;

type Headers = Vec<(String, Vec<u8>)>;

fn coded(codings: &[&str]) -> Headers {
    let line = |coding: &&str| ("content-encoding".to_owned(), coding.as_bytes().to_vec());
    codings.iter().map(line).collect()
}

fn decoded(codings: &[&str], bytes: &[u8], budget: &Budget) -> Result<Vec<u8>, Why> {
    let headers = coded(codings);
    body(&Obs { status: 200, headers: &headers, body: bytes }, budget).map(Cow::into_owned)
}

fn packed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut out = Vec::new();
    match coding {
        "gzip" => flate2::write::GzEncoder::new(&mut out, level).write_all(bytes).unwrap(),
        "deflate" => flate2::write::ZlibEncoder::new(&mut out, level).write_all(bytes).unwrap(),
        "raw" => flate2::write::DeflateEncoder::new(&mut out, level).write_all(bytes).unwrap(),
        "zstd" => out = zstd::stream::encode_all(bytes, 1).unwrap(),
        other => panic!("no encoder for {other}"),
    }
    out
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(byte).collect()
}

const TEXT: &[u8] = br#"{"a":1}"#;
/// [`TEXT`], and 64 MiB of zeros, as Node's zlib packs them.
const BROTLI: &str = "0b03807b2261223a317d03";
const BROTLI_BOMB: &str = "cbffff3f002400e2b14072effff8ffff078004401c1680eefd1fffffff00900088c302d0bdffe3ffff1f001200715800baf77ffcffff034002200e0b40f7fe8fffff7f004800c46101e8defff1ffff0f000980382c00ddfbbffcffff032001108705a07bff07";

#[test]
fn each_encoding_and_chain_is_undone() {
    let budget = Budget::default();
    for (codings, bytes) in [
        (&["identity"][..], TEXT.to_vec()),
        (&["gzip"], packed("gzip", TEXT)),
        (&["X-GZip"], packed("gzip", TEXT)),
        (&["deflate"], packed("deflate", TEXT)),
        (&["deflate"], packed("raw", TEXT)),
        (&["zstd"], packed("zstd", TEXT)),
        (&["br"], hex(BROTLI)),
        (&["gzip"], [packed("gzip", &TEXT[..3]), packed("gzip", &TEXT[3..])].concat()),
        (&["zstd"], [packed("zstd", &TEXT[..3]), packed("zstd", &TEXT[3..])].concat()),
        (&["gzip, zstd"], packed("zstd", &packed("gzip", TEXT))),
        (&["br", "gzip"], packed("gzip", &hex(BROTLI))),
    ] {
        assert_eq!(decoded(codings, &bytes, &budget).as_deref(), Ok(TEXT), "{codings:?}");
    }
    assert_eq!(decoded(&["gzip"], b"", &budget).as_deref(), Ok(&b""[..]));
}

#[test]
fn broken_unknown_and_endless_chains_are_undecodable() {
    let budget = Budget::default();
    let five = ["gzip", "gzip", "gzip", "gzip", "gzip"];
    for (codings, bytes) in [
        (&["compress"][..], TEXT.to_vec()),
        (&["gzip"], TEXT.to_vec()),
        (&["gzip"], packed("gzip", TEXT)[..15].to_vec()),
        (&["br"], TEXT.to_vec()),
        (&["br"], hex(BROTLI)[..8].to_vec()),
        (&["br"], hex("1101020304")),
        (&["zstd"], TEXT.to_vec()),
        (&["zstd"], packed("zstd", TEXT)[..8].to_vec()),
        (&["gzip, br"], packed("gzip", TEXT)),
        (&five, packed("gzip", TEXT)),
    ] {
        assert_eq!(decoded(codings, &bytes, &budget), Err(Why::Undecodable), "{codings:?}");
    }
}

#[test]
fn bombs_are_over_budget_after_a_few_mebibytes() {
    let budget = Budget { body_bytes: usize::MAX, ..Budget::default() };
    let zeros = vec![0; 64 << 20];
    let gzip = packed("gzip", &zeros);
    for (codings, bytes) in [
        (&["gzip"][..], packed("gzip", &zeros)),
        (&["deflate"], packed("deflate", &zeros)),
        (&["zstd"], packed("zstd", &zeros)),
        (&["br"], hex(BROTLI_BOMB)),
        (&["gzip, gzip"], packed("gzip", &gzip)),
    ] {
        let started = std::time::Instant::now();
        let outcome = decoded(codings, &bytes, &budget).map(|out| out.len());
        assert_eq!(outcome, Err(Why::OverBudget), "{codings:?}");
        assert!(started.elapsed().as_millis() < 1_000, "{codings:?} {:?}", started.elapsed());
    }
    let twice = Budget { body_bytes: 10_000, ..Budget::default() };
    let chain = packed("gzip", &packed("zstd", &vec![7; 9_000]));
    assert_eq!(decoded(&["zstd, gzip"], &chain, &twice).map(|out| out.len()), Ok(9_000));
    let less = Budget { body_bytes: 9_010, ..Budget::default() };
    assert_eq!(decoded(&["zstd, gzip"], &chain, &less), Err(Why::OverBudget));
}
