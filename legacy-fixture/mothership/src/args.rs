//! The arguments of `banyan fixture mothership`.
//!
//! What must stay true: the defaults are the demo's world (2,000 users, 200,000 messages, no broker).

use crate::seed::SeedPlan;
use fixture_passport::DEFAULT_SECRET;
use std::path::PathBuf;

/// How to run the mothership.
#[derive(Debug, Clone, clap::Args)]
pub struct MothershipArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: String,

    /// Database: `sqlite:/path/file.db` or `mysql://user@host:port/name`. Created and seeded when empty.
    #[arg(long, value_name = "URL")]
    pub database: String,

    /// Broker for semantic events: `embedded:/path/broker.db` or `amqp://...`. Without it no event is sent.
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,

    /// Topic exchange that the events go to.
    #[arg(long, default_value = "semantic-events", value_name = "NAME")]
    pub exchange: String,

    /// Secret of sessions and tokens; services that share it accept the same callers.
    #[arg(long, env = "MOTHERSHIP_SECRET", default_value = DEFAULT_SECRET, hide_env_values = true)]
    pub secret: String,

    /// Requests inside handlers at a time, at most; others wait in a bounded line, then get 503.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,

    /// Seed of the generated world; the same seed and sizes give the same rows.
    #[arg(long, default_value_t = 2014, value_name = "N")]
    pub seed: u64,

    /// Users to seed into an empty database.
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    pub users: u32,

    /// Messages to seed into an empty database.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub messages: u32,

    /// Seed and end, without listening.
    #[arg(long)]
    pub seed_only: bool,

    /// Extra time that each request spends inside its handler, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub think_ms: u64,

    /// File to write the bound address to, once listening.
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
}

impl MothershipArgs {
    /// The defaults of the command line on one database, for programs that start a mothership themselves.
    pub fn on(database: impl Into<String>) -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            database: database.into(),
            broker: None,
            exchange: "semantic-events".to_owned(),
            secret: DEFAULT_SECRET.to_owned(),
            workers: 16,
            seed: 2014,
            users: 2_000,
            messages: 200_000,
            seed_only: false,
            think_ms: 0,
            ready_file: None,
        }
    }

    /// The world to put into an empty database.
    pub fn seed_plan(&self) -> SeedPlan {
        SeedPlan { seed: self.seed, users: self.users, messages: self.messages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    #[test]
    fn program_defaults_are_the_command_line_defaults() {
        let command = MothershipArgs::augment_args(clap::Command::new("mothership"));
        let matches = command.get_matches_from(["mothership", "--database", "sqlite:a.db"]);
        let parsed = MothershipArgs::from_arg_matches(&matches).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", MothershipArgs::on("sqlite:a.db")));
    }
}
