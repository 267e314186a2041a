//! Logging to stderr: quiet by default, more with `-v`, or as `BANYAN_LOG` says.

use tracing_subscriber::EnvFilter;

/// These would write the text of answers into the log, and are kept from it whatever the filter says.
const QUIET: [&str; 4] =
    ["pingora_proxy=info", "pingora_core=info", "html5ever=warn", "markup5ever=warn"];

/// Starts logging. `BANYAN_LOG` wins over `-v`.
pub(crate) fn start(verbose: u8) {
    let default = match verbose {
        0 => "warn,access=info",
        1 => "info",
        2.. => "debug,hyper=info,reqwest=info,sqlx=info,rustls=info,h2=info",
    };
    let filter = std::env::var("BANYAN_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new(default));
    let filter =
        QUIET.iter().filter_map(|quiet| quiet.parse().ok()).fold(filter, EnvFilter::add_directive);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (in tests) keeps the first; `init` also bridges the `log` records of pingora.
    drop(subscriber.try_init());
}
