//! The vocabulary of a migration as types and pure decisions.
