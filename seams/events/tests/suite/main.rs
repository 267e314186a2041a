//! The promises of the brokers and of the forwarder, kept on both brokers by the same tests.

mod broker;
mod embedded;
mod rabbit_server;
mod world;
