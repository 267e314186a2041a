//! Fuzz targets of the pure parsers and of the diff engine; see the README.

pub mod oracle;
#[cfg(feature = "replay")]
pub mod recording;
