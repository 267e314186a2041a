//! What must hold for the readers of recordings, whatever the bytes.
//!
//! Owns the oracle of all formats: total, the same however the bytes arrive, only reads come out, and what is written in
//! the own format reads back. It is a file of its own because the crate under test brings a network stack with it.

use banyan_replay::{Entry, Format, Limits, read};
use std::io::BufReader;
use std::ops::ControlFlow;

/// Small, so that the bounds are met.
const LIMITS: Limits = Limits { entry_bytes: 4_096, whole_bytes: 65_536, open_requests: 8 };

/// GoReplay messages.
pub fn gor(input: &[u8]) {
    held(Format::Gor, input);
}

/// HAR 1.2.
pub fn har(input: &[u8]) {
    held(Format::Har, input);
}

/// Access logs.
pub fn log(input: &[u8]) {
    held(Format::Nginx, input);
}

/// VCR cassettes.
pub fn vcr(input: &[u8]) {
    held(Format::Vcr, input);
}

/// The own format, decompressed.
pub fn recording(input: &[u8]) {
    held(Format::Recording, input);
}

fn held(format: Format, input: &[u8]) {
    let whole = entries(format, input, input.len().max(1));
    for entry in whole.iter().flatten() {
        if let Entry::Exchange(exchange) = entry {
            let method = exchange.method.as_str();
            assert!(method == "GET" || method == "HEAD", "{method} came out");
            assert!(!exchange.id.is_empty(), "an exchange without a name");
            let line = serde_json::to_vec(exchange).unwrap_or_default();
            let back = serde_json::from_slice::<banyan_replay::Recorded>(&line);
            let back = back.map(|back| banyan_replay::Recorded { place: exchange.place, ..back });
            assert!(back.is_ok_and(|back| back == **exchange), "an exchange does not read back");
        }
    }
    for piece in [1, 7] {
        let pieces = entries(format, input, piece);
        assert!(whole == pieces, "read in pieces of {piece} it is another recording");
    }
}

/// All entries, or nothing when the format refuses the bytes as a whole.
fn entries(format: Format, input: &[u8], piece: usize) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut source = BufReader::with_capacity(piece, input);
    let ending = read(format, &mut source, &LIMITS, &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    });
    let _warning = ending.ok()?;
    Some(entries)
}
