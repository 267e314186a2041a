//! Reading a page piece by piece.
//!
//! Owns the bounds on the HTML parser, which has none of its own: the standard's algorithm is quadratic in the depth of
//! open elements and in the attributes of one tag. Must stay true: the work is charged before the next piece is read,
//! and a piece is small, so that a limit is never overrun by much.

use std::cell::Cell;

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts, create_element};
use html5ever::{QualName, TokenizerResult, local_name, ns};

use super::sink::{ATTRIBUTES_MAX, Id, Raw, Sink};
use crate::Why;
use crate::budget::Meter;

/// Bytes that are read between two looks at the limits.
const PIECE: usize = 256;

/// Steps of a token, and of a byte inside of a long tag or comment: measured, so that a page which uses up the budget has
/// taken about as long as JSON that does. Two pages of 700 kB fit.
const TOKEN_STEPS: usize = 160;
const BYTE_STEPS: usize = 24;

/// How a text is read: as a whole page, or as a piece of one such as a few `<tr>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Page,
    Fragment,
}

/// Builds the tree of a text.
pub(super) fn read(
    text: &str,
    scope: Scope,
    nodes_max: usize,
    meter: &mut Meter,
) -> Result<Vec<Raw>, Why> {
    let whole = StrTendril::from(text);
    let tokenizer = tokenizer(scope, Sink::new(nodes_max));
    let buffer = BufferQueue::default();
    let mut gate = Gate::default();
    let mut from = 0;
    while from < text.len() {
        let sink = &tokenizer.sink.builder.sink;
        let to = piece_end(text, from);
        meter.charge((to - from) * 3)?;
        let (start, len) = (u32::try_from(from), u32::try_from(to - from));
        let (Ok(start), Ok(len)) = (start, len) else { return Err(Why::OverBudget) };
        let tokens = tokenizer.sink.tokens.get();
        buffer.push_back(whole.subtendril(start, len));
        while !matches!(tokenizer.feed(&buffer), TokenizerResult::Done) {}
        let emitted = tokenizer.sink.tokens.get() - tokens;
        // Inside of tags and comments the tokenizer goes byte by byte. For many tokens the parser walks up the open
        // elements, so depth multiplies the work.
        meter.charge(match emitted {
            0 => (to - from) * BYTE_STEPS,
            _ => emitted * (TOKEN_STEPS + 5 * sink.deepest() as usize),
        })?;
        gate.after(text.as_bytes().get(from..to).unwrap_or_default(), emitted > 0, meter)?;
        if let Some(why) = sink.over() {
            return Err(why);
        }
        from = to;
    }
    tokenizer.end();
    let sink = tokenizer.sink.builder.sink;
    match sink.over() {
        Some(why) => Err(why),
        None => Ok(sink.into_nodes()),
    }
}

fn tokenizer(scope: Scope, sink: Sink) -> Tokenizer<Counted> {
    let options = TreeBuilderOpts::default();
    let builder = match scope {
        Scope::Page => TreeBuilder::new(sink, options),
        // Inside of a template any element may stand, also cells without a table.
        Scope::Fragment => {
            let name = QualName::new(None, ns!(html), local_name!("template"));
            let context = create_element(&sink, name, Vec::new());
            TreeBuilder::new_for_fragment(sink, context, None, options)
        }
    };
    Tokenizer::new(Counted { builder, tokens: Cell::new(0) }, TokenizerOpts::default())
}

/// Up to the next tag, at most [`PIECE`] bytes: a piece holds at most the beginning of one tag.
fn piece_end(text: &str, from: usize) -> usize {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    let window = rest.get(..PIECE).unwrap_or(rest);
    let tag = window.iter().skip(1).position(|byte| *byte == b'<');
    let mut to = from + tag.map_or(window.len(), |at| at + 1);
    while !text.is_char_boundary(to) {
        to += 1;
    }
    to
}

/// The tree builder, with a count of what it was told.
struct Counted {
    builder: TreeBuilder<Id, Sink>,
    tokens: Cell<usize>,
}

impl TokenSink for Counted {
    type Handle = Id;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<Id> {
        // Errors are reported from inside of a tag; they do not end it.
        if !matches!(token, Token::ParseError(_)) {
            self.tokens.set(self.tokens.get() + 1);
        }
        self.builder.process_token(token, line)
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// Counts the attributes of a tag that is longer than a piece: each new one is compared with all before it.
#[derive(Default)]
struct Gate {
    open: Option<Open>,
}

/// A construct that began with `<` and has not ended.
struct Open {
    /// Comments and doctypes have no attributes.
    tag: bool,
    attributes: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    TagName,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Quoted(u8),
    Unquoted,
}

impl Gate {
    fn after(&mut self, piece: &[u8], emitted: bool, meter: &mut Meter) -> Result<(), Why> {
        if emitted {
            self.open = None;
            return Ok(());
        }
        if self.open.is_none() {
            let Some(inside) = piece.strip_prefix(b"<") else { return Ok(()) };
            let tag = inside.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'/');
            self.open = Some(Open { tag, attributes: 0, state: State::TagName });
        }
        let Some(open) = self.open.as_mut().filter(|open| open.tag) else { return Ok(()) };
        let before = open.attributes;
        // The first byte is `<`, or `</` where the slash belongs to the name.
        for byte in piece {
            open.step(*byte);
        }
        meter.charge((open.attributes - before) * open.attributes / 4)?;
        if open.attributes > ATTRIBUTES_MAX { Err(Why::OverBudget) } else { Ok(()) }
    }
}

impl Open {
    /// The attribute states of the standard's tokenizer.
    fn step(&mut self, byte: u8) {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0C' | b'/');
        self.state = match (self.state, byte) {
            (State::Quoted(quote), byte) if byte == quote => State::BeforeName,
            (State::Quoted(quote), _) => State::Quoted(quote),
            (State::TagName, _) if !space => State::TagName,
            (State::BeforeValue, b'/') => State::Unquoted,
            (State::BeforeValue, _) if space => State::BeforeValue,
            (State::BeforeValue, b'"' | b'\'') => State::Quoted(byte),
            (State::Unquoted, b'/') | (State::BeforeValue, _) => State::Unquoted,
            (State::Unquoted, _) if !space => State::Unquoted,
            (State::Name | State::AfterName, b'=') => State::BeforeValue,
            (State::Name | State::AfterName, b'/') => State::BeforeName,
            (State::Name | State::AfterName, _) if space => State::AfterName,
            (State::Name, _) => State::Name,
            (State::TagName | State::Unquoted | State::BeforeName, _) if space => State::BeforeName,
            (State::BeforeName | State::AfterName | State::TagName | State::Unquoted, _) => {
                self.attributes += 1;
                State::Name
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(tag: &str) -> usize {
        let mut open = Open { tag: true, attributes: 0, state: State::TagName };
        for byte in tag.bytes() {
            open.step(byte);
        }
        open.attributes
    }

    #[test]
    fn attributes_are_counted_as_the_tokenizer_reads_them() {
        for (tag, count) in [
            ("<a", 0),
            ("<a b", 1),
            ("<a b=c d", 2),
            ("<a b = 'c d \"e' f", 2),
            ("<a b=\"x y z\"c=d", 2),
            ("<a b=/c/d e/f", 3),
            ("<a/b/c", 2),
            ("<a =b", 1),
            ("<a b= c=d e", 2),
        ] {
            assert_eq!(attributes(tag), count, "{tag}");
        }
    }
}
