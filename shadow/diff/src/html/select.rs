//! CSS selectors of rules: `html:ul#inbox > li time`, `html:input[name=authenticity_token]@value`.
//!
//! Owns the reading of such a selector and its run over a page; the matching itself is the `selectors` crate's, which
//! browsers use. Must stay true: a selector that cannot be read is an error with its place, never one that selects
//! nothing; pseudo-classes of a living page (`:hover`) and pseudo-elements are refused.

use std::fmt;

use cssparser::ToCss;
use html5ever::LocalName;
use precomputed_hash::PrecomputedHash;
use selectors::attr::{AttrSelectorOperation, CaseSensitivity, NamespaceConstraint};
use selectors::bloom::BloomFilter;
use selectors::context::{
    MatchingContext, MatchingForInvalidation, MatchingMode, NeedsSelectorFlags, QuirksMode,
    SelectorCaches,
};
use selectors::matching::{ElementSelectorFlags, matches_selector_list};
use selectors::parser::{ParseRelative, SelectorList, SelectorParseErrorKind};
use selectors::{OpaqueElement, SelectorImpl};

use super::dom::{Dom, NodeId};

/// Longest selector.
const SELECTOR_MAX: usize = 1_000;

/// Where in a page a rule applies.
#[derive(Clone)]
pub(crate) struct CssTarget {
    what: What,
    text: String,
}

#[derive(Clone)]
enum What {
    Doctype,
    Element(SelectorList<Css>),
    /// Attributes of that name, or all with `*`.
    Attribute(SelectorList<Css>, String),
}

impl fmt::Debug for CssTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CssTarget({})", self.text)
    }
}

impl PartialEq for CssTarget {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CssTarget {}

impl CssTarget {
    /// Reads what follows `html:`; the error is the byte where it cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, usize> {
        // White space at the beginning stays, so that the place of an error is a place in what was written.
        let text = text.trim_end();
        if text == "!doctype" {
            return Ok(Self { what: What::Doctype, text: text.to_owned() });
        }
        if text.len() > SELECTOR_MAX {
            return Err(SELECTOR_MAX);
        }
        let (css, attr) = attribute(text);
        let mut parser = cssparser::Parser::new(css);
        let list = SelectorList::parse(&Css, &mut parser, ParseRelative::No);
        let list = list.map_err(|_| parser.position().byte_index().min(css.len()))?;
        let what = match attr {
            Some("") => return Err(text.len()),
            Some(name) => What::Attribute(list, name.to_owned()),
            None => What::Element(list),
        };
        Ok(Self { what, text: text.to_owned() })
    }

    /// The selector as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it selects the doctype.
    pub(crate) fn is_doctype(&self) -> bool {
        matches!(self.what, What::Doctype)
    }

    /// The attribute that it selects, `*` for all; `None` for whole elements.
    pub(crate) fn attr(&self) -> Option<&str> {
        match &self.what {
            What::Attribute(_, name) => Some(name),
            What::Doctype | What::Element(_) => None,
        }
    }

    /// Calls `hit` for each element that the selector matches.
    pub(crate) fn each(&self, page: &Page<'_>, mut hit: impl FnMut(NodeId)) {
        let list = match &self.what {
            What::Doctype => return,
            What::Element(list) | What::Attribute(list, _) => list,
        };
        let mut caches = SelectorCaches::default();
        let mut context = MatchingContext::new(
            MatchingMode::Normal,
            None,
            &mut caches,
            QuirksMode::NoQuirks,
            NeedsSelectorFlags::No,
            MatchingForInvalidation::No,
        );
        for id in page.dom.ids().filter(|id| page.dom.is_element(*id)) {
            if matches_selector_list(list, Element { page, id }, &mut context) {
                hit(id);
            }
        }
    }
}

/// Parts `li > a@href` into selector and attribute.
fn attribute(text: &str) -> (&str, Option<&str>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_:.*".contains(c);
    match text.rsplit_once('@') {
        Some((css, name)) if name.chars().all(is_name) => (css, Some(name)),
        Some(_) | None => (text, None),
    }
}

/// A page with the links that selectors need.
pub(crate) struct Page<'a> {
    dom: &'a Dom,
    /// The element before each node, under the same parent.
    before: Vec<Option<NodeId>>,
}

impl<'a> Page<'a> {
    pub(crate) fn of(dom: &'a Dom) -> Self {
        let mut before = vec![None; dom.len()];
        for parent in dom.ids() {
            let mut last = None;
            for child in dom.children(parent) {
                if let Some(slot) = before.get_mut(child.0 as usize) {
                    *slot = last;
                }
                if dom.is_element(child) {
                    last = Some(child);
                }
            }
        }
        Self { dom, before }
    }
}

/// The kinds of names that selectors are made of, and the rules of reading them.
#[derive(Debug, Clone)]
pub(crate) struct Css;

/// A word in a selector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Word(LocalName);

/// A value in a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Literal(String);

/// What no selector of a rule can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Never {}

impl SelectorImpl for Css {
    type ExtraMatchingData<'a> = ();
    type AttrValue = Literal;
    type Identifier = Word;
    type LocalName = Word;
    type NamespaceUrl = Word;
    type NamespacePrefix = Word;
    type BorrowedNamespaceUrl = Word;
    type BorrowedLocalName = Word;
    type NonTSPseudoClass = Never;
    type PseudoElement = Never;
}

impl selectors::parser::Parser<'_> for Css {
    type Impl = Self;
    type Error = SelectorParseErrorKind;

    fn parse_is_and_where(&self) -> bool {
        true
    }

    fn allow_forgiving_selectors(&self) -> bool {
        false
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self(LocalName::from(text))
    }
}

impl PrecomputedHash for Word {
    fn precomputed_hash(&self) -> u32 {
        self.0.precomputed_hash()
    }
}

impl ToCss for Word {
    fn to_css<W: fmt::Write>(&self, dest: &mut W) -> fmt::Result {
        cssparser::serialize_identifier(&self.0, dest)
    }
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl AsRef<str> for Literal {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl ToCss for Literal {
    fn to_css<W: fmt::Write>(&self, dest: &mut W) -> fmt::Result {
        cssparser::serialize_string(&self.0, dest)
    }
}

impl ToCss for Never {
    fn to_css<W: fmt::Write>(&self, _dest: &mut W) -> fmt::Result {
        match *self {}
    }
}

impl selectors::parser::NonTSPseudoClass for Never {
    fn is_active_or_hover(&self) -> bool {
        match *self {}
    }

    fn is_user_action_state(&self) -> bool {
        match *self {}
    }
}

impl selectors::parser::PseudoElement for Never {}

/// An element of a page, as selectors see it.
#[derive(Clone, Copy)]
struct Element<'a> {
    page: &'a Page<'a>,
    id: NodeId,
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.id)
    }
}

impl Element<'_> {
    fn at(&self, id: NodeId) -> Self {
        Self { page: self.page, id }
    }

    fn attr(&self, name: &str) -> Option<&str> {
        self.page.dom.attr(self.id, name)
    }
}

impl selectors::Element for Element<'_> {
    type Impl = Css;

    fn opaque(&self) -> OpaqueElement {
        OpaqueElement::new(self.page.dom.node(self.id))
    }

    fn parent_element(&self) -> Option<Self> {
        self.page.dom.parent(self.id).map(|id| self.at(id))
    }

    fn parent_node_is_shadow_root(&self) -> bool {
        false
    }

    fn containing_shadow_host(&self) -> Option<Self> {
        None
    }

    fn is_pseudo_element(&self) -> bool {
        false
    }

    fn prev_sibling_element(&self) -> Option<Self> {
        let before = self.page.before.get(self.id.0 as usize).copied().flatten();
        before.map(|id| self.at(id))
    }

    fn next_sibling_element(&self) -> Option<Self> {
        let (dom, parent) = (self.page.dom, self.page.dom.parent(self.id)?);
        let (mut at, end) = (dom.next(self.id), dom.next(parent));
        while at < end {
            if dom.is_element(at) {
                return Some(self.at(at));
            }
            at = dom.next(at);
        }
        None
    }

    fn first_element_child(&self) -> Option<Self> {
        let dom = self.page.dom;
        dom.children(self.id).find(|child| dom.is_element(*child)).map(|id| self.at(id))
    }

    fn is_html_element_in_html_document(&self) -> bool {
        true
    }

    fn has_local_name(&self, name: &Word) -> bool {
        self.page.dom.node(self.id).name.as_ref() == Some(&name.0)
    }

    fn has_namespace(&self, _namespace: &Word) -> bool {
        true
    }

    fn is_same_type(&self, other: &Self) -> bool {
        self.page.dom.node(self.id).name == other.page.dom.node(other.id).name
    }

    fn attr_matches(
        &self,
        _namespace: &NamespaceConstraint<&Word>,
        name: &Word,
        operation: &AttrSelectorOperation<&Literal>,
    ) -> bool {
        self.attr(&name.0).is_some_and(|value| operation.eval_str(value))
    }

    fn match_non_ts_pseudo_class(
        &self,
        class: &Never,
        _context: &mut MatchingContext<'_, Css>,
    ) -> bool {
        match *class {}
    }

    fn match_pseudo_element(
        &self,
        element: &Never,
        _context: &mut MatchingContext<'_, Css>,
    ) -> bool {
        match *element {}
    }

    fn apply_selector_flags(&self, _flags: ElementSelectorFlags) {}

    fn is_link(&self) -> bool {
        false
    }

    fn is_html_slot_element(&self) -> bool {
        false
    }

    fn has_id(&self, id: &Word, case: CaseSensitivity) -> bool {
        self.attr("id").is_some_and(|own| case.eq(own.as_bytes(), id.0.as_bytes()))
    }

    fn has_class(&self, name: &Word, case: CaseSensitivity) -> bool {
        let mut own = self.attr("class").unwrap_or_default().split(' ');
        own.any(|own| case.eq(own.as_bytes(), name.0.as_bytes()))
    }

    fn has_custom_state(&self, _name: &Word) -> bool {
        false
    }

    fn imported_part(&self, _name: &Word) -> Option<Word> {
        None
    }

    fn is_part(&self, _name: &Word) -> bool {
        false
    }

    fn is_empty(&self) -> bool {
        self.page.dom.next(self.id).0 == self.id.0 + 1
    }

    fn is_root(&self) -> bool {
        self.id == Dom::ROOT
    }

    fn add_element_unique_hashes(&self, _filter: &mut BloomFilter) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;
    use crate::budget::Meter;
    use crate::html::{Scope, parse};

    fn selected(css: &str, html: &str) -> Vec<String> {
        let dom = parse(html, Scope::Page, &mut Meter::new(&Budget::default())).unwrap();
        let mut found = Vec::new();
        CssTarget::parse(css).unwrap().each(&Page::of(&dom), |id| {
            let name = dom.node(id).name.as_deref().unwrap_or_default().to_owned();
            found.push(dom.attr(id, "id").map_or(name, ToOwned::to_owned));
        });
        found
    }

    #[test]
    fn selectors_select_as_in_browsers() {
        let html = "<!doctype html><head><meta name=csrf-token content=x></head><body>\
            <ul id=inbox class='list big'><li id=m1><a href=/messages/1>x</a><li id=m2 class=unread><li id=m3></ul>\
            <form><input name=authenticity_token id=t></form><ol><li id=o1></ol>";
        for (css, ids) in [
            ("ul#inbox > li", &["m1", "m2", "m3"][..]),
            ("li", &["m1", "m2", "m3", "o1"]),
            ("li:first-child", &["m1", "o1"]),
            ("li:nth-child(2n+1)", &["m1", "m3", "o1"]),
            ("ul li:not(.unread):nth-of-type(n+2)", &["m3"]),
            (".big .unread ~ li", &["m3"]),
            ("LI + li.unread", &["m2"]),
            ("a[href^='/messages/']", &["a"]),
            ("meta[name=csrf-token], input[name=authenticity_token]", &["meta", "t"]),
            ("body > *", &["inbox", "form", "ol"]),
            (":root", &["html"]),
            ("li:empty", &["m2", "m3", "o1"]),
            (":is(ul, ol) > li:last-child", &["m3", "o1"]),
            ("table", &[]),
        ] {
            assert_eq!(selected(css, html), ids, "{css}");
        }
    }

    #[test]
    fn attributes_are_parted_from_selectors() {
        let attr = |css: &str| CssTarget::parse(css).unwrap().attr().map(ToOwned::to_owned);
        assert_eq!(attr("a@href").as_deref(), Some("href"));
        assert_eq!(attr("a[b='x@y z']"), None);
        assert_eq!(attr("svg a@xlink:href").as_deref(), Some("xlink:href"));
        assert_eq!(attr("*@*").as_deref(), Some("*"));
        assert!(CssTarget::parse("!doctype").unwrap().is_doctype());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        for (css, at) in [
            ("", 0),
            ("li >", 4),
            ("a@", 2),
            ("li[", 3),
            ("a:hover", 7),
            ("a::before", 9),
            ("@href", 0),
            ("a b c !", 7),
        ] {
            let error = CssTarget::parse(css).unwrap_err();
            assert!(error <= css.len() && error.abs_diff(at) <= 3, "{css} {error}");
        }
        assert!(" 'é".get(CssTarget::parse(" 'é").unwrap_err()..).is_some());
        assert!(CssTarget::parse(&"a ".repeat(1_000)).is_err());
    }
}
