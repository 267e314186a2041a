//! memcached.

use crate::process::{Server, accepts, boot, directory, find, free_ports, is_root};
use std::process::Command;

/// Starts memcached with 16 MiB and the text protocol.
///
/// # Errors
/// Why it cannot, such as that it is not installed.
pub fn memcached() -> Result<Server, String> {
    let server = find(&["memcached"], &["/usr/bin"])?;
    let directory = directory()?;
    let [port] = free_ports()?;
    let mut start = Command::new(server);
    start.args(["-l", "127.0.0.1", "-U", "0", "-m", "16", "-t", "1", "-p", &port.to_string()]);
    if is_root(directory.path()) {
        start.args(["-u", "nobody"]);
    }
    boot(start, port, directory, accepts)
}
