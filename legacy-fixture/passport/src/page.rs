//! Pages of a list: which rows a request asks for, and the `Link` header of the answer.
//!
//! The clamping rules are public behaviour, so they are written once for both applications.
//!
//! What must stay true: every query string gives a page (never an error), and offsets cannot overflow.

/// Rows on a page when the request does not say.
pub const PER_PAGE_DEFAULT: i64 = 20;
/// Rows on a page at most; more is cut to this.
pub const PER_PAGE_MAX: i64 = 100;
/// Page numbers above this are cut to it, so that an offset always fits.
pub const PAGE_MAX: i64 = 1_000_000;

/// Which part of a list a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub page: i64,
    /// From 1 to [`PER_PAGE_MAX`].
    pub per_page: i64,
    /// True when the request said `per_page`; links then keep it.
    pub per_page_given: bool,
}

impl Page {
    /// Reads `page` and `per_page` of a query string (the last one of each counts, as in Rails).
    ///
    /// A missing, unreadable or too small value is the default (1 and 20); a too large one is the maximum.
    pub fn from_query(query: Option<&str>) -> Self {
        let value = |name| {
            let pairs = query.unwrap_or_default().split('&').rev();
            pairs
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let per_page = value("per_page");
        Self {
            page: clamp(value("page"), 1, PAGE_MAX),
            per_page: clamp(per_page, PER_PAGE_DEFAULT, PER_PAGE_MAX),
            per_page_given: per_page.is_some(),
        }
    }

    /// Rows to skip.
    pub fn offset(&self) -> i64 {
        (self.page - 1) * self.per_page
    }
}

/// The `Link` header of a list with `total` rows at `path` (no query, no suffix); `None` when all fits on one page.
///
/// `first` and `prev` exist after page 1, `next` and `last` before the last page, in this order. Behind the end,
/// `prev` is the last page that has rows.
pub fn link_header(path: &str, page: Page, total: i64) -> Option<String> {
    let last = ((total + page.per_page - 1) / page.per_page).max(1);
    let link = |number: i64, rel: &str| {
        let per_page = if page.per_page_given {
            format!("&per_page={}", page.per_page)
        } else {
            String::new()
        };
        format!("<{path}?page={number}{per_page}>; rel=\"{rel}\"")
    };
    let mut links = Vec::with_capacity(4);
    if page.page > 1 {
        links.push(link(1, "first"));
        links.push(link((page.page - 1).min(last), "prev"));
    }
    if page.page < last {
        links.push(link(page.page + 1, "next"));
        links.push(link(last, "last"));
    }
    (!links.is_empty()).then(|| links.join(", "))
}

fn clamp(value: Option<&str>, default: i64, max: i64) -> i64 {
    match value.and_then(|text| text.parse::<i64>().ok()) {
        Some(number) if number >= 1 => number.min(max),
        Some(_) | None => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> (i64, i64) {
        let page = Page::from_query(Some(query));
        (page.page, page.per_page)
    }

    #[test]
    fn odd_values_are_clamped() {
        assert_eq!(Page::from_query(None), Page { page: 1, per_page: 20, per_page_given: false });
        assert_eq!(page("page=0&per_page=0"), (1, 20));
        assert_eq!(page("page=-3&per_page=x"), (1, 20));
        assert_eq!(page("page=2&page=3&per_page=101"), (3, 100));
        assert_eq!(page("a&page=&per_page=7&="), (1, 7));
        assert_eq!(page("page=99999999999"), (PAGE_MAX, 20));
        assert_eq!(page("page=99999999999999999999"), (1, 20));
    }

    #[test]
    fn links_exist_where_pages_do() {
        let link = |query, total| link_header("/users/3/messages", Page::from_query(query), total);
        assert_eq!(link(None, 20), None);
        assert_eq!(link(None, 0), None);
        assert_eq!(
            link(None, 21).unwrap(),
            "</users/3/messages?page=2>; rel=\"next\", </users/3/messages?page=2>; rel=\"last\""
        );
        assert_eq!(
            link(Some("page=2&per_page=5"), 15).unwrap(),
            "</users/3/messages?page=1&per_page=5>; rel=\"first\", \
             </users/3/messages?page=1&per_page=5>; rel=\"prev\", \
             </users/3/messages?page=3&per_page=5>; rel=\"next\", \
             </users/3/messages?page=3&per_page=5>; rel=\"last\""
        );
        assert_eq!(
            link(Some("page=9"), 21).unwrap(),
            "</users/3/messages?page=1>; rel=\"first\", </users/3/messages?page=2>; rel=\"prev\""
        );
    }
}
