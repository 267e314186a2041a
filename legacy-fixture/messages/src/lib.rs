//! The service carved out of the monolith: a chat model of messages.
