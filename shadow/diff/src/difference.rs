//! One located difference: where, what kind, both values, how bad.
//!
//! Owns the vocabulary of kinds and the severity each has. It exists as data so that recheck, tally and reports can
//! group without knowing the engine. Must stay true: two differences with one cause in different answers have the same
//! `shape` and `kind`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Fragment, Severity};

/// The part of the answer that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The status line.
    Status,
    /// A header, by its lower-case name.
    Header(String),
    /// A cookie that is set, by its name.
    Cookie(String),
    /// The body.
    Body,
}

/// Where a difference is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Which part of the answer.
    pub part: Part,
    /// RFC 6901 pointer into a JSON body, `/line` (from 0) into text, `/child/child` (elements, from 0) into a page,
    /// else empty. Indices are legacy's where legacy has the element.
    pub pointer: String,
    /// For people, e.g. `$.messages[?@.id==42].subject`, `html:body > ul#inbox > li[3] > a@href`, `header:etag`.
    pub path: String,
    /// For grouping, e.g. `$.messages[*].subject`, `html:body > ul#inbox > li > a@href`; a selector for a rule.
    pub shape: String,
}

/// What changed about a scalar of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueChange {
    /// Another number.
    Number,
    /// A number that is nearly the same (one part in a billion).
    NumberPrecision,
    /// `true` and `false`.
    Bool,
    /// Another text.
    String,
    /// Only upper and lower case differ.
    Case,
    /// Only white space differs.
    Whitespace,
    /// Two different points in time.
    TimeInstant,
    /// The same point in time, written otherwise.
    TimeFormat,
    /// Two URLs that differ only in scheme, host or port.
    UrlHost,
    /// One is the other's UTF-8 read as latin1.
    Encoding,
}

impl ValueChange {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::NumberPrecision => "number_precision",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Case => "case",
            Self::Whitespace => "whitespace",
            Self::TimeInstant => "time_instant",
            Self::TimeFormat => "time_format",
            Self::UrlHost => "url_host",
            Self::Encoding => "encoding",
        }
    }
}

/// What changed about an attribute of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttrChange {
    /// New lacks the attribute.
    Missing,
    /// Legacy lacks the attribute.
    Extra,
    /// Another set of classes.
    Class,
    /// Another value.
    Value(ValueChange),
}

impl AttrChange {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Class => "class",
            Self::Value(change) => change.as_str(),
        }
    }
}

/// How a side failed to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No whole answer in time.
    Timeout,
    /// No connection, or one that broke.
    Refused,
}

impl Failure {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
        }
    }
}

/// What kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Another status code.
    StatusChanged,
    /// Only one side answered at all.
    OutcomeChanged {
        /// What happened on the other side.
        sub: Failure,
    },
    /// Another media type, e.g. JSON became HTML.
    ContentTypeChanged,
    /// Same media type, another charset.
    CharsetChanged,
    /// Legacy sends a header that new does not.
    HeaderMissing,
    /// New sends a header that legacy does not.
    HeaderExtra,
    /// Another header value.
    HeaderChanged,
    /// Legacy sets a cookie that new does not.
    CookieMissing,
    /// New sets a cookie that legacy does not.
    CookieExtra,
    /// A cookie is set with other attributes.
    CookieAttrChanged,
    /// A redirect goes elsewhere.
    RedirectTargetChanged,
    /// Another JSON type, or a body of another form.
    TypeChanged,
    /// Same type, another value.
    ValueChanged {
        /// What changed about it.
        sub: ValueChange,
    },
    /// A member that new lacks.
    KeyMissing,
    /// A member that legacy lacks.
    KeyExtra,
    /// A member that new has under another name; [`Difference::hint`] says which.
    KeyRenamed,
    /// One side has `null`, the other no such member.
    NullVsMissing,
    /// One side has `null`, the other an empty string, array or object.
    NullVsEmpty,
    /// One side writes a number or boolean as a string.
    ScalarAsString,
    /// An element that new lacks.
    ElemMissing,
    /// An element that legacy lacks.
    ElemExtra,
    /// An element that new has in another list; [`Difference::hint`] says where.
    ElemMoved,
    /// The elements that both have are in another order.
    ArrayReordered {
        /// How many elements must move to restore the order.
        moved: u32,
    },
    /// One side repeats a member name.
    DupKey,
    /// An element or text of a page that new lacks.
    HtmlNodeMissing,
    /// An element or text of a page that legacy lacks.
    HtmlNodeExtra,
    /// The same place of a page holds another element.
    HtmlTag,
    /// An attribute of an element differs.
    HtmlAttr {
        /// What changed about it.
        sub: AttrChange,
    },
    /// A text of a page differs.
    HtmlText {
        /// What changed about it.
        sub: ValueChange,
    },
    /// Lines of text differ.
    TextHunk,
    /// Bytes that are no text differ.
    BinaryChanged,
}

impl Kind {
    /// The word without details, e.g. `value_changed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StatusChanged => "status_changed",
            Self::OutcomeChanged { .. } => "outcome_changed",
            Self::ContentTypeChanged => "content_type_changed",
            Self::CharsetChanged => "charset_changed",
            Self::HeaderMissing => "header_missing",
            Self::HeaderExtra => "header_extra",
            Self::HeaderChanged => "header_changed",
            Self::CookieMissing => "cookie_missing",
            Self::CookieExtra => "cookie_extra",
            Self::CookieAttrChanged => "cookie_attr_changed",
            Self::RedirectTargetChanged => "redirect_target_changed",
            Self::TypeChanged => "type_changed",
            Self::ValueChanged { .. } => "value_changed",
            Self::KeyMissing => "key_missing",
            Self::KeyExtra => "key_extra",
            Self::KeyRenamed => "key_renamed",
            Self::NullVsMissing => "null_vs_missing",
            Self::NullVsEmpty => "null_vs_empty",
            Self::ScalarAsString => "scalar_as_string",
            Self::ElemMissing => "elem_missing",
            Self::ElemExtra => "elem_extra",
            Self::ElemMoved => "elem_moved",
            Self::ArrayReordered { .. } => "array_reordered",
            Self::DupKey => "dup_key",
            Self::HtmlNodeMissing => "html_node_missing",
            Self::HtmlNodeExtra => "html_node_extra",
            Self::HtmlTag => "html_tag",
            Self::HtmlAttr { .. } => "html_attr",
            Self::HtmlText { .. } => "html_text",
            Self::TextHunk => "text_hunk",
            Self::BinaryChanged => "binary_changed",
        }
    }

    /// The word for grouping: with the sub-kind of a value, without counts, e.g. `value_changed:time_format`.
    pub fn label(self) -> Cow<'static, str> {
        let sub = match self {
            Self::ValueChanged { sub } | Self::HtmlText { sub } => sub.as_str(),
            Self::HtmlAttr { sub } => sub.as_str(),
            Self::OutcomeChanged { sub } => sub.as_str(),
            Self::StatusChanged
            | Self::ContentTypeChanged
            | Self::CharsetChanged
            | Self::HeaderMissing
            | Self::HeaderExtra
            | Self::HeaderChanged
            | Self::CookieMissing
            | Self::CookieExtra
            | Self::CookieAttrChanged
            | Self::RedirectTargetChanged
            | Self::TypeChanged
            | Self::KeyMissing
            | Self::KeyExtra
            | Self::KeyRenamed
            | Self::NullVsMissing
            | Self::NullVsEmpty
            | Self::ScalarAsString
            | Self::ElemMissing
            | Self::ElemExtra
            | Self::ElemMoved
            | Self::ArrayReordered { .. }
            | Self::DupKey
            | Self::HtmlNodeMissing
            | Self::HtmlNodeExtra
            | Self::HtmlTag
            | Self::TextHunk
            | Self::BinaryChanged => return Cow::Borrowed(self.as_str()),
        };
        Cow::Owned(format!("{}:{sub}", self.as_str()))
    }

    /// The severity of this kind unless the place says otherwise.
    pub(crate) fn severity(self) -> Severity {
        match self {
            Self::StatusChanged
            | Self::OutcomeChanged { .. }
            | Self::ContentTypeChanged
            | Self::RedirectTargetChanged
            | Self::TypeChanged
            | Self::ScalarAsString
            | Self::KeyMissing
            | Self::KeyRenamed
            | Self::ElemMissing
            | Self::ElemMoved
            | Self::HtmlNodeMissing => Severity::Breaking,
            Self::ValueChanged { sub: ValueChange::Whitespace }
            | Self::HtmlText { sub: ValueChange::Whitespace }
            | Self::HtmlAttr { sub: AttrChange::Value(ValueChange::Whitespace) }
            | Self::DupKey => Severity::Cosmetic,
            Self::CharsetChanged
            | Self::HeaderChanged
            | Self::CookieMissing
            | Self::CookieAttrChanged
            | Self::ValueChanged { .. }
            | Self::NullVsMissing
            | Self::NullVsEmpty
            | Self::ElemExtra
            | Self::HtmlNodeExtra
            | Self::HtmlTag
            | Self::HtmlAttr {
                sub: AttrChange::Missing | AttrChange::Class | AttrChange::Value(_),
            }
            | Self::HtmlText { .. }
            | Self::TextHunk
            | Self::BinaryChanged => Severity::Value,
            Self::ArrayReordered { .. } => Severity::Order,
            Self::HeaderMissing
            | Self::HeaderExtra
            | Self::CookieExtra
            | Self::KeyExtra
            | Self::HtmlAttr { sub: AttrChange::Extra } => Severity::Additive,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::ArrayReordered { moved } = self {
            return write!(f, "array_reordered (moved {moved})");
        }
        f.pad(&self.label())
    }
}

/// One located difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where.
    pub location: Location,
    /// What kind.
    pub kind: Kind,
    /// Legacy's value, unredacted; `None` where legacy has none.
    pub legacy: Option<Fragment>,
    /// New's value, unredacted; `None` where new has none.
    pub new: Option<Fragment>,
    /// How bad.
    pub severity: Severity,
    /// The shape of the other place, for what was renamed or moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
