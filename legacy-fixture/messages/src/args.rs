//! Arguments of `banyan fixture messages`.

use std::{net::SocketAddr, path::PathBuf};

/// Run the carved messages service.
#[derive(Debug, Clone, clap::Args)]
pub struct MessagesArgs {
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The service's own database: `sqlite:/path/to/file` or `postgres://user@host:port/name`
    #[arg(long, value_name = "URL")]
    pub database: String,
    /// Broker for semantic events: `embedded:/path/broker.db` or `amqp://...`. Without it they stay in the outbox
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Topic exchange that the events go to: this side's raw one
    #[arg(long, default_value = "semantic-events-new", value_name = "NAME")]
    pub exchange: String,
    /// Secret under which sessions and tokens are signed; must be the monolith's
    #[arg(
        long,
        env = "MOTHERSHIP_SECRET",
        default_value = fixture_passport::DEFAULT_SECRET,
        hide_env_values = true
    )]
    pub secret: String,
    /// Answer with four realistic mistakes of a rewrite, for the shadow to find
    #[arg(long)]
    pub defects: bool,
    /// File to write the bound address to, once listening
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Wait this long before each answer, in milliseconds: a slow service
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub delay_ms: u64,
}

impl MessagesArgs {
    /// The defaults of the command line on one database, for programs that start the service themselves.
    pub fn on(database: impl Into<String>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database: database.into(),
            broker: None,
            exchange: "semantic-events-new".to_owned(),
            secret: fixture_passport::DEFAULT_SECRET.to_owned(),
            defects: false,
            ready_file: None,
            delay_ms: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    #[test]
    fn program_defaults_are_the_command_line_defaults() {
        let command = MessagesArgs::augment_args(clap::Command::new("messages"));
        let matches = command.get_matches_from(["messages", "--database", "sqlite:a.db"]);
        let parsed = MessagesArgs::from_arg_matches(&matches).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", MessagesArgs::on("sqlite:a.db")));
    }
}
