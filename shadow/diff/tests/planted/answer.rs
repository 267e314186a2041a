//! One side's answer before and after it is bytes.

use std::io::Write;

use banyan_diff::{Obs, Outcome};

use super::dice::Dice;
use super::html::Page;
use super::json::{J, Style};

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Empty,
    Json(J),
    NdJson(Vec<J>),
    Html(Page),
    Form(Vec<(String, String)>),
    Text(&'static str, String),
    Binary(&'static str, Vec<u8>),
    /// Bytes that stand for themselves, under the type that the headers give.
    Bytes(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) style: Style,
    pub(crate) coding: Coding,
    /// Writes an etag and a length that follow from the body, as servers do.
    pub(crate) derived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
    RawDeflate,
    Brotli,
    Zstd,
}

impl Coding {
    pub(crate) const ALL: [Self; 5] =
        [Self::Gzip, Self::Deflate, Self::RawDeflate, Self::Brotli, Self::Zstd];
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Failed {
    Timeout,
    Refused,
}

/// An answer as it came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) failed: Option<Failed>,
}

impl Raw {
    pub(crate) fn obs(&self) -> Obs<'_> {
        Obs { status: self.status, headers: &self.headers, body: &self.body }
    }

    pub(crate) fn outcome(&self) -> Outcome<'_> {
        match self.failed {
            None => Outcome::Response(self.obs()),
            Some(Failed::Timeout) => Outcome::Timeout,
            Some(Failed::Refused) => Outcome::ConnectError,
        }
    }
}

impl Answer {
    pub(crate) fn ok(body: Body, dice: &mut Dice) -> Self {
        let mut answer = Self {
            status: 200,
            headers: Vec::new(),
            body,
            style: Style::default(),
            coding: Coding::Identity,
            derived: true,
        };
        let media = match &answer.body {
            Body::Json(_) => "application/json; charset=utf-8",
            Body::NdJson(_) => "application/x-ndjson",
            Body::Html(_) => "text/html; charset=utf-8",
            Body::Form(_) => "application/x-www-form-urlencoded",
            Body::Text(media, _) | Body::Binary(media, _) => media,
            Body::Empty | Body::Bytes(_) => "application/octet-stream",
        };
        answer.set("content-type", media);
        answer.set("cache-control", "max-age=0, private, must-revalidate");
        answer.set("x-runtime", &format!("0.{:06}", dice.below(999_999)));
        answer.set("x-request-id", &dice.uuid());
        answer.set("date", "Thu, 12 Jun 2014 10:00:00 GMT");
        answer.set("vary", "Accept, Accept-Encoding, Origin");
        answer.set("x-ratelimit-limit", "600");
        if dice.percent(40) {
            answer.set("link", "</messages?page=2>; rel=\"next\"");
        }
        if dice.percent(60) {
            let session = dice.hex(40);
            answer.add(
                "set-cookie",
                &format!("_session={session}; path=/; HttpOnly; Secure; SameSite=Lax"),
            );
        }
        if dice.percent(30) {
            answer.add("set-cookie", "locale=de; path=/; expires=Thu, 12 Jun 2025 10:00:00 GMT");
        }
        answer
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.headers.iter_mut().find(|(own, _)| own == name) {
            Some(header) => value.clone_into(&mut header.1),
            None => self.add(name, value),
        }
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Drops a header; whether it was there.
    pub(crate) fn drop(&mut self, name: &str) -> bool {
        let before = self.headers.len();
        self.headers.retain(|(own, _)| own != name);
        self.headers.len() < before
    }

    pub(crate) fn json(&self) -> &J {
        let Body::Json(json) = &self.body else { panic!("not JSON") };
        json
    }

    pub(crate) fn json_mut(&mut self) -> &mut J {
        let Body::Json(json) = &mut self.body else { panic!("not JSON") };
        json
    }

    pub(crate) fn raw(&self, dice: &mut Dice) -> Raw {
        let plain: Vec<u8> = match &self.body {
            Body::Empty => Vec::new(),
            Body::Json(json) => self.style.write(json, dice).into_bytes(),
            Body::NdJson(docs) => {
                let style = Style { pretty: false, outer: false, ..self.style.clone() };
                let lines = docs.iter().map(|doc| style.write(doc, dice) + "\n");
                lines.collect::<String>().into_bytes()
            }
            Body::Html(page) => page.write().into_bytes(),
            Body::Form(pairs) => form(pairs).into_bytes(),
            Body::Text(_, text) => text.clone().into_bytes(),
            Body::Binary(_, bytes) | Body::Bytes(bytes) => bytes.clone(),
        };
        let mut headers: Vec<(String, Vec<u8>)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_bytes().to_vec()))
            .collect();
        let mut derived = |name: &str, value: String| {
            if self.get(name).is_none() {
                headers.push((name.to_owned(), value.into_bytes()));
            }
        };
        if self.derived && !plain.is_empty() {
            derived("etag", format!("\"{:016x}\"", fnv(&plain)));
        }
        let body = match self.coding {
            Coding::Identity => plain,
            Coding::Gzip => {
                derived("content-encoding", "gzip".to_owned());
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level());
                encoder.write_all(&plain).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                derived("content-encoding", "deflate".to_owned());
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level());
                encoder.write_all(&plain).unwrap();
                encoder.finish().unwrap()
            }
            Coding::RawDeflate => {
                derived("content-encoding", "deflate".to_owned());
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level());
                encoder.write_all(&plain).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Brotli => {
                derived("content-encoding", "br".to_owned());
                let params = brotli::enc::BrotliEncoderParams { quality: 3, ..Default::default() };
                let mut coded = Vec::new();
                brotli::BrotliCompress(&mut plain.as_slice(), &mut coded, &params).unwrap();
                coded
            }
            Coding::Zstd => {
                derived("content-encoding", "zstd".to_owned());
                zstd::encode_all(plain.as_slice(), 1).unwrap()
            }
        };
        if self.derived {
            derived("content-length", body.len().to_string());
        }
        Raw { status: self.status, headers, body, failed: None }
    }
}

fn level() -> flate2::Compression {
    flate2::Compression::fast()
}

fn form(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
    pairs.join("&")
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
