//! The child processes: upstream, bare proxy, Banyan.
//!
//! Owns what each does. What must stay true: each announces its address as its first line, and ends when its standard
//! input is closed, so that none outlives the benchmark.

use crate::{BenchError, Role, failed, shadow};
use banyan_domain::table::{EndpointState, Stamp};
use banyan_domain::{
    Catalogue, Compiled, ContextName, ContextSpec, EndpointName, EndpointSpec, PathTemplate,
    Percent, Phase, RouteTable,
};
use banyan_proxy::{Listen, Live, Proxy, ProxyConfig, Upstream};
use pingora::http::RequestHeader;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::upstreams::peer::HttpPeer;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// What Banyan does with the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// The path is not declared: default route.
    Default,
    /// A declared read in a canary of 50 %, not mirrored.
    Read,
    /// A declared read in phase shadow, all of it mirrored and compared.
    Shadow,
}

/// Answer of the upstreams: a small JSON object with the headers of a Rails application.
const BODY: &str = r#"{"message":{"id":91,"thread_id":12,"subject":"Hi","body":"How are you?","read":true},"ok":1}"#;

/// The whole answer. A wrong length would cost a connection per request and drown every difference.
fn answer() -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n\
         cache-control: max-age=0, private, must-revalidate\r\netag: W/\"5a1d\"\r\n\
         x-request-id: 6f0e\r\nx-runtime: 0.001234\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
    .into_bytes()
}

/// Plays a role until standard input is closed.
pub(crate) fn play(role: &Role) -> Result<(), BenchError> {
    match role {
        Role::Upstream => runtime(1)?.block_on(upstream()),
        Role::Bare { upstream, timeouts } => {
            let times = timeouts.then(|| Duration::from_mins(1));
            bare(upstream, times)
        }
        Role::Banyan { legacy, new, mode } => runtime(1)?.block_on(banyan(legacy, new, *mode)),
    }
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, BenchError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(failed("start a runtime"))
}

fn announce(address: SocketAddr) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    writeln!(out, "{address}").and_then(|()| out.flush()).map_err(failed("announce the address"))
}

/// Waits until the parent closes standard input.
fn wait_for_end() {
    let mut byte = [0u8; 64];
    while std::io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {}
}

async fn until_end() {
    // An error would mean that the wait panicked; the end is then as good.
    drop(tokio::task::spawn_blocking(wait_for_end).await);
}

async fn upstream() -> Result<(), BenchError> {
    let listener =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(failed("bind the upstream"))?;
    announce(listener.local_addr().map_err(failed("bind the upstream"))?)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream));
        }
    });
    until_end().await;
    Ok(())
}

async fn answer_all(mut stream: tokio::net::TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let answer = answer();
    let mut bytes = Vec::with_capacity(4096);
    loop {
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// The least that a pingora proxy can be.
struct Bare {
    upstream: SocketAddr,
    timeout: Option<Duration>,
}

#[async_trait::async_trait]
impl ProxyHttp for Bare {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let mut peer = Box::new(HttpPeer::new(self.upstream, false, String::new()));
        peer.options.connection_timeout = self.timeout;
        peer.options.total_connection_timeout = self.timeout;
        peer.options.read_timeout = self.timeout;
        peer.options.write_timeout = self.timeout;
        peer.options.idle_timeout = self.timeout;
        Ok(peer)
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        _: &mut RequestHeader,
        (): &mut (),
    ) -> pingora::Result<()> {
        Ok(())
    }
}

fn bare(upstream: &str, timeout: Option<Duration>) -> Result<(), BenchError> {
    let upstream = upstream.parse().map_err(failed("read the upstream's address"))?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(failed("find a free port"))?;
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream, timeout });
    service.add_tcp(&free.to_string());
    server.add_service(service);
    std::thread::spawn(move || server.run(RunArgs::default()));
    while std::net::TcpStream::connect(free).is_err() {
        std::thread::yield_now();
    }
    announce(free)?;
    wait_for_end();
    Ok(())
}

async fn banyan(legacy: &str, new: &str, mode: Mode) -> Result<(), BenchError> {
    let context = ContextName::new("messages").map_err(failed("name the context"))?;
    let config = ProxyConfig {
        listen: vec![Listen::clear("127.0.0.1:0")],
        legacy: Upstream::new(legacy),
        new: BTreeMap::from([(context.clone(), Upstream::new(new))]),
        threads: 1,
        grace_ms: 500,
        ..ProxyConfig::default()
    };
    let shadow = match mode {
        Mode::Default | Mode::Read => None,
        Mode::Shadow => Some(shadow::start(legacy, new, &context)?),
    };
    let handle = shadow.as_ref().map(|(handle, _)| handle.clone());
    let live = Live::fixed(table(&context, mode)?);
    let proxy = Proxy::bind(config, live, handle).map_err(failed("bind the proxy"))?;
    let address = *proxy.addresses().first().ok_or("no address").map_err(failed("bind"))?;
    let stop = CancellationToken::new();
    let run = tokio::spawn(proxy.run(stop.clone()));
    announce(address)?;
    until_end().await;
    stop.cancel();
    run.await.map_err(failed("end the proxy"))?.map_err(failed("run the proxy"))?;
    match shadow {
        Some((_, counted)) => counted.report().await,
        None => Ok(()),
    }
}

fn table(context: &ContextName, mode: Mode) -> Result<Compiled, BenchError> {
    let half = Percent::new(50).map_err(failed("halve"))?;
    let (phase, mirrored) = match mode {
        Mode::Default | Mode::Read => (Phase::Canary(half), 0),
        Mode::Shadow => (Phase::Shadow, 100),
    };
    let endpoint = EndpointSpec {
        name: EndpointName::new("messages.list").map_err(failed("name the endpoint"))?,
        methods: vec!["GET".to_owned()],
        path: PathTemplate::new("/users/{user_id}/messages").map_err(failed("read the path"))?,
        start: phase,
        mirror_percent: Percent::new(mirrored).map_err(failed("read the percentage"))?,
        mirror_back: true,
        fallback: true,
        sticky: Vec::new(),
    };
    let sticky = ["header:authorization", "path:user_id"];
    let sticky = sticky.into_iter().map(|source| source.to_owned().try_into());
    let catalogue = Catalogue {
        contexts: vec![ContextSpec {
            name: context.clone(),
            sticky: sticky.collect::<Result<_, _>>().map_err(failed("read the key sources"))?,
            read_your_writes_max_ms: 5_000,
            endpoints: vec![endpoint.clone()],
        }],
    };
    let state = EndpointState { phase, stamp: Stamp::default() };
    let table = RouteTable { endpoints: [(endpoint.name, state)].into(), ..RouteTable::default() };
    Compiled::new(&catalogue, &table).map_err(|errors| BenchError::Failed {
        what: "compile the table",
        detail: errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    })
}
