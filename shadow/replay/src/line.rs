//! Lines of a stream, each bounded.
//!
//! Must stay true: a line over the limit is passed over to its end without being kept.

use std::io::{self, BufRead};

/// What a read of one line gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line; its end is not part of it.
    Whole,
    /// Bytes up to the end of the stream without a line end.
    Unfinished,
    /// A line that was too long; what was read of it is gone.
    TooLong,
    /// Nothing more.
    End,
}

/// Reads the next line into `line` (cleared first), without `\n` or `\r\n`.
pub(crate) fn next(
    input: &mut dyn BufRead,
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<Line> {
    let read = next_raw(input, line, bytes_max)?;
    if read == Line::Whole && line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(read)
}

/// The same, but a carriage return stays.
pub(crate) fn next_raw(
    input: &mut dyn BufRead,
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<Line> {
    line.clear();
    let (mut too_long, mut any) = (false, false);
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok(match (any, too_long) {
                (false, _) => Line::End,
                (true, true) => Line::TooLong,
                (true, false) => Line::Unfinished,
            });
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        too_long |= line.len() + part.len() > bytes_max;
        if too_long {
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over_and_the_last_may_lack_its_end() {
        let mut input = io::BufReader::with_capacity(3, &b"ab\r\nlong line\n\nx"[..]);
        let mut line = Vec::new();
        let mut seen = Vec::new();
        loop {
            let read = next(&mut input, &mut line, 4).unwrap();
            seen.push((read, String::from_utf8(line.clone()).unwrap()));
            if read == Line::End {
                break;
            }
        }
        let expected = [
            (Line::Whole, "ab"),
            (Line::TooLong, ""),
            (Line::Whole, ""),
            (Line::Unfinished, "x"),
            (Line::End, ""),
        ];
        assert_eq!(seen, expected.map(|(l, t)| (l, t.to_owned())));
    }
}
