//! What is never learned as noise.
//!
//! Owns the list of refusals. It exists because learning is the easiest way to hide a defect: a tool that records twice
//! and drops whatever differed also drops the missing field. What must stay true: a refusal depends on the place and the
//! kind only, so that what was refused while learning is refused again when a lock file is read.

use std::fmt;

/// Fields by which elements of a list are told apart.
const IDENTITY: [&str; 10] =
    ["id", "uuid", "_id", "urn", "uri", "href", "key", "slug", "permalink", "name"];

/// Kinds that are a value in its place.
const VALUE_KINDS: [&str; 4] = ["value_changed", "header_changed", "html_attr", "html_text"];

/// Why a place is never noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Something is missing, extra, of another type, or a body of another form.
    Structure,
    /// A value of another class, or of a length outside the band of its class.
    Class,
    /// Elements in another order.
    Order,
    /// A place that is always compared: the status, a redirect, what tells elements apart.
    Protected,
    /// A place that the configuration protects.
    UserProtected,
}

impl Refusal {
    /// All refusals.
    pub const ALL: [Self; 5] =
        [Self::Structure, Self::Class, Self::Order, Self::Protected, Self::UserProtected];

    /// Why this place and kind can never be noise, or nothing. Whether the configuration protects it is the caller's to
    /// know; the endpoint plays no part.
    pub fn of(path: &str, kind: &str) -> Option<Self> {
        let word = kind.split(':').next().unwrap_or(kind);
        if path == "status" || word == "redirect_target_changed" || is_identity(path) {
            return Some(Self::Protected);
        }
        match word {
            "class_changed" => Some(Self::Class),
            "array_reordered" | "elem_moved" => Some(Self::Order),
            word if VALUE_KINDS.contains(&word) => None,
            _ => Some(Self::Structure),
        }
    }

    /// The word for JSON and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Class => "class",
            Self::Order => "order",
            Self::Protected => "protected",
            Self::UserProtected => "user_protected",
        }
    }

    /// What to do instead.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Structure => {
                "a field that comes and goes is a defect of one side; if it is harmless, say so in a `[[shadow.rule]]` with a reason"
            }
            Self::Class => {
                "noise keeps the class of a value; if another class is harmless, say so in a `[[shadow.rule]]` with a reason"
            }
            Self::Order => {
                "if the order has no meaning, write a `[[shadow.rule]]` that compares the list as a set"
            }
            Self::Protected => "this place always counts; what differs there must be mended",
            Self::UserProtected => "the place is listed under `protect` in the configuration",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Structure => "a difference of structure is never noise",
            Self::Class => "a value of another class is never noise",
            Self::Order => "another order is not learned as noise",
            Self::Protected => "the place is protected",
            Self::UserProtected => "the configuration protects the place",
        })
    }
}

/// Whether a path ends in what tells elements apart: `[*].slug`, and ids anywhere.
fn is_identity(path: &str) -> bool {
    let Some((before, last)) = path.rsplit_once('.') else { return false };
    if !path.starts_with('$') {
        return false;
    }
    let always = matches!(last, "id" | "_id" | "uuid" | "urn") || last.ends_with("_id");
    always || (before.ends_with("[*]") && IDENTITY.contains(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_in_an_unprotected_place_can_be_noise() {
        for (path, kind, refusal) in [
            ("$.token", "value_changed:string", None),
            ("$.name", "value_changed:string", None),
            ("header:x-cache", "header_changed", None),
            ("$.messages[*].read_at", "value_changed:time_instant", None),
            ("$.token", "key_missing", Some(Refusal::Structure)),
            ("$.token", "type_changed", Some(Refusal::Structure)),
            ("$.token", "null_vs_missing", Some(Refusal::Structure)),
            ("$.list", "elem_extra", Some(Refusal::Structure)),
            ("header:x-cache", "header_missing", Some(Refusal::Structure)),
            ("$.token", "class_changed:uuid->string", Some(Refusal::Class)),
            ("$.list", "array_reordered", Some(Refusal::Order)),
            ("status", "status_changed", Some(Refusal::Protected)),
            ("header:location", "redirect_target_changed", Some(Refusal::Protected)),
            ("$.messages[*].id", "value_changed:number", Some(Refusal::Protected)),
            ("$.messages[*].slug", "value_changed:string", Some(Refusal::Protected)),
            ("$.sender_id", "value_changed:number", Some(Refusal::Protected)),
            ("$.list", "a_kind_of_tomorrow", Some(Refusal::Structure)),
        ] {
            assert_eq!(Refusal::of(path, kind), refusal, "{path} {kind}");
        }
    }
}
