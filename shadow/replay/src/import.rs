//! Readers of foreign formats.
//!
//! Each reads a stream entry by entry and never stops at a bad one. What must stay true: pure but for the stream; total
//! on any bytes; what a format does not say stays unknown, nothing is made up.

pub mod gor;
pub mod har;
pub mod nginx;
pub mod vcr;

#[cfg(test)]
mod tests;
