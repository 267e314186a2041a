//! Installs what the machine lacks, then builds and runs `demo` or `verify`.

fn main() {}
