//! Arguments of `banyan fixture push-notifications` and `banyan fixture stats`.

use std::{net::SocketAddr, path::PathBuf};

/// What both consumers are told.
#[derive(Debug, Clone, clap::Args)]
pub struct ConsumerArgs {
    /// Address of the status pages; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The consumer's own database: `sqlite:/path/to/file`, made when missing
    #[arg(long, value_name = "URL")]
    pub database: String,
    /// The broker: `embedded:/path/broker.db` or `amqp://user:password@host:port/vhost`
    #[arg(long, value_name = "URL")]
    pub broker: String,
    /// The public exchange to bind to
    #[arg(long, default_value = "public-events", value_name = "NAME")]
    pub exchange: String,
    /// Name of the durable queue; without it, the consumer's own name
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Kind of the queue on RabbitMQ
    #[arg(long, value_enum, default_value_t = QueueType::Quorum, value_name = "KIND")]
    pub queue_type: QueueType,
    /// Messages that may be out unacknowledged
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000), value_name = "N")]
    pub prefetch: u16,
    /// Unreadable messages kept aside; beyond that the queue is held until some are removed
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub poison_max: u32,
    /// File to write the bound address to, once the queue is bound and consumed
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
}

/// Kind of a queue on RabbitMQ; the embedded broker has one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum QueueType {
    /// Replicated: for clusters.
    Quorum,
    /// For a single node, and for versions before 3.8.
    Classic,
}

impl ConsumerArgs {
    /// The defaults of the command line, for programs that start a consumer themselves.
    pub fn on(database: impl Into<String>, broker: impl Into<String>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database: database.into(),
            broker: broker.into(),
            exchange: "public-events".to_owned(),
            queue: None,
            queue_type: QueueType::Quorum,
            prefetch: 64,
            poison_max: 1_000,
            ready_file: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    #[test]
    fn program_defaults_are_the_command_line_defaults() {
        let command = ConsumerArgs::augment_args(clap::Command::new("stats"));
        let typed = ["stats", "--database", "sqlite:a.db", "--broker", "embedded:b.db"];
        let parsed = ConsumerArgs::from_arg_matches(&command.get_matches_from(typed)).unwrap();
        let made = ConsumerArgs::on("sqlite:a.db", "embedded:b.db");
        assert_eq!(format!("{parsed:?}"), format!("{made:?}"));
    }
}
