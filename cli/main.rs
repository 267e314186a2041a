//! The `banyan` binary: arguments, configuration, output and exit codes; the only code that knows every part.

fn main() {}
