//! The table that the data plane walks: declarations and live state of one generation, compiled.
//!
//! Owns matching of a request to an endpoint. It exists so that a request costs one walk of a radix tree. What
//! must stay true: a path that any server could read as a declared endpoint is either matched to it or
//! refused; it never falls through to the default route.

use crate::name::ContextName;
use crate::phase::Phase;
use crate::side::Side;
use crate::spec::{Catalogue, ContextSpec, EndpointKind, EndpointSpec};
use crate::table::{ContextState, RouteTable, Stamp};
use crate::target::{self, Oddity, Target};
use crate::template::Params;
use crate::version::{Epoch, Generation};
use matchit::Router;
use std::sync::Arc;

/// Declarations and live state of one generation, ready for [`crate::decide::decide`].
#[derive(Debug)]
pub struct Compiled {
    /// Version of the table it was made from.
    pub generation: Generation,
    contexts: Vec<RoutedContext>,
    endpoints: Vec<RoutedEndpoint>,
    nodes: Vec<Node>,
    exact: Router<usize>,
    folded: Router<usize>,
}

/// A context as the data plane needs it.
#[derive(Debug)]
pub struct RoutedContext {
    /// The declaration.
    pub spec: ContextSpec,
    /// The live state.
    pub state: ContextState,
}

/// An endpoint as the data plane needs it.
#[derive(Debug)]
pub struct RoutedEndpoint {
    /// The declaration.
    pub spec: EndpointSpec,
    /// Read or write.
    pub kind: EndpointKind,
    /// The live phase; of a write endpoint derived from the owner.
    pub phase: Phase,
    /// Index of its context in [`Compiled::contexts`].
    pub context: usize,
    /// The names of its path's parameters, shared with every match.
    names: Arc<[String]>,
}

/// Endpoints that share one path shape.
#[derive(Debug, Default)]
struct Node {
    endpoints: Vec<usize>,
}

/// Why a catalogue cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Two endpoints answer the same method and path.
    #[error("`{first}` and `{second}` both answer {method} {path}")]
    Twice {
        /// Declared first.
        first: String,
        /// Declared second.
        second: String,
        /// The method both claim.
        method: String,
        /// The path both claim.
        path: String,
    },
    /// Endpoints of different contexts share a path.
    #[error(
        "`{first}` and `{second}` share the path {path} but not the context: a POST with `_method` in its form could not be routed"
    )]
    SharedPath {
        /// Declared first.
        first: String,
        /// Declared second.
        second: String,
        /// The path.
        path: String,
    },
    /// The matcher refused a path.
    #[error("`{endpoint}`: path {path} conflicts with another one")]
    Conflict {
        /// The endpoint.
        endpoint: String,
        /// Its path.
        path: String,
    },
}

/// Result of matching a path and method.
#[derive(Debug)]
pub enum Located {
    /// A declared endpoint.
    Endpoint {
        /// Index into [`Compiled::endpoints`].
        endpoint: usize,
        /// Parameters of the path.
        params: Params,
    },
    /// A declared path with a method that is not declared: the context is known, the endpoint is not.
    Undeclared {
        /// Index into [`Compiled::contexts`].
        context: usize,
        /// Parameters of the path.
        params: Params,
    },
    /// Nothing declared: the default route.
    Nothing,
    /// An odd path that could be read as a declared one.
    Odd(Oddity),
    /// The path is declared, but in another spelling (upper and lower case).
    CaseVariant,
}

/// How the method of a request is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodReading<'a> {
    /// Exactly this method.
    Exact(&'a str),
    /// A POST whose form may name another method in `_method`: any write on the path.
    FormPost,
}

impl Compiled {
    /// Compiles declarations and live state. Endpoints that the table does not know yet start in their
    /// declared phase; those that are no longer declared are left out.
    ///
    /// # Errors
    /// All conflicts between declarations, not just the first.
    pub fn new(catalogue: &Catalogue, table: &RouteTable) -> Result<Self, Vec<CompileError>> {
        let mut compiled = Self {
            generation: table.generation,
            contexts: Vec::new(),
            endpoints: Vec::new(),
            nodes: Vec::new(),
            exact: Router::new(),
            folded: Router::new(),
        };
        let mut errors = Vec::new();
        for spec in &catalogue.contexts {
            let state =
                table.contexts.get(&spec.name).cloned().unwrap_or_else(|| {
                    ContextState::settled(Side::Legacy, Epoch(0), Stamp::default())
                });
            for endpoint in &spec.endpoints {
                let kind = endpoint.kind();
                let phase = match kind {
                    EndpointKind::Read => {
                        table.endpoints.get(&endpoint.name).map_or(endpoint.start, |s| s.phase)
                    }
                    EndpointKind::Write => state.write_phase(),
                };
                compiled.add(
                    RoutedEndpoint {
                        spec: endpoint.clone(),
                        kind,
                        phase,
                        context: compiled.contexts.len(),
                        names: endpoint.path.params().map(str::to_owned).collect(),
                    },
                    &mut errors,
                );
            }
            compiled.contexts.push(RoutedContext { spec: spec.clone(), state });
        }
        if errors.is_empty() { Ok(compiled) } else { Err(errors) }
    }

    fn add(&mut self, endpoint: RoutedEndpoint, errors: &mut Vec<CompileError>) {
        let pattern = endpoint.spec.path.pattern();
        let node = match self.exact.at(&pattern) {
            Ok(found) if self.pattern_of(*found.value) == Some(pattern.clone()) => *found.value,
            Ok(_) | Err(_) => {
                let node = self.nodes.len();
                if self.exact.insert(pattern.clone(), node).is_err() {
                    errors.push(CompileError::Conflict {
                        endpoint: endpoint.spec.name.to_string(),
                        path: endpoint.spec.path.to_string(),
                    });
                    return;
                }
                // Two paths that differ in case only share the folded entry: the first is enough to refuse by.
                drop(self.folded.insert(pattern.to_lowercase(), node));
                self.nodes.push(Node::default());
                node
            }
        };
        for other in &self.nodes[node].endpoints {
            let other = &self.endpoints[*other];
            if other.context != endpoint.context {
                errors.push(CompileError::SharedPath {
                    first: other.spec.name.to_string(),
                    second: endpoint.spec.name.to_string(),
                    path: endpoint.spec.path.to_string(),
                });
            }
            if let Some(method) =
                other.spec.methods.iter().find(|m| endpoint.spec.methods.contains(m))
            {
                errors.push(CompileError::Twice {
                    first: other.spec.name.to_string(),
                    second: endpoint.spec.name.to_string(),
                    method: method.clone(),
                    path: endpoint.spec.path.to_string(),
                });
            }
        }
        self.nodes[node].endpoints.push(self.endpoints.len());
        self.endpoints.push(endpoint);
    }

    fn pattern_of(&self, node: usize) -> Option<String> {
        let first = *self.nodes.get(node)?.endpoints.first()?;
        Some(self.endpoints[first].spec.path.pattern())
    }

    /// The contexts, in file order.
    pub fn contexts(&self) -> &[RoutedContext] {
        &self.contexts
    }

    /// The endpoints, in file order.
    pub fn endpoints(&self) -> &[RoutedEndpoint] {
        &self.endpoints
    }

    /// A context by name.
    pub fn context(&self, name: &ContextName) -> Option<&RoutedContext> {
        self.contexts.iter().find(|context| context.spec.name == *name)
    }

    /// Finds the endpoint of a raw path (no query).
    pub fn locate(&self, raw_path: &[u8], method: MethodReading<'_>) -> Located {
        match target::read(raw_path) {
            Target::Odd { lenient, why } => {
                if self.is_declared_folded(&lenient) {
                    return Located::Odd(why);
                }
                Located::Nothing
            }
            Target::Plain(path) => {
                if let Some((node, params)) = self.find(&path) {
                    return self.choose(node, params, method);
                }
                let folded = path.to_lowercase();
                if self.is_declared_folded(&folded) {
                    return Located::CaseVariant;
                }
                Located::Nothing
            }
        }
    }

    /// The node of a plain path: as it stands, else without Rails' format suffix (`.json`).
    fn find(&self, path: &str) -> Option<(usize, Vec<String>)> {
        let hit = |path: &str| {
            let found = self.exact.at(path).ok()?;
            let values =
                found.params.iter().map(|(_, value)| without_suffix(target::decode(value)));
            let values = values.collect();
            Some((*found.value, values))
        };
        hit(path).or_else(|| hit(without_format(path)?))
    }

    fn is_declared_folded(&self, lenient: &str) -> bool {
        self.folded.at(lenient).is_ok()
            || without_format(lenient).is_some_and(|path| self.folded.at(path).is_ok())
    }

    fn choose(&self, node: usize, values: Vec<String>, method: MethodReading<'_>) -> Located {
        let candidates = &self.nodes[node].endpoints;
        let names = |index: usize| self.endpoints[index].names.clone();
        let by_method = |method: &str| {
            let method = if method == "HEAD" { "GET" } else { method };
            let answers = |m: &String| m == method || (m == "HEAD" && method == "GET");
            candidates.iter().copied().find(|i| self.endpoints[*i].spec.methods.iter().any(answers))
        };
        let any_write =
            || candidates.iter().copied().find(|i| self.endpoints[*i].kind == EndpointKind::Write);
        let found = match method {
            MethodReading::Exact(method) => by_method(method),
            MethodReading::FormPost => by_method("POST").or_else(any_write),
        };
        match (found, candidates.first()) {
            (Some(endpoint), _) => {
                Located::Endpoint { endpoint, params: Params { names: names(endpoint), values } }
            }
            (None, Some(first)) => Located::Undeclared {
                context: self.endpoints[*first].context,
                params: Params { names: names(*first), values },
            },
            (None, None) => Located::Nothing,
        }
    }
}

/// A parameter's value without a Rails format suffix.
fn without_suffix(mut value: String) -> String {
    if let Some(stem) = without_format(&value) {
        value.truncate(stem.len());
    }
    value
}

/// The path without a Rails format suffix such as `.json`, or nothing when it has none.
fn without_format(path: &str) -> Option<&str> {
    let (stem, suffix) = path.rsplit_once('.')?;
    let known = ["json", "html", "xml", "js", "rss", "atom", "csv"].contains(&suffix);
    (known && !stem.is_empty() && !stem.ends_with('/')).then_some(stem)
}
