//! The cases that are compared.
//!
//! Owns what is started for each. What must stay true: every case has the same client, the same upstreams and one
//! proxy thread or worker.

use crate::BenchError;
use crate::child::Running;
use crate::nginx::Nginx;

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    /// A bare pingora proxy.
    Bare,
    /// A bare pingora proxy with time-outs.
    BareTimeouts,
    /// Banyan, default route.
    BanyanDefault,
    /// Banyan, a declared read in a canary.
    BanyanRead,
    /// nginx.
    Nginx,
    /// nginx with its mirror module.
    NginxMirror,
    /// Banyan with 100 % shadow and comparison.
    BanyanShadow,
}

/// A started proxy.
pub(crate) enum Started {
    Role(Running),
    Nginx(Nginx),
}

impl Case {
    pub(crate) const ALL: [Self; 7] = [
        Self::Bare,
        Self::BareTimeouts,
        Self::BanyanDefault,
        Self::BanyanRead,
        Self::Nginx,
        Self::NginxMirror,
        Self::BanyanShadow,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare pingora",
            Self::BareTimeouts => "bare pingora, time-outs set",
            Self::BanyanDefault => "banyan, default route",
            Self::BanyanRead => "banyan, canary read",
            Self::Nginx => "nginx",
            Self::NginxMirror => "nginx + mirror",
            Self::BanyanShadow => "banyan, 100 % shadow + diff",
        }
    }

    pub(crate) const fn needs_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::NginxMirror)
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::BanyanDefault => "/tracks/3/comments?page=2",
            Self::Bare
            | Self::BareTimeouts
            | Self::BanyanRead
            | Self::Nginx
            | Self::NginxMirror
            | Self::BanyanShadow => "/users/3/messages?page=2",
        }
    }

    pub(crate) fn start(self, legacy: &str, new: &str) -> Result<Started, BenchError> {
        Ok(match self {
            Self::Bare => Started::Role(Running::role(&["bare", legacy])?),
            Self::BareTimeouts => Started::Role(Running::role(&["bare", legacy, "--timeouts"])?),
            Self::BanyanDefault => {
                Started::Role(Running::role(&["banyan", legacy, new, "default"])?)
            }
            Self::BanyanRead => Started::Role(Running::role(&["banyan", legacy, new, "read"])?),
            Self::BanyanShadow => Started::Role(Running::role(&["banyan", legacy, new, "shadow"])?),
            Self::Nginx => Started::Nginx(Nginx::start(legacy, None)?),
            Self::NginxMirror => Started::Nginx(Nginx::start(legacy, Some(new))?),
        })
    }
}

impl Started {
    pub(crate) const fn running(&self) -> &Running {
        match self {
            Self::Role(running) => running,
            Self::Nginx(nginx) => &nginx.running,
        }
    }

    /// Ends it and gives what it printed last.
    pub(crate) fn end(self) -> String {
        match self {
            Self::Role(running) => running.end(),
            Self::Nginx(_) => String::new(),
        }
    }
}
