//! What exists: the contexts and endpoints that `banyan.toml` declares.
//!
//! Owns the catalogue and the rules that span several declarations. It holds no live state: editing the
//! file never moves traffic.

use crate::name::{ContextName, EndpointName};
use crate::phase::{Percent, Phase};
use crate::sticky::KeySource;
use crate::template::PathTemplate;
use serde::{Deserialize, Serialize};

/// Whether an endpoint reads or writes. Writes are never mirrored and never retried on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// Safe to ask twice: GET or HEAD.
    Read,
    /// Changes data; goes to the context's owner.
    Write,
}

impl EndpointKind {
    /// `read` or `write`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// One declared endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Its name, `context.name`.
    pub name: EndpointName,
    /// Upper-case methods; all of them reads (GET, HEAD) or all of them writes.
    pub methods: Vec<String>,
    /// The path it answers.
    pub path: PathTemplate,
    /// Phase of a read endpoint when the control store first sees it.
    pub start: Phase,
    /// Share of answered reads that are mirrored while a mirror is planned.
    pub mirror_percent: Percent,
    /// Whether phase `new` still mirrors to legacy, so that rollback stays trustworthy.
    pub mirror_back: bool,
    /// Whether a read that the new side cannot answer falls back to legacy once.
    pub fallback: bool,
    /// Where the canary's sticky key comes from; empty means the context's.
    pub sticky: Vec<KeySource>,
}

/// One declared context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSpec {
    /// Its name.
    pub name: ContextName,
    /// Who a caller is: key of the canary (unless an endpoint says otherwise) and of read-your-writes.
    pub sticky: Vec<KeySource>,
    /// How long, in ms, a writer's reads stay with the owner while the sync has not confirmed the write.
    pub read_your_writes_max_ms: u64,
    /// Its endpoints.
    pub endpoints: Vec<EndpointSpec>,
}

/// Everything that is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The contexts, in file order.
    pub contexts: Vec<ContextSpec>,
}

/// Whether a method reads. Every other method counts as a write.
pub fn is_read_method(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

impl EndpointSpec {
    /// Whether it reads or writes, by its methods. A mixed one counts as a write.
    pub fn kind(&self) -> EndpointKind {
        if self.methods.iter().all(|method| is_read_method(method)) {
            EndpointKind::Read
        } else {
            EndpointKind::Write
        }
    }
}

impl Catalogue {
    /// The declaration of an endpoint.
    pub fn endpoint(&self, name: &EndpointName) -> Option<&EndpointSpec> {
        self.endpoints().find(|endpoint| endpoint.name == *name)
    }

    /// The declaration of a context.
    pub fn context(&self, name: &ContextName) -> Option<&ContextSpec> {
        self.contexts.iter().find(|context| context.name == *name)
    }

    /// All endpoints, in file order.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointSpec> {
        self.contexts.iter().flat_map(|context| &context.endpoints)
    }
}
