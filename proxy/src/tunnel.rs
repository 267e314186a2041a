//! Connections for tunnels (WebSocket).
//!
//! Owns a socket that yields once between a write and the next read. It exists because of a race in pingora-proxy 0.9.1
//! (`proxy_handle_upstream`, see pingora#946): when a side's 101 is read before the end marker of the empty request body,
//! the marker is taken for the end of the tunnel, and the tunnel ends without an error. What must stay true: the first
//! poll after the request's head finds nothing to read, so that the marker, which waits already, is taken first.

use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, OrErr, Result};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Connects tunnels.
#[derive(Debug)]
pub(crate) struct TunnelConnect {
    pub(crate) timeout: Duration,
}

#[async_trait::async_trait]
impl Connect for TunnelConnect {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let no_address = || Error::explain(ErrorType::ConnectNoRoute, "not an internet address");
        let address = address.as_inet().ok_or_else(no_address)?;
        let tcp = tokio::time::timeout(self.timeout, TcpStream::connect(address))
            .await
            .or_err(ErrorType::ConnectTimedout, "connecting a tunnel")?
            .or_err(ErrorType::ConnectRefused, "connecting a tunnel")?;
        tcp.set_nodelay(true).or_err(ErrorType::SocketError, "setting nodelay")?;
        let socket = TurnTaking { tcp, wrote: false };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

/// A socket whose first read after a write yields once.
#[derive(Debug)]
struct TurnTaking {
    tcp: TcpStream,
    wrote: bool,
}

impl AsyncRead for TurnTaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.wrote) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for TurnTaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wrote = true;
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

impl VirtualSocket for TurnTaking {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        // Keep-alive probes are not set: a tunnel has its own time-out, and needs none to notice a dead end.
        if matches!(option, VirtualSockOpt::NoDelay) { self.tcp.set_nodelay(true) } else { Ok(()) }
    }
}
