//! A private nginx.
//!
//! Owns its configuration in a temporary folder. What must stay true: the system's nginx and its files are not touched.

use crate::child::Running;
use crate::{BenchError, failed};
use std::process::Command;
use tempfile::TempDir;

/// A private nginx with its folder.
pub(crate) struct Nginx {
    pub(crate) running: Running,
    _folder: TempDir,
}

/// Whether nginx is installed.
pub(crate) fn is_installed() -> bool {
    Command::new("nginx").arg("-v").output().is_ok()
}

impl Nginx {
    /// Starts one worker that forwards to `legacy`, and mirrors to `new` if there is one.
    pub(crate) fn start(legacy: &str, new: Option<&str>) -> Result<Self, BenchError> {
        let folder = TempDir::new().map_err(failed("make a folder"))?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(failed("find a free port"))?;
        let text = configuration(&address.to_string(), legacy, new);
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).map_err(failed("write the configuration of nginx"))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).arg("-e").arg("error.log");
        let running = Running::program(&mut command, address.to_string())?;
        let since = std::time::Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if since.elapsed().as_secs() > 5 {
                return Err(BenchError::Failed {
                    what: "start nginx",
                    detail: "it does not listen".to_owned(),
                });
            }
            std::thread::yield_now();
        }
        Ok(Self { running, _folder: folder })
    }
}

fn configuration(listen: &str, legacy: &str, new: Option<&str>) -> String {
    let forward = |upstream: &str| {
        format!(
            "proxy_pass http://{upstream}$request_uri; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; proxy_set_header Host $host; \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        )
    };
    let upstream = |name: &str, address: &str| {
        format!(
            "upstream {name} {{ server {address}; keepalive 64; keepalive_requests 100000000; }}\n"
        )
    };
    let (mirror, other, servers) = match new {
        None => ("", String::new(), upstream("legacy", legacy)),
        Some(new) => (
            "mirror /mirrored;",
            format!("location = /mirrored {{ internal; {} }}", forward("new")),
            upstream("legacy", legacy) + &upstream("new", new),
        ),
    };
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nworker_processes 1;\nevents {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 100000000;\n\
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n{servers}\
         server {{ listen {listen}; location / {{ {mirror} {} }} {other} }}\n}}\n",
        forward("legacy")
    )
}
