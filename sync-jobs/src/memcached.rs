//! The one command of memcached that sync needs: `delete`, by the text protocol over a plain connection.
//!
//! It is written here because a client library would bring its own pools, hashing and runtime for a line of
//! text and its answer.
//!
//! What must stay true: a key counts as deleted only when the server said so for that key; every wait has a
//! limit; after any error the connection is dropped, because answers could be out of step.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for a connection, and for the answers to one batch.
const LIMIT: Duration = Duration::from_secs(2);
/// Keys sent before their answers are read.
const KEYS_AT_ONCE: usize = 100;
/// Longest answer line that is read.
const LINE_MAX: u64 = 512;
/// Longest key, by the protocol.
pub(crate) const KEY_MAX: usize = 250;

/// Whether the protocol can carry this key.
pub(crate) fn is_legal(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= KEY_MAX
        && !key.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
}

/// A server, with a connection while it works.
pub(crate) struct Memcached {
    server: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Memcached {
    /// A server that is connected to when it is needed.
    pub(crate) fn new(server: String) -> Self {
        Self { server, stream: None }
    }

    /// Deletes these keys; each is gone from the server when this succeeds.
    pub(crate) async fn delete(&mut self, keys: &[String]) -> Result<(), Error> {
        for chunk in keys.chunks(KEYS_AT_ONCE) {
            let done = match timeout(LIMIT, self.delete_chunk(chunk)).await {
                Ok(done) => done,
                Err(_) => Err(Error::new(ErrorKind::TimedOut, "no answer within 2 s")),
            };
            if let Err(error) = done {
                self.stream = None;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn delete_chunk(&mut self, keys: &[String]) -> Result<(), Error> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.server).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        let mut request = String::new();
        for key in keys {
            for piece in ["delete ", key, "\r\n"] {
                request.push_str(piece);
            }
        }
        stream.get_mut().write_all(request.as_bytes()).await?;
        for _ in keys {
            let mut line = String::new();
            (&mut *stream).take(LINE_MAX).read_line(&mut line).await?;
            match line.trim_end() {
                "DELETED" | "NOT_FOUND" => {}
                "" => return Err(Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
                other => {
                    return Err(Error::new(ErrorKind::InvalidData, format!("it said `{other}`")));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn keys_that_the_protocol_cannot_carry_are_told() {
        assert!(is_legal("user/3/inbox") && is_legal("é") && is_legal(&"k".repeat(250)));
        for bad in ["", "a b", "a\nb", "a\r\ndelete b", "a\u{7f}", &"k".repeat(251)] {
            assert!(!is_legal(bad), "{bad:?}");
        }
    }

    /// Answers each line with the next of these; then closes.
    async fn server(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            for answer in answers {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                assert!(line.starts_with("delete ") && line.ends_with("\r\n"));
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn only_the_servers_word_counts() {
        let keys = ["a".to_owned(), "b".to_owned()];
        let good = server(&["DELETED\r\n", "NOT_FOUND\r\n"]).await;
        Memcached::new(good).delete(&keys).await.unwrap();
        for bad in [server(&["DELETED\r\n"]).await, server(&["DELETED\r\n", "ERROR\r\n"]).await] {
            assert!(Memcached::new(bad).delete(&keys).await.is_err());
        }
    }
}
