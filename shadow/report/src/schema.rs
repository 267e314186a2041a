//! The documented form of the report as JSON.
//!
//! Owns the JSON Schema file. It exists so that a program can rely on the report without reading our code. What must stay true: real
//! reports are valid under it (tested); within one schema number it only grows.

/// JSON Schema (draft 2020-12) of the report, the `data` of `banyan shadow report --json`.
pub const JSON_SCHEMA: &str = include_str!("../schema/banyan.shadow.report-1.json");

#[cfg(test)]
mod tests;
